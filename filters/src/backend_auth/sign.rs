//! Tokens that the gateway signs itself, for backends that ask who sends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ir::{Secret, Text};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::policy::Ready;
use crate::credential::Location;

/// Lifetime unless written.
pub const TTL_DEFAULT: Duration = Duration::from_secs(300);
/// Longest lifetime.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// How far `iat` is back-dated, for backends whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(10);
/// Largest claims, as JSON.
const CLAIMS_BYTES_MAX: usize = 4096;
/// Claims that are written here.
const RESERVED: [&str; 3] = ["iat", "exp", "nbf"];
/// Bytes of the smallest RSA modulus (RFC 7518 section 3.3).
const MODULUS_BYTES_MIN: usize = 256;

/// How a token is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JwtSigningAlgorithm")]
pub enum Algorithm {
    #[default]
    RS256,
    RS384,
    RS512,
    PS256,
    ES256,
    ES384,
}

impl Algorithm {
    pub const ALL: &'static [Self] = &[Self::RS256, Self::RS384, Self::RS512, Self::PS256, Self::ES256, Self::ES384];

    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
        }
    }

    fn rsa(self) -> Option<&'static dyn RsaEncoding> {
        match self {
            Self::RS256 => Some(&signature::RSA_PKCS1_SHA256),
            Self::RS384 => Some(&signature::RSA_PKCS1_SHA384),
            Self::RS512 => Some(&signature::RSA_PKCS1_SHA512),
            Self::PS256 => Some(&signature::RSA_PSS_SHA256),
            Self::ES256 | Self::ES384 => None,
        }
    }
}

/// A private key as its algorithm wants it.
pub(crate) enum Signer {
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ec(Box<EcdsaKeyPair>),
}

impl Signer {
    /// From PEM: PKCS#8, PKCS#1 or SEC 1. The reason says nothing of the key.
    pub(crate) fn new(pem: &[u8], algorithm: Algorithm) -> Result<Self, String> {
        let (label, der) = block(pem).ok_or("there is no PEM block `-----BEGIN … PRIVATE KEY-----`")?;
        let wrong = |_| format!("not a private key for {}", algorithm.name());
        if let Some(encoding) = algorithm.rsa() {
            let pair = match &*label {
                "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der),
                _ => RsaKeyPair::from_pkcs8(&der),
            };
            let pair = pair.map_err(wrong)?;
            if pair.public_modulus_len() < MODULUS_BYTES_MIN {
                return Err("RSA keys have 2048 bits at least".to_owned());
            }
            return Ok(Self::Rsa(Box::new(pair), encoding));
        }
        let curve = match algorithm {
            Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            _ => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        };
        EcdsaKeyPair::from_private_key_der(curve, &der).map(|pair| Self::Ec(Box::new(pair))).map_err(wrong)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::Ec(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
        }
    }
}

/// The first block of a private key: what it is labelled, and what is in it.
fn block(pem: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut lines = std::str::from_utf8(pem).ok()?.lines().map(str::trim);
    let label = lines.find_map(|line| {
        let label = line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
        label.ends_with("PRIVATE KEY").then(|| label.to_owned())
    })?;
    let body: String = lines.take_while(|line| !line.starts_with("-----")).collect();
    Some((label, STANDARD.decode(body).ok()?))
}

/// Tokens signed here, at their place.
#[derive(Clone)]
pub struct Sign {
    terms: Terms,
    signer: Arc<Signer>,
    /// The token in use, and when it was made. A copy of the policy uses the same.
    current: Arc<Mutex<Option<(Duration, Ready)>>>,
}

/// What a token says, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub location: Location,
    /// PEM.
    pub key: Secret,
    pub algorithm: Algorithm,
    pub key_id: Option<Text>,
    pub claims: Map<String, Value>,
    pub ttl: Duration,
}

impl Sign {
    /// # Errors
    /// What is wrong, with the key it is wrong at.
    pub fn new(terms: Terms) -> Result<Self, (&'static str, String)> {
        let signer = Signer::new(terms.key.expose(), terms.algorithm).map_err(|why| ("signingKey", why))?;
        if let Some(name) = RESERVED.iter().find(|it| terms.claims.contains_key(**it)) {
            return Err(("claims", format!("`{name}` is written by the gateway")));
        }
        if Value::Object(terms.claims.clone()).to_string().len() > CLAIMS_BYTES_MAX {
            return Err(("claims", format!("more than {CLAIMS_BYTES_MAX} bytes")));
        }
        if !(Duration::from_secs(1)..=TTL_MAX).contains(&terms.ttl) {
            return Err(("ttl", "write 1s to 24h".to_owned()));
        }
        // Whatever the claims, a token is of characters that fit anywhere; the place may take none.
        Ready::new(&terms.location, b"a.b.c").map_err(|why| ("location", why))?;
        Ok(Self { terms, signer: Arc::new(signer), current: Arc::default() })
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The token for now, by the wall clock: made anew when half of its life is over.
    pub(super) fn ready(&self, now: Duration) -> Option<Ready> {
        let mut current = self.current.lock();
        if let Some((made, ready)) = &*current
            && (*made..*made + self.terms.ttl / 2).contains(&now)
        {
            return Some(ready.clone());
        }
        let ready = Ready::new(&self.terms.location, self.token(now)?.as_bytes()).ok()?;
        *current = Some((now, ready.clone()));
        Some(ready)
    }

    fn token(&self, now: Duration) -> Option<String> {
        let mut header = json!({ "alg": self.terms.algorithm.name(), "typ": "JWT" });
        if let (Some(id), Some(header)) = (&self.terms.key_id, header.as_object_mut()) {
            header.insert("kid".to_owned(), Value::String(id.to_string()));
        }
        let mut claims = self.terms.claims.clone();
        claims.insert("iat".to_owned(), now.saturating_sub(BACKDATED).as_secs().into());
        claims.insert("exp".to_owned(), (now + self.terms.ttl).as_secs().into());
        let part = |it: &Value| URL_SAFE_NO_PAD.encode(it.to_string());
        let signed = format!("{}.{}", part(&header), part(&Value::Object(claims)));
        let signature = URL_SAFE_NO_PAD.encode(self.signer.sign(signed.as_bytes())?);
        Some(format!("{signed}.{signature}"))
    }
}

impl PartialEq for Sign {
    fn eq(&self, other: &Self) -> bool {
        self.terms == other.terms
    }
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.terms.fmt(f)
    }
}

