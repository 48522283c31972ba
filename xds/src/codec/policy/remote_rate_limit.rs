//! `remoteRateLimit`.

use filters::Scope;
use filters::remote_rate_limit::{Config, Descriptor, DescriptorConfig, EntryConfig, FailureMode, Policy, Type, Unit};

use super::{callout, mode};
use crate::codec::read;
use crate::pb;
use crate::pb::remote_rate_limit::{Descriptor as Wire, Entry, FailureMode as Failure, Type as Kind};

pub(super) fn encode(it: &Policy) -> pb::RemoteRateLimit {
    let Policy { target, domain, descriptors, fail_open, mode } = it;
    pb::RemoteRateLimit {
        target: Some(callout::encode(target)),
        domain: domain.to_string(),
        descriptors: descriptors.iter().map(descriptor).collect(),
        failure_mode: if *fail_open { Failure::FailOpen } else { Failure::FailClosed }.into(),
        mode: mode::encode(*mode),
    }
}

fn descriptor(it: &Descriptor) -> Wire {
    let Descriptor { entries, unit, cost, limit } = it;
    let kind = match unit {
        Unit::Requests => Kind::Requests,
        Unit::Tokens => Kind::Tokens,
    };
    let entry = |(key, value): &(ir::Text, filters::expr::Expression)| Entry {
        key: key.to_string(),
        value: value.text().to_owned(),
    };
    Wire {
        entries: entries.iter().map(entry).collect(),
        r#type: kind.into(),
        cost: cost.as_ref().map(|it| it.text().to_owned()),
        limit_override: limit.as_ref().map(|it| it.text().to_owned()),
    }
}

pub(super) fn decode(it: pb::RemoteRateLimit, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::RemoteRateLimit { target, domain, descriptors, failure_mode, mode } = it;
    let target = scope.at("target", |scope| callout::decode(target, scope));
    let failure_mode = match read::choice(scope, "failureMode", failure_mode) {
        Failure::Unspecified | Failure::FailClosed => FailureMode::FailClosed,
        Failure::FailOpen => FailureMode::FailOpen,
    };
    let mode = mode::decode(scope, mode);
    let descriptors = descriptors.into_iter().enumerate();
    let descriptors = scope.at("descriptors", |scope| {
        descriptors.map(|(at, it)| scope.at(format!("[{at}]"), |scope| read_descriptor(it, scope))).collect()
    });
    Config { domain, descriptors, failure_mode, mode, ..Config::default() }.asking(target, scope)
}

fn read_descriptor(it: Wire, scope: &mut Scope<'_>) -> DescriptorConfig {
    let Wire { entries, cost, limit_override, r#type } = it;
    DescriptorConfig {
        entries: entries.into_iter().map(|Entry { key, value }| EntryConfig { key, value }).collect(),
        kind: match read::choice(scope, "type", r#type) {
            Kind::Unspecified | Kind::Requests => Type::Requests,
            Kind::Tokens => Type::Tokens,
        },
        cost,
        limit_override,
    }
}
