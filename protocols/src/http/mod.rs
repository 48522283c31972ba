//! HTTP hygiene: what must be checked or rewritten on any message that passes through a proxy.
//!
//! Works on strings, raw bytes and `http::HeaderMap`; it does not parse HTTP/1 messages (Pingora does)
//! and does not frame bodies.

pub mod authority;
pub mod coding;
pub mod cookie;
pub mod forwarded;
pub mod framing;
pub mod hop;
pub mod media;
pub mod path;
pub mod redirect;
pub mod uri;
pub mod via;

use ::http::HeaderValue;

/// A number as the value of a header.
pub fn number(number: usize) -> HeaderValue {
    // Digits are a value always.
    HeaderValue::from_str(itoa::Buffer::new().format(number)).unwrap_or_else(|_| number.into())
}

/// `tchar` of RFC 9110 5.6.2.
pub(crate) fn is_tchar(byte: u8) -> bool {
    byte < 128 && TCHARS >> byte & 1 == 1
}

/// One bit for each: a shift for each byte of each header name costs less than the comparisons.
const TCHARS: u128 = {
    let (mut bits, mut byte) = (0, 0u8);
    while byte < 128 {
        let others = matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        if byte.is_ascii_alphanumeric() || others {
            bits |= 1 << byte;
        }
        byte += 1;
    }
    bits
};
