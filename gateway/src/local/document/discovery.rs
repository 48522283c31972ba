//! Services and workloads as written: what is behind a `service` reference.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::default_namespace;

/// A stable name over workloads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    pub hostname: String,
    /// `network/ip`; not used for routing.
    #[serde(default)]
    pub vips: Vec<String>,
    /// Service port to target port.
    #[serde(default)]
    pub ports: BTreeMap<String, u16>,
    /// Port to `http`, `http2`, `grpc`, …
    #[serde(default)]
    pub app_protocols: BTreeMap<String, String>,
    pub load_balancer: Option<LoadBalancer>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadBalancer {
    pub routing_preferences: Vec<Scope>,
    pub mode: LocalityMode,
    pub health_policy: HealthPolicy,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    Region,
    Zone,
    Subzone,
    Node,
    Cluster,
    Network,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LocalityMode {
    #[default]
    Standard,
    Strict,
    Failover,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HealthPolicy {
    #[default]
    OnlyHealthy,
    AllowAll,
}

/// One running instance.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Workload {
    /// Default: `namespace/name`.
    pub uid: Option<String>,
    pub name: String,
    pub namespace: Option<String>,
    #[serde(alias = "workloadIPs")]
    pub workload_ips: Vec<String>,
    pub hostname: Option<String>,
    pub node: Option<String>,
    pub network: Option<String>,
    pub cluster_id: Option<String>,
    pub locality: Option<Locality>,
    pub status: WorkloadStatus,
    /// Weight among its peers; 0 means drained.
    pub capacity: Option<u32>,
    /// `namespace/hostname` to its port mapping, service port to own port.
    pub services: BTreeMap<String, BTreeMap<String, u16>>,
    pub service_account: Option<String>,
    pub trust_domain: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub subzone: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WorkloadStatus {
    #[default]
    Healthy,
    Unhealthy,
}
