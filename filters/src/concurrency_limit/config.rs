//! Limits of what is under way, as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{Policy, Rule};
use crate::Scope;
use crate::quota::keyed;
use crate::quota::mode::ModeConfig;

/// Limits, all of which must have a place for a request; 1 to 16.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "ConcurrencyLimit")]
pub struct Config(pub Vec<RuleConfig>);

/// A number of places, of which each request holds one while it is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ConcurrencyLimitRule")]
pub struct RuleConfig {
    /// Requests under way at once.
    pub max_in_flight: u32,
    /// What tells places apart: an expression, such as `jwt.sub` or `source.address`. Absent: all share them.
    #[serde(default)]
    pub key: Option<String>,
    /// What a request beyond them gets: 429 or 503. Default: 429 with a `key`, 503 without.
    #[serde(default)]
    pub status: Option<u16>,
    /// `shadow` decides, counts and logs, and lets everything pass.
    #[serde(default)]
    pub mode: ModeConfig,
    /// Most keys with requests under way.
    #[serde(default = "keyed::keys_default")]
    pub max_keys: usize,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let rules = keyed::each(self.0, scope, |it: RuleConfig, _, scope| it.lower(scope))?;
        Some(Policy { rules, ..Policy::default() })
    }
}

impl RuleConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Rule> {
        let Self { max_in_flight, key, status, mode, max_keys } = self;
        let before = scope.problems.len();
        if max_in_flight == 0 {
            scope.problem_at("maxInFlight", "0 lets nothing through: write 1 or more");
        }
        if let Some(status) = status
            && !matches!(status, 429 | 503)
        {
            scope.problem_at("status", format!("{status} does not say so: write 429 or 503"));
        }
        let status = status.unwrap_or(if key.is_some() { 429 } else { 503 });
        let key = keyed::lower(key, max_keys, scope);
        (scope.problems.len() == before).then_some(Rule {
            in_flight_max: max_in_flight,
            key,
            status,
            mode: mode.lower(),
            keys_max: max_keys,
        })
    }
}
