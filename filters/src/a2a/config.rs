//! As written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{Ids, Policy, Push, Sign};
use crate::Scope;
use crate::backend_auth::{Algorithm, ValueConfig};
use crate::jwt_auth::JwksConfig;
use crate::keep::Slot;
use crate::lower::{Span, fetched_url};

/// How long a card is kept unless written.
const TTL_DEFAULT: Duration = Duration::from_secs(30);
/// Longest.
const TTL_MAX: Duration = Duration::from_secs(3600);

/// An agent that speaks A2A.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "A2a")]
pub struct Config {
    /// Whether clients see ids of tasks and contexts sealed, so that what follows reaches the same agent.
    pub ids: Ids,
    /// What is done with URLs that agents are to send news to.
    pub push_notifications: Push,
    /// Where agents reach this gateway to send news by it: scheme, host and port. Goes with `pushNotifications: relayed`.
    pub relay_url: Option<String>,
    /// Terms for the agent's card.
    pub card: Option<CardConfig>,
}

/// Terms for an agent's card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "A2aCard")]
pub struct CardConfig {
    /// How long it is kept: 30 s unless written, at most 1 h, `0s` for not at all.
    pub ttl: Option<Span>,
    /// Keys that the agent's signatures are judged by.
    pub verify: Option<VerifyConfig>,
    /// A card without a signature is not shown.
    pub require: bool,
    /// Signs what is shown.
    pub sign: Option<SignConfig>,
}

/// Keys of agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "A2aCardVerify")]
pub struct VerifyConfig {
    /// The keys.
    pub jwks: JwksConfig,
}

/// A key of the gateway's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "A2aCardSign")]
pub struct SignConfig {
    /// The private key in PEM: PKCS#8, PKCS#1 or SEC 1.
    pub signing_key: ValueConfig,
    /// Signature algorithm.
    #[serde(default)]
    pub alg: Algorithm,
    /// Key id, by which clients find the public key.
    #[serde(default)]
    pub kid: Option<String>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { ids, push_notifications, relay_url, card } = self;
        let before = scope.problems.len();
        let CardConfig { ttl, verify, require, sign } = card.unwrap_or_default();
        let (mut keys, mut signer) = (None, None);
        let ttl = ttl.map_or(TTL_DEFAULT, |Span(it)| it);
        scope.at("card", |scope| {
            if ttl > TTL_MAX {
                scope.problem_at("ttl", "at most 1h");
            }
            if require && verify.is_none() {
                scope.problem_at("require", "by which keys? Write `verify`");
            }
            keys = verify.and_then(|it| scope.at("verify", |scope| scope.at("jwks", |scope| it.jwks.lower(scope))));
            signer = sign.and_then(|it| scope.at("sign", |scope| it.lower(scope)));
        });
        match (push_notifications, &relay_url) {
            (Push::Relayed, None) => scope.problem_at("relayUrl", "needed with `pushNotifications: relayed`"),
            (Push::Relayed, Some(_)) | (_, None) => {}
            (_, Some(_)) => scope.problem_at("relayUrl", "means something with `pushNotifications: relayed` only"),
        }
        let relay_url = relay_url.and_then(|it| scope.check("relayUrl", origin(&it)));
        let policy = Policy {
            ids,
            push: push_notifications,
            relay_url,
            ttl,
            keys,
            require,
            sign: signer,
            state: Slot::default(),
        };
        (scope.problems.len() == before).then_some(policy)
    }
}

/// Scheme and authority of a URL that has nothing else.
fn origin(url: &str) -> Result<ir::Text, String> {
    let bare = url.strip_suffix('/').unwrap_or(url);
    let authority = bare.split_once("://").map_or("", |(_, it)| it);
    if protocols::http::authority::parse(authority).is_err() {
        return Err(format!("`{}` is more than an origin: write `https://host:port`", url.escape_debug()));
    }
    fetched_url(bare)
}

impl SignConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Sign> {
        let Self { signing_key, alg, kid } = self;
        let key = scope.at("signingKey", |scope| signing_key.lower(scope))?;
        let sign = Sign::new(key, alg, kid.map(Into::into));
        scope.check("signingKey", sign)
    }
}
