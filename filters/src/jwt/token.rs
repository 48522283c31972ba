//! A compact token taken apart. Nothing here is believed yet.

use std::borrow::Cow;

use base64_simd::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Algorithm, Fault, json};

/// Longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Longest header of a token, decoded.
const HEADER_BYTES_MAX: usize = 2 * 1024;

/// A token before it is verified.
#[derive(Debug)]
pub struct Token<'a> {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    /// What is signed: header and claims as they came.
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
    /// What it claims.
    pub claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    /// Reads the form of a token; its signature is not looked at.
    pub fn parse(text: &'a str) -> Result<Self, Fault> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let mut dots = memchr::memchr_iter(b'.', text.as_bytes());
        let (first, second) = dots.next().zip(dots.next()).ok_or(Fault::Malformed)?;
        if dots.next().is_some() {
            return Err(Fault::Malformed);
        }
        let (signed, signature) = (&text[..second], &text[second + 1..]);
        let (header, payload) = (&signed[..first], &signed[first + 1..]);
        let header = decode(header)?;
        if header.len() > HEADER_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let header = json::header(&header).ok_or(Fault::Malformed)?;
        // Extensions that must be understood: none is (RFC 7515 section 4.1.11).
        if header.is_critical {
            return Err(Fault::Malformed);
        }
        let algorithm = Algorithm::parse(&header.algorithm.ok_or(Fault::Malformed)?).ok_or(Fault::Algorithm)?;
        let key_id = header.key_id.map(Cow::into_owned);
        let signature = decode(signature)?;
        let claims = json::object(&decode(payload)?).ok_or(Fault::Malformed)?;
        Ok(Self { algorithm, key_id, signed: signed.as_bytes(), signature, claims })
    }
}

/// Base64url without padding; anything else is no token (RFC 7515 section 2).
fn decode(text: &str) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode_to_vec(text).map_err(|_| Fault::Malformed)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::decode;

    /// Vectors are read in other ways than their ends, so every length and every place counts.
    #[test]
    fn base64url_is_read_as_strictly_as_it_is_defined() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().map(|it| it.wrapping_mul(151)).take(400).collect();
        for end in 0..bytes.len() {
            let text = URL_SAFE_NO_PAD.encode(&bytes[..end]);
            assert_eq!(decode(&text).as_deref(), Ok(&bytes[..end]), "{end} bytes");
        }
        for end in [1, 2, 3, 16, 24, 31, 32, 33, 47, 48, 49, 97] {
            let text = URL_SAFE_NO_PAD.encode(&bytes[..end]);
            for (place, wrong) in (0..text.len()).flat_map(|it| (0..128_u8).map(move |wrong| (it, wrong))) {
                let mut other = text.clone().into_bytes();
                other[place] = wrong;
                let other = String::from_utf8(other).expect("ASCII");
                // Other alphabets, padding, spaces, and bits left over at the end.
                assert_eq!(decode(&other).ok(), URL_SAFE_NO_PAD.decode(&other).ok(), "{other}");
            }
        }
        for longer in ["=", "==", "A", "A===", "AB=="] {
            assert!(decode(longer).is_err(), "{longer}");
        }
    }
}
