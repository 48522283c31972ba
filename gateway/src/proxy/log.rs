//! `logging`: one event of one request: the access line and the counters together.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Instant;

use filters::Reason;
use filters::expr::{Expression, Needs};
use pingora_error::Error;
use pingora_proxy::Session;

use super::Proxy;
use super::ctx::Ctx;
use super::finish::Leftover;
use crate::listen::Peer;
use crate::telemetry::RequestEvent;

pub(super) fn ended(proxy: &Proxy, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
    if let Some(slot) = ctx.wrapped.take() {
        if slot.is_abandoned() {
            ctx.fail(Reason::ClientGone, 499, "the client left, the rest was read for its account");
        }
        slot.restore(&mut session.downstream_session);
    }
    finished_late(proxy, session, ctx);
    if let Some(error) = error
        && ctx.outcome.error.is_none()
    {
        ctx.outcome.error = Some(error.to_string());
    }
    account(proxy, ctx);
    crate::llm::noted(ctx);
    let a2a = crate::a2a::settle(proxy, ctx);
    let Some(conn) = ctx.conn.take().filter(|it| it.peer != Peer::Own) else { return };
    conn.told.store(true, Ordering::Relaxed);
    let status = session.response_written().map_or(ctx.outcome.status, |head| match head.status.as_u16() {
        101 => 101,
        100..200 => ctx.outcome.status,
        status => status,
    });
    crate::llm::settle_limits(proxy, session, ctx, status);
    let head = session.req_header();
    let listener = ctx.listener.as_ref().map(|it| &it.listener);
    // The route itself is in no cache where there are many: it is looked at only for who asks.
    let entry = ctx.entry.as_ref().filter(|_| proxy.telemetry.names_routes()).map(|it| &it.route);
    let policy = access_log(ctx);
    let wants =
        proxy.telemetry.labels().next().is_some() || policy.is_some_and(|it| it.filter.is_some() || !it.add.is_empty());
    let inputs = wants.then(|| super::inputs::log(head, ctx, status));
    let llm = ctx.ai.as_ref().map(|it| it.event());
    let now = Instant::now();
    let event = RequestEvent {
        connection_id: conn.id,
        bind: conn.bind.as_str(),
        gateway: listener.map_or("", |it| &it.gateway.name),
        listener: listener.map_or("", |it| &it.name),
        route: entry.map_or("", |it| &it.name.route.name),
        route_rule: entry.and_then(|it| it.name.rule.as_deref()).unwrap_or_default(),
        backend: ctx.backend().map_or("", |it| it.target.name()),
        endpoint: ctx.attempt.lease.as_ref().map_or("", |it| it.endpoint_text()),
        src: Some(src(conn.client, ctx.facts.client)),
        method: ctx.original.method.as_ref().unwrap_or(&head.method).as_str(),
        host: &ctx.facts.host,
        path: ctx.original.path.as_str(),
        version: version(head.version),
        status,
        grpc_status: ctx.outcome.grpc_status,
        protocol: if ctx.facts.tls { "https" } else { "http" },
        sni: conn.sni.as_deref().unwrap_or_default(),
        identity: Some(&ctx.facts.identity),
        reason: ctx.outcome.reason,
        error: ctx.outcome.error.as_deref().or(ctx.facts.fault.as_deref()),
        decisions: &ctx.facts.decisions,
        mcp: ctx.told.as_deref(),
        retry_attempt: ctx.attempt.count.saturating_sub(1),
        bytes_received: session.body_bytes_read() as u64,
        bytes_sent: session.body_bytes_sent() as u64,
        duration: now.saturating_duration_since(ctx.started),
        request_processing: ctx.outcome.request_done.map(|at| at.saturating_duration_since(ctx.started)),
        upstream: ctx.attempt.started.map(|at| now.saturating_duration_since(at)),
        a2a: a2a.map(|told| (told, ctx.facts.a2a.read())),
        inputs: inputs.as_ref(),
        access_log: policy,
        llm: llm.as_ref(),
    };
    proxy.telemetry.request_ended(&event);
}

/// What a response that was finished late has left.
fn finished_late(proxy: &Proxy, session: &Session, ctx: &mut Ctx) {
    if let Some(left) = ctx.left.take() {
        let Leftover { metadata, body } = std::mem::take(&mut *left.lock());
        ctx.facts.metadata = metadata.or_else(|| ctx.facts.metadata.take());
        if let Some(noted) = ctx.seen.as_mut().and_then(|it| it.response.as_mut())
            && let Some(body) = &body
        {
            noted.replace(body);
        }
    }
    // Of answers that were finished late, and of our own.
    if ctx.outcome.response_headers.is_none() && reads(ctx, proxy.telemetry.labels(), Needs::RESPONSE_HEADERS) {
        let head = session.response_written().filter(|it| !it.status.is_informational());
        ctx.outcome.response_headers = head.map(|head| Box::new(head.headers.clone()));
    }
}

/// What a language model used, where one was asked.
fn account(proxy: &Proxy, ctx: &mut Ctx) {
    if let Some(asked) = &mut ctx.ai {
        let waits_no_more = matches!(ctx.outcome.reason, Reason::ClientGone | Reason::Timeout);
        if waits_no_more && !ctx.attempt.answered && asked.operation.uses_tokens() {
            asked.account.give_up(ctx.attempt.count);
        }
        asked.settle(&proxy.prices);
        if reads(ctx, proxy.telemetry.labels(), Needs::LLM) {
            ctx.llm = ctx.ai.as_ref().map(|it| Box::new(it.object()));
        }
    }
}

/// The client: with its port where it is the connection's own, without where a proxy named it.
fn src(client: SocketAddr, named: IpAddr) -> SocketAddr {
    if client.ip() == named { client } else { SocketAddr::new(named, 0) }
}

/// The access-log terms: the route's, else those of the listener, else those of the port.
pub(super) fn access_log(ctx: &Ctx) -> Option<&filters::access_log::Policy> {
    match ctx.effective().or(ctx.base.as_ref()) {
        Some(effective) => effective.access_log(),
        None => ctx.terms.as_ref()?.access_log.as_ref(),
    }
}

/// Whether what the access log or the labels of metrics evaluate reads so much.
pub(crate) fn reads<'a>(ctx: &'a Ctx, labels: impl Iterator<Item = &'a Expression>, what: Needs) -> bool {
    let policy = access_log(ctx);
    let added = policy.into_iter().flat_map(|it| it.filter.iter().chain(it.add.iter().map(|(_, field)| field)));
    added.chain(labels).any(|it| it.needs().intersects(what))
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_11 => "HTTP/1.1",
        http::Version::HTTP_2 => "HTTP/2.0",
        _ => "unknown",
    }
}
