//! The one form of a JSON text that signatures are over (RFC 8785).

use crate::json::{Kind, Raw, quoted};

/// What is left out before a text is signed: writers differ in whether they write what says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing.
    Nothing,
    /// Empty texts, lists and objects.
    Empty,
    /// Those, and `false` where it is what absence means in Protocol Buffers.
    Defaults,
}

/// Members of cards whose `false` is the same as their absence.
const PLAIN_FLAGS: [&str; 2] = ["required", "pkceRequired"];
/// Members that are anybody's own JSON, where `false` is a value.
const FREE: [&str; 2] = ["params", "header"];

/// The canonical text of an object without one of its members.
pub fn canonical(value: Raw<'_>, gone: &str, without: Without) -> String {
    let mut out = String::with_capacity(value.text().len());
    if !write(value, gone, without, &mut out) {
        out.push_str("{}");
    }
    out
}

/// Returns whether anything was written.
fn write(value: Raw<'_>, gone: &str, without: Without, out: &mut String) -> bool {
    let cleans = without != Without::Nothing;
    match value.kind() {
        Kind::Object => {
            let mut members: Vec<(Vec<u16>, String)> = Vec::new();
            for (name, member) in value.members() {
                let flag =
                    without == Without::Defaults && PLAIN_FLAGS.contains(&&*name) && member.as_bool() == Some(false);
                if name == gone || flag {
                    continue;
                }
                let inner = if FREE.contains(&&*name) && cleans { Without::Empty } else { without };
                let mut text = quoted_canonically(&name);
                text.push(':');
                if write(member, "", inner, &mut text) {
                    // Sorted by UTF-16 code units (section 3.2.3).
                    members.push((name.encode_utf16().collect(), text));
                }
            }
            if members.is_empty() && cleans {
                return false;
            }
            members.sort_by(|a, b| a.0.cmp(&b.0));
            list(out, ('{', '}'), members.into_iter().map(|(_, text)| text));
        }
        Kind::Array => {
            let elements = value.elements().filter_map(|it| {
                let mut text = String::new();
                write(it, "", without, &mut text).then_some(text)
            });
            let elements: Vec<String> = elements.collect();
            if elements.is_empty() && cleans {
                return false;
            }
            list(out, ('[', ']'), elements.into_iter());
        }
        Kind::String => {
            let text = value.as_str().unwrap_or_default();
            if text.is_empty() && cleans {
                return false;
            }
            out.push_str(&quoted_canonically(&text));
        }
        Kind::Null if cleans => return false,
        Kind::Number => out.push_str(&number(value.text())),
        Kind::Bool | Kind::Null => out.push_str(value.text()),
    }
    true
}

fn list(out: &mut String, (open, close): (char, char), items: impl Iterator<Item = String>) {
    out.push(open);
    for (position, item) in items.enumerate() {
        if position > 0 {
            out.push(',');
        }
        out.push_str(&item);
    }
    out.push(close);
}

/// As [`quoted`], with the two short escapes that it does not use.
fn quoted_canonically(text: &str) -> String {
    let out = quoted(text);
    if out.contains("\\u00") { out.replace("\\u0008", "\\b").replace("\\u000c", "\\f") } else { out }
}

/// As ECMAScript writes a number (section 3.2.2.3): the shortest digits that read back the same.
fn number(text: &str) -> String {
    let value: f64 = text.parse().unwrap_or_default();
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let exponential = format!("{value:e}");
    let (mantissa, exponent) = exponential.split_once('e').unwrap_or((&exponential, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |it| ("-", it));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let point = exponent.parse::<i32>().unwrap_or_default() + 1;
    let len = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let at = usize::try_from(point).unwrap_or_default();
    match point {
        _ if len <= point && point <= 21 => format!("{sign}{digits}{}", zeros(point - len)),
        1..=21 => format!("{sign}{}.{}", digits.get(..at).unwrap_or_default(), digits.get(at..).unwrap_or_default()),
        -5..=0 => format!("{sign}0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = digits.split_at_checked(1).unwrap_or((&digits, ""));
            let rest = if rest.is_empty() { String::new() } else { format!(".{rest}") };
            let plus = if point > 0 { "+" } else { "" };
            format!("{sign}{first}{rest}e{plus}{}", point - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    #[test]
    fn numbers_are_written_as_the_specification_has_them() {
        // RFC 8785 appendix B, and what is written differently elsewhere.
        for (text, canonical) in [
            ("0", "0"),
            ("-0", "0"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("9007199254740992", "9007199254740992"),
            ("295147905179352830000", "295147905179352830000"),
            ("1e21", "1e+21"),
            ("1e20", "100000000000000000000"),
            ("1e-6", "0.000001"),
            ("1e-7", "1e-7"),
            ("333333333.33333329", "333333333.3333333"),
            ("4.50", "4.5"),
            ("2e-3", "0.002"),
            ("-10.0", "-10"),
            ("1E30", "1e+30"),
        ] {
            assert_eq!(number(text), canonical, "{text}");
        }
    }

    #[test]
    fn members_are_sorted_and_space_is_gone() {
        // RFC 8785 section 3.2.3.
        let text = "{\"\\u20ac\": \"Euro\", \"\\r\": \"CR\", \"\\ufb33\": \"D\", \"1\": \"One\", \"\\ud83d\\ude00\": \"Smile\", \"\\u0080\": \"C\", \"\\u00f6\": \"O\"}";
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(
            canonical(value, "", Without::Nothing),
            "{\"\\r\":\"CR\",\"1\":\"One\",\"\u{80}\":\"C\",\"\u{f6}\":\"O\",\"\u{20ac}\":\"Euro\",\"\u{1f600}\":\"Smile\",\"\u{fb33}\":\"D\"}"
        );
    }

    #[test]
    fn what_says_nothing_is_left_out_where_that_is_asked() {
        let text = r#"{"signatures":[1],"b":[],"a":{"x":"","y":{}},"c":[{"required":false,"params":{"required":false}}],"d":null,"e":false}"#;
        let value = parse(text.as_bytes()).unwrap();
        for (without, expected) in [
            (
                Without::Nothing,
                r#"{"a":{"x":"","y":{}},"b":[],"c":[{"params":{"required":false},"required":false}],"d":null,"e":false}"#,
            ),
            (Without::Empty, r#"{"c":[{"params":{"required":false},"required":false}],"e":false}"#),
            (Without::Defaults, r#"{"c":[{"params":{"required":false}}],"e":false}"#),
        ] {
            assert_eq!(canonical(value, "signatures", without), expected);
        }
        assert_eq!(canonical(parse(b"{}").unwrap(), "", Without::Empty), "{}");
    }
}
