//! Answers of the gateway's own.

use std::sync::Arc;

use bytes::Bytes;
use filters::callout::How;
use filters::exchange::Answer;
use filters::{Effective, Facts, Reason, Reply, chain};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::failure;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Headers that come to those of an answer, about.
const ADDED: usize = 8;

/// Writes a reply; the connection stays usable unless the request's body is still on its way.
pub async fn write(session: &mut Session, ctx: &mut Ctx, reply: Reply) -> Result<()> {
    let reply = match crate::llm::dialect_of(ctx) {
        Some(dialect) => crate::llm::in_dialect(dialect, reply),
        None => reply,
    };
    let Reply { status, headers, body, reason } = reply;
    if ctx.outcome.reason == Reason::Upstream {
        ctx.outcome.reason = reason;
    }
    ctx.outcome.status = status;
    let mut head = if ctx.is_grpc { grpc_head(status, (headers, &body), ctx)? } else { plain_head(status, headers)? };
    if let Some(fault) = ctx.facts.fault.take() {
        ctx.outcome.error.get_or_insert(fault);
    }
    // What cannot be transformed of our own answers holds nothing to be kept back.
    let _ = decorate(session.req_header(), &mut head, ctx)?;
    ctx.facts.fault = None;
    let body = if ctx.is_grpc { Bytes::new() } else { body };
    if let Some(noted) = ctx.seen.as_mut().and_then(|it| it.response.as_mut()) {
        noted.replace(&body);
    }
    let bodiless = session.req_header().method == http::Method::HEAD || matches!(status, 204 | 304) || status < 200;
    if !ctx.is_grpc && !matches!(status, 204 | 304) && status >= 200 {
        head.insert_header(CONTENT_LENGTH, protocols::http::number(body.len()))?;
    }
    settle(session, ctx);
    let end = bodiless || body.is_empty();
    session.write_response_header(Box::new(head), end).await?;
    if !end {
        return session.write_response_body(Some(body), true).await;
    }
    if ctx.is_h2 {
        // Pingora drops `end` here, and resets the stream in its place.
        return session.downstream_session.finish_body().await;
    }
    Ok(())
}

/// Headers owed to the client on whatever answer it gets.
pub(super) fn owe(head: &mut ResponseHeader, facts: &Facts) -> Result<()> {
    for (name, value, how) in &facts.response_changes {
        let held = head.headers.contains_key(name);
        match how {
            How::Append => {
                head.append_header(name.clone(), value.clone())?;
            }
            How::AddIfAbsent if held => {}
            How::OverwriteIfExists if !held => {}
            _ => head.insert_header(name.clone(), value.clone())?,
        }
    }
    super::names::add(head, &facts.owed)
}

/// Owed headers and response hooks: the same for every answer, ours or the backend's. The inner error is what the client
/// gets where the response may not pass.
pub fn decorate(request: &RequestHeader, head: &mut ResponseHeader, ctx: &mut Ctx) -> Result<Result<(), Reply>> {
    owe(head, &ctx.facts)?;
    let hooked = |it: Option<&Arc<Effective>>| it.filter(|it| it.has_response_hooks()).cloned();
    let backend = hooked(ctx.backend().map(|it| &it.effective));
    let (route, gateway) = (hooked(ctx.effective()), hooked(ctx.gateway_effective.as_ref()));
    if backend.is_some() || route.is_some() || gateway.is_some() {
        name_backend(ctx);
    }
    for level in [backend, route, gateway].into_iter().flatten() {
        let mut answer = Answer { response: head, request, facts: &mut ctx.facts, body: None };
        if let Err(reply) = chain::on_response(&level, &mut answer) {
            return Ok(Err(reply));
        }
    }
    Ok(Ok(()))
}

/// Notes the backend for policies that may ask.
pub(super) fn name_backend(ctx: &mut Ctx) {
    if ctx.facts.whereabouts.backend.is_none() {
        ctx.facts.whereabouts.backend = ctx.backend().map(|it| it.target.name().into());
    }
}

type Headers = Vec<(HeaderName, HeaderValue)>;

/// Written at once: Pingora parses the name of each header that it is given.
fn plain_head(status: u16, headers: Headers) -> Result<ResponseHeader> {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(status)
        .map_err(|fault| Error::because(ErrorType::InternalError, "a status of our own", fault))?;
    parts.headers = HeaderMap::with_capacity(headers.len() + ADDED);
    for (name, value) in headers {
        parts.headers.append(name, value);
    }
    Ok(ResponseHeader::from(parts))
}

/// Trailers-only answer: gRPC says its status in a 200 head.
fn grpc_head(status: u16, (headers, body): (Headers, &Bytes), ctx: &mut Ctx) -> Result<ResponseHeader> {
    let code = failure::grpc_code(ctx.outcome.reason, status);
    ctx.outcome.grpc_status = Some(code as u16);
    let mut head = ResponseHeader::build_no_case(200, Some(6))?;
    head.insert_header(CONTENT_TYPE, "application/grpc")?;
    head.insert_header("grpc-status", (code as u16).to_string())?;
    let text = String::from_utf8_lossy(body);
    if !text.is_empty() {
        head.insert_header("grpc-message", protocols::grpc::encode_message(text.trim_end()).into_owned())?;
    }
    for (name, value) in headers.into_iter().filter(|(name, _)| *name != CONTENT_TYPE) {
        if name == GRPC_STATUS {
            // Whoever refuses knows better than what its status stands for.
            ctx.outcome.grpc_status = value.to_str().ok().and_then(|it| it.parse().ok());
            head.insert_header(name, value)?;
        } else {
            head.append_header(name, value)?;
        }
    }
    Ok(head)
}

/// Before a final head goes out: whether the connection may serve another request.
pub fn settle(session: &mut Session, ctx: &Ctx) {
    // A client that was not told to go on may leave its body out, or send it: nobody can tell.
    let unsure = !ctx.is_h2
        && ctx.expects
        && session.req_header().headers.contains_key(EXPECT)
        && session.response_written().is_none()
        && !session.downstream_session.is_body_done();
    if unsure || ctx.conn.as_ref().is_some_and(|conn| conn.draining()) {
        close(session, ctx);
    }
}

/// The answer is the last one of its connection.
pub(super) fn close(session: &mut Session, ctx: &Ctx) {
    match &ctx.wrapped {
        Some(slot) => slot.close(),
        None => session.set_keepalive(None),
    }
}
