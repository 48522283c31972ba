//! `remoteRateLimit`.

use filters::Scope;
use filters::remote_rate_limit::{Config, Descriptor, DescriptorConfig, EntryConfig, FailureMode, Policy, Type};

use super::callout;
use crate::codec::read;
use crate::pb;
use crate::pb::remote_rate_limit::{Descriptor as Wire, Entry, FailureMode as Mode};

pub(super) fn encode(it: &Policy) -> pb::RemoteRateLimit {
    let Policy { target, domain, descriptors, fail_open } = it;
    pb::RemoteRateLimit {
        target: Some(callout::encode(target)),
        domain: domain.to_string(),
        descriptors: descriptors.iter().map(descriptor).collect(),
        failure_mode: if *fail_open { Mode::FailOpen } else { Mode::FailClosed }.into(),
    }
}

fn descriptor(it: &Descriptor) -> Wire {
    let Descriptor { entries, cost, limit } = it;
    let entry = |(key, value): &(ir::Text, filters::expr::Expression)| Entry {
        key: key.to_string(),
        value: value.text().to_owned(),
    };
    Wire {
        entries: entries.iter().map(entry).collect(),
        cost: cost.as_ref().map(|it| it.text().to_owned()),
        limit_override: limit.as_ref().map(|it| it.text().to_owned()),
    }
}

pub(super) fn decode(it: pb::RemoteRateLimit, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::RemoteRateLimit { target, domain, descriptors, failure_mode } = it;
    let target = scope.at("target", |scope| callout::decode(target, scope));
    let failure_mode = match read::choice(scope, "failureMode", failure_mode) {
        Mode::Unspecified | Mode::FailClosed => FailureMode::FailClosed,
        Mode::FailOpen => FailureMode::FailOpen,
    };
    let descriptors = descriptors.into_iter().map(|Wire { entries, cost, limit_override }| DescriptorConfig {
        entries: entries.into_iter().map(|Entry { key, value }| EntryConfig { key, value }).collect(),
        kind: Type::Requests,
        cost,
        limit_override,
    });
    Config { domain, descriptors: descriptors.collect(), failure_mode, ..Config::default() }.asking(target, scope)
}
