//! Policies that refuse, count, or fail on purpose, as configuration makes them.

use std::time::Duration;

use filters::lower::Span;
use filters::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::policies::{one_of, some_of};

const CONDITIONS: &[&str] = &["request.path == '/a'", "has(jwt.sub) && 'x' in jwt.groups", "source.port < 1024"];

fn enforcement() -> impl Strategy<Value = quota::mode::ModeConfig> {
    select(&[quota::mode::ModeConfig::Enforce, quota::mode::ModeConfig::Shadow][..])
}

/// Key, mode and number of keys of a quota.
fn quota_keys() -> impl Strategy<Value = (Option<String>, quota::mode::ModeConfig, usize)> {
    (option::of(one_of(&["jwt.sub", "source.address"])), enforcement(), 1..=1_000_000usize)
}

fn rules(texts: &'static [&'static str]) -> impl Strategy<Value = authorization::Config> {
    use authorization::{EffectConfig as It, RuleConfig};
    let rule = prop_oneof![
        one_of(texts).prop_map(RuleConfig::Text),
        one_of(texts).prop_map(|it| RuleConfig::Effect(It::Allow(it))),
        one_of(texts).prop_map(|it| RuleConfig::Effect(It::Deny(it))),
        one_of(texts).prop_map(|it| RuleConfig::Effect(It::Require(it))),
    ];
    (vec(rule, 1..4), enforcement()).prop_map(|(rules, mode)| authorization::Config { rules, mode })
}

pub(super) fn requests() -> impl Strategy<Value = authorization::Config> {
    rules(CONDITIONS)
}

pub(super) fn connections() -> impl Strategy<Value = authorization::Config> {
    rules(&["source.address == '10.0.0.1'", "destination.port != 443", "true"])
}

pub(super) fn tools() -> impl Strategy<Value = authorization::Config> {
    rules(&["mcp.tool.name == 'a'", "has(mcp.resource) && mcp.resource.target == 'b'", "has(jwt.sub)"])
}

pub(super) fn rates() -> impl Strategy<Value = local_rate_limit::Config> {
    let rule = (1..=u64::MAX, 1..=u64::MAX, 1..=86_400_000u64, any::<bool>(), quota_keys());
    let rule = rule.prop_map(|it| local_rate_limit::RuleConfig {
        max_tokens: it.0,
        tokens_per_fill: it.1,
        fill_interval: Span(Duration::from_millis(it.2)),
        unit: if it.3 { local_rate_limit::UnitConfig::Tokens } else { Default::default() },
        key: it.4.0,
        name: None,
        mode: it.4.1,
        max_keys: it.4.2,
    });
    vec(rule, 1..4).prop_map(local_rate_limit::Config)
}

pub(super) fn places() -> impl Strategy<Value = concurrency_limit::Config> {
    let rule = (1..=u32::MAX, option::of(select(&[429u16, 503][..])), quota_keys());
    let rule = rule.prop_map(|it| concurrency_limit::RuleConfig {
        max_in_flight: it.0,
        key: it.2.0,
        status: it.1,
        mode: it.2.1,
        max_keys: it.2.2,
    });
    vec(rule, 1..4).prop_map(concurrency_limit::Config)
}

pub(super) fn csrf() -> impl Strategy<Value = csrf::Config> {
    some_of(&["https://App.example.com", "https://*.example.org", "http://localhost:*"])
        .prop_map(|additional_origins| csrf::Config { additional_origins })
}

pub(super) fn delay() -> impl Strategy<Value = delay::Config> {
    (one_of(&["250ms", "0", "1.5s", "3us", "duration(request.headers['x'])", "1 + 1"]), 0.0..=1.0f64)
        .prop_map(|(duration, percentage)| delay::Config { duration, percentage })
}

pub(super) fn fault() -> impl Strategy<Value = fault::Config> {
    (400..600u16, 0.0..=1.0f64)
        .prop_map(|(status, percentage)| fault::Config { abort: fault::AbortConfig { status, percentage } })
}
