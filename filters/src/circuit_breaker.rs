//! `circuitBreaker`: limits on what one backend is asked to carry at once.

use serde::Serialize;

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
