//! A compact token taken apart. Nothing here is believed yet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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
        let (signed, signature) = text.rsplit_once('.').ok_or(Fault::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Fault::Malformed)?;
        if payload.contains('.') {
            return Err(Fault::Malformed);
        }
        let header = decode(header)?;
        if header.len() > HEADER_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let header = json::object(&header).ok_or(Fault::Malformed)?;
        // Extensions that must be understood: none is (RFC 7515 section 4.1.11).
        if header.contains_key("crit") {
            return Err(Fault::Malformed);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Fault::Malformed)?;
        let algorithm = Algorithm::parse(algorithm).ok_or(Fault::Algorithm)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Fault::Malformed),
        };
        let signature = decode(signature)?;
        let claims = json::object(&decode(payload)?).ok_or(Fault::Malformed)?;
        Ok(Self { algorithm, key_id, signed: signed.as_bytes(), signature, claims })
    }
}

/// Base64url without padding; anything else is no token (RFC 7515 section 2).
fn decode(text: &str) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Fault::Malformed)
}
