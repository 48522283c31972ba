//! `frontendPolicies.tcp`: client sockets: keep-alive probes, connection and idle limits.

use std::time::Duration;

use serde::Serialize;

use crate::backend_tcp::Keepalives;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub keepalives: Keepalives,
    /// Connections open at once on one bind; further ones are closed at once.
    pub max_connections: Option<u32>,
    /// A raw TCP or passthrough connection without a byte either way is closed after this.
    pub idle_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { keepalives: Keepalives::default(), max_connections: None, idle_timeout: Duration::from_secs(3600) }
    }
}
