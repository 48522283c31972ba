//! `timeout`.

use std::time::Duration;

use filters::Scope;
use filters::timeout::{Config, Policy};

use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::Timeout {
    let Policy { request, backend_request } = it;
    // One of the two must be there, and 0 is none.
    let none = backend_request.is_none().then_some(Duration::ZERO);
    pb::Timeout {
        request_timeout: request.or(none).map(read::duration),
        backend_request_timeout: backend_request.map(read::duration),
    }
}

pub(super) fn decode(it: pb::Timeout, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Timeout { request_timeout, backend_request_timeout } = it;
    let config = Config {
        request_timeout: read::span(scope, "requestTimeout", request_timeout),
        backend_request_timeout: read::span(scope, "backendRequestTimeout", backend_request_timeout),
    };
    config.lower(scope)
}
