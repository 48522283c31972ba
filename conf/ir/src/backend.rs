//! Where traffic goes: backends, services and the workloads behind them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::ai::AiBackend;
use crate::mcp::McpBackend;
use crate::name::{BackendKey, Origin, ServiceKey, Text};

/// What a route points at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendRef {
    Backend(BackendKey),
    Service {
        service: ServiceKey,
        port: u16,
    },
    /// Matching goes on inside this route group.
    RouteGroup(Text),
    /// A reference that was refused; the request gets 500 with this reason in the log.
    Invalid(Text),
}

/// A named or inline backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Backend {
    pub key: BackendKey,
    pub kind: BackendKind,
    pub origin: Origin,
}

/// What a backend is. The kind that speaks A2A comes with its issue.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendKind {
    Host(HostTarget),
    Mcp(McpBackend),
    Ai(AiBackend),
    /// What the embedded default serves: a small echo.
    Demo,
}

/// A host to dial. Names are resolved in the background, never while a request waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostTarget {
    Address(SocketAddr),
    Name { host: Text, port: u16 },
    Unix(PathBuf),
}

impl HostTarget {
    /// Reads `name:port`, `ip:port`, `[ip6]:port` or `unix:/path`. Errors name the cure.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(format!("`{text}`: a unix socket needs an absolute path, `unix:/path`"));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Address(address));
        }
        let help = || format!("`{text}` is not a host: write `name:port`, `ip:port` or `unix:/path`");
        let (host, port) = text.rsplit_once(':').ok_or_else(help)?;
        let port: u16 = port.parse().map_err(|_| help())?;
        let host = host.trim_end_matches('.');
        let valid = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && host.split('.').all(|label| !label.is_empty() && label.len() <= 63);
        if !valid || port == 0 {
            return Err(help());
        }
        Ok(Self::Name { host: host.to_ascii_lowercase().into(), port })
    }
}

impl fmt::Display for HostTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for HostTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A service: a stable name over workloads.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    pub key: ServiceKey,
    pub namespace: Text,
    pub name: Text,
    pub hostname: Text,
    /// Service port to target port (0: the workload's own mapping decides).
    pub ports: BTreeMap<u16, u16>,
    /// What a port speaks: `http`, `http2`, `grpc`, `tls`, as Kubernetes `appProtocol`.
    pub app_protocols: BTreeMap<u16, Text>,
    pub load_balancer: LoadBalancer,
    pub origin: Origin,
}

/// How the endpoints of a service are ranked before one is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// Scopes in order; an endpoint's rank is the number of leading scopes it shares with us.
    pub routing_preferences: Vec<Scope>,
    pub mode: LocalityMode,
    /// Use endpoints reported unhealthy as well.
    pub allow_unhealthy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    Region,
    Zone,
    Subzone,
    Node,
    Cluster,
    Network,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LocalityMode {
    /// Locality is not looked at.
    #[default]
    Standard,
    /// Only endpoints that share every scope.
    Strict,
    /// The best rank that has a healthy endpoint.
    Failover,
}

/// Where something runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Locality {
    pub region: Text,
    pub zone: Text,
    pub subzone: Text,
}

/// One running instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    pub uid: Text,
    pub name: Text,
    pub namespace: Text,
    pub addresses: Vec<IpAddr>,
    /// Used where there is no address.
    pub hostname: Text,
    pub locality: Locality,
    pub network: Text,
    pub cluster: Text,
    pub node: Text,
    /// Weight among its peers; 0 means drained.
    pub capacity: u32,
    pub healthy: bool,
    /// For each service it belongs to, service port to own port.
    pub services: BTreeMap<ServiceKey, BTreeMap<u16, u16>>,
    pub origin: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_in_all_their_forms_and_written_back() {
        for text in ["api.example.com:8080", "127.0.0.1:80", "[::1]:443", "unix:/run/a.sock"] {
            assert_eq!(HostTarget::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_host_without_a_usable_port_is_refused_with_the_cure() {
        for text in ["api", "api:0", "api:70000", ":80", "http://x:80", "unix:rel", "a b:1"] {
            let error = HostTarget::parse(text).unwrap_err();
            assert!(error.contains("name:port") || error.contains("unix:/path"), "{text}: {error}");
        }
    }
}
