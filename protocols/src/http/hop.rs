//! Headers that end at this hop (RFC 9110 7.6.1): which to take out before a message is forwarded.
//!
//! Reads only and reports names: the caller owns the map (Pingora keeps a second one for header case) and
//! removes after. It does not write anything: with an upgrade the caller sets `Connection: upgrade`, and
//! where [`te_trailers`] holds, `TE: trailers` (gRPC servers insist on it).
//!
//! `Proxy-Authorization` stays: it may be meant for a proxy behind us (RFC 9110 11.7.2), and the filter
//! that consumes it removes it.

use ::http::header::{self, HeaderMap, HeaderName};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Removed whether or not `Connection` lists them.
static ALWAYS: [HeaderName; 7] = [
    header::CONNECTION,
    PROXY_CONNECTION,
    KEEP_ALIVE,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// Of a hop as well, and without a number in the crate `http`.
static OTHERS: [HeaderName; 3] = [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS];

/// Kept even when `Connection` lists them. Fields meant for all recipients must not be listed (RFC 9110
/// 7.6.1); who lists them wants a proxy to drop what the next server trusts: its framing, its routing, who
/// the client is.
const END_TO_END: [&str; 12] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "cache-control",
    "forwarded",
    "via",
    "x-real-ip",
];

/// Reports each header of `headers` that must not be forwarded; a name may be reported twice.
///
/// `upgrade` says that the exchange is being upgraded: then `Upgrade` stays.
pub fn to_remove(headers: &HeaderMap, upgrade: bool, mut sink: impl FnMut(HeaderName)) {
    for token in connection_tokens(headers) {
        if is_end_to_end(token) || (upgrade && token.eq_ignore_ascii_case("upgrade")) {
            continue;
        }
        // Looked up first: most tokens are options, not headers, and a name may allocate.
        if headers.contains_key(token)
            && let Ok(name) = HeaderName::from_bytes(token.as_bytes())
        {
            sink(name);
        }
    }
    // One look at what is there is cheaper than a search for each name that might be.
    let ends = |it: &&HeaderName| ALWAYS.contains(it) || (!upgrade && **it == header::UPGRADE);
    headers.keys().filter(ends).cloned().for_each(&mut sink);
}

/// Whether no header ends at this hop, by any reading of RFC 9110 7.6.1: then nothing is to be taken out.
pub fn end_to_end_only(headers: &HeaderMap) -> bool {
    !headers.keys().any(|name| {
        matches!(
            *name,
            header::CONNECTION
                | header::PROXY_AUTHENTICATE
                | header::PROXY_AUTHORIZATION
                | header::TE
                | header::TRAILER
                | header::TRANSFER_ENCODING
                | header::UPGRADE
        ) || OTHERS.contains(name)
    })
}

/// The options in all `Connection` headers, in order and as written.
pub fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    tokens(headers, header::CONNECTION)
}

/// Whether the sender accepts trailers: `TE: trailers`, the one option that is worth passing on.
pub fn te_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, header::TE).any(|it| it.eq_ignore_ascii_case("trailers"))
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|it| it.to_str().ok());
    values.flat_map(|it| it.split(',')).map(|it| it.trim_matches([' ', '\t'])).filter(|it| !it.is_empty())
}

fn is_end_to_end(token: &str) -> bool {
    let forwarded = token.get(..12).is_some_and(|it| it.eq_ignore_ascii_case("x-forwarded-"));
    token.starts_with(':') || forwarded || END_TO_END.iter().any(|it| it.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn ordinary_headers_end_nowhere_and_those_of_a_hop_are_noticed() {
        assert!(end_to_end_only(&map(&[("host", "a"), ("accept", "*/*"), ("content-length", "1"), ("x-te", "1")])));
        for name in ["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te"]
        {
            assert!(!end_to_end_only(&map(&[("host", "a"), (name, "x")])), "{name}");
        }
        for name in ["trailer", "transfer-encoding", "upgrade", "http2-settings"] {
            assert!(!end_to_end_only(&map(&[(name, "x"), ("host", "a")])), "{name}");
        }
    }

    #[track_caller]
    fn check(lines: &[(&'static str, &'static str)], upgrade: bool, expected: &[&str]) {
        let mut names = Vec::new();
        to_remove(&map(lines), upgrade, |it| names.push(it.as_str().to_owned()));
        names.sort();
        names.dedup();
        assert_eq!(names, expected, "{lines:?}");
    }

    #[test]
    fn hop_by_hop_headers_are_reported_rfc9110_7_6_1() {
        check(&[("accept", "*/*"), ("host", "a")], false, &[]);
        check(
            &[
                ("connection", "close, X-Mine ,, "),
                ("connection", "x-other"),
                ("x-mine", "1"),
                ("x-other", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "close"),
                ("proxy-authenticate", "Basic"),
                ("proxy-authorization", "Basic x"),
                ("te", "gzip, trailers"),
                ("trailer", "x"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
            ],
            false,
            &[
                "connection",
                "keep-alive",
                "proxy-authenticate",
                "proxy-connection",
                "te",
                "trailer",
                "transfer-encoding",
                "upgrade",
                "x-mine",
                "x-other",
            ],
        );
    }

    #[test]
    fn an_upgrade_keeps_the_upgrade_header() {
        check(&[("connection", "Upgrade"), ("upgrade", "websocket")], true, &["connection"]);
    }

    #[test]
    fn connection_cannot_make_us_drop_end_to_end_headers() {
        check(
            &[
                ("connection", "Host, content-length, X-Forwarded-For, authorization, :path, {bad}, x-forwarded"),
                ("host", "a"),
                ("content-length", "1"),
                ("x-forwarded-for", "1.2.3.4"),
                ("authorization", "x"),
            ],
            false,
            &["connection"],
        );
    }

    #[test]
    fn only_the_trailers_option_of_te_counts() {
        assert!(te_trailers(&map(&[("te", "gzip;q=0.5, Trailers")])));
        assert!(!te_trailers(&map(&[("te", "gzip")])));
        assert!(!te_trailers(&map(&[])));
    }
}
