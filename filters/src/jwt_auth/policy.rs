//! Tokens as understood, and what is kept between requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ir::Text;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cache::Cache;
use crate::credential::{Location, Mode};
use crate::identity::Jwt;
use crate::jwt::{Fault, Keys, Provider, verify};
use crate::keep::{Keep, Kept, Slot};

/// Verified tokens of all policies together.
const TOKEN_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest time a verified token is remembered.
const TOKEN_CACHE_AGE_MAX: Duration = Duration::from_secs(3600);
/// Longest value written from a claim.
const CLAIM_HEADER_BYTES_MAX: usize = 4 * 1024;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub mode: Mode,
    pub location: Location,
    pub forward: bool,
    pub headers: Vec<ClaimHeader>,
    pub providers: Vec<Provider>,
    #[serde(skip)]
    pub state: Slot<State>,
}

/// A claim that the backend gets in a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimHeader {
    #[serde(serialize_with = "name")]
    pub name: HeaderName,
    pub claim: Text,
}

/// What is kept of a policy: keys, and the tokens verified under its terms.
pub struct State {
    terms: Policy,
    keys: Vec<Keys>,
    /// Whose entries in the cache are ours.
    owner: u64,
    tokens: Arc<Tokens>,
}

/// The tokens of all policies: the bound is one for the process.
struct Tokens(Cache<Arc<Accepted>>);

/// A verified token, and what follows from it.
pub(super) struct Accepted {
    pub(super) jwt: Arc<Jwt>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    provider: usize,
    generation: u64,
    /// Seconds since 1970.
    until: u64,
}

impl Kept for State {
    type Terms = Policy;

    fn renew(terms: &Policy, previous: Option<&Arc<Self>>, keep: &Keep) -> Arc<Self> {
        static OWNERS: AtomicU64 = AtomicU64::new(1);
        if let Some(same) = previous.filter(|it| it.terms == *terms) {
            return same.clone();
        }
        Arc::new(Self {
            terms: terms.clone(),
            keys: terms.providers.iter().map(|it| Keys::of(&it.keys, keep)).collect(),
            owner: OWNERS.fetch_add(1, Ordering::Relaxed),
            tokens: keep.shared(&"jwt tokens".into(), |_| Tokens(Cache::new(TOKEN_CACHE_BYTES_MAX))),
        })
    }
}

impl State {
    /// Judges a token, or remembers the judgement.
    pub(super) fn verify(&self, token: &str, now: Duration) -> Result<Arc<Accepted>, Fault> {
        let seconds = now.as_secs();
        if token.len() > crate::jwt::token::TOKEN_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        if let Some(known) = self.tokens.0.get(self.owner, token.as_bytes())
            && known.until > seconds
            && self.keys.get(known.provider).is_some_and(|keys| keys.generation() == known.generation)
        {
            return Ok(known);
        }
        let verified = verify::verify(&self.terms.providers, &self.keys, token, now)?;
        let latest = seconds.saturating_add(TOKEN_CACHE_AGE_MAX.as_secs());
        let accepted = Arc::new(Accepted {
            headers: headers(&self.terms.headers, &verified.jwt.claims),
            jwt: verified.jwt,
            provider: verified.provider,
            generation: verified.generation,
            until: verified.until.map_or(latest, |until| until.min(latest)),
        });
        // Claims as a tree take several times the room of their text.
        self.tokens.0.insert(self.owner, token.as_bytes(), accepted.clone(), token.len() * 5 + 512);
        Ok(accepted)
    }
}

fn headers(wanted: &[ClaimHeader], claims: &Map<String, Value>) -> Vec<(HeaderName, HeaderValue)> {
    let value = |it: &ClaimHeader| claim(claims, &it.claim).and_then(written);
    wanted.iter().filter_map(|it| Some((it.name.clone(), value(it)?))).collect()
}

/// A claim by its name, or by a path with dots where no claim has that name.
fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        claim(claims.get(first)?.as_object()?, rest)
    })
}

/// A claim as a header says it; `None` where that could be read as something else.
fn written(value: &Value) -> Option<HeaderValue> {
    let text = match value {
        Value::Array(list) => {
            let parts: Option<Vec<_>> = list.iter().map(|it| scalar(it).filter(|it| !it.contains(','))).collect();
            parts?.join(",")
        }
        one => scalar(one)?,
    };
    if text.len() > CLAIM_HEADER_BYTES_MAX || text.trim() != text {
        return None;
    }
    // Refuses line breaks, NUL and all other control characters but the tab.
    HeaderValue::from_bytes(text.as_bytes()).ok().filter(|it| !it.as_bytes().contains(&b'\t'))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(it) => Some(it.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn name<S: serde::Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}
