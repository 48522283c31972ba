//! Rules for what is personal, known by name.

use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

/// What a rule knows to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Builtin {
    Email,
    PhoneNumber,
    Ssn,
    CreditCard,
    CaSin,
}

/// Longest text that one of them finds.
pub(super) const BYTES_MAX: usize = 256;

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("patterns of ours are right")
}

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"(?i)\b[a-z0-9][a-z0-9._%+'-]{0,63}@[a-z0-9][a-z0-9.-]{0,150}\.[a-z]{2,24}\b"));
static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?:\+\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\b\d{3}[ .-])\d{3}[ .-]\d{4}\b|\+\d{8,15}\b|\+\d{1,3}(?:[ .-]\d{2,4}){2,5}\b",
    )
});
static SSN: LazyLock<Regex> = LazyLock::new(|| compiled(r"\b\d{3}[ -]\d{2}[ -]\d{4}\b"));
static CARD: LazyLock<Regex> = LazyLock::new(|| compiled(r"\b\d(?:[ -]?\d){12,18}\b"));
static SIN: LazyLock<Regex> = LazyLock::new(|| compiled(r"\b\d{3}[ -]\d{3}[ -]\d{3}\b"));

impl Builtin {
    pub(super) fn regex(self) -> &'static Regex {
        match self {
            Self::Email => &EMAIL,
            Self::PhoneNumber => &PHONE,
            Self::Ssn => &SSN,
            Self::CreditCard => &CARD,
            Self::CaSin => &SIN,
        }
    }

    /// What stands in the place of what it has found.
    pub(super) fn mask(self) -> &'static str {
        match self {
            Self::Email => "<EMAIL_ADDRESS>",
            Self::PhoneNumber => "<PHONE_NUMBER>",
            Self::Ssn => "<SSN>",
            Self::CreditCard => "<CREDIT_CARD>",
            Self::CaSin => "<CA_SIN>",
        }
    }

    /// Whether what looks like one is one.
    pub(super) fn holds(self, text: &str) -> bool {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).map(|it| it - b'0').collect();
        match self {
            Self::Email | Self::PhoneNumber => true,
            Self::CreditCard | Self::CaSin => luhn(&digits),
            // Areas that are never given out, and groups and numbers that do not exist.
            Self::Ssn => {
                let (area, rest) = digits.split_at(digits.len().min(3));
                let (group, number) = rest.split_at(rest.len().min(2));
                let none = |it: &[u8]| it.iter().all(|it| *it == 0);
                !none(area) && area != [6, 6, 6] && area.first() != Some(&9) && !none(group) && !none(number)
            }
        }
    }
}

/// The check digit of cards and the like.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(position, digit)| {
            let digit = u32::from(*digit);
            match position % 2 {
                0 => digit,
                _ if digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|it| *it != 0)
}

/// The last place before which nothing that goes on can begin: behind a line, or behind a word of letters.
pub(super) fn last_break(text: &str) -> usize {
    let bytes = text.as_bytes();
    let breaks = |at: &usize| match (at.checked_sub(1).and_then(|it| bytes.get(it)), bytes.get(*at)) {
        (_, Some(b'\n' | b'\r' | b'\t')) => true,
        (Some(before), Some(b' ')) => {
            before.is_ascii_alphabetic() || matches!(before, b',' | b';' | b'!' | b'?' | b':')
        }
        _ => false,
    };
    (0..bytes.len()).rev().find(breaks).map_or(0, |it| it + 1)
}
