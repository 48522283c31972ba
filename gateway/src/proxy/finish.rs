//! Responses whose policies look at the body: head and body go out together, once both are final.

use std::sync::Arc;

use bytes::Bytes;
use filters::exchange::{Answer, Metadata};
use filters::{Effective, chain};
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::names::Fields;
use super::{Proxy, answer, compression};
use crate::session::{Finish, RESPONSE_REFUSED, RESPONSE_TOO_LARGE};

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// What a response that was finished late leaves for the log.
pub(super) type Left = Arc<Mutex<Leftover>>;

/// See [`Left`].
#[derive(Default)]
pub(super) struct Leftover {
    pub(super) metadata: Option<Box<Metadata>>,
    /// The body as it went out, where the log reads it.
    pub(super) body: Option<Bytes>,
}

/// Whether any policy that holds for the request looks at the body of its response.
pub(super) fn wants_body(ctx: &Ctx) -> bool {
    levels(ctx).any(|it| it.wants_response_body(&ctx.facts))
}

/// Policies with response hooks, in the order of responses.
fn levels(ctx: &Ctx) -> impl Iterator<Item = &Arc<Effective>> {
    let backend = ctx.backend().map(|it| &it.effective);
    backend.into_iter().chain(ctx.effective()).chain(&ctx.gateway_effective).filter(|it| it.has_response_hooks())
}

/// Asks the backend for a response that expressions can read: whole, and without coding.
pub(super) fn ask(fields: &mut Fields<'_>, ctx: &Ctx) -> Result<()> {
    let asks_agent = ctx.a2a.is_some();
    if !(wants_body(ctx) || asks_agent) || ctx.is_upgrade {
        return Ok(());
    }
    for name in [RANGE, IF_RANGE] {
        fields.remove(&name);
    }
    if asks_agent {
        fields.remove(&GRPC_ACCEPT_ENCODING);
        // What the client has is of what was shown, not of what the agent says.
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            fields.remove(&name);
        }
    }
    fields.insert(&ACCEPT_ENCODING, HeaderValue::from_static("identity"))
}

/// Holds the response back where a policy looks at its body. Returns whether it did: otherwise the head is final once
/// the hooks have run.
pub(super) fn defer(proxy: &Proxy, session: &mut Session, head: &mut ResponseHeader, ctx: &mut Ctx) -> Result<bool> {
    let translated = crate::llm::begin_answer(head, ctx)?;
    let guarded = match &ctx.wrapped {
        Some(_) => crate::llm::guard_answer(proxy, session.req_header(), head, ctx)?,
        None => None,
    };
    let first = match (translated, guarded) {
        (None, None) => crate::a2a::begin_answer(proxy, session, head, ctx)?,
        (Some(translate), Some(guard)) => Some(both(translate, guard)),
        (one, other) => one.or(other),
    };
    if let Some(first) = first {
        return finish_first(session, head, ctx, first);
    }
    if !wants_body(ctx) || ctx.is_grpc || ctx.wrapped.is_none() {
        return Ok(false);
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        proxy.telemetry.body_passed_untouched("upgrade");
        return Ok(false);
    }
    if session.req_header().method == Method::HEAD {
        if levels(ctx).any(|it| chain::sets_bodies(it, &ctx.facts)) {
            // It is of a body that nobody would get.
            head.remove_header(&CONTENT_LENGTH);
        }
        return Ok(false);
    }
    if matches!(head.status.as_u16(), 204 | 205 | 304) {
        return Ok(false);
    }
    if is_events(head) {
        proxy.telemetry.body_passed_untouched("eventStream");
        return Ok(false);
    }
    if head.status == StatusCode::PARTIAL_CONTENT {
        return Err(Error::explain(RESPONSE_REFUSED, "the backend answers with a part, and the whole is transformed"));
    }
    check_length(head, ctx)?;
    let late = late(session, ctx);
    if let Some(slot) = &ctx.wrapped {
        slot.finish_with(ctx.body_bytes_max, Box::new(move |head, body| late.finish(head, body)));
    }
    // The hooks come after the module.
    compression::off(session);
    Ok(true)
}

/// One after the other.
fn both(first: Finish, second: Finish) -> Finish {
    Box::new(move |head, body| {
        first(head, body)?;
        second(head, body)
    })
}

/// Holds back the answer of an agent, which is looked through before policies look at it. Returns whether they wait.
fn finish_first(session: &mut Session, head: &ResponseHeader, ctx: &mut Ctx, first: Finish) -> Result<bool> {
    check_length(head, ctx)?;
    let late = wants_body(ctx).then(|| late(session, ctx));
    let waits = late.is_some();
    let finish = move |head: &mut ResponseHeader, body: &mut Bytes| {
        first(head, body)?;
        late.map_or(Ok(()), |late| late.finish(head, body))
    };
    if let Some(slot) = &ctx.wrapped {
        slot.finish_with(ctx.body_bytes_max, Box::new(finish));
    }
    compression::off(session);
    Ok(waits)
}

fn check_length(head: &ResponseHeader, ctx: &Ctx) -> Result<()> {
    let length = head.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > ctx.body_bytes_max) { Err(Error::new(RESPONSE_TOO_LARGE)) } else { Ok(()) }
}

fn late(session: &Session, ctx: &mut Ctx) -> Late {
    answer::name_backend(ctx);
    let late = Late {
        levels: levels(ctx).cloned().collect(),
        request: session.req_header().clone(),
        facts: ctx.facts.clone(),
        keeps_body: ctx.seen.as_ref().is_some_and(|it| it.response.is_some()),
        left: Left::default(),
    };
    ctx.left = Some(late.left.clone());
    late
}

/// Everything that response hooks need, kept until the body is there.
struct Late {
    levels: Vec<Arc<Effective>>,
    request: pingora_http::RequestHeader,
    facts: filters::Facts,
    keeps_body: bool,
    left: Left,
}

impl Late {
    fn finish(mut self, head: &mut ResponseHeader, body: &mut Bytes) -> Result<()> {
        answer::owe(head, &self.facts)?;
        for level in &self.levels {
            let mut answer =
                Answer { response: head, request: &self.request, facts: &mut self.facts, body: Some(body) };
            if chain::on_response(level, &mut answer).is_err() {
                let why = self.facts.fault.take().unwrap_or_default();
                return Err(Error::explain(RESPONSE_REFUSED, why));
            }
        }
        let body = self.keeps_body.then(|| body.clone());
        *self.left.lock() = Leftover { metadata: self.facts.metadata.take(), body };
        Ok(())
    }
}

/// Server-sent events: a stream that nobody should wait for.
pub(crate) fn is_events(head: &ResponseHeader) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..EVENTS.len()).is_some_and(|it| it.eq_ignore_ascii_case(EVENTS))
}
