//! Rate limits as written.

use std::time::Duration;

use ir::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bucket::Terms;
use super::policy::{Policy, Rule, Unit};
use crate::Scope;
use crate::expr::Site;
use crate::lower::Span;
use crate::quota::keyed;
use crate::quota::mode::ModeConfig;

/// Longest interval: longer ones are mistakes, and no process lives to see them.
const INTERVAL_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Shortest interval: finer ones are a higher rate.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Longest name of a rule.
const NAME_BYTES_MAX: usize = 64;

/// Limits, all of which must let a request pass; 1 to 16.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "LocalRateLimit")]
pub struct Config(pub Vec<RuleConfig>);

/// A bucket of tokens, of which each request takes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "RateLimitRule")]
pub struct RuleConfig {
    /// Tokens of a full bucket, which is how it begins.
    #[serde(default)]
    pub max_tokens: u64,
    /// Tokens that come back each time.
    #[serde(default)]
    pub tokens_per_fill: u64,
    /// Time between two fills.
    pub fill_interval: Span,
    /// What a token stands for.
    #[serde(default, rename = "type")]
    pub unit: UnitConfig,
    /// What tells buckets apart: an expression, such as `jwt.sub` or `source.address`. Absent: one bucket.
    #[serde(default)]
    pub key: Option<String>,
    /// In `RateLimit` headers; default: the type.
    #[serde(default)]
    pub name: Option<String>,
    /// `shadow` decides, counts and logs, and lets everything pass.
    #[serde(default)]
    pub mode: ModeConfig,
    /// Most keys on record.
    #[serde(default = "keyed::keys_default")]
    pub max_keys: usize,
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RateLimitType")]
pub enum UnitConfig {
    /// A request.
    #[default]
    Requests,
    /// A token of a language model.
    Tokens,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let rules = keyed::each(self.0, scope, |it: RuleConfig, others, scope| it.lower(others, scope))?;
        Some(Policy { rules, ..Policy::default() })
    }
}

impl RuleConfig {
    /// As the only limit of a policy, whose terms stand where the policy does.
    pub fn lower_alone(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let rules = vec![self.lower(&[], scope)?];
        Some(Policy { rules, ..Policy::default() })
    }

    fn lower(self, others: &[Rule], scope: &mut Scope<'_>) -> Option<Rule> {
        let Self { max_tokens, tokens_per_fill, fill_interval: Span(interval), unit, key, name, mode, max_keys } = self;
        let before = scope.problems.len();
        if max_tokens == 0 {
            scope.problem_at("maxTokens", "0 lets nothing through: write 1 or more");
        }
        if tokens_per_fill == 0 {
            scope.problem_at("tokensPerFill", "0 never fills the bucket again: write 1 or more");
        }
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
            scope.problem_at("fillInterval", "write 1ms to 8784h");
        }
        let site = scope.site;
        if site == Site::Request {
            // A key that reads `mcp` waits for a message, see `Policy::waits_for_message`.
            scope.site = Site::Mcp;
        }
        let key = keyed::lower(key, max_keys, scope);
        scope.site = site;
        let unit = match unit {
            UnitConfig::Requests => Unit::Requests,
            UnitConfig::Tokens => Unit::Tokens,
        };
        let name = match name {
            None => Some(default_name(unit, others)),
            Some(name) => scope.check("name", name_of(&name, others)),
        };
        (scope.problems.len() == before).then_some(Rule {
            name: name?,
            terms: Terms { max: max_tokens, fill: tokens_per_fill, interval },
            unit,
            key,
            mode: mode.lower(),
            keys_max: max_keys,
        })
    }
}

/// `requests`, and `requests-2` where that is taken.
fn default_name(unit: Unit, others: &[Rule]) -> Text {
    let plain = match unit {
        Unit::Requests => "requests",
        Unit::Tokens => "tokens",
    };
    let taken = |name: &str| others.iter().any(|it| &*it.name == name);
    let numbered = (2..).map(|n| format!("{plain}-{n}"));
    std::iter::once(plain.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default().into()
}

fn name_of(name: &str, others: &[Rule]) -> Result<Text, String> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
        let name = name.escape_debug();
        return Err(format!("`{name}` is not a name: up to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`"));
    }
    if others.iter().any(|it| &*it.name == name) {
        return Err(format!("`{name}` is the name of another limit here"));
    }
    Ok(name.into())
}
