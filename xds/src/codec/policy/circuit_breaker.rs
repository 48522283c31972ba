//! `circuitBreaker`.

use filters::Scope;
use filters::circuit_breaker::{Config, Policy};

use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::CircuitBreaker {
    let Policy { max_parallel_requests, max_connections, max_pending_requests, max_parallel_retries } = *it;
    pb::CircuitBreaker { max_connections, max_pending_requests, max_parallel_requests, max_parallel_retries }
}

pub(super) fn decode(it: pb::CircuitBreaker, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::CircuitBreaker { max_connections, max_pending_requests, max_parallel_requests, max_parallel_retries } = it;
    Config { max_connections, max_pending_requests, max_parallel_requests, max_parallel_retries }.lower(scope)
}
