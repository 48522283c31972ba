//! Who asked, through whom: `X-Forwarded-*` and `Forwarded` (RFC 7239).
//!
//! Reads the client's address by counting trusted hops from the right, and appends our own hop. It does not
//! decide whom to trust, and it does not read `Forwarded`: two sources for one fact disagree sooner or later.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use ::http::HeaderName;

use super::authority::Authority;
use super::is_tchar;

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// How many proxies in front of us append to `X-Forwarded-For` honestly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrustedHops(pub u8);

impl From<TrustedHops> for usize {
    fn from(hops: TrustedHops) -> Self {
        Self::from(hops.0)
    }
}

/// The client's address. `xff` are the values of all `X-Forwarded-For` lines in order.
///
/// With no trusted hop it is `peer`. With n, the nth entry from the right: the one the outermost trusted
/// proxy wrote. Everything left of it is hearsay. A list that is too short, or an entry that is no address,
/// means that the request did not come through the proxies we trust, so it is `peer` again.
pub fn client_ip<'a, I>(xff: I, peer: IpAddr, trusted_hops: usize) -> IpAddr
where
    I: Iterator<Item = &'a str> + DoubleEndedIterator,
{
    let Some(skipped) = trusted_hops.checked_sub(1) else { return peer.to_canonical() };
    let entry = xff.rev().flat_map(|it| it.rsplit(',')).map(str::trim).filter(|it| !it.is_empty()).nth(skipped);
    entry.and_then(parse_node).unwrap_or(peer).to_canonical()
}

/// An address as proxies write it: bare, in brackets, with a port.
fn parse_node(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6)
}

/// Appends an `X-Forwarded-For` value to `out`: the existing list, if kept, and the peer.
pub fn append_xff(existing: Option<&str>, peer: IpAddr, keep_existing: bool, out: &mut String) {
    push_existing(existing, keep_existing, out);
    push(out, format_args!("{}", peer.to_canonical()));
}

/// What `X-Forwarded-Port` says: the port the client named, or the one its scheme implies.
pub fn port(authority: &Authority<'_>, proto: &str) -> u16 {
    authority.port.unwrap_or(if proto.eq_ignore_ascii_case("https") { 443 } else { 80 })
}

/// One element of `Forwarded`.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// `for`: who connected to us.
    pub client: IpAddr,
    /// `by`: where it connected to.
    pub by: Option<IpAddr>,
    /// `http` or `https`.
    pub proto: &'a str,
    /// The `Host` as received; left out when empty.
    pub host: &'a str,
}

/// Appends a `Forwarded` value to `out`: the existing elements, if kept, and ours (RFC 7239 4).
pub fn append_forwarded(existing: Option<&str>, hop: &Hop<'_>, keep_existing: bool, out: &mut String) {
    let Hop { client, by, proto, host } = *hop;
    push_existing(existing, keep_existing, out);
    out.push_str("for=");
    push_node(client, out);
    if let Some(by) = by {
        out.push_str(";by=");
        push_node(by, out);
    }
    for (name, value) in [(";proto=", proto), (";host=", host)] {
        if !value.is_empty() {
            out.push_str(name);
            push_value(value, out);
        }
    }
}

fn push_existing(existing: Option<&str>, keep: bool, out: &mut String) {
    if let Some(existing) = existing.map(|it| it.trim_matches([' ', '\t', ','])).filter(|it| keep && !it.is_empty()) {
        out.push_str(existing);
        out.push_str(", ");
    }
}

/// IPv6 in brackets and, as brackets are no token characters, in quotes (RFC 7239 6).
fn push_node(ip: IpAddr, out: &mut String) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => push(out, format_args!("{ip}")),
        IpAddr::V6(ip) => push(out, format_args!("\"[{ip}]\"")),
    }
}

