//! `localRateLimit`.

use filters::Scope;
use filters::local_rate_limit::{Config, Policy, Rule, RuleConfig, Unit, UnitConfig};

use super::mode;
use crate::codec::read;
use crate::pb;
use crate::pb::local_rate_limit::Type;

pub(super) fn encode(it: &Policy) -> pb::LocalRateLimit {
    pb::LocalRateLimit { rules: it.rules.iter().map(rule).collect() }
}

fn rule(it: &Rule) -> pb::local_rate_limit::Rule {
    let Rule { name, terms, unit, key, mode, keys_max } = it;
    let unit = match unit {
        Unit::Requests => Type::Requests,
        Unit::Tokens => Type::Tokens,
    };
    pb::local_rate_limit::Rule {
        max_tokens: terms.max,
        tokens_per_fill: terms.fill,
        fill_interval: Some(read::duration(terms.interval)),
        r#type: unit.into(),
        key: key.as_ref().map_or("", |it| it.text()).to_owned(),
        name: name.to_string(),
        mode: mode::encode(*mode),
        max_keys: Some(*keys_max as u64),
    }
}

pub(super) fn decode(it: pb::LocalRateLimit, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::LocalRateLimit { rules } = it;
    let rules = rules.into_iter().enumerate();
    let rules = rules.map(|(position, it)| scope.at(format!("[{position}]"), |scope| read_rule(it, scope)));
    Config(rules.collect()).lower(scope)
}

fn read_rule(it: pb::local_rate_limit::Rule, scope: &mut Scope<'_>) -> RuleConfig {
    let pb::local_rate_limit::Rule { max_tokens, tokens_per_fill, fill_interval, r#type, key, name, mode, max_keys } =
        it;
    let unit = match read::choice(scope, "type", r#type) {
        Type::Unspecified | Type::Requests => UnitConfig::Requests,
        Type::Tokens => UnitConfig::Tokens,
    };
    RuleConfig {
        max_tokens,
        tokens_per_fill,
        // An interval of 0 is refused.
        fill_interval: read::span(scope, "fillInterval", fill_interval).unwrap_or_default(),
        unit,
        key: Some(key).filter(|it| !it.is_empty()),
        name: Some(name).filter(|it| !it.is_empty()),
        mode: mode::decode(scope, mode),
        max_keys: max_keys.map_or(filters::quota::KEYS_DEFAULT, |it| read::number(scope, "maxKeys", it)),
    }
}
