//! `Via` (RFC 9110 7.6.3): says that we passed the message on, and notices that it passes again.
//!
//! It only counts: a chain of two gateways of ours is legitimate, so how many are a loop is the caller's.

use ::http::{HeaderValue, Version};

/// The name we sign with.
pub const PSEUDONYM: &str = "agentgateway";

/// Appends a `Via` value to `out`: the existing entries and ours. `version` is the received message's.
pub fn append(existing: Option<&str>, version: Version, out: &mut String) {
    if let Some(existing) = existing.map(|it| it.trim_matches([' ', '\t', ','])).filter(|it| !it.is_empty()) {
        out.push_str(existing);
        out.push_str(", ");
    }
    out.push_str(protocol(version));
    out.push(' ');
    out.push_str(PSEUDONYM);
}

/// The value where there was none before.
pub fn alone(version: Version) -> HeaderValue {
    // Checked when compiled, not for each request.
    static HTTP_09: HeaderValue = HeaderValue::from_static("0.9 agentgateway");
    static HTTP_10: HeaderValue = HeaderValue::from_static("1.0 agentgateway");
    static HTTP_11: HeaderValue = HeaderValue::from_static("1.1 agentgateway");
    static HTTP_2: HeaderValue = HeaderValue::from_static("2.0 agentgateway");
    static HTTP_3: HeaderValue = HeaderValue::from_static("3.0 agentgateway");
    match version {
        Version::HTTP_09 => HTTP_09.clone(),
        Version::HTTP_10 => HTTP_10.clone(),
        Version::HTTP_2 => HTTP_2.clone(),
        Version::HTTP_3 => HTTP_3.clone(),
        _ => HTTP_11.clone(),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        Version::HTTP_3 => "3.0",
        _ => "1.1",
    }
}

/// How often we have signed. `values` are the values of all `Via` lines.
pub fn occurrences<'a>(values: impl Iterator<Item = &'a str>) -> usize {
    values.map(occurrences_in).sum()
}

fn occurrences_in(value: &str) -> usize {
    let mut count = 0;
    let mut rest = value;
    while !rest.is_empty() {
        let (entry, tail) = split_entry(rest);
        rest = tail;
        let received_by = entry.split([' ', '\t']).filter(|it| !it.is_empty()).nth(1);
        count += usize::from(received_by.is_some_and(|it| it.eq_ignore_ascii_case(PSEUDONYM)));
    }
    count
}

/// Splits at the first comma that is not in a comment; comments nest and have escapes (RFC 9110 5.6.5).
fn split_entry(list: &str) -> (&str, &str) {
    let mut depth = 0usize;
    let mut escaped = false;
    for (at, it) in list.char_indices() {
        match it {
            _ if escaped => escaped = false,
            '\\' if depth > 0 => escaped = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => return (list.get(..at).unwrap_or(list), list.get(at + 1..).unwrap_or("")),
            _ => {}
        }
    }
    (list, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_entry_names_the_received_version_rfc9110_7_6_3() {
        for (existing, version, expected) in [
            (None, Version::HTTP_11, "1.1 agentgateway"),
            (None, Version::HTTP_2, "2.0 agentgateway"),
            (Some("1.0 fred"), Version::HTTP_10, "1.0 fred, 1.0 agentgateway"),
            (Some(" "), Version::HTTP_3, "3.0 agentgateway"),
        ] {
            let mut out = String::new();
            append(existing, version, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn an_entry_alone_is_what_would_be_appended_to_nothing() {
        for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3] {
            let mut out = String::new();
            append(None, version, &mut out);
            assert_eq!(alone(version), out);
        }
    }

    #[test]
    fn own_entries_are_counted_outside_comments() {
        for (values, expected) in [
            (&[][..], 0),
            (&["1.1 agentgateway"], 1),
            (&["1.0 fred, 1.1 p.example.net"], 0),
            (&["2.0 AgentGateway , 1.1 fred,HTTP/1.1\tagentgateway (x, 1.1 agentgateway)"], 2),
            (&["1.1 fred (a \\) , 1.1 agentgateway, (b)), 1.1 agentgateway"], 1),
            (&["1.1 agentgateway", "1.1 agentgateway"], 2),
            (&["1.1 agentgateway:80", "agentgateway", "1.1 fred (("], 0),
        ] {
            assert_eq!(occurrences(values.iter().copied()), expected, "{values:?}");
        }
    }
}
