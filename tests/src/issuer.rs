//! An issuer of tokens (JWT) for tests: keys, the set of them, tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Signs with one key.
pub struct Issuer {
    key: Key,
    key_id: String,
    issuer: String,
}

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Issuer {
    /// A fresh ECDSA key of this id.
    pub fn new(key_id: &str) -> Issuer {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Issuer { key: Key::Ec(key), key_id: key_id.to_owned(), issuer: "https://issuer.test".to_owned() }
    }

    /// A fresh RSA key of 2048 bits; making one takes a moment.
    pub fn rsa(key_id: &str) -> Issuer {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Issuer { key: Key::Rsa(Box::new(key)), key_id: key_id.to_owned(), issuer: "https://issuer.test".to_owned() }
    }

    /// The private key as PEM: PKCS#8, of an RSA key alone.
    pub fn pem(&self) -> String {
        let Key::Rsa(key) = &self.key else { panic!("an RSA key") };
        let der = AsDer::<Pkcs8V1Der>::as_der(key.as_ref()).expect("PKCS#8");
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()))
    }

    /// The claims of a token that this RSA key has signed.
    pub fn verified(&self, token: &str) -> Option<Value> {
        let Key::Rsa(key) = &self.key else { panic!("an RSA key") };
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
        public.verify(signed.as_bytes(), &signature).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split('.').nth(1)?).ok()?).ok()
    }

    /// What `iss` says.
    pub fn name(&self) -> &str {
        &self.issuer
    }

    /// The public key.
    pub fn jwk(&self) -> Value {
        match &self.key {
            Key::Ec(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self.key_id, "x": x, "y": y })
            }
            Key::Rsa(key) => {
                let (n, e) = numbers(key.public_key().as_ref());
                let (n, e) = (encode(n), encode(e));
                json!({ "kty": "RSA", "alg": "RS256", "kid": self.key_id, "n": n, "e": e })
            }
        }
    }

    /// The set of this one key, on one line.
    pub fn jwks(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    /// A token for ten minutes, with these claims besides or in place of the usual.
    pub fn token(&self, claims: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let mut all = json!({ "iss": self.issuer, "sub": "alice", "exp": now + 600 });
        for (name, value) in claims.as_object().expect("claims are an object") {
            all[name] = value.clone();
        }
        let algorithm = if matches!(self.key, Key::Ec(_)) { "ES256" } else { "RS256" };
        self.sign(&json!({ "alg": algorithm, "kid": self.key_id }), &all)
    }

    /// A token with exactly this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = match &self.key {
            Key::Ec(key) => key.sign(&SystemRandom::new(), signed.as_bytes()).expect("signs").as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut out = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut out).expect("signs");
                out
            }
        };
        format!("{signed}.{}", encode(signature))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Modulus and exponent of a key of 2048 bits and more (RFC 8017 appendix A.1.1, in DER).
fn numbers(der: &[u8]) -> (&[u8], &[u8]) {
    // SEQUENCE and the modulus have lengths of two bytes, the exponent of one.
    let length = usize::from(u16::from_be_bytes([der[6], der[7]]));
    let (n, rest) = der[8..].split_at(length);
    (n.strip_prefix(&[0]).unwrap_or(n), &rest[2..])
}
