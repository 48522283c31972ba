//! A policy with its target.

use filters::{Attachment, Scope, placement};
use ir::{BackendKey, Inheritance, ListenerKey, Origin, Phase, PolicyKey, RouteKey, ServiceKey, Target};

use super::{policy, read};
use crate::pb;
use crate::pb::target::Kind;

pub(super) fn encode(it: &Attachment) -> pb::Policy {
    let Attachment { key, target, phase, inheritance, order, policy, origin: _ } = it;
    let phase = match phase {
        Phase::Route => pb::Phase::Route,
        Phase::Gateway => pb::Phase::Gateway,
    };
    let inheritance = match inheritance {
        Inheritance::Default => pb::Inheritance::Default,
        Inheritance::Override => pb::Inheritance::Override,
    };
    pb::Policy {
        key: key.to_string(),
        target: Some(encode_target(target)),
        phase: phase.into(),
        inheritance: inheritance.into(),
        order: *order,
        kind: Some(policy::encode(policy)),
    }
}

pub(super) fn decode(it: pb::Policy, origin: &Origin, scope: &mut Scope<'_>) -> Option<Attachment> {
    let pb::Policy { key, target, phase, inheritance, order, kind } = it;
    let key = PolicyKey(read::text(scope, "key", &key));
    let target = scope.at("target", |scope| decode_target(target, scope));
    let phase = match read::choice(scope, "phase", phase) {
        pb::Phase::Unspecified | pb::Phase::Route => Phase::Route,
        pb::Phase::Gateway => Phase::Gateway,
    };
    let inheritance = match read::choice(scope, "inheritance", inheritance) {
        pb::Inheritance::Unspecified | pb::Inheritance::Default => Inheritance::Default,
        pb::Inheritance::Override => Inheritance::Override,
    };
    let Some(kind) = kind else {
        scope.problem("holds no kind of policy this version knows");
        return None;
    };
    if let Some((target, kind)) = target.as_ref().zip(policy::kind(&kind)) {
        scope.check("phase", placement::check(kind, phase, target));
    }
    if let Some(target) = &target {
        scope.site = placement::site(phase, target);
    }
    let policy = policy::decode(kind, scope);
    if let Some((target, policy)) = target.as_ref().zip(policy.as_ref()) {
        scope.check("target", placement::check_policy(policy, target));
    }
    target.zip(policy).map(|(target, policy)| Attachment {
        key,
        target,
        phase,
        inheritance,
        order,
        policy,
        origin: origin.clone(),
    })
}

fn encode_target(it: &Target) -> pb::Target {
    let kind = match it {
        Target::Instance => Kind::Instance(pb::Unit {}),
        Target::Gateway { gateway, port } => {
            Kind::Gateway(pb::GatewayTarget { gateway: Some(read::encode_name(gateway)), port: port.map(Into::into) })
        }
        Target::GatewayListener { gateway, listener } => Kind::GatewayListener(pb::GatewayListenerTarget {
            gateway: Some(read::encode_name(gateway)),
            listener: listener.to_string(),
        }),
        Target::Listener(key) => Kind::Listener(key.to_string()),
        Target::Service { service, port } => {
            Kind::Service(pb::ServiceTarget { service: service.to_string(), port: port.map(Into::into) })
        }
        Target::Route(name) => Kind::Route(read::encode_name(name)),
        Target::RouteRule { route, rule } => {
            Kind::RouteRule(pb::RouteRuleTarget { route: Some(read::encode_name(route)), rule: rule.to_string() })
        }
        Target::Rule(key) => Kind::Rule(key.to_string()),
        Target::Backend(key) => Kind::Backend(key.to_string()),
        Target::RouteBackend { route, position } => {
            Kind::RouteBackend(pb::RouteBackendTarget { route: route.to_string(), position: *position })
        }
    };
    pb::Target { kind: Some(kind) }
}

/// The target at the current path.
pub(super) fn decode_target(it: Option<pb::Target>, scope: &mut Scope<'_>) -> Option<Target> {
    let Some(kind) = it.and_then(|it| it.kind) else {
        scope.problem("names nothing this version knows: exactly one kind of target");
        return None;
    };
    Some(match kind {
        Kind::Instance(pb::Unit {}) => Target::Instance,
        Kind::Gateway(pb::GatewayTarget { gateway, port }) => scope.at("gateway", |scope| Target::Gateway {
            gateway: read::object_name(scope, "gateway", gateway),
            port: port.map(|it| read::port(scope, "port", it)),
        }),
        Kind::GatewayListener(pb::GatewayListenerTarget { gateway, listener }) => {
            scope.at("gatewayListener", |scope| Target::GatewayListener {
                gateway: read::object_name(scope, "gateway", gateway),
                listener: read::text(scope, "listener", &listener),
            })
        }
        Kind::Listener(key) => Target::Listener(ListenerKey(read::text(scope, "listener", &key))),
        Kind::Service(pb::ServiceTarget { service, port }) => scope.at("service", |scope| Target::Service {
            service: ServiceKey(read::text(scope, "service", &service)),
            port: port.map(|it| read::port(scope, "port", it)),
        }),
        Kind::Route(name) => Target::Route(read::object_name(scope, "route", Some(name))),
        Kind::RouteRule(pb::RouteRuleTarget { route, rule }) => scope.at("routeRule", |scope| Target::RouteRule {
            route: read::object_name(scope, "route", route),
            rule: read::text(scope, "rule", &rule),
        }),
        Kind::Rule(key) => Target::Rule(RouteKey(read::text(scope, "rule", &key))),
        Kind::Backend(key) => Target::Backend(BackendKey(read::text(scope, "backend", &key))),
        Kind::RouteBackend(pb::RouteBackendTarget { route, position }) => scope.at("routeBackend", |scope| {
            Target::RouteBackend { route: RouteKey(read::text(scope, "route", &route)), position }
        }),
    })
}
