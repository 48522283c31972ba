//! Signatures of agent cards (JWS with detached content, 1.0 section 8.4; 0.3 section 5.5.6): what they say, and what
//! they are over. Whether a key made them is for those who have keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::jcs::{Without, canonical};
use crate::json::{self, Raw};

/// Signatures of a card that are looked at.
pub const SIGNATURES_MAX: usize = 8;
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// One signature of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The protected header, as it is signed.
    pub protected: String,
    pub algorithm: String,
    pub key_id: Option<String>,
    pub bytes: Vec<u8>,
}

/// Signatures of a card, as far as they can be read.
pub fn of_card(card: Raw<'_>) -> Vec<Signature> {
    let listed = card.get("signatures").map(Raw::elements).into_iter().flatten();
    listed.take(SIGNATURES_MAX).filter_map(read).collect()
}

fn read(entry: Raw<'_>) -> Option<Signature> {
    let protected = entry.member("protected").ok()??.as_str()?.into_owned();
    let bytes = URL_SAFE_NO_PAD.decode(&*entry.member("signature").ok()??.as_str()?).ok()?;
    if protected.len() > HEADER_BYTES_MAX {
        return None;
    }
    let header = URL_SAFE_NO_PAD.decode(&protected).ok()?;
    let header = json::parse(&header).ok()?;
    let text = |name: &str| Some(header.member(name).ok()??.as_str()?.into_owned());
    // What has to be understood (RFC 7515 section 4.1.11) is not.
    if header.get("crit").is_some() {
        return None;
    }
    let (algorithm, key_id) = (text("alg")?, text("kid"));
    Some(Signature { protected, algorithm, key_id, bytes })
}

/// What signatures may be over: writers of cards differ in what they leave out. The first is what we sign.
pub fn contents(card: Raw<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for without in [Without::Defaults, Without::Empty, Without::Nothing] {
        let content = URL_SAFE_NO_PAD.encode(canonical(card, "signatures", without));
        if !out.contains(&content) {
            out.push(content);
        }
    }
    out
}

/// The bytes that a signature is over.
pub fn signed(protected: &str, content: &str) -> String {
    format!("{protected}.{content}")
}

/// A protected header.
pub fn protected(algorithm: &str, key_id: Option<&str>) -> String {
    let kid = key_id.map(|it| format!(r#","kid":{}"#, json::quoted(it))).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":{}{kid},"typ":"JOSE"}}"#, json::quoted(algorithm)))
}

/// A signature as cards list it.
pub fn entry(protected: &str, signature: &[u8]) -> String {
    format!(r#"{{"protected":"{protected}","signature":"{}"}}"#, URL_SAFE_NO_PAD.encode(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_and_what_is_none_is_passed_over() {
        let good = entry(&protected("ES256", Some("k1")), b"sig");
        let critical = entry(&URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","crit":["b64"]}"#), b"sig");
        let text =
            format!(r#"{{"name":"a","signatures":[1,{{}},{{"protected":"!","signature":"AA"}},{critical},{good}]}}"#);
        let card = json::parse(text.as_bytes()).unwrap();
        let read = of_card(card);
        assert_eq!(read.len(), 1);
        assert_eq!(
            (&*read[0].algorithm, read[0].key_id.as_deref(), &*read[0].bytes),
            ("ES256", Some("k1"), &b"sig"[..])
        );
        assert_eq!(contents(card), [URL_SAFE_NO_PAD.encode(r#"{"name":"a"}"#)]);
    }
}
