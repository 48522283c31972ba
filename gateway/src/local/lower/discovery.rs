//! Services and workloads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ir::ServiceKey;
use ir::backend as to;

use super::Lowering;
use crate::local::document as doc;

impl Lowering<'_> {
    pub fn service(&mut self, index: usize, it: doc::Service) {
        let path = format!("services[{index}]");
        let doc::Service { name, namespace, hostname, vips: _, ports, app_protocols, load_balancer } = it;
        let key = ServiceKey::new(format!("{namespace}/{hostname}"));
        self.name("service", key.as_str(), &format!("{path}.hostname"));
        let ports = self.ports(&format!("{path}.ports"), ports);
        let mut protocols = BTreeMap::new();
        for (port, text) in app_protocols {
            if let Some(port) = self.port(&format!("{path}.appProtocols"), &port) {
                protocols.insert(port, text.to_ascii_lowercase().into());
            }
        }
        let balancer = load_balancer.unwrap_or_default();
        let service = to::Service {
            key,
            namespace: namespace.into(),
            name: name.into(),
            hostname: hostname.into(),
            ports,
            app_protocols: protocols,
            load_balancer: to::LoadBalancer {
                routing_preferences: balancer.routing_preferences.into_iter().map(scope).collect(),
                mode: match balancer.mode {
                    doc::LocalityMode::Standard => to::LocalityMode::Standard,
                    doc::LocalityMode::Strict => to::LocalityMode::Strict,
                    doc::LocalityMode::Failover => to::LocalityMode::Failover,
                },
                allow_unhealthy: matches!(balancer.health_policy, doc::HealthPolicy::AllowAll),
            },
            origin: self.origin(&path),
        };
        self.out.services.push(Arc::new(service));
    }

    pub fn workload(&mut self, index: usize, it: doc::Workload) {
        let path = format!("workloads[{index}]");
        let namespace = it.namespace.unwrap_or_else(|| "default".to_owned());
        let uid = it.uid.unwrap_or_else(|| format!("{namespace}/{}", it.name));
        self.name("workload", uid.clone(), &format!("{path}.name"));
        let mut addresses = Vec::new();
        for (position, text) in it.workload_ips.iter().enumerate() {
            let parsed: Result<IpAddr, _> = text.parse();
            let parsed = parsed.map_err(|_| format!("`{text}` is not an IP address"));
            addresses.extend(self.check(format!("{path}.workloadIps[{position}]"), parsed));
        }
        let mut services = BTreeMap::new();
        for (service, ports) in it.services {
            let ports = self.ports(&format!("{path}.services"), ports);
            services.insert(ServiceKey::new(service), ports);
        }
        let locality = it.locality.unwrap_or_default();
        let workload = to::Workload {
            uid: uid.into(),
            name: it.name.into(),
            namespace: namespace.into(),
            addresses,
            hostname: it.hostname.unwrap_or_default().into(),
            locality: to::Locality {
                region: locality.region.into(),
                zone: locality.zone.into(),
                subzone: locality.subzone.into(),
            },
            network: it.network.unwrap_or_default().into(),
            cluster: it.cluster_id.unwrap_or_default().into(),
            node: it.node.unwrap_or_default().into(),
            capacity: it.capacity.unwrap_or(1),
            healthy: it.status == doc::WorkloadStatus::Healthy,
            services,
            origin: self.origin(&path),
        };
        self.out.workloads.push(Arc::new(workload));
    }

    fn ports(&mut self, path: &str, written: BTreeMap<String, u16>) -> BTreeMap<u16, u16> {
        let mut ports = BTreeMap::new();
        for (port, target) in written {
            if let Some(port) = self.port(path, &port) {
                ports.insert(port, target);
            }
        }
        ports
    }

    fn port(&mut self, path: &str, text: &str) -> Option<u16> {
        self.check(path, text.parse().map_err(|_| format!("`{text}` is not a port")))
    }
}

fn scope(it: doc::Scope) -> to::Scope {
    match it {
        doc::Scope::Region => to::Scope::Region,
        doc::Scope::Zone => to::Scope::Zone,
        doc::Scope::Subzone => to::Scope::Subzone,
        doc::Scope::Node => to::Scope::Node,
        doc::Scope::Cluster => to::Scope::Cluster,
        doc::Scope::Network => to::Scope::Network,
    }
}
