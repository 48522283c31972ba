//! Requests refused before Pingora sees them: logged and counted like any other, as far as they are known.
//!
//! What is read of such a head here is for the log only; nothing is decided by it.

use std::time::Duration;

use filters::Reason;
use filters::expr::{Inputs, Request, Response, Source};
use http::HeaderMap;

use super::info::{ConnInfo, Peer};
use super::talk::Talk;
use crate::telemetry::RequestEvent;

/// Longest method shown; those of the IANA registry have 17 bytes at most.
const METHOD_BYTES_MAX: usize = 32;

/// How such a request ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending<'a> {
    /// 0 where it is not known.
    pub(super) status: u16,
    pub(super) reason: Reason,
    pub(super) error: &'a str,
    /// Spent waiting for the head.
    pub(super) duration: Duration,
}

/// One event: access line and counters. `seen` is what came of an HTTP/1 head, nothing for HTTP/2.
pub(super) fn report<A>(talk: &Talk<A>, conn: &ConnInfo, seen: &[u8], ending: Ending<'_>) {
    let head = Glimpse::of(seen);
    let (uri, headers) = (head.path.parse().unwrap_or_default(), HeaderMap::new());
    let inputs = inputs(conn, &head, &uri, &headers, ending.status);
    talk.telemetry.request_ended(&RequestEvent {
        connection_id: conn.id,
        bind: talk.bind.as_str(),
        gateway: "",
        listener: "",
        route: "",
        route_rule: "",
        backend: "",
        endpoint: "",
        src: matches!(conn.peer, Peer::Inet(_)).then_some(conn.client),
        method: head.method,
        host: head.host,
        path: head.path,
        version: if conn.http2 { "HTTP/2.0" } else { head.version },
        status: ending.status,
        grpc_status: None,
        protocol: if conn.tls.is_some() { "https" } else { "http" },
        sni: conn.sni.as_deref().unwrap_or_default(),
        identity: None,
        llm: None,
        reason: ending.reason,
        error: Some(ending.error),
        decisions: &[],
        mcp: None,
        a2a: None,
        retry_attempt: 0,
        bytes_received: 0,
        bytes_sent: 0,
        duration: ending.duration,
        request_processing: None,
        upstream: None,
        inputs: Some(&inputs),
        access_log: talk.terms.access_log.as_ref(),
    });
}

/// What the access log's expressions may read of it.
fn inputs<'a>(
    conn: &'a ConnInfo,
    head: &Glimpse<'a>,
    uri: &'a http::Uri,
    headers: &'a HeaderMap,
    status: u16,
) -> Inputs<'a> {
    let source = matches!(conn.peer, Peer::Inet(_)).then(|| Source {
        address: conn.client.ip(),
        port: Some(conn.client.port()),
        raw_address: conn.peer.address().ip(),
        raw_port: Some(conn.peer.address().port()),
        workload: None,
        connect_headers: None,
    });
    Inputs {
        request: Some(Request {
            method: head.method,
            uri,
            target: Some(head.path),
            host: head.host,
            scheme: if conn.tls.is_some() { "https" } else { "http" },
            version: if conn.http2 { http::Version::HTTP_2 } else { http::Version::HTTP_11 },
            headers,
        }),
        response: (status != 0).then_some(Response { code: status, grpc_status: None, headers: None }),
        source,
        ..Inputs::of_process()
    }
}

/// What can be told of a head that is incomplete or wrong. Whatever is doubtful is left out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Glimpse<'a> {
    method: &'a str,
    path: &'a str,
    version: &'static str,
    host: &'a str,
}

impl<'a> Glimpse<'a> {
    /// Only lines that have ended are looked at: the rest of others might change what they say.
    fn of(seen: &'a [u8]) -> Self {
        let mut lines = seen.split_inclusive(|it| *it == b'\n').filter_map(|it| it.strip_suffix(b"\n"));
        let mut lines = lines.by_ref().map(|it| it.strip_suffix(b"\r").unwrap_or(it)).skip_while(|it| it.is_empty());
        let mut head = Self::default();
        let Some(line) = lines.next().and_then(|it| std::str::from_utf8(it).ok()) else { return head };
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default();
        if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.bytes().all(|it| it.is_ascii_uppercase()) {
            return head;
        }
        head.method = method;
        head.path = words.next().unwrap_or_default();
        head.version = match words.next() {
            Some("HTTP/1.0") => "HTTP/1.0",
            Some("HTTP/1.1") => "HTTP/1.1",
            _ => "",
        };
        let mut fields = lines.take_while(|it| !it.is_empty()).filter_map(|it| it.split_at_checked(5));
        if let Some((_, host)) = fields.find(|(name, _)| name.eq_ignore_ascii_case(b"host:")) {
            head.host = std::str::from_utf8(host.trim_ascii()).unwrap_or_default();
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_of_a_head_is_told_as_is_certain() {
        let glimpse = |method, path, version, host| Glimpse { method, path, version, host };
        for (seen, expected) in [
            ("GET /a?b HTTP/1.1\r\nx: y\r\nHOST: a.example \r\n", glimpse("GET", "/a?b", "HTTP/1.1", "a.example")),
            ("\r\n\nPUT /a HTTP/1.0\n", glimpse("PUT", "/a", "HTTP/1.0", "")),
            ("GET /a HTTP/1.1\r\nHost: a.exam", glimpse("GET", "/a", "HTTP/1.1", "")),
            ("GET /a HTTP/1.1\r\n\r\nHost: body\r\n", glimpse("GET", "/a", "HTTP/1.1", "")),
            ("GET /a HTTP/3.0\r\n", glimpse("GET", "/a", "", "")),
            ("GET /a HTTP/1.1", Glimpse::default()),
            ("get /a HTTP/1.1\r\n", Glimpse::default()),
            ("\u{16}\u{3}\u{1}\r\n", Glimpse::default()),
            ("GET\r\n", glimpse("GET", "", "", "")),
            ("", Glimpse::default()),
        ] {
            assert_eq!(Glimpse::of(seen.as_bytes()), expected, "{seen:?}");
        }
        assert_eq!(Glimpse::of(b"GET /\xff HTTP/1.1\r\n"), Glimpse::default());
    }
}
