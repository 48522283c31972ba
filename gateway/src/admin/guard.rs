//! Who may ask what of the admin server.
//!
//! Reading is open to whoever can connect (by default this host alone; nothing shown is secret).
//! Three guards: a page in a browser must not reach us by rebinding a name to our address (`Host`
//! must be an address of ours), must not act across origins (`Origin` of a change must be ours),
//! and a change from off this host needs the token of the configuration.

use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{Method, StatusCode};

use crate::telemetry::is_loopback;

/// The two ends of a connection to one of our own servers; absent on Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) text: &'static str,
}

/// Checks a request before anything else is done with it.
pub(super) fn check(head: &Parts, ends: Ends, token: Option<&[u8]>) -> Result<(), Refused> {
    let refused = |status, text| Err(Refused { status, text });
    let Some(host) = host(head) else {
        return refused(StatusCode::BAD_REQUEST, "a single host header is required");
    };
    if let Some(local) = ends.local
        && !is_ours(&host, local.ip())
    {
        return refused(StatusCode::MISDIRECTED_REQUEST, "host is not localhost nor the address asked");
    }
    if matches!(head.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    if !same_origin(head, &host) {
        return refused(StatusCode::FORBIDDEN, "requests from other origins cannot change anything");
    }
    if ends.peer.is_none_or(|peer| is_loopback(peer.ip())) {
        return Ok(());
    }
    match token {
        None => refused(StatusCode::FORBIDDEN, "changes from other hosts need an admin token, and none is configured"),
        Some(token) if bears(head, token) => Ok(()),
        Some(_) => refused(StatusCode::FORBIDDEN, "the bearer token is missing or wrong"),
    }
}

/// The one host a request names; the target's own, where it has one, must agree with the header.
fn host(head: &Parts) -> Option<String> {
    let mut lines = head.headers.get_all(HOST).into_iter();
    let line = lines.next()?.to_str().ok()?.to_ascii_lowercase();
    let agrees = head.uri.authority().is_none_or(|authority| authority.as_str().eq_ignore_ascii_case(&line));
    (lines.next().is_none() && agrees).then_some(line)
}

/// Whether a `Host` value is this host by a name that cannot be rebound, or the local address.
fn is_ours(host: &str, local: IpAddr) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(address) => is_loopback(address) || address.to_canonical() == local.to_canonical(),
        Err(_) => bare == "localhost",
    }
}

/// Whether no browser says that another site is asking.
fn same_origin(head: &Parts, host: &str) -> bool {
    if head.headers.get("sec-fetch-site").is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return false;
    }
    let ours = format!("http://{host}");
    head.headers.get_all(ORIGIN).into_iter().all(|origin| origin.as_bytes().eq_ignore_ascii_case(ours.as_bytes()))
}

fn bears(head: &Parts, token: &[u8]) -> bool {
    let value = head.headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let (scheme, rest) = value.split_at(value.len().min(7));
    scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty() && same_bytes(rest.trim_ascii(), token)
}

/// Equality in time that depends on the lengths alone.
fn same_bytes(left: &[u8], right: &[u8]) -> bool {
    let differences = left.iter().zip(right).fold(0, |found, (a, b)| std::hint::black_box(found | (a ^ b)));
    left.len() == right.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "127.0.0.1:15000";

    fn ends(peer: &str, local: &str) -> Ends {
        Ends { peer: peer.parse().ok(), local: local.parse().ok() }
    }

    fn verdict(method: &str, headers: &[(&str, &str)], ends: Ends, token: Option<&str>) -> u16 {
        let mut request = http::Request::builder().method(method).uri("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&head, ends, token.map(str::as_bytes)).map_or_else(|refused| refused.status.as_u16(), |()| 200)
    }

    #[test]
    fn hosts_that_could_be_rebound_are_refused() {
        for (host, expected) in [
            ("localhost:15000", 200),
            ("LOCALHOST", 200),
            ("127.0.0.1:15000", 200),
            ("127.9.9.9", 200),
            ("[::1]:15000", 200),
            ("192.0.2.1:15000", 200),
            ("192.0.2.2", 421),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("evil@localhost", 421),
            ("", 421),
        ] {
            assert_eq!(verdict("GET", &[("host", host)], ends(LOCAL, "192.0.2.1:15000"), None), expected, "{host}");
        }
        assert_eq!(verdict("GET", &[], ends(LOCAL, LOCAL), None), 400);
        assert_eq!(verdict("GET", &[("host", "localhost"), ("host", "x")], ends(LOCAL, LOCAL), None), 400);
        assert_eq!(verdict("GET", &[("host", "anything")], Ends { peer: None, local: None }, None), 200);
    }

    #[test]
    fn changes_from_other_origins_are_refused() {
        for (name, value, expected) in [
            ("origin", "http://localhost:15000", 200),
            ("origin", "http://evil.example", 403),
            ("origin", "http://localhost:3000", 403),
            ("origin", "null", 403),
            ("sec-fetch-site", "cross-site", 403),
            ("sec-fetch-site", "same-site", 403),
            ("sec-fetch-site", "same-origin", 200),
        ] {
            let headers = [("host", "localhost:15000"), (name, value)];
            assert_eq!(verdict("POST", &headers, ends(LOCAL, LOCAL), None), expected, "{name}: {value}");
        }
    }

    #[test]
    fn changes_from_other_hosts_need_the_token() {
        let far = ends("192.0.2.9:1", "192.0.2.1:15000");
        let host = ("host", "192.0.2.1:15000");
        for (authorization, token, expected) in [
            ("Bearer hunter2", Some("hunter2"), 200),
            ("bearer hunter2", Some("hunter2"), 200),
            ("Bearer hunter3", Some("hunter2"), 403),
            ("Bearer hunter", Some("hunter2"), 403),
            ("Basic hunter2", Some("hunter2"), 403),
            ("", Some("hunter2"), 403),
            ("Bearer ", Some(""), 403),
            ("Bearer hunter2", None, 403),
        ] {
            let got = verdict("POST", &[host, ("authorization", authorization)], far, token);
            assert_eq!(got, expected, "{authorization} {token:?}");
        }
        assert_eq!(verdict("GET", &[host], far, None), 200);
        let mapped = ends("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:15000");
        assert_eq!(verdict("POST", &[("host", "localhost")], mapped, Some("x")), 200);
    }
}
