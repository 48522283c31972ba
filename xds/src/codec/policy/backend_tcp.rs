//! `tcp` of a backend, and keep-alive probes.

use filters::Scope;
use filters::backend_tcp::{Config, Keepalives, KeepalivesConfig, Policy};

use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::BackendTcp {
    let Policy { keepalives, connect_timeout } = it;
    pb::BackendTcp {
        keepalives: keepalives.as_ref().map(encode_keepalives),
        connect_timeout: connect_timeout.map(read::duration),
    }
}

pub(super) fn decode(it: pb::BackendTcp, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::BackendTcp { keepalives, connect_timeout } = it;
    let config = Config {
        keepalives: keepalives.map(|it| decode_keepalives(it, scope)),
        connect_timeout: read::span(scope, "connectTimeout", connect_timeout),
    };
    config.lower(scope)
}

pub(super) fn encode_keepalives(it: &Keepalives) -> pb::Keepalives {
    let Keepalives { enabled, time, interval, retries } = it;
    pb::Keepalives {
        enabled: Some(*enabled),
        time: Some(read::duration(*time)),
        interval: Some(read::duration(*interval)),
        retries: Some(*retries),
    }
}

pub(super) fn decode_keepalives(it: pb::Keepalives, scope: &mut Scope<'_>) -> KeepalivesConfig {
    let pb::Keepalives { enabled, time, interval, retries } = it;
    let default = KeepalivesConfig::default();
    scope.at("keepalives", |scope| KeepalivesConfig {
        enabled: enabled.unwrap_or(default.enabled),
        time: read::span(scope, "time", time).unwrap_or(default.time),
        interval: read::span(scope, "interval", interval).unwrap_or(default.interval),
        retries: retries.unwrap_or(default.retries),
    })
}