/// A token, or a quoted string (RFC 9110 5.6.4) without the characters that neither can hold.
fn push_value(value: &str, out: &mut String) {
    if value.bytes().all(is_tchar) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for it in value.chars().filter(|it| !it.is_control()) {
        if matches!(it, '"' | '\\') {
            out.push('\\');
        }
        out.push(it);
    }
    out.push('"');
}

fn push(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_client_is_counted_from_the_right() {
        for (lines, hops, expected) in [
            (&["1.1.1.1, 2.2.2.2"][..], 0, "9.9.9.9"),
            (&["1.1.1.1, 2.2.2.2"], 1, "2.2.2.2"),
            (&["1.1.1.1, 2.2.2.2"], 2, "1.1.1.1"),
            (&["1.1.1.1, 2.2.2.2"], 3, "9.9.9.9"),
            (&["1.1.1.1", "2.2.2.2,3.3.3.3"], 2, "2.2.2.2"),
            (&["1.1.1.1", "2.2.2.2,3.3.3.3"], 3, "1.1.1.1"),
            (&["evil, 2.2.2.2"], 1, "2.2.2.2"),
            (&["evil, 2.2.2.2"], 2, "9.9.9.9"),
            (&["1.1.1.1,, ,"], 1, "1.1.1.1"),
            (&["1.1.1.1:123"], 1, "1.1.1.1"),
            (&["[2001:db8::1]:123"], 1, "2001:db8::1"),
            (&["[2001:db8::1]"], 1, "2001:db8::1"),
            (&["2001:db8::1"], 1, "2001:db8::1"),
            (&["::ffff:1.2.3.4"], 1, "1.2.3.4"),
            (&[""], 1, "9.9.9.9"),
            (&[], 1, "9.9.9.9"),
        ] {
            let actual = client_ip(lines.iter().copied(), ip("9.9.9.9"), hops);
            assert_eq!(actual, ip(expected), "{lines:?} with {hops} hops");
        }
    }

    #[test]
    fn x_forwarded_for_is_appended_or_begun_anew() {
        for (existing, keep, peer, expected) in [
            (None, true, "1.2.3.4", "1.2.3.4"),
            (Some("a, b"), true, "1.2.3.4", "a, b, 1.2.3.4"),
            (Some("a, b"), false, "1.2.3.4", "1.2.3.4"),
            (Some(""), true, "2001:db8::1", "2001:db8::1"),
            (None, true, "::ffff:1.2.3.4", "1.2.3.4"),
        ] {
            let mut out = String::new();
            append_xff(existing, ip(peer), keep, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn forwarded_quotes_what_is_no_token_rfc7239_4() {
        for (client, by, host, expected) in [
            ("1.2.3.4", None, "a.example", "for=1.2.3.4;proto=https;host=a.example"),
            ("1.2.3.4", None, "a:80", "for=1.2.3.4;proto=https;host=\"a:80\""),
            ("2001:db8::1", Some("::1"), "", "for=\"[2001:db8::1]\";by=\"[::1]\";proto=https"),
            ("1.2.3.4", None, "a\"\\\r\n;b", "for=1.2.3.4;proto=https;host=\"a\\\"\\\\;b\""),
        ] {
            let mut out = String::new();
            append_forwarded(None, &Hop { client: ip(client), by: by.map(ip), proto: "https", host }, true, &mut out);
            assert_eq!(out, expected);
        }
        let mut out = String::new();
        let hop = Hop { client: ip("1.2.3.4"), by: None, proto: "http", host: "" };
        append_forwarded(Some("for=a"), &hop, true, &mut out);
        assert_eq!(out, "for=a, for=1.2.3.4;proto=http");
    }

    #[test]
    fn the_port_is_the_named_one_or_the_scheme_s() {
        for (port_named, proto, expected) in [(Some(8080), "https", 8080), (None, "https", 443), (None, "http", 80)] {
            assert_eq!(port(&Authority { host: "a", port: port_named }, proto), expected);
        }
    }
}
