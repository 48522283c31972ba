//! Heads as attackers write them.

use super::*;
use ::http::{HeaderName, HeaderValue};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 200, count_max: 3 };

#[track_caller]
fn check_raw(raw: &str, expected: Result<(), FramingFault>) {
    assert_eq!(check_raw_head(raw.as_bytes(), &LIMITS), expected, "{raw:?}");
}

#[track_caller]
fn check(lines: &[(&'static str, &'static str)], version: Version, expected: Result<(), FramingFault>) {
    check_method(Method::POST, lines, version, expected);
}

#[track_caller]
fn check_method(
    method: Method,
    lines: &[(&'static str, &'static str)],
    version: Version,
    expected: Result<(), FramingFault>,
) {
    let map: HeaderMap = lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
    assert_eq!(check_headers(&map, version, &method), expected, "{method} {lines:?} {version:?}");
}

#[test]
fn an_ordinary_head_passes() {
    for raw in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\0\r body is not read",
        "GET / HTTP/1.1\r\nHost:\r\nA:b:c\r\n\r\n",
    ] {
        check_raw(raw, Ok(()));
    }
}

#[test]
fn a_head_beyond_the_limits_is_431() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200));
    check_raw(&long, Err(FramingFault::HeadBytes));
    check_raw("GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n", Ok(()));
    check_raw("GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n\r\n", Err(FramingFault::HeadCount));
    assert_eq!(FramingFault::HeadBytes.status(), 431);
    assert_eq!(FramingFault::HeadCount.status(), 431);
}

#[test]
fn a_malformed_head_is_refused_rfc9112_2_2_and_5() {
    for (raw, fault) in [
        ("", FramingFault::RequestLine),
        ("\r\n\r\n", FramingFault::RequestLine),
        ("GET /\r\n\r\n", FramingFault::RequestLine),
        ("GET  / HTTP/1.1\r\n\r\n", FramingFault::RequestLine),
        ("GET / HTTP/1.1 \r\n\r\n", FramingFault::RequestLine),
        ("GET / x HTTP/1.1\r\n\r\n", FramingFault::RequestLine),
        ("G(T / HTTP/1.1\r\n\r\n", FramingFault::RequestLine),
        ("GET / http/1.1\r\n\r\n", FramingFault::RequestLine),
        ("GET a/b HTTP/1.1\r\n\r\n", FramingFault::RequestLine),
        ("GET * HTTP/1.1\r\n\r\n", FramingFault::RequestLine),
        ("GET /a#b HTTP/1.1\r\n\r\n", FramingFault::RequestLine),
        ("GET /a\x7f HTTP/1.1\r\n\r\n", FramingFault::RequestLine),
        ("GET / HTTP/2.0\r\n\r\n", FramingFault::Version),
        ("GET / HTTP/1.2\r\n\r\n", FramingFault::Version),
        ("GET / HTTP/1.1\r\nA: b\0\r\n\r\n", FramingFault::Nul),
        ("GET /\0 HTTP/1.1\r\n\r\n", FramingFault::Nul),
        ("GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", FramingFault::BareCr),
        ("GET / HTTP/1.1\r\nA: b\r\r\n\r\n", FramingFault::BareCr),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", FramingFault::Folded),
        ("GET / HTTP/1.1\r\n\tA: b\r\n\r\n", FramingFault::Folded),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", FramingFault::HeaderName),
        ("GET / HTTP/1.1\r\n: b\r\n\r\n", FramingFault::HeaderName),
        ("GET / HTTP/1.1\r\nA\r\n\r\n", FramingFault::HeaderName),
    ] {
        check_raw(raw, Err(fault));
    }
}

