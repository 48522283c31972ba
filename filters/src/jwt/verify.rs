//! The judgement on a token: provider, key, signature, claims, in that order.
//!
//! The provider is chosen by the issuer the token claims, and only that provider's keys are tried:
//! a key of one issuer never vouches for a token of another.

use std::sync::Arc;
use std::time::Duration;

use ir::{Secret, Text};
use serde::Serialize;
use serde_json::{Map, Value};

use super::source::Keys;
use super::token::Token;
use super::{Algorithm, KeySource};
use crate::expr::json_get;
use crate::identity::Jwt;

/// Who vouches for tokens, and which of its tokens are meant for us.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    pub issuer: Text,
    /// One of them must be in the token; any will do where the list is empty.
    pub audiences: Vec<Text>,
    pub keys: KeySource,
    /// Claims that must be there.
    pub required_claims: Vec<Text>,
    /// Algorithms accepted; all that a key allows where the list is empty.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may differ.
    pub clock_skew: Duration,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    TooLarge,
    Malformed,
    Algorithm,
    Issuer,
    /// No key set has arrived yet.
    KeysPending,
    UnknownKey,
    Signature,
    Expired,
    NotYetValid,
    Audience,
    /// A claim that must be there is not, or has the wrong type.
    Claim,
}

impl Fault {
    /// What the client may read, and the log says.
    pub fn text(self) -> &'static str {
        match self {
            Self::TooLarge => "the token is too large",
            Self::Malformed => "the token is malformed",
            Self::Algorithm => "the token is signed with an algorithm that is not accepted",
            Self::Issuer => "the issuer of the token is not accepted",
            Self::KeysPending => "the keys of the token's issuer are not there yet",
            Self::UnknownKey => "the token is signed with a key that is not known",
            Self::Signature => "the signature of the token is wrong",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Audience => "the token is meant for another audience",
            Self::Claim => "the token lacks a claim that is required",
        }
    }
}

/// A token that is accepted.
#[derive(Debug)]
pub struct Verified {
    pub jwt: Arc<Jwt>,
    /// Which provider vouched, by position.
    pub provider: usize,
    /// Under which generation of its keys.
    pub generation: u64,
    /// Time since 1970 at which it ceases to hold.
    pub until: Option<u64>,
}

/// Judges a token. `keys` are those of `providers`, position by position.
pub fn verify(providers: &[Provider], keys: &[Keys], text: &str, now: Duration) -> Result<Verified, Fault> {
    let token = Token::parse(text)?;
    let issuer = json_get(&token.claims, "iss").and_then(Value::as_str).ok_or(Fault::Issuer)?;
    let mut fault = Fault::Issuer;
    let ours = providers.iter().zip(keys).enumerate().filter(|(_, (provider, _))| *provider.issuer == *issuer);
    for (position, (provider, keys)) in ours {
        match signature(provider, keys, &token, now).and_then(|it| Ok((it, claims(provider, &token.claims, now)?))) {
            Ok((generation, until)) => {
                let token_text = Secret::new(text.as_bytes());
                let jwt = Jwt { claims: token.claims, token: token_text, issuer: provider.issuer.clone() };
                return Ok(Verified { jwt: Arc::new(jwt), provider: position, generation, until });
            }
            Err(why) => fault = why,
        }
    }
    Err(fault)
}

/// The generation of the keys under which the signature is right.
fn signature(provider: &Provider, keys: &Keys, token: &Token<'_>, now: Duration) -> Result<u64, Fault> {
    if !provider.algorithms.is_empty() && !provider.algorithms.contains(&token.algorithm) {
        return Err(Fault::Algorithm);
    }
    // Before the keys: a set that arrives meanwhile only makes this verdict short-lived.
    let generation = keys.generation();
    let Some(set) = keys.current() else { return Err(Fault::KeysPending) };
    let id = token.key_id.as_deref();
    let mut fault = Fault::UnknownKey;
    for key in set.find(id, token.algorithm) {
        if key.verify_sig(token.signed, &token.signature).is_ok() {
            return Ok(generation);
        }
        fault = Fault::Signature;
    }
    match id {
        Some(id) if set.knows(id) && fault == Fault::UnknownKey => return Err(Fault::Algorithm),
        Some(_) if fault == Fault::Signature => {}
        // The issuer may have new keys.
        _ => keys.ask(now),
    }
    Err(fault)
}

/// Until when the claims hold, where they end at all.
fn claims(provider: &Provider, claims: &Map<String, Value>, now: Duration) -> Result<Option<u64>, Fault> {
    let (now, skew) = (now.as_secs(), provider.clock_skew.as_secs());
    let until = time(claims, "exp")?.map(|exp| exp.saturating_add(skew));
    if until.is_some_and(|until| until <= now) {
        return Err(Fault::Expired);
    }
    if time(claims, "nbf")?.is_some_and(|nbf| nbf > now.saturating_add(skew)) {
        return Err(Fault::NotYetValid);
    }
    if !provider.audiences.is_empty() {
        let ours = |it: &Value| it.as_str().is_some_and(|it| provider.audiences.iter().any(|known| **known == *it));
        let meant = match json_get(claims, "aud") {
            Some(Value::Array(list)) => list.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        };
        if !meant {
            return Err(Fault::Audience);
        }
    }
    let missing = |name: &Text| matches!(json_get(claims, name), None | Some(Value::Null));
    if provider.required_claims.iter().any(missing) { Err(Fault::Claim) } else { Ok(until) }
}

/// A time in whole seconds (RFC 7519 section 2, `NumericDate`); anything but a number is a fault.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Fault> {
    let Some(value) = json_get(claims, name) else { return Ok(None) };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds));
    }
    // Fractions are allowed; what is before 1970 is long past.
    value.as_f64().map(|seconds| Some(seconds.max(0.0) as u64)).ok_or(Fault::Claim)
}
