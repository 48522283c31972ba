//! `concurrencyLimit`.

use filters::Scope;
use filters::concurrency_limit::{Config, Policy, Rule, RuleConfig};

use super::mode;
use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::ConcurrencyLimit {
    let rule = |it: &Rule| {
        let Rule { in_flight_max, key, status, mode, keys_max } = it;
        pb::concurrency_limit::Rule {
            max_in_flight: *in_flight_max,
            key: key.as_ref().map_or("", |it| it.text()).to_owned(),
            status: Some((*status).into()),
            mode: mode::encode(*mode),
            max_keys: Some(*keys_max as u64),
        }
    };
    pb::ConcurrencyLimit { rules: it.rules.iter().map(rule).collect() }
}

pub(super) fn decode(it: pb::ConcurrencyLimit, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::ConcurrencyLimit { rules } = it;
    let rules = rules.into_iter().enumerate();
    let rules = rules.map(|(position, it)| scope.at(format!("[{position}]"), |scope| read_rule(it, scope)));
    Config(rules.collect()).lower(scope)
}

fn read_rule(it: pb::concurrency_limit::Rule, scope: &mut Scope<'_>) -> RuleConfig {
    let pb::concurrency_limit::Rule { max_in_flight, key, status, mode, max_keys } = it;
    RuleConfig {
        max_in_flight,
        key: Some(key).filter(|it| !it.is_empty()),
        status: status.map(|it| read::number(scope, "status", it)),
        mode: mode::decode(scope, mode),
        max_keys: max_keys.map_or(filters::quota::KEYS_DEFAULT, |it| read::number(scope, "maxKeys", it)),
    }
}
