//! `upstream_peer`: an endpoint for this attempt, and the terms to reach it on.

use std::time::{Duration, Instant};

use filters::{Reason, circuit_breaker};
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;
use protocols::http::hop;

use super::Proxy;
use super::ctx::Ctx;
use super::inputs;
use crate::plan::BackendTarget;
use crate::upstream::{Cluster, Wanted};

/// Exponent at which back-off stops doubling.
const BACKOFF_DOUBLINGS_MAX: u32 = 10;

pub(super) async fn choose(proxy: &Proxy, session: &Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    go_on(session, ctx);
    let (resolved, ai) = (ctx.resolved.clone(), ctx.ai.as_ref().map(|it| (it.ai.clone(), it.position())));
    let target = match &ai {
        Some((ai, at)) => at.and_then(|at| ai.backend(at)),
        None => resolved.as_ref().zip(ctx.backend).and_then(|(it, at)| it.backends.get(at)),
    };
    if let Some(BackendTarget::Broken(reason)) = target.map(|it| &it.target) {
        ctx.fail(Reason::NoBackend, 500, reason.to_string());
        return Err(Error::new(ErrorType::InternalError));
    }
    let Some((backend, BackendTarget::Cluster { cluster, template })) = target.map(|it| (it, &it.target)) else {
        ctx.fail(Reason::Internal, 500, "no backend was drawn");
        return Err(Error::new(ErrorType::InternalError));
    };
    let effective = &backend.effective;
    let limits = effective.circuit_breaker();
    admit(ctx, cluster, limits).await?;
    if let Some(last) = &ctx.attempt.lease {
        ctx.attempt.tried.push(last.id());
    }
    // The wait for the first DNS answer is part of connecting.
    let lease =
        match cluster.draw(&ctx.attempt.tried, ctx.affinity, effective.health(), template.connect_timeout()).await {
            Ok(lease) => lease,
            Err(fault) => {
                let text = fault.to_string();
                ctx.fail(Reason::NoHealthyBackend, 503, text);
                return Err(Error::new(ErrorType::HTTPStatus(503)));
            }
        };
    ctx.attempt.count += 1;
    let now = Instant::now();
    ctx.attempt.started = Some(now);
    ctx.attempt.answered = false;
    ctx.attempt.retryable = false;
    let per_try = effective.retry().and_then(|it| it.per_try_timeout);
    let per_attempt = effective.timeout().and_then(|it| it.backend_request);
    let per_call = effective.backend_http().and_then(|it| it.request_timeout);
    let limit = [per_try, per_attempt, per_call].into_iter().flatten().min();
    // Whoever is asked last is waited for.
    let streams = ctx.ai.as_ref().is_some_and(|it| it.stream && it.has_next());
    let first = effective.ai().and_then(|it| it.first_token).filter(|_| streams);
    if let Some(slot) = &ctx.wrapped {
        slot.set_attempt_deadline(limit.map(|limit| now + limit));
        slot.await_first(first.map(|first| now + first));
    }
    let remaining = ctx.request_deadline.map(|at| at.saturating_duration_since(now));
    let wanted =
        Wanted { h2: ctx.is_h2, client_tls: ctx.facts.tls, grpc: ctx.is_grpc, read_timeout: None, write_timeout: None };
    let mut peer = template.peer(&lease, wanted);
    ctx.attempt.end_to_end_only = hop::end_to_end_only(&session.req_header().headers);
    if ctx.attempt.end_to_end_only {
        // Pingora would look for each header that is to be taken out, one by one.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    }
    if let Some(limit) = [limit, remaining, first].into_iter().flatten().min() {
        let limit = limit.max(Duration::from_millis(1));
        let connect = &mut peer.options.total_connection_timeout;
        *connect = Some(connect.map_or(limit, |it| it.min(limit)));
    }
    ctx.attempt.loan = template.lend(&mut peer, &lease, &proxy.lender, ctx.body_at_hand, now);
    ctx.attempt.lease = Some(lease);
    Ok(peer)
}

/// Another try at a language model is one at the next provider, where there is one.
fn go_on(session: &Session, ctx: &mut Ctx) {
    if ctx.attempt.count == 0 || !ctx.ai.as_ref().is_some_and(|it| it.has_next()) {
        return;
    }
    let Some(mut asked) = ctx.ai.take() else { return };
    asked.advance();
    asked.finish(|| inputs::request(session.req_header(), ctx));
    ctx.ai = Some(asked);
    // Endpoints of another cluster: none of them was tried, and its own limits hold.
    ctx.attempt.tried.clear();
    ctx.attempt.lease = None;
    ctx.attempt.permit = None;
}

/// A place among the requests of the cluster, and among its retries.
async fn admit(ctx: &mut Ctx, cluster: &Cluster, limits: Option<&circuit_breaker::Policy>) -> Result<()> {
    let full = |ctx: &mut Ctx, fault: String| {
        ctx.fail(Reason::Overflow, 503, fault);
        Error::new(ErrorType::HTTPStatus(503))
    };
    if ctx.attempt.count > 0 {
        match cluster.admit_retry(limits) {
            Ok(place) => ctx.attempt.retry_place = Some(place),
            Err(fault) => return Err(full(ctx, fault.to_string())),
        }
        back_off(ctx).await;
    }
    if ctx.attempt.permit.is_none() {
        match cluster.admit(limits).await {
            Ok(permit) => ctx.attempt.permit = Some(permit),
            Err(fault) => return Err(full(ctx, fault.to_string())),
        }
    }
    Ok(())
}

/// Waits before another try: doubled each time, with full jitter on the upper half, never past the
/// request's own deadline.
async fn back_off(ctx: &Ctx) {
    let Some(policy) = ctx.settings().and_then(|it| it.retry()) else { return };
    let Some(base) = policy.backoff.filter(|it| !it.is_zero()) else { return };
    let doublings = (ctx.attempt.count - 1).min(BACKOFF_DOUBLINGS_MAX);
    let full = base.saturating_mul(1 << doublings).min(policy.backoff_max);
    let mut wait = full.mul_f64(0.5 + crate::random::unit() / 2.0);
    if let Some(deadline) = ctx.request_deadline {
        wait = wait.min(deadline.saturating_duration_since(Instant::now()));
    }
    tokio::time::sleep(wait).await;
}
