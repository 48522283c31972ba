//! Workloads.

use std::collections::BTreeMap;
use std::net::IpAddr;

use filters::Scope;
use ir::backend::Locality;
use ir::{Origin, ServiceKey, Workload};

use super::read;
use crate::pb;
use crate::pb::workload::{Health, Membership, PortMapping};

pub(super) fn encode(it: &Workload) -> pb::Workload {
    let Workload {
        uid,
        name,
        namespace,
        addresses,
        hostname,
        locality: Locality { region, zone, subzone },
        network,
        cluster,
        node,
        capacity,
        healthy,
        services,
        origin: _,
    } = it;
    let address = |it: &IpAddr| match it {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    };
    let mapping = |(service, target): (&u16, &u16)| PortMapping {
        service_port: (*service).into(),
        target_port: (*target).into(),
    };
    let membership = |(service, ports): (&ServiceKey, &BTreeMap<u16, u16>)| Membership {
        service: service.to_string(),
        ports: ports.iter().map(mapping).collect(),
    };
    let health = if *healthy { Health::Healthy } else { Health::Unhealthy };
    pb::Workload {
        uid: uid.to_string(),
        name: name.to_string(),
        namespace: namespace.to_string(),
        addresses: addresses.iter().map(address).collect(),
        hostname: hostname.to_string(),
        locality: Some(pb::Locality {
            region: region.to_string(),
            zone: zone.to_string(),
            subzone: subzone.to_string(),
        }),
        network: network.to_string(),
        cluster: cluster.to_string(),
        node: node.to_string(),
        capacity: Some(*capacity),
        health: health.into(),
        services: services.iter().map(membership).collect(),
    }
}

pub(super) fn decode(it: pb::Workload, origin: &Origin, scope: &mut Scope<'_>) -> Workload {
    let pb::Workload {
        uid,
        name,
        namespace,
        addresses: list,
        hostname,
        locality,
        network,
        cluster,
        node,
        capacity,
        health,
        services,
    } = it;
    let mut addresses = Vec::with_capacity(list.len());
    for (position, bytes) in list.iter().enumerate() {
        let parsed = address(bytes).ok_or_else(|| format!("an address has 4 or 16 bytes, not {}", bytes.len()));
        addresses.extend(scope.check(&format!("addresses[{position}]"), parsed));
    }
    let pb::Locality { region, zone, subzone } = locality.unwrap_or_default();
    Workload {
        uid: read::text(scope, "uid", &uid),
        name: name.into(),
        namespace: namespace.into(),
        addresses,
        hostname: hostname.into(),
        locality: Locality { region: region.into(), zone: zone.into(), subzone: subzone.into() },
        network: network.into(),
        cluster: cluster.into(),
        node: node.into(),
        capacity: capacity.unwrap_or(1),
        healthy: read::choice::<Health>(scope, "health", health) != Health::Unhealthy,
        services: decode_services(services, scope),
        origin: origin.clone(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

fn decode_services(list: Vec<Membership>, scope: &mut Scope<'_>) -> BTreeMap<ServiceKey, BTreeMap<u16, u16>> {
    let mut services = BTreeMap::new();
    for (position, Membership { service, ports }) in list.into_iter().enumerate() {
        scope.at(format!("services[{position}]"), |scope| {
            let key = ServiceKey(read::text(scope, "service", &service));
            let mut mapped = BTreeMap::new();
            for (position, PortMapping { service_port, target_port }) in ports.into_iter().enumerate() {
                scope.at(format!("ports[{position}]"), |scope| {
                    let service = read::port(scope, "servicePort", service_port);
                    let target = read::number(scope, "targetPort", target_port);
                    if mapped.insert(service, target).is_some() {
                        scope.problem_at("servicePort", format!("{service} is here twice"));
                    }
                });
            }
            if services.insert(key, mapped).is_some() {
                scope.problem_at("service", "the service is here twice");
            }
        });
    }
    services
}
