//! Bodies: what must be held, recorded or copied on the way.

use bytes::{Bytes, BytesMut};
use filters::exchange::Rest;
use filters::{HeldBody, Reason, Reply, RequestBody, Wanted, buffer};
use pingora_error::{Error, Result};
use pingora_proxy::Session;

use super::Proxy;
use super::ctx::Ctx;
use super::finish;
use super::request::{Stop, answer_expect};
use crate::plan::Terms;
use crate::session::{Hold, Recording, Wishes, Wrapped};

/// Bodies up to this are kept by Pingora itself when they are read, and sent at the start of each attempt.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Swaps in the wrapping session where something needs it; most requests need nothing.
pub(super) async fn wrap(session: &mut Session, ctx: &mut Ctx, terms: &Terms) -> Result<(), Stop> {
    let Some(settings) = ctx.settings().cloned() else { return Ok(()) };
    let limit = terms.http.max_buffer_size;
    let has_body = !session.is_body_empty() && !ctx.is_upgrade;
    let buffer = settings.buffer().filter(|_| !ctx.is_upgrade);
    // Another provider may have terms of its own, and what is translated is finished late.
    let is_kept = ctx.keeps_body
        && ctx.ai.as_ref().is_none_or(|it| it.translation.is_none() && !it.has_next())
        && !session.as_ref().retry_buffer_truncated()
        && ctx.facts.body.held().is_some_and(is_kept_as_it_is);
    let whole = |ctx: &mut Ctx, held: &HeldBody| match ctx.ai.as_mut().and_then(|it| it.record()) {
        Some(pieces) => Recording::of(pieces, true, limit),
        None => recording(held, limit),
    };
    let held = ctx.facts.body.held().cloned();
    ctx.body_at_hand = held.as_ref().is_some_and(|it| it.whole && !it.bytes.is_empty());
    let recording = match (&held, buffer.and_then(|it| it.request.as_ref()).filter(|_| has_body)) {
        // Changed, or read to its end: there is nothing left to be held.
        (Some(_), _) if is_kept => None,
        (Some(held), _) if held.whole => Some(whole(ctx, held)),
        (held, Some(terms)) => Some(hold_request(session, held.clone().unwrap_or_default(), terms, limit).await?),
        (Some(held), None) => Some(recording(held, limit)),
        (None, None) if has_body && (settings.retry().is_some() || ctx.ai.as_ref().is_some_and(|it| it.has_next())) => {
            Some(Recording::new(limit))
        }
        (None, None) => None,
    };
    let hold =
        buffer.and_then(|it| it.response.as_ref()).map(|it| Hold::new(it.bytes_max.unwrap_or(limit), it.fail_open));
    let timed = ctx.request_deadline.is_some()
        || settings.timeout().is_some_and(|it| it.backend_request.is_some())
        || settings.backend_http().is_some_and(|it| it.request_timeout.is_some())
        || settings.retry().is_some_and(|it| it.per_try_timeout.is_some());
    let unneeded = recording.is_none() && hold.is_none() && !timed && !ctx.is_upgrade;
    let drain = settings.ai().filter(|_| ctx.ai.is_some()).and_then(|it| it.drain);
    let unneeded = unneeded && drain.is_none() && !crate::llm::looks_at_answers(ctx);
    if unneeded && !finish::wants_body(ctx) && ctx.a2a.is_none() {
        return Ok(());
    }
    // What is wrapped sends what it has recorded.
    let recording = match held.filter(|_| is_kept) {
        Some(held) => Some(whole(ctx, &held)),
        None => recording,
    };
    let wishes = Wishes { recording, hold, request_deadline: ctx.request_deadline, upgrade: ctx.is_upgrade, drain };
    ctx.wrapped = Some(Wrapped::install(&mut session.downstream_session, wishes));
    Ok(())
}

/// Whether this is what Pingora has kept, where it keeps bodies.
fn is_kept_as_it_is(held: &HeldBody) -> bool {
    held.whole && !held.replaced && (1..=KEPT_BYTES_MAX).contains(&held.bytes.len())
}

/// What was read ahead, to be sent first.
fn recording(held: &HeldBody, bytes_max: usize) -> Recording {
    let chunks = Some(held.bytes.clone()).filter(|it| !it.is_empty()).into_iter().collect();
    Recording::of(chunks, held.whole, bytes_max)
}

/// Reads the request's body before the request goes on, as far as a filter looks at it.
pub async fn read_ahead(session: &mut Session, ctx: &mut Ctx, wanted: Wanted) -> Result<(), Stop> {
    // What streams is held up for a policy that asks for its beginning, and no longer.
    let beginning = match wanted {
        Wanted::Beyond(bytes) => Some(bytes),
        Wanted::Nothing | Wanted::Prefix | Wanted::Whole | Wanted::Message => None,
    };
    // Of the calls of agents a client has said all before the first answer.
    let is_stream = ctx.is_grpc && beginning.is_none() && wanted != Wanted::Message;
    if ctx.is_upgrade || is_stream {
        match &mut ctx.facts.body {
            RequestBody::Held(held) => held.rest = Rest::Streams,
            body => *body = RequestBody::Streams,
        }
        return Ok(());
    }
    let bytes_max = beginning.unwrap_or(usize::MAX).min(ctx.body_bytes_max);
    let held = ctx.facts.body.held().cloned().unwrap_or_default();
    let all = matches!(wanted, Wanted::Whole | Wanted::Message);
    if all && declared(session).is_some_and(|length| length > bytes_max) {
        session.set_keepalive(None);
        return Err(too_large());
    }
    answer_expect(session).await?;
    let length = declared(session);
    let fits = session.as_ref().body_bytes_read() == 0 && length.is_none_or(|it| it <= KEPT_BYTES_MAX);
    if fits && !ctx.changes_body {
        session.as_mut().enable_retry_buffering();
        ctx.keeps_body = true;
    }
    let mut bytes = Gathered::new(held.bytes, length.filter(|_| wanted == Wanted::Whole));
    let (mut whole, mut rest) = (true, Rest::More);
    while let Some(chunk) = session.downstream_session.read_request_body().await.map_err(|it| it.into_down())? {
        bytes.push(chunk);
        if bytes.len() > bytes_max {
            if all {
                session.set_keepalive(None);
                return Err(too_large());
            }
            whole = false;
            if bytes.len() > ctx.body_bytes_max {
                rest = Rest::Beyond;
            }
            break;
        }
    }
    ctx.facts.body = RequestBody::Held(HeldBody { bytes: bytes.whole(), whole, rest, replaced: false });
    Ok(())
}

