//! Key sets (JWK, RFC 7517 and 7518 section 6): public keys, ready to verify.

use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ir::Text;
use serde_json::{Map, Value};

use super::algorithm::Family;
use super::{Algorithm, json};

/// Longest key set, as text.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;
/// Keys of one set.
pub const KEYS_MAX: usize = 64;
/// Keys of a set that one token is tried against.
const TRIES_MAX: usize = 4;

/// The public keys of one issuer.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Keys that were passed over, and why.
    pub skipped: Vec<String>,
}

struct Key {
    id: Option<Text>,
    /// The key as each algorithm that it may be used with wants it.
    forms: Vec<(Algorithm, ParsedPublicKey)>,
}

impl KeySet {
    /// Reads `{"keys": [...]}` or one key alone. Keys of kinds or uses that are none of ours are passed over, as
    /// RFC 7517 section 5 asks; a set without any usable key is a fault.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > KEY_SET_BYTES_MAX {
            return Err(format!("larger than {} KiB", KEY_SET_BYTES_MAX / 1024));
        }
        let mut top = json::object(text).ok_or("not a JSON object, or a member is there twice")?;
        let keys = match top.remove("keys") {
            Some(Value::Array(keys)) => keys,
            Some(_) => return Err("`keys` is not a list".to_owned()),
            None if top.contains_key("kty") => vec![Value::Object(top)],
            None => return Err("there is no list `keys`: is this a JSON Web Key Set?".to_owned()),
        };
        if keys.len() > KEYS_MAX {
            return Err(format!("more than {KEYS_MAX} keys"));
        }
        let mut set = Self::default();
        for (position, key) in keys.iter().enumerate() {
            match key.as_object().ok_or_else(|| "not an object".to_owned()).and_then(Key::parse) {
                Ok(key) => set.keys.push(key),
                Err(reason) => set.skipped.push(format!("keys[{position}]: {reason}")),
            }
        }
        match set.keys.is_empty() {
            true if set.skipped.is_empty() => Err("there is no key in it".to_owned()),
            true => Err(format!("there is no usable key in it: {}", set.skipped.join("; "))),
            false => Ok(set),
        }
    }

    /// Keys for a token of this key id and algorithm. A token that names no key is tried against those that take its
    /// algorithm, as long as they are few.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &ParsedPublicKey> {
        let named = self.keys.iter().filter(move |key| id.is_none_or(|id| key.id.as_deref() == Some(id)));
        named.filter_map(move |key| key.form(algorithm)).take(TRIES_MAX)
    }

    /// Whether a key of this id is in it, for whatever algorithm.
    pub fn knows(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

impl Key {
    fn form(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.forms.iter().find(|(it, _)| *it == algorithm).map(|(_, key)| key)
    }

    fn parse(jwk: &Map<String, Value>) -> Result<Self, String> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        // A private key has no business here, and whoever published it should hear of it.
        if jwk.contains_key("d") {
            return Err("a private key: publish the public one, and take this one out of use".to_owned());
        }
        if text("use").is_some_and(|it| it != "sig") {
            return Err("not for signatures (`use`)".to_owned());
        }
        if let Some(uses) = jwk.get("key_ops").and_then(Value::as_array)
            && !uses.iter().any(|it| it == "verify")
        {
            return Err("not for verifying (`key_ops`)".to_owned());
        }
        let family = match (text("kty").unwrap_or_default(), text("crv").unwrap_or_default()) {
            ("RSA", _) => Family::Rsa,
            ("EC", "P-256") => Family::P256,
            ("EC", "P-384") => Family::P384,
            ("EC", "P-521") => Family::P521,
            ("OKP", "Ed25519") => Family::Ed25519,
            ("oct", _) => return Err("a shared secret (`oct`) does not verify tokens here".to_owned()),
            (kind, curve) => {
                return Err(format!("kind `{}` {} is not known", kind.escape_debug(), curve.escape_debug()));
            }
        };
        let algorithms: Vec<_> = match text("alg") {
            Some(name) => match Algorithm::parse(name).filter(|it| it.family() == family) {
                Some(algorithm) => vec![algorithm],
                None => return Err(format!("its `alg` {} does not go with its kind", name.escape_debug())),
            },
            None => Algorithm::ALL.iter().copied().filter(|it| it.family() == family).collect(),
        };
        let material = Material::read(jwk, family)?;
        let forms =
            algorithms.into_iter().map(|it| material.form(it).map(|key| (it, key))).collect::<Result<_, _>>()?;
        Ok(Self { id: text("kid").map(Text::from), forms })
    }
}

/// The numbers of a key.
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point, or the 32 bytes of Ed25519.
    Point(Vec<u8>),
}

impl Material {
    fn read(jwk: &Map<String, Value>, family: Family) -> Result<Self, String> {
        let number = |name: &str| -> Result<Vec<u8>, String> {
            let text = jwk.get(name).and_then(Value::as_str).ok_or_else(|| format!("`{name}` is missing"))?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("`{name}` is not base64url"))
        };
        let point = |bytes: usize| -> Result<Self, String> {
            let (x, y) = (number("x")?, number("y")?);
            if x.len() != bytes || y.len() != bytes {
                return Err(format!("`x` and `y` must have {bytes} bytes"));
            }
            Ok(Self::Point([&[4], &*x, &*y].concat()))
        };
        match family {
            // Some issuers write a leading zero, as DER has it.
            Family::Rsa => {
                let bare = |bytes: Vec<u8>| bytes.into_iter().skip_while(|it| *it == 0).collect();
                Ok(Self::Rsa { n: bare(number("n")?), e: bare(number("e")?) })
            }
            Family::P256 => point(32),
            Family::P384 => point(48),
            Family::P521 => point(66),
            Family::Ed25519 => number("x").map(Self::Point),
        }
    }

    fn form(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, String> {
        let parsed = match self {
            Self::Rsa { n, e } => {
                let terms = algorithm.rsa().ok_or("not an RSA algorithm")?;
                // Below 2048 bits it would only fail later, at each token.
                if !(256..=1024).contains(&n.len()) {
                    return Err(format!("an RSA key of {} bits: 2048 to 8192 are accepted", n.len() * 8));
                }
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(terms)
            }
            Self::Point(point) => ParsedPublicKey::new(algorithm.curve().ok_or("not a curve's algorithm")?, point),
        };
        parsed.map_err(|_| "its numbers are not a key".to_owned())
    }
}