#[test]
fn framing_headers_are_counted_before_the_parser_repairs_them_rfc9112_6_3() {
    for (lines, fault) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", FramingFault::BothFramings),
        ("transfer-encoding: x\r\ncontent-length: 5", FramingFault::BothFramings),
        ("Content-Length: 5\r\nContent-Length: 5", FramingFault::ContentLengthRepeated),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", FramingFault::TransferEncoding),
        ("Host: a\r\nHost: a", FramingFault::HostRepeated),
        ("Content-Length: x", FramingFault::ContentLength),
        ("Content-Length:", FramingFault::ContentLength),
        ("Content-Length: +5", FramingFault::ContentLength),
        ("Content-Length: 5, 5", FramingFault::ContentLengthRepeated),
        ("Transfer-Encoding: gzip, chunked", FramingFault::TransferEncoding),
        ("Transfer-Encoding:", FramingFault::TransferEncoding),
    ] {
        check_raw(&format!("POST / HTTP/1.1\r\n{lines}\r\n\r\n"), Err(fault));
    }
}

#[test]
fn only_plain_framing_passes_rfc9112_6_3() {
    const HOST: (&str, &str) = ("host", "a");
    let check11 = |line, expected| check(&[HOST, line], Version::HTTP_11, expected);
    for value in ["0", "5", "18446744073709551615"] {
        check11(("content-length", value), Ok(()));
    }
    for value in ["", "+5", "-5", "5a", "0x5", "5 5", "18446744073709551616"] {
        check11(("content-length", value), Err(FramingFault::ContentLength));
    }
    check11(("content-length", "5, 5"), Err(FramingFault::ContentLengthRepeated));
    for value in ["chunked", "Chunked"] {
        check11(("transfer-encoding", value), Ok(()));
    }
    for value in ["", "identity", "xchunked", "gzip, chunked", "chunked, identity", "chunked;a=b", "chunked,"] {
        check11(("transfer-encoding", value), Err(FramingFault::TransferEncoding));
    }
    for (lines, fault) in [
        (&[("content-length", "5"), ("content-length", "6")][..], FramingFault::ContentLengthRepeated),
        (&[("content-length", "5"), ("transfer-encoding", "chunked")], FramingFault::BothFramings),
        (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], FramingFault::TransferEncoding),
    ] {
        let lines: Vec<_> = [HOST].into_iter().chain(lines.iter().copied()).collect();
        check(&lines, Version::HTTP_11, Err(fault));
    }
}

#[test]
fn transfer_encoding_belongs_to_http_1_1_alone() {
    for version in [Version::HTTP_10, Version::HTTP_2] {
        check(&[("transfer-encoding", "chunked")], version, Err(FramingFault::TransferEncodingVersion));
    }
}

#[test]
fn http_1_1_has_exactly_one_host_rfc9112_3_2() {
    check(&[], Version::HTTP_11, Err(FramingFault::HostMissing));
    check(&[], Version::HTTP_10, Ok(()));
    check(&[], Version::HTTP_2, Ok(()));
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        check(&[("host", "a"), ("host", "a")], version, Err(FramingFault::HostRepeated));
    }
}

#[test]
fn an_unknown_version_is_505() {
    check(&[("host", "a")], Version::HTTP_09, Err(FramingFault::Version));
    assert_eq!(FramingFault::Version.status(), 505);
    assert_eq!(FramingFault::BothFramings.status(), 400);
}

#[test]
fn trace_and_connect_carry_no_content_rfc9110_9_3() {
    for method in [Method::TRACE, Method::CONNECT] {
        for (line, expected) in [
            (("content-length", "5"), Err(FramingFault::ContentNotAllowed)),
            (("content-length", "0"), Ok(())),
            (("transfer-encoding", "chunked"), Err(FramingFault::ContentNotAllowed)),
        ] {
            check_method(method.clone(), &[("host", "a"), line], Version::HTTP_11, expected);
        }
    }
}

#[test]
fn an_absolute_target_must_agree_with_host_rfc9112_3_2_2() {
    for (target, host, expected) in [
        (None, "a", false),
        (Some("a"), "A.", false),
        (Some("a:80"), "a", false),
        (Some("a"), "a:443", false),
        (Some("[::1]:81"), "[::1]:81", false),
        (Some("a"), "b", true),
        (Some("a"), "a:81", true),
        (Some("a:80"), "a:443", true),
        (Some("a"), "", true),
        (Some("user@a"), "a", true),
    ] {
        assert_eq!(host_mismatch(target, host), expected, "{target:?} and {host:?}");
    }
}
