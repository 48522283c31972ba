//! `frontendPolicies.tcp`: client sockets: keep-alive probes, connection and idle limits.
//!
//! ```yaml
//! tcp:
//!   keepalives:
//!     time: 60s
//!   maxConnections: 20000
//!   idleTimeout: 1h
//!   drainTimeout: 30m
//! ```
//!
//! **Merging.** The most specific policy replaces the others whole: of the listener, its gateway, the instance.
//!
//! **Limits.** Over `maxConnections` on one bind, new connections are closed at once.
//! `idleTimeout` (1 h unless written) ends raw TCP and passthrough connections on which no byte
//! moves; `0` never does. `drainTimeout` is how long what a bind carries, streams above all, goes on
//! when a successor has taken over, when the process is told to end, or when the bind is removed
//! (`config.connectionTerminationDeadline` unless written); then it is closed.
//!
//! **Where we differ.** `keepalives` is optional; `maxConnections`, `idleTimeout` and `drainTimeout` are ours.

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
    /// What is carried goes on for so long after a successor has taken over, the process was told to end or the bind
    /// was removed. Default: `config.connectionTerminationDeadline`.
    pub drain_timeout: Option<Span>,
}

impl Default for Config {
    fn default() -> Self {
        let Policy { keepalives: _, max_connections, idle_timeout, drain_timeout: _ } = Policy::default();
        let keepalives = KeepalivesConfig::default();
        Self { keepalives, max_connections, idle_timeout: Span(idle_timeout), drain_timeout: None }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { keepalives, max_connections, idle_timeout, drain_timeout } = self;
        let keepalives = scope.at("keepalives", |scope| keepalives.lower(scope));
        if max_connections == Some(0) {
            scope.problem_at("maxConnections", "0 lets nobody in: write 1 or more, or leave it out");
            return None;
        }
        let idle_timeout = idle_timeout.nonzero().unwrap_or(FOREVER);
        let drain_timeout = drain_timeout.map(|it| it.0);
        Some(Policy { keepalives: keepalives?, max_connections, idle_timeout, drain_timeout })
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
    /// What is carried goes on for so long in a drain; absent for the process's own limit.
    pub drain_timeout: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            keepalives: Keepalives::default(),
            max_connections: None,
            idle_timeout: Duration::from_secs(3600),
            drain_timeout: None,
        }
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
