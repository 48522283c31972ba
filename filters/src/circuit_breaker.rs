//! `circuitBreaker`: limits on what one backend is asked to carry at once.
//!
//! ```yaml
//! circuitBreaker:
//!   maxParallelRequests: 200
//!   maxPendingRequests: 50
//!   maxConnections: 100
//!   maxParallelRetries: 20
//! ```
//!
//! **Over a limit.** 503 with reason `Overflow`, at once. With `maxPendingRequests` that many
//! requests wait for a place first, within their own deadline. An absent limit is none.
//!
//! **Scope.** Counted for each backend in this process, over all its endpoints.
//!
//! **Merging.** The nearest to the backend replaces the others whole: the reference to it, the backend itself, then what
//! route, listener and gateway hand down; one with `inheritance: override` stands against all nearer ones. In the
//! reference a policy attached to a backend gives way to one of a route: here it is nearer, and wins.
//!
//! **Where we differ.** The reference has no such policy; names and meaning are Envoy Gateway's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;

/// Limits on what one backend is asked to carry at once. Absent means no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "CircuitBreaker")]
pub struct Config {
    /// TCP and passthrough connections open at once.
    pub max_connections: Option<u32>,
    /// Requests that wait for a place when `maxParallelRequests` is reached; 0 refuses at once.
    pub max_pending_requests: Option<u32>,
    /// Requests in flight, over all endpoints.
    pub max_parallel_requests: Option<u32>,
    /// Retries in flight; 0 allows none.
    pub max_parallel_retries: Option<u32>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { max_connections, max_pending_requests, max_parallel_requests, max_parallel_retries } = self;
        let before = scope.problems.len();
        for (key, limit) in [("maxConnections", max_connections), ("maxParallelRequests", max_parallel_requests)] {
            if limit == Some(0) {
                scope.problem_at(key, "0 lets nothing through: write 1 or more, or leave it out");
            }
        }
        if max_pending_requests.is_some() && max_parallel_requests.is_none() {
            scope.problem_at("maxPendingRequests", "nothing ever waits without `maxParallelRequests`");
        }
        (scope.problems.len() == before).then_some(Policy {
            max_parallel_requests,
            max_connections,
            max_pending_requests,
            max_parallel_retries,
        })
    }
}

/// Absent means no limit. Over a limit the request gets 503 at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Requests in flight, over all endpoints.
    pub max_parallel_requests: Option<u32>,
    /// TCP and passthrough connections open at once.
    pub max_connections: Option<u32>,
    /// Requests that wait for a place when `max_parallel_requests` is reached; 0 refuses at once.
    pub max_pending_requests: Option<u32>,
    /// Retries in flight.
    pub max_parallel_retries: Option<u32>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn limits_that_let_nothing_through_or_never_act_are_refused() {
        refuses(
            [
                (json!({"maxConnections": 0}), "policy.maxConnections: 0 lets nothing through"),
                (json!({"maxPendingRequests": 1}), "policy.maxPendingRequests: nothing ever waits"),
            ],
            Config::lower,
        );
        let policy = lower(json!({"maxParallelRequests": 1, "maxPendingRequests": 0}), Config::lower);
        assert_eq!(policy.max_pending_requests, Some(0));
    }
}
