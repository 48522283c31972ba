//! Lists of tasks of several agents as one list: the latest first, page by page.
//!
//! A [`Place`] says where the list stands at one agent; all of them together are the token that leads on, sealed for
//! whom it was made. What agents answer is read in place; tasks are compared by the time of their status, and where that
//! is not said they come last, in the agent's own order.

use super::shape::{NEXT_PAGE, PAGE_TOKEN};
use crate::json::{Kind, Raw, quoted};
use crate::mcp::Edits;
use crate::mcp::modern::add_members;
use crate::seal::{Fault, Ring};

/// Agents of one list.
pub const AGENTS_MAX: usize = 64;
/// Longest token of an agent's that is sealed with the others.
pub const TOKEN_BYTES_MAX: usize = 1024;
/// Tasks on a page unless the client says, and at most (1.0 section 3.1.4).
pub const SIZE_DEFAULT: usize = 50;
pub const SIZE_MAX: usize = 100;

const PAGE_SIZE: &[&str] = &["pageSize", "page_size"];
const TOTAL_SIZE: &[&str] = &["totalSize", "total_size"];
/// As [`crate::seal`] numbers them.
const FORMAT: u8 = 6;
/// The layout of what is sealed.
const LAYOUT: u8 = 1;

/// Where a list stands at one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The digests of an id: whose, and where.
    pub backend: u64,
    pub endpoint: u64,
    /// The agent's own token of the page that comes next, or goes on; empty for the first.
    pub token: String,
    /// Tasks of that page that the client has.
    pub skip: u32,
    /// Tasks that the agent said it has.
    pub total: u64,
    /// There are no more.
    pub done: bool,
}

/// Seals the places of a list.
pub fn seal(places: &[Place], ring: &Ring, scope: &[u8]) -> Result<String, Fault> {
    if places.len() > AGENTS_MAX || places.iter().any(|it| it.token.len() > TOKEN_BYTES_MAX) {
        return Err(Fault::Size);
    }
    let mut plain = vec![LAYOUT];
    for Place { backend, endpoint, token, skip, total, done } in places {
        for number in [*backend, *endpoint, *total] {
            plain.extend_from_slice(&number.to_be_bytes());
        }
        plain.push(u8::from(*done));
        plain.extend_from_slice(&skip.to_be_bytes());
        plain.extend_from_slice(&u16::try_from(token.len()).map_err(|_| Fault::Size)?.to_be_bytes());
        plain.extend_from_slice(token.as_bytes());
    }
    ring.seal_alike(FORMAT, plain, scope)
}

pub fn open(ring: &Ring, text: &str, scope: &[u8]) -> Result<Vec<Place>, Fault> {
    let (_, plain) = ring.open_bytes(FORMAT, text, scope)?;
    read(&plain).ok_or(Fault::Form)
}

