//! Servers that policies ask.

use std::sync::Arc;

use filters::callout::{Target, level, only_requests};
use filters::{Policy, Scope};
use ir::BackendRef;

use super::{backend_auth, backend_http, backend_tcp, backend_tls, header_modifier, transformations};
use crate::codec::{backend, read};
use crate::pb;

pub(super) fn encode(it: &Target) -> pb::CalloutTarget {
    let Target { backend, policies } = it;
    let mut target = pb::CalloutTarget { backend: Some(backend::encode_ref(backend)), ..Default::default() };
    for attachment in policies.iter() {
        match &attachment.policy {
            Policy::RequestHeaderModifier(it) => target.request_header_modifier = Some(header_modifier::encode(it)),
            Policy::Transformations(it) => target.transformations = Some(transformations::encode(it)),
            Policy::BackendAuth(it) => target.backend_auth = Some(backend_auth::encode(it)),
            Policy::BackendTls(it) => target.backend_tls = Some(backend_tls::encode(it)),
            Policy::BackendHttp(it) => target.http = Some(backend_http::encode(it)),
            Policy::BackendTcp(it) => target.tcp = Some(backend_tcp::encode(it)),
            // Nothing else can be written beside a reference.
            _ => {}
        }
    }
    target
}

/// The target at the current path.
pub(super) fn decode(it: Option<pb::CalloutTarget>, scope: &mut Scope<'_>) -> Option<Arc<Target>> {
    let pb::CalloutTarget {
        backend,
        request_header_modifier,
        backend_tls,
        http,
        tcp,
        transformations: changes,
        backend_auth: credentials,
    } = it.unwrap_or_default();
    let mut policies = Vec::new();
    if let Some(it) = request_header_modifier {
        let changes =
            scope.at("requestHeaderModifier", |scope| header_modifier::decode(it, scope).lower_request(scope));
        policies.extend(changes.map(Policy::RequestHeaderModifier));
    }
    if let Some(it) = changes {
        let changes = scope.at("transformations", |scope| only_requests(transformations::decode(it, scope)?, scope));
        policies.extend(changes.map(Policy::Transformations));
    }
    if let Some(it) = credentials {
        policies.extend(scope.at("backendAuth", |scope| backend_auth::decode(it, scope)).map(Policy::BackendAuth));
    }
    if let Some(it) = backend_tls {
        policies.extend(scope.at("backendTLS", |scope| backend_tls::decode(it, scope)).map(Policy::BackendTls));
    }
    if let Some(it) = http {
        policies.extend(scope.at("http", |scope| backend_http::decode(it, scope)).map(Policy::BackendHttp));
    }
    if let Some(it) = tcp {
        policies.extend(scope.at("tcp", |scope| backend_tcp::decode(it, scope)).map(Policy::BackendTcp));
    }
    let backend = read::present(scope, "backend", backend);
    let backend = scope.at("backend", |scope| match backend::decode_ref(backend, scope)? {
        BackendRef::RouteGroup(_) | BackendRef::Invalid(_) => {
            scope.problem("a backend or a service is asked");
            None
        }
        backend => Some(backend),
    })?;
    Some(Arc::new(Target { backend, policies: level(policies) }))
}
