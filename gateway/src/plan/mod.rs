//! The compiled form of a snapshot: what a connection and a request look things up in.

use std::sync::Arc;

use filters::{Effective, frontend_http, frontend_tcp, frontend_tls, ip_access, proxy_protocol};
use ir::{BindKey, Map};

use crate::upstream::{Cluster, Template};

pub struct Plan {
    pub generation: u64,
    pub snapshot: filters::Snapshot,
    binds: Map<BindKey, Arc<BindPlan>>,
}

/// Everything a new connection on one bind needs.
pub struct BindPlan {
    pub bind: Arc<ir::Bind>,
    pub transport: Transport,
    pub terms: Arc<Terms>,
    listeners: Vec<Arc<ListenerPlan>>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Http,
    Tls,
    Tcp,
}

/// Terms of a bind's connections (`frontendPolicies`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    pub http: frontend_http::Policy,
    pub tcp: frontend_tcp::Policy,
    pub tls: frontend_tls::Policy,
    pub proxy_protocol: Option<proxy_protocol::Policy>,
    /// All must permit the client.
    pub ip_access: Vec<ip_access::Policy>,
}

/// One listener, compiled.
pub struct ListenerPlan {
    pub listener: Arc<ir::Listener>,
    /// Present when TLS is terminated here.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// Where a raw connection goes.
pub struct TcpChoice {
    pub route: Arc<ir::TcpRoute>,
    pub cluster: Arc<Cluster>,
    pub template: Arc<Template>,
    pub effective: Arc<Effective>,
}

impl Plan {
    pub fn bind(&self, key: &BindKey) -> Option<&Arc<BindPlan>> {
        self.binds.get(key)
    }

    /// The route of a raw connection and one of its backends, drawn by weight.
    pub fn tcp_choice(&self, _listener: &ListenerPlan, _sni: Option<&str>, _random: u64) -> Result<TcpChoice, TcpMiss> {
        Err(TcpMiss::NoRoute)
    }

    pub fn binds(&self) -> impl Iterator<Item = &Arc<BindPlan>> {
        self.binds.values()
    }
}

impl BindPlan {
    /// The listener for an SNI or Host name (lower case, no port): exact, longest suffix, any.
    pub fn listener(&self, name: Option<&str>) -> Option<&Arc<ListenerPlan>> {
        self.listeners.iter().find(|it| it.listener.hostname.covers(name.unwrap_or_default()))
    }
}

/// Why a raw connection goes nowhere.
pub enum TcpMiss {
    NoRoute,
    NoBackend(Arc<ir::TcpRoute>, ir::Text),
}