/// What was sealed.
pub fn read(plain: &[u8]) -> Option<Vec<Place>> {
    let (&[LAYOUT], mut rest) = plain.split_first_chunk::<1>()? else { return None };
    let mut places = Vec::new();
    while !rest.is_empty() {
        if places.len() == AGENTS_MAX {
            return None;
        }
        let mut number = || {
            let (number, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_be_bytes(*number))
        };
        let (backend, endpoint, total) = (number()?, number()?, number()?);
        let ([done], after) = rest.split_first_chunk::<1>()?;
        let (skip, after) = after.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<2>()?;
        let (token, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = after;
        let token = std::str::from_utf8(token).ok()?.to_owned();
        places.push(Place { backend, endpoint, token, skip: u32::from_be_bytes(*skip), total, done: *done != 0 });
    }
    Some(places)
}

/// What an agent lists.
pub struct Page<'a> {
    /// With the times of their states.
    pub tasks: Vec<(Option<Instant>, Raw<'a>)>,
    /// Its token of the next page; empty where there is none.
    pub next: String,
    pub total: u64,
}

/// Seconds since 1970 and nanoseconds.
pub type Instant = (i64, u32);

impl<'a> Page<'a> {
    /// Of the result of `ListTasks`.
    pub fn of(result: Raw<'a>) -> Option<Self> {
        if result.kind() != Kind::Object {
            return None;
        }
        let found = |names: &[&str]| names.iter().find_map(|it| result.get(it));
        let next = found(NEXT_PAGE).and_then(Raw::as_str).map(Into::into).unwrap_or_default();
        let tasks: Vec<_> = match result.get("tasks") {
            Some(list) if list.kind() == Kind::Array => list.elements().map(|it| (changed(it), it)).collect(),
            // Writers of Protocol Buffers leave out a list that is empty.
            None => Vec::new(),
            Some(_) => return None,
        };
        let total = found(TOTAL_SIZE).and_then(number).unwrap_or(tasks.len() as u64);
        Some(Self { tasks, next, total })
    }
}

/// When the state of a task changed.
fn changed(task: Raw<'_>) -> Option<Instant> {
    instant(&task.get("status")?.get("timestamp")?.as_str()?)
}

/// A number, or a text of one, as Protocol Buffers may write it.
fn number(value: Raw<'_>) -> Option<u64> {
    value.text().trim_matches('"').parse().ok()
}

/// The size of a page that a client asks for.
pub fn size(params: Option<Raw<'_>>) -> Option<usize> {
    match params.and_then(|it| PAGE_SIZE.iter().find_map(|name| it.get(name))) {
        Some(size) if !size.is_null() => size_of(size.text().trim_matches('"')),
        _ => Some(SIZE_DEFAULT),
    }
}

/// The same as text; `None` where it is none.
pub fn size_of(text: &str) -> Option<usize> {
    text.parse().ok().filter(|it| (1..=SIZE_MAX).contains(it))
}

/// Asks for a page in the parameters of a request.
pub fn ask(params: Raw<'_>, token: &str, size: usize, edits: &mut Edits) {
    let mut missing = Vec::new();
    for (names, value) in [(PAGE_TOKEN, quoted(token)), (PAGE_SIZE, size.to_string())] {
        let mut is_there = false;
        // Whatever is said twice says the same.
        for (_, member) in params.members().filter(|(name, _)| names.contains(&&**name)) {
            is_there = true;
            edits.replace(member.range(), value.clone());
        }
        if let (false, Some(name)) = (is_there, names.first()) {
            missing.push(format!("{}:{value}", quoted(name)));
        }
    }
    if !missing.is_empty() {
        add_members(params, &missing.join(","), edits);
    }
}

/// Asks for a page in a query, whose other members stay.
pub fn ask_query(query: &str, token: &str, size: usize) -> String {
    let ours = |it: &&str| {
        let name = it.split('=').next().unwrap_or_default();
        !it.is_empty() && !PAGE_TOKEN.contains(&name) && !PAGE_SIZE.contains(&name)
    };
    let mut out: Vec<String> = query.split('&').filter(ours).map(str::to_owned).collect();
    out.push(format!("pageSize={size}"));
    if !token.is_empty() {
        out.push(format!("pageToken={}", escaped(token)));
    }
    out.join("&")
}

/// A text as the value of a member of a query.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The value of `pageSize` in a query.
pub fn size_in(query: &str) -> Option<usize> {
    super::rest::query_value(query, PAGE_SIZE).map_or(Some(SIZE_DEFAULT), |it| size_of(query.get(it)?))
}

/// A page as clients get it; `tasks` are JSON.
pub fn written(tasks: &[String], next: &str, size: usize, total: u64) -> String {
    let (tasks, next) = (tasks.join(","), quoted(next));
    format!(r#"{{"tasks":[{tasks}],"nextPageToken":{next},"pageSize":{size},"totalSize":{total}}}"#)
}

/// Reads a moment of RFC 3339, so that moments with other offsets and fractions compare.
pub fn instant(text: &str) -> Option<Instant> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|it| it.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let sign = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|it| wanted.contains(it));
    if ![(4, &b"-"[..]), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")].iter().all(|(at, wanted)| sign(*at, wanted)) {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|it: char| !it.is_ascii_digit()).unwrap_or(fraction.len());
        let (fraction, after) = fraction.split_at_checked(end)?;
        // What is finer than a nanosecond does not count.
        let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        nanos = nine.parse().ok()?;
        rest = after;
    }
    let offset = match rest {
        // Some agents leave the zone out: theirs is UTC.
        "" | "Z" | "z" => 0,
        _ => {
            let sign = if rest.starts_with('-') { -1 } else { rest.strip_prefix('+').map(|_| 1)? };
            let at = text.len() - rest.len() + 1;
            let minutes = digits(at, at + 2)? * 60 + digits(at + 3, at + 5)?;
            sign * minutes * 60
        }
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some((seconds, nanos))
}

/// Days since 1970-01-01, in the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the day that some of them lack is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::parse;

    fn ring() -> Ring {
        Ring::new(&[[1; 32]])
    }

    #[test]
    fn places_come_back_for_whom_they_were_sealed() {
        let places = vec![
            Place { backend: 1, endpoint: 2, token: "p2".into(), skip: 3, total: 9, done: false },
            Place { backend: u64::MAX, done: true, total: 4, ..Place::default() },
        ];
        let token = seal(&places, &ring(), b"alice").unwrap();
        assert_eq!(open(&ring(), &token, b"alice"), Ok(places.clone()));
        assert_eq!(open(&ring(), &token, b"bob"), Err(Fault::Seal));
        for cut in 0..token.len() {
            assert!(open(&ring(), &token[..cut], b"alice").is_err(), "cut at {cut}");
        }
        let many = vec![Place::default(); AGENTS_MAX + 1];
        assert_eq!(seal(&many, &ring(), b""), Err(Fault::Size));
        let long = Place { token: "x".repeat(TOKEN_BYTES_MAX + 1), ..Place::default() };
        assert_eq!(seal(&[long], &ring(), b""), Err(Fault::Size));
        assert_eq!(open(&ring(), &seal(&[], &ring(), b"").unwrap(), b""), Ok(Vec::new()));
    }

    #[test]
    fn moments_compare_whatever_their_spelling() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some((0, 0))),
            ("2023-10-27T10:00:00Z", Some((1_698_400_800, 0))),
            ("2023-10-27T12:00:00+02:00", Some((1_698_400_800, 0))),
            ("2023-10-27T05:30:00.5-04:30", Some((1_698_400_800, 500_000_000))),
            ("2024-02-29t23:59:60.1234567891z", Some((1_709_251_200, 123_456_789))),
            ("2025-01-01T00:00:00.000123", Some((1_735_689_600, 123_000))),
            ("2000-03-01 00:00:00Z", Some((951_868_800, 0))),
            ("1969-12-31T23:59:59Z", Some((-1, 0))),
            ("2023-13-27T10:00:00Z", None),
            ("2023-10-27", None),
            ("2023-10-27T10:00:00+2", None),
            ("2023-10-27T10:00:00X", None),
            ("+023-10-27T10:00:00Z", None),
            ("\u{e4}023-10-27T10:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(instant(text), expected, "{text}");
        }
    }

    #[test]
    fn pages_are_read_and_asked_for() {
        let text = r#"{"tasks":[{"id":"a","status":{"timestamp":"1970-01-01T00:00:01Z"}},{"id":"b"}],"nextPageToken":"n","totalSize":"7"}"#;
        let page = Page::of(parse(text.as_bytes()).unwrap()).unwrap();
        let times: Vec<_> = page.tasks.iter().map(|(at, _)| *at).collect();
        assert_eq!((times, &*page.next, page.total), (vec![Some((1, 0)), None], "n", 7));
        let page = Page::of(parse(b"{}").unwrap()).unwrap();
        assert_eq!((page.tasks.len(), &*page.next, page.total), (0, "", 0));
        for text in ["[]", "7", r#"{"tasks":{}}"#, r#"{"tasks":"x"}"#] {
            assert!(Page::of(parse(text.as_bytes()).unwrap()).is_none(), "{text}");
        }
        for (text, expected) in [
            ("{}", r#"{"pageToken":"t\"","pageSize":5}"#),
            (r#"{"contextId":"c"}"#, r#"{"pageToken":"t\"","pageSize":5,"contextId":"c"}"#),
            (r#"{"pageToken":"x","page_size":9}"#, r#"{"pageToken":"t\"","page_size":5}"#),
            (r#"{"pageSize":1,"pageSize":2}"#, r#"{"pageToken":"t\"","pageSize":5,"pageSize":5}"#),
        ] {
            let mut edits = Edits::default();
            let params = parse(text.as_bytes()).unwrap();
            ask(params, "t\"", 5, &mut edits);
            assert_eq!(params.edited(edits), expected);
        }
        assert_eq!(ask_query("a=1&pageToken=x&pageSize=2&b", "t/", 5), "a=1&b&pageSize=5&pageToken=t%2F");
        assert_eq!(ask_query("", "", 5), "pageSize=5");
        for (text, size) in
            [("{}", Some(50)), (r#"{"pageSize":null}"#, Some(50)), (r#"{"pageSize":7}"#, Some(7))].into_iter().chain(
                [r#"{"pageSize":0}"#, r#"{"page_size":101}"#, r#"{"pageSize":-1}"#, r#"{"pageSize":1.5}"#]
                    .map(|it| (it, None)),
            )
        {
            assert_eq!(super::size(Some(parse(text.as_bytes()).unwrap())), size, "{text}");
        }
        assert_eq!((size_in("pageSize=3"), size_in("a=1"), size_in("pageSize=x")), (Some(3), Some(50), None));
        let text = written(&["{}".into(), "1".into()], "n\"", 2, 9);
        assert_eq!(text, r#"{"tasks":[{},1],"nextPageToken":"n\"","pageSize":2,"totalSize":9}"#);
    }

    proptest! {
        #[test]
        fn nothing_makes_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..96), text in "\\PC{0,40}") {
            let mut bytes = bytes;
            let _ = read(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = LAYOUT;
            }
            let _ = read(&bytes);
            let _ = instant(&text);
        }
    }
}
