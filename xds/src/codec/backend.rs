//! Backends, and references to them.

use filters::Scope;
use ir::{Backend, BackendKey, BackendKind, BackendRef, HostTarget, Origin, ServiceKey};

use super::{ai, mcp, read};
use crate::pb;

pub(super) fn encode(it: &Backend) -> pb::Backend {
    let Backend { key, kind, origin: _ } = it;
    let kind = match kind {
        BackendKind::Host(target) => pb::backend::Kind::Host(target.to_string()),
        BackendKind::Mcp(it) => pb::backend::Kind::Mcp(mcp::encode(it)),
        BackendKind::Ai(it) => pb::backend::Kind::Ai(ai::encode(it)),
        BackendKind::Demo => pb::backend::Kind::Demo(pb::Unit {}),
    };
    pb::Backend { key: key.to_string(), kind: Some(kind) }
}

pub(super) fn decode(it: pb::Backend, origin: &Origin, scope: &mut Scope<'_>) -> Option<Backend> {
    let pb::Backend { key, kind } = it;
    let key = BackendKey(read::text(scope, "key", &key));
    let kind = match kind {
        None => {
            scope.problem("no kind: exactly one of `host`, `mcp`, `ai` and `demo`");
            None
        }
        Some(pb::backend::Kind::Host(text)) => scope.check("host", HostTarget::parse(&text)).map(BackendKind::Host),
        Some(pb::backend::Kind::Mcp(it)) => scope.at("mcp", |scope| mcp::decode(it, scope)).map(BackendKind::Mcp),
        Some(pb::backend::Kind::Ai(it)) => scope.at("ai", |scope| ai::decode(it, scope)).map(BackendKind::Ai),
        Some(pb::backend::Kind::Demo(pb::Unit {})) => Some(BackendKind::Demo),
    };
    Some(Backend { key, kind: kind?, origin: origin.clone() })
}

pub(super) fn encode_ref(it: &BackendRef) -> pb::BackendRef {
    use pb::backend_ref::Kind;
    let kind = match it {
        BackendRef::Backend(key) => Kind::Backend(key.to_string()),
        BackendRef::Service { service, port } => {
            Kind::Service(pb::ServicePort { service: service.to_string(), port: (*port).into() })
        }
        BackendRef::RouteGroup(name) => Kind::RouteGroup(name.to_string()),
        BackendRef::Invalid(reason) => Kind::Invalid(reason.to_string()),
    };
    pb::BackendRef { kind: Some(kind) }
}

/// The reference at the current path.
pub(super) fn decode_ref(it: pb::BackendRef, scope: &mut Scope<'_>) -> Option<BackendRef> {
    use pb::backend_ref::Kind;
    Some(match it.kind {
        None => {
            scope.problem("no kind: exactly one of `backend`, `service`, `routeGroup` and `invalid`");
            return None;
        }
        Some(Kind::Backend(key)) => BackendRef::Backend(BackendKey(read::text(scope, "backend", &key))),
        Some(Kind::Service(pb::ServicePort { service, port })) => scope.at("service", |scope| BackendRef::Service {
            service: ServiceKey(read::text(scope, "service", &service)),
            port: read::port(scope, "port", port),
        }),
        Some(Kind::RouteGroup(name)) => BackendRef::RouteGroup(read::text(scope, "routeGroup", &name)),
        Some(Kind::Invalid(reason)) => BackendRef::Invalid(reason.into()),
    })
}
