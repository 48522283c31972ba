//! `requestMirror`.

use filters::Scope;
use filters::lower::{ServicePort, SimpleBackend};
use filters::request_mirror::{Config, Policy};
use ir::BackendRef;

use crate::codec::{backend, read};
use crate::pb;

/// Largest body copied unless written.
const BODY_BYTES_MAX: usize = 1 << 20;

pub(super) fn encode(it: &Policy) -> pb::RequestMirror {
    let Policy { backend, fraction, body_bytes_max } = it;
    pb::RequestMirror {
        backend: Some(backend::encode_ref(backend)),
        percentage: Some(*fraction),
        max_body_bytes: Some(*body_bytes_max as u64),
    }
}

pub(super) fn decode(it: pb::RequestMirror, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::RequestMirror { backend, percentage, max_body_bytes } = it;
    let max_body_bytes = max_body_bytes.map_or(BODY_BYTES_MAX, |it| read::number(scope, "maxBodyBytes", it));
    let backend = scope.at("backend", |scope| {
        Some(match backend::decode_ref(backend.unwrap_or_default(), scope)? {
            BackendRef::Backend(key) => SimpleBackend::Backend(key.to_string()),
            BackendRef::Service { service, port } => {
                SimpleBackend::Service(ServicePort { name: service.to_string(), port })
            }
            BackendRef::RouteGroup(_) | BackendRef::Invalid(_) => {
                scope.problem("copies go to a backend or a service");
                return None;
            }
        })
    })?;
    Config { backend, percentage: percentage.unwrap_or(1.0), max_body_bytes }.lower(scope)
}
