//! `http` of a backend.

use filters::Scope;
use filters::backend_http::{Config, HttpVersion, Policy};

use crate::codec::read;
use crate::pb;
use crate::pb::backend_http::Version;

pub(super) fn encode(it: &Policy) -> pb::BackendHttp {
    let Policy { version, request_timeout, max_concurrent_streams, pool_idle_timeout } = it;
    let version = match version {
        None => Version::Unspecified,
        Some(HttpVersion::H1) => Version::Http11,
        Some(HttpVersion::H2) => Version::Http2,
    };
    pb::BackendHttp {
        version: version.into(),
        request_timeout: request_timeout.map(read::duration),
        max_concurrent_streams: *max_concurrent_streams,
        pool_idle_timeout: pool_idle_timeout.map(read::duration),
    }
}

pub(super) fn decode(it: pb::BackendHttp, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::BackendHttp { version, request_timeout, max_concurrent_streams, pool_idle_timeout } = it;
    let version = match read::choice(scope, "version", version) {
        Version::Unspecified => None,
        Version::Http11 => Some("HTTP/1.1".to_owned()),
        Version::Http2 => Some("HTTP/2.0".to_owned()),
    };
    let config = Config {
        version,
        request_timeout: read::span(scope, "requestTimeout", request_timeout),
        max_concurrent_streams,
        pool_idle_timeout: read::span(scope, "poolIdleTimeout", pool_idle_timeout),
    };
    config.lower(scope)
}
