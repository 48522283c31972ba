//! `Host` and `:authority`: host and optional port (RFC 3986 3.2, RFC 9110 7.2).
//!
//! Stricter than the RFC on purpose, as a host chooses a route: no userinfo, escapes, sub-delimiters,
//! zones or IPvFuture, no empty labels; a name whose last label is a number must be a dotted IPv4 address
//! (WHATWG URL 3.5), so that `0177.1` cannot be an address to one party and a name to another. It does
//! not resolve and does not convert IDNs.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of an authority, port included.
pub const BYTES_MAX: usize = 255;

/// A valid authority, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Name or address in the case it came in; an IPv6 address without its brackets.
    pub host: &'a str,
    /// `None` also for an empty port, as in `a:` (RFC 3986 6.2.3).
    pub port: Option<u16>,
}

/// Why an authority is refused. Each is a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityFault {
    #[error("authority is empty")]
    Empty,
    #[error("authority is longer than {BYTES_MAX} bytes")]
    TooLong,
    #[error("authority has user information")]
    UserInfo,
    #[error("host is not a name or an address")]
    Host,
    #[error("port is not a number from 1 to 65535")]
    Port,
}

/// Reads `name`, `name:port`, `1.2.3.4:port` or `[v6]:port`.
pub fn parse(text: &str) -> Result<Authority<'_>, AuthorityFault> {
    if text.is_empty() {
        return Err(AuthorityFault::Empty);
    }
    if text.len() > BYTES_MAX {
        return Err(AuthorityFault::TooLong);
    }
    if is_plain_name(text.as_bytes()) {
        return Ok(Authority { host: text, port: None });
    }
    if text.contains('@') {
        return Err(AuthorityFault::UserInfo);
    }
    if let Some(literal) = text.strip_prefix('[') {
        let (host, after) = literal.split_once(']').ok_or(AuthorityFault::Host)?;
        host.parse::<Ipv6Addr>().map_err(|_| AuthorityFault::Host)?;
        let port = match after.strip_prefix(':') {
            Some(digits) => parse_port(digits)?,
            None if after.is_empty() => None,
            None => return Err(AuthorityFault::Port),
        };
        return Ok(Authority { host, port });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, parse_port(digits)?),
        None => (text, None),
    };
    check_name(host)?;
    Ok(Authority { host, port })
}

/// Whether it is a name without port that needs no second look, as most are: labels of letters, digits and hyphens,
/// the last one of letters only.
fn is_plain_name(text: &[u8]) -> bool {
    let (mut letters_only, mut length) = (true, 0usize);
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'-' => letters_only = false,
            b'.' if length > 0 => {
                (letters_only, length) = (true, 0);
                continue;
            }
            _ => return false,
        }
        length += 1;
    }
    letters_only && length > 0
}

/// The form hosts are compared in: ASCII lower case, without the dot of the DNS root.
pub fn lower<'a>(host: &'a str) -> Cow<'a, str> {
    let host: &'a str = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|it| it.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// `str::parse` would let a plus sign through.
fn parse_port(digits: &str) -> Result<Option<u16>, AuthorityFault> {
    if digits.is_empty() {
        return Ok(None);
    }
    if digits.len() > 5 || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return Err(AuthorityFault::Port);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(AuthorityFault::Port),
        Ok(port) => Ok(Some(port)),
    }
}

/// A name in the characters that DNS names and container names use, or a dotted IPv4 address.
pub(crate) fn check_name(host: &str) -> Result<(), AuthorityFault> {
    if host.is_empty() {
        return Err(AuthorityFault::Empty);
    }
    let relative = host.strip_suffix('.').unwrap_or(host);
    // In one go: each request brings a name.
    let mut label_begins = true;
    for byte in relative.bytes() {
        label_begins = match byte {
            b'.' if label_begins => return Err(AuthorityFault::Host),
            b'.' => true,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => false,
            _ => return Err(AuthorityFault::Host),
        };
    }
    if label_begins {
        return Err(AuthorityFault::Host);
    }
    let last = relative.rsplit_once('.').map_or(relative, |(_, last)| last);
    if is_number(last) && relative.parse::<Ipv4Addr>().is_err() {
        return Err(AuthorityFault::Host);
    }
    Ok(())
}

/// Decimal, octal or hexadecimal, to somebody's `inet_aton`.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|it| it.is_ascii_hexdigit()),
        None => label.bytes().all(|it| it.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_with_and_without_port() {
        for (text, host, port) in [
            ("a", "a", None),
            ("Example.COM", "Example.COM", None),
            ("example.com.:8080", "example.com.", Some(8080)),
            ("my_service-1:80", "my_service-1", Some(80)),
            ("a:", "a", None),
            ("1.2.3.4:65535", "1.2.3.4", Some(65535)),
            ("[::1]", "::1", None),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
            ("[::1]:", "::1", None),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
            ("1password.com", "1password.com", None),
        ] {
            assert_eq!(parse(text), Ok(Authority { host, port }), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = "a".repeat(BYTES_MAX + 1);
        for (text, fault) in [
            ("", AuthorityFault::Empty),
            (":80", AuthorityFault::Empty),
            (long.as_str(), AuthorityFault::TooLong),
            ("user@a", AuthorityFault::UserInfo),
            ("a@[::1]", AuthorityFault::UserInfo),
            (".", AuthorityFault::Host),
            ("a..b", AuthorityFault::Host),
            (".a", AuthorityFault::Host),
            ("a..", AuthorityFault::Host),
            ("a b", AuthorityFault::Host),
            ("a/b", AuthorityFault::Host),
            ("a,b", AuthorityFault::Host),
            ("a%20", AuthorityFault::Host),
            ("é", AuthorityFault::Host),
            ("a\0", AuthorityFault::Host),
            ("256.1.1.1", AuthorityFault::Host),
            ("127.1", AuthorityFault::Host),
            ("0x7f000001", AuthorityFault::Host),
            ("0177.0.0.1", AuthorityFault::Host),
            ("[::1", AuthorityFault::Host),
            ("[fe80::1%eth0]", AuthorityFault::Host),
            ("[v1.a]", AuthorityFault::Host),
            ("[1.2.3.4]", AuthorityFault::Host),
            ("[]", AuthorityFault::Host),
            ("[::1]80", AuthorityFault::Port),
            ("::1", AuthorityFault::Port),
            ("a:0", AuthorityFault::Port),
            ("a:+80", AuthorityFault::Port),
            ("a:65536", AuthorityFault::Port),
            ("a:80:80", AuthorityFault::Port),
            ("a:000080", AuthorityFault::Port),
        ] {
            assert_eq!(parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn hosts_compare_in_lower_case_without_the_root_dot() {
        assert_eq!(lower("Example.COM."), "example.com");
        assert!(matches!(lower("example.com."), Cow::Borrowed("example.com")));
    }
}
