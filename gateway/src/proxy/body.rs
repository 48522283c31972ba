//! Bodies: what must be held, recorded or copied on the way.

use bytes::Bytes;
use filters::buffer;
use filters::exchange::Prefix;
use filters::{Reason, Reply};
use pingora_error::{Error, Result};
use pingora_proxy::Session;

use super::Proxy;
use super::ctx::Ctx;
use super::request::{Stop, answer_expect};
use crate::plan::Terms;
use crate::session::{Hold, Recording, Wishes, Wrapped};

/// What was read of a body before its backend was chosen; the backend gets it first.
#[derive(Default)]
pub struct Taken {
    chunks: Vec<Bytes>,
    bytes: usize,
    /// There is no more.
    ended: bool,
}

/// Reads so much of the body that policies can look at its first bytes, and whether there are more. Nothing where
/// nobody looks.
pub(super) async fn take(session: &mut Session, ctx: &mut Ctx, bytes_max: usize) -> Result<(), Stop> {
    if bytes_max == 0 {
        return Ok(());
    }
    let bodiless = ctx.is_upgrade || (ctx.taken.is_none() && session.is_body_empty());
    if bodiless {
        ctx.facts.body = Some(Prefix { bytes: Bytes::new(), whole: true });
        return Ok(());
    }
    let mut taken = ctx.taken.take().unwrap_or_default();
    if !taken.ended && taken.bytes <= bytes_max {
        answer_expect(session).await?;
    }
    while !taken.ended && taken.bytes <= bytes_max {
        taken.push(session.downstream_session.read_request_body().await.map_err(|it| it.into_down())?);
    }
    ctx.facts.body = Some(Prefix { bytes: taken.joined(), whole: taken.ended });
    ctx.taken = Some(taken);
    Ok(())
}

impl Taken {
    fn push(&mut self, chunk: Option<Bytes>) {
        match chunk {
            None => self.ended = true,
            Some(chunk) => {
                self.bytes += chunk.len();
                self.chunks.push(chunk);
            }
        }
    }

    /// All of it as one piece, which is then the one that is kept.
    fn joined(&mut self) -> Bytes {
        if let [one] = self.chunks.as_slice() {
            return one.clone();
        }
        let joined = Bytes::from(self.chunks.concat());
        self.chunks = vec![joined.clone()];
        joined
    }

    /// The pieces, and whether they are all.
    pub(super) fn into_parts(self) -> (Vec<Bytes>, bool) {
        (self.chunks, self.ended)
    }
}

/// Swaps in the wrapping session where something needs it; most requests need nothing.
pub(super) async fn wrap(session: &mut Session, ctx: &mut Ctx, terms: &Terms) -> Result<(), Stop> {
    let Some(settings) = ctx.settings().cloned() else { return Ok(()) };
    let limit = terms.http.max_buffer_size;
    let taken = ctx.taken.take();
    let has_body = (taken.is_some() || !session.is_body_empty()) && !ctx.is_upgrade;
    let buffer = settings.buffer().filter(|_| !ctx.is_upgrade);
    let recording = match buffer.and_then(|it| it.request.as_ref()).filter(|_| has_body) {
        Some(terms) => Some(hold_request(session, terms, limit, taken.unwrap_or_default()).await?),
        None if taken.is_some() => taken.map(|it| Recording::of(it.chunks, it.ended, limit)),
        None if has_body && settings.retry().is_some() => Some(Recording::new(limit)),
        None => None,
    };
    let hold =
        buffer.and_then(|it| it.response.as_ref()).map(|it| Hold::new(it.bytes_max.unwrap_or(limit), it.fail_open));
    let timed = ctx.request_deadline.is_some()
        || settings.timeout().is_some_and(|it| it.backend_request.is_some())
        || settings.backend_http().is_some_and(|it| it.request_timeout.is_some())
        || settings.retry().is_some_and(|it| it.per_try_timeout.is_some());
    if recording.is_none() && hold.is_none() && !timed && !ctx.is_upgrade {
        return Ok(());
    }
    let wishes = Wishes { recording, hold, request_deadline: ctx.request_deadline, upgrade: ctx.is_upgrade };
    ctx.wrapped = Some(Wrapped::install(&mut session.downstream_session, wishes));
    Ok(())
}

/// Reads the body before the backend is dialled.
async fn hold_request(
    session: &mut Session,
    terms: &buffer::Body,
    limit: usize,
    mut taken: Taken,
) -> Result<Recording, Stop> {
    let bytes_max = terms.bytes_max.unwrap_or(limit);
    let too_large = || {
        let text = "the request body is larger than the gateway may hold\n";
        Stop::Reply(Reply::text(413, Reason::TooLarge, text))
    };
    let declared = session.req_header().headers.get(http::header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > bytes_max) && !terms.fail_open {
        session.set_keepalive(None);
        return Err(too_large());
    }
    answer_expect(session).await?;
    loop {
        if taken.bytes > bytes_max && !terms.fail_open {
            session.set_keepalive(None);
            return Err(too_large());
        }
        if taken.ended || taken.bytes > bytes_max {
            return Ok(Recording::of(taken.chunks, taken.ended, bytes_max));
        }
        taken.push(session.downstream_session.read_request_body().await.map_err(|it| it.into_down())?);
    }
}

/// Starts the copies that `requestMirror` asks for.
pub(super) fn mirror(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) {
    let Some(settings) = ctx.settings().cloned() else { return };
    let Some(policy) = settings.request_mirror() else { return };
    if ctx.is_upgrade {
        return;
    }
    let Some((cluster, template)) = ctx.plan.mirror_target(&policy.backend) else { return };
    let bodiless = session.is_body_empty();
    let started = proxy.mirrors.start(&cluster, &template, policy, session.req_header(), bodiless);
    ctx.mirrors.extend(started);
}

/// `request_body_filter`.
pub(super) fn request(body: &Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    if ctx.attempt.count <= 1 {
        if let Some(chunk) = body {
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
