//! Rules as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{Effect, Policy, Rule};
use crate::Scope;
use crate::expr::{Expression, Site, Vocabulary};
use crate::quota::mode::ModeConfig;

/// Most rules of one policy.
const RULES_MAX: usize = 1000;

/// Who may do what, in expressions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Authorization")]
pub struct Config {
    /// 1 to 1,000.
    pub rules: Vec<RuleConfig>,
    /// `shadow` decides, counts and logs, and lets everything pass.
    #[serde(default)]
    pub mode: ModeConfig,
}

/// A rule: an expression that is true or false. A text alone is an `allow` rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "AuthorizationRule")]
pub enum RuleConfig {
    /// As `allow`.
    Text(String),
    /// With what it does.
    Effect(EffectConfig),
}

/// A rule with what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AuthorizationEffect")]
pub enum EffectConfig {
    /// Where true, the request may pass.
    Allow(String),
    /// Where true, or where it fails, the request is refused.
    Deny(String),
    /// Where not true, the request is refused.
    Require(String),
}

impl Config {
    /// For requests before a backend is drawn, or where the scope is one of a backend, after.
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let site = scope.site;
        self.lower_at(site, scope)
    }

    /// `site` is where the rules are asked.
    pub fn lower_at(self, site: Site, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { rules: written, mode } = self;
        let before = scope.problems.len();
        if written.is_empty() {
            scope.problem_at("rules", "write at least one rule");
        }
        if written.len() > RULES_MAX {
            scope.problem_at("rules", format!("more than {RULES_MAX} rules"));
            return None;
        }
        let vocabulary = Vocabulary::rule(site);
        let rules = scope.at("rules", |scope| {
            let rules = written.into_iter().enumerate();
            let rules = rules.filter_map(|(position, rule)| {
                let (effect, text) = rule.parts();
                scope
                    .check(&format!("[{position}]"), Expression::parse(&text, &vocabulary))
                    .map(|when| Rule { effect, when })
            });
            rules.collect()
        });
        (scope.problems.len() == before).then_some(Policy { rules, mode: mode.lower() })
    }
}

impl RuleConfig {
    fn parts(self) -> (Effect, String) {
        match self {
            Self::Text(text) | Self::Effect(EffectConfig::Allow(text)) => (Effect::Allow, text),
            Self::Effect(EffectConfig::Deny(text)) => (Effect::Deny, text),
            Self::Effect(EffectConfig::Require(text)) => (Effect::Require, text),
        }
    }
}
