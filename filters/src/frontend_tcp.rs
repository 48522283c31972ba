//! `frontendPolicies.tcp`: client sockets: keep-alive probes, connection and idle limits.
//!
//! ```yaml
//! tcp:
//!   keepalives:
//!     time: 60s
//!   maxConnections: 20000
//!   idleTimeout: 1h
//! ```
//!
//! **Limits.** Over `maxConnections` on one bind, new connections are closed at once.
//! `idleTimeout` (1 h unless written) ends raw TCP and passthrough connections on which no byte
//! moves; `0` never does.
//!
//! **Where we differ.** `keepalives` is optional; `maxConnections` and `idleTimeout` are ours.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::backend_tcp::{Keepalives, KeepalivesConfig};
use crate::lower::Span;

/// An idle limit that is never reached: a century.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Client sockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "FrontendTcp")]
pub struct Config {
    /// Keep-alive probes towards clients.
    pub keepalives: KeepalivesConfig,
    /// Connections open at once on one bind; further ones are closed at once.
    pub max_connections: Option<u32>,
    /// A raw TCP or passthrough connection without a byte either way is closed after this; `0`
    /// for never.
    pub idle_timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        let Policy { keepalives: _, max_connections, idle_timeout } = Policy::default();
        Self { keepalives: KeepalivesConfig::default(), max_connections, idle_timeout: Span(idle_timeout) }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { keepalives, max_connections, idle_timeout } = self;
        let keepalives = scope.at("keepalives", |scope| keepalives.lower(scope));
        if max_connections == Some(0) {
            scope.problem_at("maxConnections", "0 lets nobody in: write 1 or more, or leave it out");
            return None;
        }
        let idle_timeout = idle_timeout.nonzero().unwrap_or(FOREVER);
        Some(Policy { keepalives: keepalives?, max_connections, idle_timeout })
    }
}

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn defaults_stand_and_zero_is_never_idle() {
        assert_eq!(lower(json!({}), Config::lower), Policy::default());
        assert_eq!(lower(json!({"idleTimeout": "0"}), Config::lower).idle_timeout, FOREVER);
        refuses([(json!({"maxConnections": 0}), "policy.maxConnections")], Config::lower);
    }
}
