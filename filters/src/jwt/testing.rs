//! An issuer for tests: keys, key sets, tokens right and wrong.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::testing::NOW;

pub(crate) const ISSUER: &str = "https://issuer.example";

/// A key that signs.
pub(crate) enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// Making an RSA key takes a while: one for all tests.
pub(crate) static RSA: LazyLock<Signer> =
    LazyLock::new(|| Signer::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())));
pub(crate) static OTHER_RSA: LazyLock<Signer> =
    LazyLock::new(|| Signer::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())));
pub(crate) static EC: LazyLock<Signer> =
    LazyLock::new(|| Signer::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()));
pub(crate) static ED: LazyLock<Signer> = LazyLock::new(|| Signer::Ed(Ed25519KeyPair::generate().unwrap()));

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// The private key as PKCS#8 and, for curves, as SEC 1.
    pub(crate) fn private_keys(&self) -> (Vec<u8>, Vec<u8>) {
        use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
        match self {
            Self::Rsa(key) => (AsDer::<Pkcs8V1Der<'_>>::as_der(&**key).unwrap().as_ref().to_vec(), Vec::new()),
            Self::Ec(key) => {
                let sec1 = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&key.private_key()).unwrap();
                (key.to_pkcs8v1().unwrap().as_ref().to_vec(), sec1.as_ref().to_vec())
            }
            Self::Ed(key) => (key.to_pkcs8().unwrap().as_ref().to_vec(), Vec::new()),
        }
    }

    /// The public key.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let (n, e) = numbers(key.public_key().as_ref());
                json!({"kty": "RSA", "kid": id, "n": b64(n), "e": b64(e)})
            }
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": b64(&point[1..33]), "y": b64(&point[33..])})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": b64(key.public_key().as_ref())})
            }
        }
    }

    /// A token with this header and these claims.
    pub(crate) fn sign(&self, header: &Value, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims));
        let signature = match self {
            Self::Rsa(key) => {
                let padding: &'static dyn RsaEncoding = match header["alg"].as_str().unwrap_or_default() {
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; key.public_modulus_len()];
                key.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut out).unwrap();
                out
            }
            Self::Ec(key) => key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", b64(signature))
    }
}

/// The usual key set: `rsa`, `ec`, `ed`.
pub(crate) fn jwks() -> String {
    json!({"keys": [RSA.jwk("rsa"), EC.jwk("ec"), ED.jwk("ed")]}).to_string()
}

/// Claims of a good token, with these in their place.
pub(crate) fn claims(changed: Value) -> String {
    let mut claims = json!({"iss": ISSUER, "sub": "alice", "exp": NOW.as_secs() + 600});
    for (name, value) in changed.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims.to_string()
}

/// A token of the RSA key.
pub(crate) fn token(changed: Value) -> String {
    RSA.sign(&json!({"alg": "RS256", "kid": "rsa"}), &claims(changed))
}

/// Modulus and exponent of a key of 2048 bits and more (RFC 8017 appendix A.1.1, in DER).
fn numbers(der: &[u8]) -> (&[u8], &[u8]) {
    // SEQUENCE and the modulus have lengths of two bytes, the exponent of one.
    let length = usize::from(u16::from_be_bytes([der[6], der[7]]));
    let (n, rest) = der[8..].split_at(length);
    (n.strip_prefix(&[0]).unwrap_or(n), &rest[2..])
}
