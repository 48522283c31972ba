//! As understood, and what is kept of it: keys.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ir::{Secret, Text};
use protocols::a2a::signature::{self, Signature};
use protocols::json::Raw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend_auth::{Algorithm, Signer};
use crate::jwt::{self, KeySource, Keys};
use crate::keep::{Keep, Kept, Slot};

/// What clients see of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "A2aIds")]
pub enum Ids {
    /// Sealed with whose they are.
    #[default]
    Sealed,
    /// As the agent has them.
    Plain,
}

/// What is done with URLs for news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "A2aPushNotifications")]
pub enum Push {
    /// They pass that the egress rule allows.
    #[default]
    Checked,
    /// None passes.
    Refused,
    /// All pass.
    Unchecked,
    /// Those that the egress rule allows, and news come by the gateway, which sends them on.
    Relayed,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub ids: Ids,
    pub push: Push,
    /// Where agents reach the gateway, where they send news by it: scheme and authority.
    pub relay_url: Option<Text>,
    /// How long cards are kept.
    pub ttl: Duration,
    /// Whose signatures of cards are believed.
    pub keys: Option<KeySource>,
    /// A card without signature is not shown.
    pub require: bool,
    pub sign: Option<Sign>,
    #[serde(skip)]
    pub state: Slot<State>,
}

/// A key that cards are signed with.
#[derive(Clone)]
pub struct Sign {
    /// PEM.
    pub key: Secret,
    pub algorithm: Algorithm,
    pub key_id: Option<Text>,
    signer: Arc<Signer>,
}

/// What signatures of a card say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// One of them is right, or nobody asks.
    Yes,
    /// There is none, and none is needed.
    Unsigned,
    /// There is none, and one is needed.
    Missing,
    /// None of them is right.
    Wrong,
    /// The keys are not there yet.
    Pending,
}

impl Sign {
    /// The reason says nothing of the key.
    pub fn new(key: Secret, algorithm: Algorithm, key_id: Option<Text>) -> Result<Self, String> {
        let signer = Arc::new(Signer::new(key.expose(), algorithm)?);
        Ok(Self { key, algorithm, key_id, signer })
    }

    /// The list of signatures for a card.
    pub fn card(&self, card: Raw<'_>) -> Option<String> {
        let protected = signature::protected(self.algorithm.name(), self.key_id.as_deref());
        let content = signature::contents(card).into_iter().next()?;
        let signature = self.signer.sign(signature::signed(&protected, &content).as_bytes())?;
        Some(format!("[{}]", signature::entry(&protected, &signature)))
    }
}

impl PartialEq for Sign {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, self.algorithm, &self.key_id) == (&other.key, other.algorithm, &other.key_id)
    }
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sign({}, ***)", self.algorithm.name())
    }
}

impl Serialize for Sign {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{} ***", self.algorithm.name()))
    }
}

/// Keys that agents' signatures are judged by.
pub struct State {
    source: Option<KeySource>,
    keys: Option<Keys>,
}

impl Kept for State {
    type Terms = Policy;

    fn renew(terms: &Policy, previous: Option<&Arc<Self>>, keep: &Keep) -> Arc<Self> {
        if let Some(same) = previous.filter(|it| it.source == terms.keys) {
            return same.clone();
        }
        let keys = terms.keys.as_ref().map(|it| Keys::of(it, keep));
        Arc::new(Self { source: terms.keys.clone(), keys })
    }
}

impl Policy {
    /// Judges the signatures of a card, as the agent sent it.
    pub fn verify(&self, card: Raw<'_>, now: Duration) -> Verified {
        let state = self.state.get(self);
        let Some(keys) = &state.keys else { return Verified::Yes };
        let signatures = signature::of_card(card);
        if signatures.is_empty() {
            let listed = card.get("signatures").is_some_and(|it| it.elements().next().is_some());
            return match (listed, self.require) {
                (true, _) => Verified::Wrong,
                (false, true) => Verified::Missing,
                (false, false) => Verified::Unsigned,
            };
        }
        let Some(set) = keys.current() else { return Verified::Pending };
        let contents = signature::contents(card);
        let right = |it: &Signature| {
            let Some(algorithm) = jwt::Algorithm::parse(&it.algorithm) else { return false };
            set.find(it.key_id.as_deref(), algorithm).any(|key| {
                let over = |content: &String| {
                    key.verify_sig(signature::signed(&it.protected, content).as_bytes(), &it.bytes).is_ok()
                };
                contents.iter().any(over)
            })
        };
        if signatures.iter().any(right) {
            return Verified::Yes;
        }
        // The agent may have new keys.
        keys.ask(now);
        Verified::Wrong
    }
}
