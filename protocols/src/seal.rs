//! Ids that say everything that any process needs to go on with them, sealed.
//!
//! What is in them is sealed (AES-256-GCM) and bound to a *scope*, which says where and whose it is: an id shown by
//! somebody else, or elsewhere, does not open. A ring of keys allows for rotation: the first seals, all open. Formats
//! tell uses apart: what was sealed for one does not open as another.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac};
use base64_simd::URL_SAFE_NO_PAD;

/// Keys of a ring.
pub const KEYS_MAX: usize = 4;
/// Longest id accepted: it comes in a header.
pub const TEXT_BYTES_MAX: usize = 12 * 1024;

/// The nonce of an id. Where it is drawn it names what the id stands for, as long as it lives.
pub type Name = [u8; NONCE_LEN];

/// Why an id does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the id is not one of ours")]
    Form,
    #[error("the id was sealed by another key, for somebody else, or elsewhere")]
    Seal,
    #[error("what the id holds is too large")]
    Size,
}

/// Keys, the one that seals first.
#[derive(Default)]
pub struct Ring(Vec<Key>);

struct Key {
    /// Tells keys apart without trying them.
    tag: u8,
    aead: LessSafeKey,
    /// Of nonces that follow from what is sealed.
    nonces: hmac::Key,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring(***)")
    }
}

impl Ring {
    /// A ring of secrets, of which more than [`KEYS_MAX`] are not looked at.
    pub fn new(secrets: &[[u8; 32]]) -> Self {
        let key = |secret: &[u8; 32]| {
            let tag = digest::digest(&digest::SHA256, secret).as_ref().first().copied().unwrap_or_default();
            // Not the secret itself: one key, one use.
            let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"nonces of sealed ids");
            Some(Key {
                tag,
                aead: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).ok()?),
                nonces: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            })
        };
        Self(secrets.iter().take(KEYS_MAX).filter_map(key).collect())
    }

    /// Seals `plain` under a nonce that was drawn for it alone.
    pub fn seal_bytes(&self, format: u8, plain: Vec<u8>, name: Name, scope: &[u8]) -> Result<String, Fault> {
        self.0.first().ok_or(Fault::Seal)?.seal(format, plain, name, scope)
    }

    /// Seals `plain` so that the same in the same scope gives the same text: for ids that clients compare. The nonce
    /// is a keyed digest of all that is sealed, so that no two messages share one.
    pub fn seal_alike(&self, format: u8, plain: Vec<u8>, scope: &[u8]) -> Result<String, Fault> {
        let key = self.0.first().ok_or(Fault::Seal)?;
        let mut context = hmac::Context::with_key(&key.nonces);
        context.update(&[format]);
        context.update(&(scope.len() as u64).to_be_bytes());
        context.update(scope);
        context.update(&plain);
        let mut name = Name::default();
        for (to, from) in name.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        key.seal(format, plain, name, scope)
    }

    /// Opens what was sealed in that format.
    pub fn open_bytes(&self, format: u8, text: &str, scope: &[u8]) -> Result<(Name, Vec<u8>), Fault> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Fault::Form);
        }
        let whole = URL_SAFE_NO_PAD.decode_to_vec(text).map_err(|_| Fault::Form)?;
        let Some(([its_format, tag], rest)) = whole.split_first_chunk::<2>() else { return Err(Fault::Form) };
        if *its_format != format {
            return Err(Fault::Form);
        }
        let (name, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Fault::Form)?;
        for key in self.0.iter().filter(|it| it.tag == *tag) {
            let mut sealed = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*name);
            let plain = key.aead.open_in_place(nonce, Aad::from(bound(format, scope)), &mut sealed).map(|it| it.len());
            if let Ok(bytes) = plain {
                sealed.truncate(bytes);
                return Ok((*name, sealed));
            }
        }
        Err(Fault::Seal)
    }
}

impl Key {
    fn seal(&self, format: u8, mut plain: Vec<u8>, name: Name, scope: &[u8]) -> Result<String, Fault> {
        self.aead
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(name), Aad::from(bound(format, scope)), &mut plain)
            .map_err(|_| Fault::Seal)?;
        let mut whole = Vec::with_capacity(2 + NONCE_LEN + plain.len());
        whole.extend_from_slice(&[format, self.tag]);
        whole.extend_from_slice(&name);
        whole.extend_from_slice(&plain);
        let text = URL_SAFE_NO_PAD.encode_to_string(whole);
        if text.len() > TEXT_BYTES_MAX { Err(Fault::Size) } else { Ok(text) }
    }
}

/// What an id is bound to. The first format is bound to the scope alone.
fn bound(format: u8, scope: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(scope.len() + 1);
    out.extend_from_slice(scope);
    if format != 1 {
        out.push(format);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_in_the_same_scope_is_sealed_alike() {
        let ring = Ring::new(&[[1; 32]]);
        let seal = |format, plain: &str, scope: &[u8]| ring.seal_alike(format, plain.into(), scope).unwrap();
        let id = seal(2, "task", b"alice");
        assert_eq!(id, seal(2, "task", b"alice"));
        assert_eq!(ring.open_bytes(2, &id, b"alice").unwrap().1, b"task");
        for other in [seal(2, "tasks", b"alice"), seal(2, "task", b"bob"), seal(3, "task", b"alice")] {
            assert_ne!(id[4..20], other[4..20], "another nonce");
        }
        assert_eq!(ring.open_bytes(2, &id, b"bob"), Err(Fault::Seal));
        assert_eq!(ring.open_bytes(1, &id, b"alice"), Err(Fault::Form));
    }

    #[test]
    fn what_was_sealed_in_one_format_does_not_open_as_another() {
        let ring = Ring::new(&[[1; 32]]);
        let id = ring.seal_bytes(1, b"x".to_vec(), [7; 12], b"s").unwrap();
        let mut whole = URL_SAFE_NO_PAD.decode_to_vec(&id).unwrap();
        whole[0] = 2;
        assert_eq!(ring.open_bytes(2, &URL_SAFE_NO_PAD.encode_to_string(whole), b"s"), Err(Fault::Seal));
    }
}