/// A body that comes in pieces. One piece alone is not copied.
struct Gathered {
    first: Bytes,
    all: BytesMut,
    length: Option<usize>,
}

impl Gathered {
    fn new(first: Bytes, length: Option<usize>) -> Self {
        Self { first, all: BytesMut::new(), length }
    }

    fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        let first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            // At once: what grows step by step is held twice.
            self.all.reserve(self.length.unwrap_or_default().max(first.len() + piece.len()));
            self.all.extend_from_slice(&first);
        }
        self.all.extend_from_slice(&piece);
    }

    fn whole(self) -> Bytes {
        if self.first.is_empty() { self.all.freeze() } else { self.first }
    }
}

/// The length that the client has announced.
fn declared(session: &Session) -> Option<usize> {
    let declared = session.req_header().headers.get(http::header::CONTENT_LENGTH)?;
    declared.to_str().ok()?.parse().ok()
}

fn too_large() -> Stop {
    let text = "the request body is larger than the gateway may hold\n";
    Stop::Reply(Reply::text(413, Reason::TooLarge, text))
}

/// Reads the body, after what is held of it, before the backend is dialled.
async fn hold_request(
    session: &mut Session,
    held: HeldBody,
    terms: &buffer::Body,
    limit: usize,
) -> Result<Recording, Stop> {
    let bytes_max = terms.bytes_max.unwrap_or(limit);
    if declared(session).is_some_and(|length| length > bytes_max) && !terms.fail_open {
        session.set_keepalive(None);
        return Err(too_large());
    }
    answer_expect(session).await?;
    let mut bytes = held.bytes.len();
    let mut chunks: Vec<Bytes> = Some(held.bytes).filter(|it| !it.is_empty()).into_iter().collect();
    loop {
        let Some(chunk) = session.downstream_session.read_request_body().await.map_err(|it| it.into_down())? else {
            return Ok(Recording::of(chunks, true, bytes_max));
        };
        bytes += chunk.len();
        chunks.push(chunk);
        if bytes > bytes_max {
            if terms.fail_open {
                return Ok(Recording::of(chunks, false, bytes_max));
            }
            session.set_keepalive(None);
            return Err(too_large());
        }
    }
}

/// Starts the copies that `requestMirror` asks for.
pub(super) fn mirror(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) {
    let Some(settings) = ctx.settings().cloned() else { return };
    let Some(policy) = settings.request_mirror() else { return };
    // A copy would make its agent send news past the gateway.
    if ctx.is_upgrade || ctx.a2a.as_ref().is_some_and(|it| it.relayed().is_some()) {
        return;
    }
    let Some((cluster, template)) = ctx.plan.mirror_target(&policy.backend) else { return };
    let bodiless = match ctx.facts.body.held() {
        Some(held) if held.whole => held.bytes.is_empty(),
        _ => session.is_body_empty(),
    };
    let started = proxy.mirrors.start(&cluster, &template, policy, session.req_header(), bodiless);
    ctx.mirrors.extend(started);
}

/// `response_body_filter`.
pub(super) fn response(body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    let attempt = ctx.attempt.count;
    if let Some(asked) = &mut ctx.ai {
        asked.plain(body, end)?;
        asked.account.push(body, end);
    }
    crate::llm::pass(body, end, ctx)?;
    if let Some(asked) = &mut ctx.ai {
        asked.watch.push(body, end);
    }
    if let Some(noted) = ctx.seen.as_mut().and_then(|it| it.response.as_mut())
        && let Some(chunk) = &*body
    {
        noted.note(chunk, attempt);
    }
    Ok(())
}

/// `request_body_filter`.
pub(super) fn request(body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    let attempt = ctx.attempt.count;
    if let Some(asked) = &mut ctx.ai {
        asked.swap(body, attempt);
        if end {
            asked.account.handed(attempt);
        }
    }
    crate::a2a::swap(body, ctx);
    if let Some(noted) = ctx.seen.as_mut().and_then(|it| it.request.as_mut())
        && let Some(chunk) = &*body
    {
        noted.note(chunk, attempt);
    }
    if ctx.attempt.count <= 1 {
        if let Some(chunk) = &*body {
            for mirror in &mut ctx.mirrors {
                mirror.push(chunk);
            }
        }
        if end {
            for mirror in ctx.mirrors.drain(..) {
                mirror.finish();
            }
        }
    }
    if ctx.request_deadline.is_some_and(|at| std::time::Instant::now() >= at) {
        return Err(Error::new(crate::session::REQUEST_DEADLINE));
    }
    Ok(())
}
