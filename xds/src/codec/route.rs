//! Routes and TCP routes.

use filters::Scope;
use ir::route::BACKENDS_MAX;
use ir::{
    BackendRef, Hostname, ListenerKey, Origin, Parent, Route, RouteBackend, RouteGroup, RouteKey, RouteName, TcpRoute,
};

use super::{backend, matcher, read};
use crate::pb;

pub(super) fn encode(it: &Route) -> pb::Route {
    let Route { key, name, parents, order, hostnames, matches, backends, origin: _ } = it;
    pb::Route {
        key: key.to_string(),
        name: Some(read::encode_name(&name.route)),
        rule: name.rule.as_ref().map(ToString::to_string),
        parents: parents.iter().map(encode_parent).collect(),
        order: *order,
        hostnames: hostnames.iter().map(ToString::to_string).collect(),
        matches: matches.iter().map(matcher::encode).collect(),
        backends: backends.iter().map(encode_backend).collect(),
    }
}

pub(super) fn decode(it: pb::Route, origin: &Origin, scope: &mut Scope<'_>) -> Route {
    let pb::Route { key, name, rule, parents, order, hostnames, matches, backends } = it;
    Route {
        key: RouteKey(read::text(scope, "key", &key)),
        name: route_name(scope, name, rule),
        parents: decode_parents(parents, scope),
        order,
        hostnames: decode_hostnames(&hostnames, scope),
        matches: matcher::decode_all(matches, scope),
        backends: decode_backends(backends, scope),
        origin: origin.clone(),
    }
}

pub(super) fn encode_group(it: &RouteGroup) -> pb::RouteGroup {
    let RouteGroup { key, origin: _ } = it;
    pb::RouteGroup { key: key.to_string() }
}

pub(super) fn decode_group(it: pb::RouteGroup, origin: &Origin, scope: &mut Scope<'_>) -> RouteGroup {
    let pb::RouteGroup { key } = it;
    RouteGroup { key: read::text(scope, "key", &key), origin: origin.clone() }
}

pub(super) fn encode_tcp(it: &TcpRoute) -> pb::TcpRoute {
    let TcpRoute { key, name, parents, order, hostnames, backends, origin: _ } = it;
    pb::TcpRoute {
        key: key.to_string(),
        name: Some(read::encode_name(&name.route)),
        rule: name.rule.as_ref().map(ToString::to_string),
        parents: parents.iter().map(encode_parent).collect(),
        order: *order,
        hostnames: hostnames.iter().map(ToString::to_string).collect(),
        backends: backends.iter().map(encode_backend).collect(),
    }
}

pub(super) fn decode_tcp(it: pb::TcpRoute, origin: &Origin, scope: &mut Scope<'_>) -> TcpRoute {
    let pb::TcpRoute { key, name, rule, parents, order, hostnames, backends } = it;
    let parents = decode_parents(parents, scope);
    if let Some(position) = parents.iter().position(|it| matches!(it, Parent::Group(_))) {
        let reason = "a TCP route cannot be in a route group";
        scope.at("parents", |scope| scope.problem_at(&format!("[{position}]"), reason));
    }
    let backends = decode_backends(backends, scope);
    if let Some(position) = backends.iter().position(|it| matches!(it.backend, BackendRef::RouteGroup(_))) {
        let reason = "a TCP route cannot delegate";
        scope.at("backends", |scope| scope.problem_at(&format!("[{position}]"), reason));
    }
    TcpRoute {
        key: RouteKey(read::text(scope, "key", &key)),
        name: route_name(scope, name, rule),
        parents,
        order,
        hostnames: decode_hostnames(&hostnames, scope),
        backends,
        origin: origin.clone(),
    }
}

pub(super) fn route_name(scope: &mut Scope<'_>, name: Option<pb::ObjectName>, rule: Option<String>) -> RouteName {
    RouteName { route: read::object_name(scope, "name", name), rule: rule.map(Into::into) }
}

fn encode_parent(it: &Parent) -> pb::Parent {
    use pb::parent::Kind;
    let kind = match it {
        Parent::Listener(key) => Kind::Listener(key.to_string()),
        Parent::Gateway { gateway, listener } => Kind::Gateway(pb::GatewayParent {
            gateway: Some(read::encode_name(gateway)),
            listener: listener.as_ref().map(ToString::to_string),
        }),
        Parent::Group(name) => Kind::Group(name.to_string()),
    };
    pb::Parent { kind: Some(kind) }
}

pub(super) fn decode_parents(list: Vec<pb::Parent>, scope: &mut Scope<'_>) -> Vec<Parent> {
    let mut parents = Vec::with_capacity(list.len());
    for (position, it) in list.into_iter().enumerate() {
        parents
            .extend(scope.at("parents", |scope| scope.at(format!("[{position}]"), |scope| decode_parent(it, scope))));
    }
    parents
}

fn decode_parent(it: pb::Parent, scope: &mut Scope<'_>) -> Option<Parent> {
    use pb::parent::Kind;
    Some(match it.kind {
        None => {
            scope.problem("no kind: exactly one of `listener`, `gateway` and `group`");
            return None;
        }
        Some(Kind::Listener(key)) => Parent::Listener(ListenerKey(read::text(scope, "listener", &key))),
        Some(Kind::Gateway(pb::GatewayParent { gateway, listener })) => scope.at("gateway", |scope| Parent::Gateway {
            gateway: read::object_name(scope, "gateway", gateway),
            listener: listener.map(Into::into),
        }),
        Some(Kind::Group(name)) => Parent::Group(read::text(scope, "group", &name)),
    })
}

pub(super) fn decode_hostnames(list: &[String], scope: &mut Scope<'_>) -> Vec<Hostname> {
    let mut hostnames: Vec<Hostname> = Vec::with_capacity(list.len());
    for it in scope.each("hostnames", list, Hostname::parse) {
        if !hostnames.contains(&it) {
            hostnames.push(it);
        }
    }
    hostnames
}

fn encode_backend(it: &RouteBackend) -> pb::RouteBackend {
    let RouteBackend { weight, backend } = it;
    pb::RouteBackend { weight: Some(*weight), backend: Some(backend::encode_ref(backend)) }
}

fn decode_backends(list: Vec<pb::RouteBackend>, scope: &mut Scope<'_>) -> Vec<RouteBackend> {
    if list.len() > BACKENDS_MAX {
        scope.problem_at("backends", format!("a rule has at most {BACKENDS_MAX} backends"));
    }
    let mut backends = Vec::with_capacity(list.len().min(BACKENDS_MAX));
    for (position, pb::RouteBackend { weight, backend }) in list.into_iter().take(BACKENDS_MAX).enumerate() {
        let decoded = scope.at("backends", |scope| {
            scope.at(format!("[{position}].backend"), |scope| backend::decode_ref(backend.unwrap_or_default(), scope))
        });
        let weight = weight.unwrap_or(1);
        backends.extend(decoded.map(|backend| RouteBackend { weight, backend }));
    }
    backends
}
