//! Services.

use filters::Scope;
use ir::backend::{LoadBalancer, LocalityMode, Scope as Rank};
use ir::{Origin, Service, ServiceKey};

use super::read;
use crate::pb;

pub(super) fn encode(it: &Service) -> pb::Service {
    let Service { key: _, namespace, name, hostname, ports, app_protocols, load_balancer, origin: _ } = it;
    pb::Service {
        name: name.to_string(),
        namespace: namespace.to_string(),
        hostname: hostname.to_string(),
        ports: ports.iter().map(|(port, target)| (u32::from(*port), u32::from(*target))).collect(),
        app_protocols: app_protocols.iter().map(|(port, text)| (u32::from(*port), text.to_string())).collect(),
        load_balancer: Some(encode_balancer(load_balancer)),
    }
}

pub(super) fn decode(it: pb::Service, origin: &Origin, scope: &mut Scope<'_>) -> Service {
    let pb::Service { name, namespace, hostname, ports, app_protocols, load_balancer } = it;
    let ports = scope.at("ports", |scope| {
        let entry = |(port, target): (u32, u32)| {
            let at = format!("[{port}]");
            (read::port(scope, &at, port), read::number(scope, &at, target))
        };
        ports.into_iter().map(entry).collect()
    });
    let app_protocols = scope.at("appProtocols", |scope| {
        let entry = |(port, text): (u32, String)| {
            (read::port(scope, &format!("[{port}]"), port), text.to_ascii_lowercase().into())
        };
        app_protocols.into_iter().map(entry).collect()
    });
    let namespace = read::text(scope, "namespace", &namespace);
    let hostname = read::text(scope, "hostname", &hostname);
    Service {
        key: ServiceKey::new(format!("{namespace}/{hostname}")),
        namespace,
        name: name.into(),
        hostname,
        ports,
        app_protocols,
        load_balancer: scope.at("loadBalancer", |scope| decode_balancer(load_balancer.unwrap_or_default(), scope)),
        origin: origin.clone(),
    }
}

fn encode_balancer(it: &LoadBalancer) -> pb::LoadBalancer {
    let LoadBalancer { routing_preferences, mode, allow_unhealthy } = it;
    let rank = |it: &Rank| match it {
        Rank::Region => pb::Scope::Region,
        Rank::Zone => pb::Scope::Zone,
        Rank::Subzone => pb::Scope::Subzone,
        Rank::Node => pb::Scope::Node,
        Rank::Cluster => pb::Scope::Cluster,
        Rank::Network => pb::Scope::Network,
    };
    let mode = match mode {
        LocalityMode::Standard => pb::LocalityMode::Standard,
        LocalityMode::Strict => pb::LocalityMode::Strict,
        LocalityMode::Failover => pb::LocalityMode::Failover,
    };
    pb::LoadBalancer {
        routing_preferences: routing_preferences.iter().map(|it| rank(it).into()).collect(),
        mode: mode.into(),
        allow_unhealthy: *allow_unhealthy,
    }
}

fn decode_balancer(it: pb::LoadBalancer, scope: &mut Scope<'_>) -> LoadBalancer {
    let pb::LoadBalancer { routing_preferences, mode, allow_unhealthy } = it;
    let key = "routingPreferences";
    let mut ranks = Vec::with_capacity(routing_preferences.len());
    for (position, it) in read::choices(scope, key, &routing_preferences).into_iter().enumerate() {
        ranks.push(match it {
            pb::Scope::Region => Rank::Region,
            pb::Scope::Zone => Rank::Zone,
            pb::Scope::Subzone => Rank::Subzone,
            pb::Scope::Node => Rank::Node,
            pb::Scope::Cluster => Rank::Cluster,
            pb::Scope::Network => Rank::Network,
            pb::Scope::Unspecified => {
                scope.at(key, |scope| scope.problem_at(&format!("[{position}]"), "no scope"));
                continue;
            }
        });
    }
    let mode = match read::choice(scope, "mode", mode) {
        pb::LocalityMode::Unspecified | pb::LocalityMode::Standard => LocalityMode::Standard,
        pb::LocalityMode::Strict => LocalityMode::Strict,
        pb::LocalityMode::Failover => LocalityMode::Failover,
    };
    LoadBalancer { routing_preferences: ranks, mode, allow_unhealthy }
}
