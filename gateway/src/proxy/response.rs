//! Response heads: retries on status, what the endpoint's answer says of its health, our headers.

use std::time::Duration;

use filters::expr::Needs;
use http::header::{CONNECTION, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::{Proxy, answer, compression, failure, finish, inputs, names};
use crate::listen::carried::Kind;
use crate::session::RESPONSE_REFUSED;
use crate::upstream::Outcome;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What is to be looked for in a response.
static OF_HOPS: [HeaderName; 3] = [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION];

/// Headers that Pingora adds to each answer: `Date` and `Connection`.
const ADDED: usize = 2;

/// `upstream_response_filter`: the backend's own answer.
pub(super) fn upstream(session: &mut Session, head: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    if head.status.is_informational() {
        return Ok(());
    }
    ctx.attempt.answered = true;
    let status = head.status.as_u16();
    report(session, head, ctx);
    crate::llm::heed(head, ctx);
    if failure::may_go_on(session, ctx) && is_left_to_another(status) {
        ctx.attempt.retryable = true;
        let mut error = Error::explain(ErrorType::HTTPStatus(status), "the next provider is asked").into_up();
        error.set_retry(true);
        return Err(error);
    }
    let Some(policy) = ctx.settings().and_then(|it| it.retry()) else { return Ok(()) };
    let wanted = || policy.codes.contains(&status) || is_retried(policy, session, head, ctx);
    if wanted() && failure::may_retry(session, ctx) {
        ctx.attempt.retryable = true;
        let mut error = Error::explain(ErrorType::HTTPStatus(status), "retry on status").into_up();
        error.set_retry(true);
        return Err(error);
    }
    Ok(())
}

/// What another provider may do better. 529 is Anthropic's for being overloaded.
fn is_left_to_another(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 529)
}

/// Whether the policy's condition asks for another attempt.
fn is_retried(policy: &filters::retry::Policy, session: &Session, head: &ResponseHeader, ctx: &Ctx) -> bool {
    let Some(condition) = &policy.condition else { return false };
    condition.holds(&inputs::response(session.req_header(), head, ctx)).unwrap_or(false)
}

/// Tells the endpoint how it did.
fn report(session: &Session, head: &ResponseHeader, ctx: &Ctx) {
    let Some(lease) = &ctx.attempt.lease else { return };
    let health = ctx.settings().and_then(|it| it.health());
    let ok = match health.and_then(|it| it.unhealthy.as_ref()) {
        Some(unhealthy) => {
            let inputs = inputs::response(session.req_header(), head, ctx);
            !unhealthy.holds(&inputs).unwrap_or(false)
        }
        None => !head.status.is_server_error(),
    };
    let retry_after = if ok {
        None
    } else {
        head.headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs)
    };
    let latency = ctx.attempt.started.map(|at| at.elapsed());
    lease.report(Outcome { ok, connect_failed: false, latency, retry_after }, health);
}

/// Counts what may last long: a process that drains says what it still carries.
pub(super) fn carry(proxy: &Proxy, head: &ResponseHeader, ctx: &mut Ctx) {
    ctx.load = match head.status {
        http::StatusCode::SWITCHING_PROTOCOLS => Some(proxy.carried.take(Kind::WebSocket)),
        http::StatusCode::OK if finish::is_events(head) => Some(proxy.carried.take(Kind::Sse)),
        _ => None,
    };
}

/// `response_filter`: the head as it goes to the client.
pub(super) fn filter(proxy: &Proxy, session: &mut Session, head: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    if head.status.is_informational() && head.status != http::StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    names::plain_response(head, ADDED + ctx.facts.owed.len())?;
    hop_by_hop(head, ctx);
    if session.req_header().version == http::Version::HTTP_11 && head.version < http::Version::HTTP_11 {
        // The version is each hop's own (RFC 9110 section 6.2).
        head.set_version(http::Version::HTTP_11);
    }
    if session.req_header().version == http::Version::HTTP_10 {
        // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
        head.remove_header(&TRANSFER_ENCODING);
    }
    crate::llm::watch(head, ctx)?;
    let late = finish::defer(proxy, session, head, ctx)?;
    if !late {
        if let Err(reply) = answer::decorate(session.req_header(), head, ctx)? {
            let why = ctx.facts.fault.take().unwrap_or_default();
            ctx.outcome.reply = Some(Box::new(reply));
            return Err(Error::explain(RESPONSE_REFUSED, why));
        }
        compression::decide(session, head, ctx);
    }
    ctx.outcome.status = head.status.as_u16();
    if ctx.is_grpc {
        ctx.outcome.grpc_status = grpc_status(&head.headers).or(ctx.outcome.grpc_status);
    }
    if !late && super::log::reads(ctx, proxy.telemetry.labels(), Needs::RESPONSE_HEADERS) {
        ctx.outcome.response_headers = Some(Box::new(head.headers.clone()));
    }
    answer::settle(session, ctx);
    Ok(())
}

/// RFC 9110 section 7.6.1, but for what Pingora settles itself (framing, `Connection`).
fn hop_by_hop(head: &mut ResponseHeader, ctx: &Ctx) {
    if ctx.is_upgrade && head.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    if !names::any_of(&head.headers, &OF_HOPS) {
        return;
    }
    let listed: Vec<HeaderName> = protocols::http::hop::connection_tokens(&head.headers)
        .filter_map(|token| token.parse().ok())
        .filter(|name: &HeaderName| {
            !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection" | "close" | "keep-alive")
        })
        .collect();
    for name in listed {
        head.remove_header(&name);
    }
    head.remove_header(&KEEP_ALIVE);
    head.remove_header(&PROXY_CONNECTION);
}

/// `response_trailer_filter`.
pub(super) fn trailers(trailers: &mut HeaderMap, ctx: &mut Ctx) {
    if ctx.is_grpc {
        ctx.outcome.grpc_status = grpc_status(trailers).or(ctx.outcome.grpc_status);
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status").and_then(|value: &HeaderValue| value.to_str().ok()?.parse().ok())
}
