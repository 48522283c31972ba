//! `upstream_peer`: an endpoint for this attempt, and the terms to reach it on.

use std::time::{Duration, Instant};

use filters::Reason;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::Proxy;
use super::ctx::Ctx;
use crate::plan::BackendTarget;
use crate::upstream::Wanted;

/// Exponent at which back-off stops doubling.
const BACKOFF_DOUBLINGS_MAX: u32 = 10;

pub async fn choose(proxy: &Proxy, _session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let resolved = ctx.resolved.clone();
    let target = resolved.as_ref().zip(ctx.backend).and_then(|(it, at)| it.backends.get(at));
    let Some((backend, BackendTarget::Cluster { cluster, template })) = target.map(|it| (it, &it.target)) else {
        ctx.fail(Reason::Internal, 500, "no backend was drawn");
        return Err(Error::new(ErrorType::InternalError));
    };
    let effective = &backend.effective;
    if ctx.attempt.count > 0 {
        back_off(proxy, ctx).await;
    }
    let limits = effective.circuit_breaker();
    if ctx.attempt.permit.is_none() {
        match cluster.admit(limits).await {
            Ok(permit) => ctx.attempt.permit = Some(permit),
            Err(_) => {
                ctx.fail(Reason::Overflow, 503, "the backend's limit of parallel and waiting requests is reached");
                return Err(Error::new(ErrorType::HTTPStatus(503)));
            }
        }
    }
    // The wait for the first DNS answer is part of connecting.
    let lease = match cluster.pick_or_wait(&ctx.attempt.tried, ctx.affinity, effective.health()).await {
        Ok(lease) => lease,
        Err(fault) => {
            let text = fault.to_string();
            ctx.fail(Reason::NoHealthyBackend, 503, text);
            return Err(Error::new(ErrorType::HTTPStatus(503)));
        }
    };
    ctx.attempt.count += 1;
    ctx.attempt.tried.push(lease.id());
    let now = Instant::now();
    ctx.attempt.started = Some(now);
    ctx.attempt.answered = false;
    ctx.attempt.retryable = false;
    let per_try = effective.retry().and_then(|it| it.per_try_timeout);
    let per_attempt = effective.timeout().and_then(|it| it.backend_request);
    let per_call = effective.backend_http().and_then(|it| it.request_timeout);
    let limit = [per_try, per_attempt, per_call].into_iter().flatten().min();
    if let Some(slot) = &ctx.wrapped {
        slot.set_attempt_deadline(limit.map(|limit| now + limit));
    }
    let remaining = ctx.request_deadline.map(|at| at.saturating_duration_since(now));
    let wanted = Wanted {
        h2: ctx.is_h2,
        grpc: ctx.is_grpc,
        upgrade: ctx.is_upgrade,
        connect_limit: [limit, remaining].into_iter().flatten().min().map(|it| it.max(Duration::from_millis(1))),
    };
    let peer = template.peer(&lease, &wanted);
    ctx.attempt.lease = Some(lease);
    Ok(peer)
}

/// Waits before another try: doubled each time, with full jitter on the upper half, never past the
/// request's own deadline.
async fn back_off(proxy: &Proxy, ctx: &Ctx) {
    let backend = ctx.backend();
    proxy.telemetry.retried(backend.map_or("", |it| it.target.name()));
    let Some(policy) = ctx.settings().and_then(|it| it.retry()) else { return };
    let Some(base) = policy.backoff.filter(|it| !it.is_zero()) else { return };
    let doublings = (ctx.attempt.count - 1).min(BACKOFF_DOUBLINGS_MAX);
    let full = base.saturating_mul(1 << doublings).min(policy.backoff_max);
    let mut wait = full.mul_f64(0.5 + crate::random::fraction() / 2.0);
    if let Some(deadline) = ctx.request_deadline {
        wait = wait.min(deadline.saturating_duration_since(Instant::now()));
    }
    tokio::time::sleep(wait).await;
}