impl Serialize for Sign {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Terms { location, key, algorithm, key_id, claims, ttl } = &self.terms;
        let mut sign = serializer.serialize_struct("Sign", 6)?;
        sign.serialize_field("location", location)?;
        sign.serialize_field("signingKey", key)?;
        sign.serialize_field("alg", algorithm)?;
        sign.serialize_field("kid", key_id)?;
        sign.serialize_field("claims", claims)?;
        sign.serialize_field("ttl", ttl)?;
        sign.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::KeySet;
    use crate::jwt::testing::{EC, RSA};
    use crate::testing::NOW;

    fn pem(label: &str, der: &[u8]) -> Secret {
        Secret::new(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)).into_bytes())
    }

    fn terms(key: Secret, algorithm: Algorithm) -> Terms {
        let claims = json!({ "iss": "gateway", "aud": ["backend"] }).as_object().cloned().unwrap();
        let location = Location::authorization("Bearer");
        Terms { location, key, algorithm, key_id: Some("one".into()), claims, ttl: TTL_DEFAULT }
    }

    /// Keys of both kinds in the forms that they come in.
    fn keys() -> Vec<(Secret, Algorithm, Value)> {
        let (rsa, ec) = (RSA.private_keys(), EC.private_keys());
        vec![
            (pem("PRIVATE KEY", &rsa.0), Algorithm::RS256, RSA.jwk("one")),
            (pem("PRIVATE KEY", &rsa.0), Algorithm::RS384, RSA.jwk("one")),
            (pem("PRIVATE KEY", &rsa.0), Algorithm::RS512, RSA.jwk("one")),
            (pem("PRIVATE KEY", &rsa.0), Algorithm::PS256, RSA.jwk("one")),
            (pem("PRIVATE KEY", &ec.0), Algorithm::ES256, EC.jwk("one")),
            (pem("EC PRIVATE KEY", &ec.1), Algorithm::ES256, EC.jwk("one")),
        ]
    }

    #[test]
    fn tokens_verify_under_the_public_key_and_say_what_is_written() {
        for (key, algorithm, jwk) in keys() {
            let sign = Sign::new(terms(key, algorithm)).unwrap_or_else(|it| panic!("{algorithm:?}: {it:?}"));
            let token = sign.token(NOW).unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let set = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
            let known = crate::jwt::Algorithm::parse(algorithm.name()).unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let good = set.find(Some("one"), known).any(|it| it.verify_sig(signed.as_bytes(), &signature).is_ok());
            assert!(good, "{algorithm:?}");
            let claims = URL_SAFE_NO_PAD.decode(signed.rsplit_once('.').unwrap().1).unwrap();
            let claims: Value = serde_json::from_slice(&claims).unwrap();
            let now = NOW.as_secs();
            assert_eq!(claims, json!({ "iss": "gateway", "aud": ["backend"], "iat": now - 10, "exp": now + 300 }));
        }
    }

    #[test]
    fn a_token_serves_for_half_of_its_life() {
        let (key, algorithm, _) = keys().remove(4);
        let sign = Sign::new(terms(key, algorithm)).unwrap();
        let at = |seconds: u64| sign.ready(NOW + Duration::from_secs(seconds)).unwrap();
        let first = at(0);
        assert_eq!(at(149), first);
        let second = at(150);
        assert_ne!(second, first);
        // A clock that goes backwards makes a new one: the backend's may be right.
        assert_ne!(at(10), second);
    }

    #[test]
    fn what_cannot_be_signed_is_refused_without_a_word_of_the_key() {
        let ec = pem("PRIVATE KEY", &EC.private_keys().0);
        let with = |change: &dyn Fn(&mut Terms)| {
            let mut it = terms(ec.clone(), Algorithm::ES256);
            change(&mut it);
            Sign::new(it).expect_err("refused")
        };
        assert_eq!(with(&|it| it.algorithm = Algorithm::RS256).1, "not a private key for RS256");
        assert_eq!(with(&|it| it.key = Secret::new(&b"hunter2"[..])).0, "signingKey");
        assert_eq!(with(&|it| drop(it.claims.insert("exp".to_owned(), 1.into()))).1, "`exp` is written by the gateway");
        assert_eq!(with(&|it| it.ttl = Duration::ZERO).0, "ttl");
        assert_eq!(
            with(&|it| it.location = Location::Header { name: http::header::HOST, prefix: "".into() }).0,
            "location"
        );
    }
}
