//! `health`.

use filters::Scope;
use filters::health::{
    Active, ActiveConfig, Config, Eviction, EvictionConfig, GrpcProbeConfig, HttpProbeConfig, Policy, Probe,
    TcpProbeConfig,
};

use crate::codec::read;
use crate::pb;
use crate::pb::health as wire;

pub(super) fn encode(it: &Policy) -> pb::Health {
    let Policy { unhealthy, eviction, active } = it;
    pb::Health {
        unhealthy_expression: unhealthy.as_ref().map(ToString::to_string),
        eviction: eviction.as_ref().map(encode_eviction),
        active: active.as_ref().map(encode_active),
    }
}

fn encode_eviction(it: &Eviction) -> wire::Eviction {
    let Eviction { duration, duration_max, restore_health, consecutive_failures, health_threshold } = it;
    wire::Eviction {
        duration: Some(read::duration(*duration)),
        max_duration: Some(read::duration(*duration_max)),
        restore_health: *restore_health,
        consecutive_failures: *consecutive_failures,
        health_threshold: *health_threshold,
    }
}

fn encode_active(it: &Active) -> wire::Active {
    let Active { probe, interval, timeout, unhealthy_threshold, healthy_threshold } = it;
    let probe = match probe {
        Probe::Http { path, host, expected_statuses } => wire::active::Probe::Http(wire::HttpProbe {
            path: Some(path.to_string()),
            host: host.as_ref().map(ToString::to_string),
            expected_statuses: expected_statuses.iter().map(|it| u32::from(*it)).collect(),
        }),
        Probe::Tcp => wire::active::Probe::Tcp(pb::Unit {}),
        Probe::Grpc { service } => wire::active::Probe::Grpc(wire::GrpcProbe { service: service.to_string() }),
    };
    wire::Active {
        probe: Some(probe),
        interval: Some(read::duration(*interval)),
        timeout: Some(read::duration(*timeout)),
        unhealthy_threshold: Some(*unhealthy_threshold),
        healthy_threshold: Some(*healthy_threshold),
    }
}

pub(super) fn decode(it: pb::Health, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Health { unhealthy_expression, eviction, active } = it;
    let config = Config {
        unhealthy_expression,
        eviction: eviction.map(|it| scope.at("eviction", |scope| decode_eviction(it, scope))),
        active: active.map(|it| scope.at("active", |scope| decode_active(it, scope))),
    };
    config.lower(scope)
}

fn decode_eviction(it: wire::Eviction, scope: &mut Scope<'_>) -> EvictionConfig {
    let wire::Eviction { duration, max_duration, restore_health, consecutive_failures, health_threshold } = it;
    EvictionConfig {
        duration: read::span(scope, "duration", duration),
        max_duration: read::span(scope, "maxDuration", max_duration),
        restore_health,
        consecutive_failures,
        health_threshold,
    }
}

fn decode_active(it: wire::Active, scope: &mut Scope<'_>) -> ActiveConfig {
    let wire::Active { probe, interval, timeout, unhealthy_threshold, healthy_threshold } = it;
    let base = ActiveConfig::default();
    let mut config = ActiveConfig {
        interval: read::span(scope, "interval", interval).unwrap_or(base.interval),
        timeout: read::span(scope, "timeout", timeout).unwrap_or(base.timeout),
        unhealthy_threshold: unhealthy_threshold.unwrap_or(base.unhealthy_threshold),
        healthy_threshold: healthy_threshold.unwrap_or(base.healthy_threshold),
        http: None,
        tcp: None,
        grpc: None,
    };
    match probe {
        // Lowering asks for exactly one.
        None => {}
        Some(wire::active::Probe::Http(it)) => config.http = Some(decode_http(it, scope)),
        Some(wire::active::Probe::Tcp(pb::Unit {})) => config.tcp = Some(TcpProbeConfig {}),
        Some(wire::active::Probe::Grpc(wire::GrpcProbe { service })) => {
            config.grpc = Some(GrpcProbeConfig { service });
        }
    }
    config
}

fn decode_http(it: wire::HttpProbe, scope: &mut Scope<'_>) -> HttpProbeConfig {
    let wire::HttpProbe { path, host, expected_statuses } = it;
    let base = HttpProbeConfig::default();
    let statuses: Vec<u16> = scope.at("http", |scope| read::numbers(scope, "expectedStatuses", &expected_statuses));
    HttpProbeConfig {
        path: path.unwrap_or(base.path),
        host,
        expected_statuses: if statuses.is_empty() { base.expected_statuses } else { statuses },
    }
}
