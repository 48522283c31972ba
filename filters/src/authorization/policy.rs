//! Rules as understood.

use serde::Serialize;

use crate::exchange::Mode;
use crate::expr::{Expression, Needs};

/// What a rule does where it is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    Allow,
    Deny,
    Require,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub effect: Effect,
    pub when: Expression,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub rules: Vec<Rule>,
    pub mode: Mode,
}

impl Policy {
    /// What its rules read.
    pub fn needs(&self) -> Needs {
        self.rules.iter().fold(Needs::NONE, |needs, it| needs | it.when.needs())
    }
}
