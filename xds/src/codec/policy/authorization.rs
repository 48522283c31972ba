//! `authorization`.

use filters::Scope;
use filters::authorization::{Config, Effect, EffectConfig, Policy, Rule, RuleConfig};

use super::mode;
use crate::pb;
use crate::pb::authorization::rule::Kind;

pub(super) fn encode(it: &Policy) -> pb::Authorization {
    let Policy { rules, mode } = it;
    let rule = |it: &Rule| {
        let Rule { effect, when } = it;
        let text = when.text().to_owned();
        let kind = match effect {
            Effect::Allow => Kind::Allow(text),
            Effect::Deny => Kind::Deny(text),
            Effect::Require => Kind::Require(text),
        };
        pb::authorization::Rule { kind: Some(kind) }
    };
    pb::Authorization { rules: rules.iter().map(rule).collect(), mode: mode::encode(*mode) }
}

pub(super) fn decode(it: pb::Authorization, scope: &mut Scope<'_>) -> Option<Policy> {
    config(it, scope)?.lower(scope)
}

/// The rules as written; a rule of a kind that is not known refuses them all.
pub(super) fn config(it: pb::Authorization, scope: &mut Scope<'_>) -> Option<Config> {
    let pb::Authorization { rules, mode } = it;
    let mode = mode::decode(scope, mode);
    let before = scope.problems.len();
    let mut read = Vec::with_capacity(rules.len());
    for (position, pb::authorization::Rule { kind }) in rules.into_iter().enumerate() {
        match kind {
            Some(Kind::Allow(text)) => read.push(RuleConfig::Effect(EffectConfig::Allow(text))),
            Some(Kind::Deny(text)) => read.push(RuleConfig::Effect(EffectConfig::Deny(text))),
            Some(Kind::Require(text)) => read.push(RuleConfig::Effect(EffectConfig::Require(text))),
            None => scope.problem_at(&format!("rules[{position}]"), "holds no kind of rule this version knows"),
        }
    }
    (scope.problems.len() == before).then_some(Config { rules: read, mode })
}
