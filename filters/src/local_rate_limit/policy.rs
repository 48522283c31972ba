//! Rate limits as understood.

use ir::{PolicyKey, Text};
use serde::Serialize;

use super::bucket::Terms;
use super::ledger::Ledger;
use crate::exchange::Mode;
use crate::expr::{Expression, Needs};
use crate::keep::{Keep, Slot};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    Requests,
    /// Tokens of language models: known when the answer ends.
    Tokens,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// As clients see it.
    pub name: Text,
    #[serde(flatten)]
    pub terms: Terms,
    #[serde(rename = "type")]
    pub unit: Unit,
    /// What tells buckets apart; absent for one bucket.
    pub key: Option<Expression>,
    pub mode: Mode,
    /// Most keys on record.
    pub keys_max: usize,
}

/// All must let a request pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Policy {
    pub rules: Vec<Rule>,
    #[serde(skip)]
    pub(crate) ledger: Slot<Ledger>,
}

impl Policy {
    /// What its keys read.
    pub fn needs(&self) -> Needs {
        self.rules.iter().filter_map(|it| it.key.as_ref()).fold(Needs::NONE, |needs, it| needs | it.needs())
    }

    /// Finds or makes the buckets of the policy of this name.
    pub fn bind(&self, key: &PolicyKey, keep: &Keep) {
        self.ledger.bind(key, &self.rules, keep);
    }
}
