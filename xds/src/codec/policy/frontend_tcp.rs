//! `frontendPolicies.tcp`.

use filters::Scope;
use filters::frontend_tcp::{Config, Policy};

use super::backend_tcp::{decode_keepalives, encode_keepalives};
use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::FrontendTcp {
    let Policy { keepalives, max_connections, idle_timeout, drain_timeout } = it;
    pb::FrontendTcp {
        keepalives: Some(encode_keepalives(keepalives)),
        max_connections: *max_connections,
        idle_timeout: Some(read::duration(*idle_timeout)),
        drain_timeout: drain_timeout.map(read::duration),
    }
}

pub(super) fn decode(it: pb::FrontendTcp, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::FrontendTcp { keepalives, max_connections, idle_timeout, drain_timeout } = it;
    let config = Config {
        keepalives: decode_keepalives(keepalives.unwrap_or_default(), scope),
        max_connections,
        idle_timeout: read::span(scope, "idleTimeout", idle_timeout).unwrap_or(Config::default().idle_timeout),
        drain_timeout: read::span(scope, "drainTimeout", drain_timeout),
    };
    config.lower(scope)
}
