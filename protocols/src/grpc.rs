//! gRPC over HTTP/2 as a proxy sees it: statuses, timeouts, messages in headers, health checks.
//!
//! Follows `PROTOCOL-HTTP2.md`, `http-grpc-status-mapping.md` and `health-checking.md` of grpc/grpc. It does
//! not frame streams, compress, or know gRPC-Web. Protobuf is written by hand for two tiny messages only.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use crate::http::media;

/// A gRPC status that the gateway itself answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Cancelled = 1,
    Unknown = 2,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// What an HTTP status means to a gRPC client.
    pub fn from_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The value of `grpc-status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "1",
            Self::Unknown => "2",
            Self::DeadlineExceeded => "4",
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::Unauthenticated => "16",
        }
    }
}

/// Whether a message is gRPC: `application/grpc`, with a codec after a plus or without. gRPC-Web is not.
pub fn is_grpc(content_type: &[u8]) -> bool {
    let essence = media::essence(content_type);
    let (Some(kind), rest) = (essence.get(..16), essence.get(16..)) else { return false };
    kind.eq_ignore_ascii_case(b"application/grpc") && matches!(rest, Some([] | [b'+', ..]))
}

/// `text` as `grpc-message` carries it: all but printable ASCII, and the percent sign, percent-encoded.
pub fn encode_message(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_message_byte) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_message_byte(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    Cow::Owned(out)
}

fn is_message_byte(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'%'
}

/// The text in a `grpc-message`. Never fails, as the specification asks: what is no escape stays as it is.
pub fn decode_message(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%'
            && let Some((&[high, low], after)) = tail.split_first_chunk()
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(byte);
        }
    }
    Cow::Owned(String::from_utf8(out).unwrap_or_else(|it| String::from_utf8_lossy(it.as_bytes()).into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok())
}

/// Reads `grpc-timeout`: one to eight digits and a unit.
pub fn parse_timeout(value: &str) -> Option<Duration> {
    let unit = value.as_bytes().last()?;
    let digits = value.get(..value.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let amount: u32 = digits.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(u64::from(amount) * 3600),
        b'M' => Duration::from_secs(u64::from(amount) * 60),
        b'S' => Duration::from_secs(u64::from(amount)),
        b'm' => Duration::from_millis(u64::from(amount)),
        b'u' => Duration::from_micros(u64::from(amount)),
        b'n' => Duration::from_nanos(u64::from(amount)),
        _ => return None,
    })
}

/// Appends a `grpc-timeout` to `out`, in the finest unit that eight digits can hold; rounds down.
pub fn write_timeout(timeout: Duration, out: &mut String) {
    const MAX: u128 = 99_999_999;
    let nanos = timeout.as_nanos();
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let (amount, unit) = units
        .into_iter()
        .map(|(scale, unit)| (nanos / scale, unit))
        .find(|(amount, _)| *amount <= MAX)
        .unwrap_or(((nanos / 3_600_000_000_000).min(MAX), 'H'));
    write!(out, "{amount}{unit}").expect("writing to a string does not fail");
}

/// What `grpc.health.v1.Health/Check` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServingStatus {
    /// Also any status that this list does not have.
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
}

/// Why a health check's answer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HealthFault {
    #[error("health check response is incomplete")]
    Incomplete,
    #[error("health check response is compressed")]
    Compressed,
    #[error("health check response is not a HealthCheckResponse")]
    Malformed,
}

/// The path of the method that [`health_request`] is the body for.
pub const HEALTH_PATH: &str = "/grpc.health.v1.Health/Check";

/// A `HealthCheckRequest` for `service` in a gRPC frame; the empty service is the whole server.
pub fn health_request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 6);
    if !service.is_empty() {
        message.push(0x0a);
        push_varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(message.len() + 5);
    frame.push(0);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.append(&mut message);
    frame
}

fn push_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a `HealthCheckResponse` in a gRPC frame; the body of the HTTP response.
pub fn health_response(body: &[u8]) -> Result<ServingStatus, HealthFault> {
    let (&[compressed, a, b, c, d], rest) = body.split_first_chunk().ok_or(HealthFault::Incomplete)?;
    if compressed != 0 {
        return Err(HealthFault::Compressed);
    }
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| HealthFault::Malformed)?;
    let mut message = rest.get(..length).ok_or(HealthFault::Incomplete)?;
    let mut status = 0;
    while !message.is_empty() {
        let (tag, rest) = take_varint(message).ok_or(HealthFault::Malformed)?;
        message = if tag == 0x08 {
            let (value, rest) = take_varint(rest).ok_or(HealthFault::Malformed)?;
            status = value;
            rest
        } else {
            skip_field(tag, rest).ok_or(HealthFault::Malformed)?
        };
    }
    Ok(match status {
        1 => ServingStatus::Serving,
        2 => ServingStatus::NotServing,
        3 => ServingStatus::ServiceUnknown,
        _ => ServingStatus::Unknown,
    })
}

fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return bytes.get(at + 1..).map(|rest| (value, rest));
        }
    }
    None
}

fn skip_field(tag: u64, rest: &[u8]) -> Option<&[u8]> {
    match tag & 7 {
        0 => take_varint(rest).map(|(_, rest)| rest),
        1 => rest.get(8..),
        2 => take_varint(rest).and_then(|(length, rest)| rest.get(usize::try_from(length).ok()?..)),
        5 => rest.get(4..),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_statuses_map_as_grpc_says() {
        for (http, grpc) in [
            (400, "13"),
            (401, "16"),
            (403, "7"),
            (404, "12"),
            (429, "14"),
            (502, "14"),
            (503, "14"),
            (504, "14"),
            (500, "2"),
            (200, "2"),
        ] {
            assert_eq!(Code::from_http(http).as_str(), grpc, "{http}");
            assert_eq!((Code::from_http(http) as u8).to_string(), grpc, "{http}");
        }
    }

    #[test]
    fn grpc_is_known_by_its_content_type_and_grpc_web_is_not_grpc() {
        for (value, expected) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc+json;a=b", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn messages_survive_percent_encoding() {
        for (text, encoded) in [("plain text~", "plain text~"), ("100%\r\né", "100%25%0D%0A%C3%A9"), ("", "")] {
            assert_eq!(encode_message(text), encoded);
            assert_eq!(decode_message(encoded), text);
        }
        for (value, text) in [("%", "%"), ("%4", "%4"), ("%zz%41", "%zzA"), ("%ff", "\u{fffd}")] {
            assert_eq!(decode_message(value), text, "decoding {value:?} never fails");
        }
    }

    #[test]
    fn timeouts_have_one_to_eight_digits_and_a_unit() {
        for (value, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("0S", Some(Duration::ZERO)),
            ("100000000n", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("+1S", None),
            ("1s", None),
            ("1é", None),
        ] {
            assert_eq!(parse_timeout(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_written_timeout_is_never_longer() {
        for (timeout, expected) in [
            (Duration::ZERO, "0n"),
            (Duration::from_millis(99), "99000000n"),
            (Duration::from_nanos(100_000_001), "100000u"),
            (Duration::from_secs(30), "30000000u"),
            (Duration::from_secs(3600), "3600000m"),
            (Duration::MAX, "99999999H"),
        ] {
            let mut out = String::new();
            write_timeout(timeout, &mut out);
            assert_eq!(out, expected);
            assert!(parse_timeout(&out).unwrap() <= timeout);
        }
    }

    #[test]
    fn a_health_request_names_its_service() {
        assert_eq!(health_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(health_request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = health_request(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(long.len(), 308);
    }

    #[test]
    fn a_health_response_is_read_past_unknown_fields() {
        for (body, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Ok(ServingStatus::Serving)),
            (&[0, 0, 0, 0, 2, 8, 2], Ok(ServingStatus::NotServing)),
            (&[0, 0, 0, 0, 2, 8, 3], Ok(ServingStatus::ServiceUnknown)),
            (&[0, 0, 0, 0, 2, 8, 9], Ok(ServingStatus::Unknown)),
            (&[0, 0, 0, 0, 0], Ok(ServingStatus::Unknown)),
            (&[0, 0, 0, 0, 6, 0x12, 2, 0, 0, 8, 1], Ok(ServingStatus::Serving)),
            (&[0, 0, 0, 0, 2, 8], Err(HealthFault::Incomplete)),
            (&[0, 0, 0, 0], Err(HealthFault::Incomplete)),
            (&[1, 0, 0, 0, 2, 8, 1], Err(HealthFault::Compressed)),
            (&[0, 0, 0, 0, 1, 8], Err(HealthFault::Malformed)),
            (&[0, 0, 0, 0, 2, 0x12, 9], Err(HealthFault::Malformed)),
            (&[0, 0, 0, 0, 1, 0x0b], Err(HealthFault::Malformed)),
        ] {
            assert_eq!(health_response(body), expected, "{body:?}");
        }
    }
}
