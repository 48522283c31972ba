//! `logging`: one event of one request: the access line and the counters together.

use filters::field::{Field, Lookup, Value};
use pingora_error::Error;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::Proxy;
use super::ctx::Ctx;
use crate::listen::conn_info;
use crate::telemetry::RequestEvent;

pub fn ended(proxy: &Proxy, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
    if let Some(slot) = ctx.wrapped.take() {
        slot.restore(&mut session.downstream_session);
    }
    if let Some(error) = error {
        if ctx.outcome.error.is_none() {
            ctx.outcome.error = Some(error.to_string());
        }
    }
    let Some(conn) = conn_info(session) else { return };
    let head = session.req_header();
    let listener = ctx.listener.as_ref().map(|it| &it.listener);
    let entry = ctx.entry.as_ref().map(|it| &it.route);
    let status = session.response_written().map_or(ctx.outcome.status, |head| match head.status.as_u16() {
        101 => 101,
        100..200 => ctx.outcome.status,
        status => status,
    });
    let event = RequestEvent {
        connection_id: conn.id,
        bind: conn.bind.as_str(),
        gateway: listener.map_or("", |it| &it.gateway.name),
        listener: listener.map_or("", |it| &it.name),
        route: entry.map_or("", |it| &it.name.route.name),
        route_rule: entry.and_then(|it| it.name.rule.as_deref()).unwrap_or_default(),
        backend: ctx.backend().map_or("", |it| it.target.name()),
        endpoint: ctx.attempt.lease.as_ref().map_or("", |it| it.endpoint_text()),
        src: conn.client,
        client: ctx.facts.client,
        method: ctx.original.method.as_ref().unwrap_or(&head.method).as_str(),
        host: &ctx.facts.host,
        path: ctx.original.path.as_str(),
        version: version(head.version),
        status,
        grpc_status: ctx.outcome.grpc_status,
        protocol: if ctx.facts.tls { "https" } else { "http" },
        sni: conn.sni.as_deref().unwrap_or_default(),
        reason: ctx.outcome.reason,
        error: ctx.outcome.error.as_deref(),
        retry_attempt: ctx.attempt.count.saturating_sub(1),
        bytes_received: session.body_bytes_read() as u64,
        bytes_sent: session.body_bytes_sent() as u64,
        duration: ctx.started.elapsed(),
        request_processing: ctx.outcome.request_done.map(|at| at.saturating_duration_since(ctx.started)),
        upstream: ctx.attempt.started.map(|at| at.elapsed()),
        request_headers: &head.headers,
        response_headers: ctx.outcome.response_headers.as_deref(),
        access_log: access_log(ctx),
    };
    proxy.telemetry.request_ended(&event);
}

/// The access-log terms: the route's, else those of the listener.
fn access_log(ctx: &Ctx) -> Option<&filters::access_log::Policy> {
    ctx.effective().and_then(|it| it.access_log())
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_11 => "HTTP/1.1",
        http::Version::HTTP_2 => "HTTP/2.0",
        _ => "unknown",
    }
}

/// Fields of a request, for plain-field expressions.
pub struct Asked<'a> {
    pub head: &'a RequestHeader,
    pub ctx: &'a Ctx,
}

/// Fields of a backend's answer.
pub struct Answered<'a> {
    pub head: &'a ResponseHeader,
    pub ctx: &'a Ctx,
}
