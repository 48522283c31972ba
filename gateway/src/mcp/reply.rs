//! What goes to the client: messages, refusals, and streams that say that they live.

use std::sync::Arc;

use bytes::Bytes;
use filters::{Reason, Reply};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use protocols::mcp::transport::{EVENT_STREAM, JSON};
use protocols::sse::{COMMENT, Event};

use super::KEEP_ALIVE;
use super::sse::Channel;
use crate::listen::carried::{Carried, Kind};
use crate::proxy::{Ctx, answer};
use crate::session::Slot;

/// Tells proxies on the way not to hold events back.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A message, or several, with a status.
pub(super) fn message(status: u16, reason: Reason, body: impl Into<Bytes>) -> Reply {
    Reply { status, headers: vec![(CONTENT_TYPE, HeaderValue::from_static(JSON))], body: body.into(), reason }
}

/// Nothing but a status.
pub(super) fn bare(status: u16, reason: Reason) -> Reply {
    Reply { status, headers: Vec::new(), body: Bytes::new(), reason }
}

/// Writes a reply, or says it where the client listens.
pub(super) async fn write(session: &mut Session, ctx: &mut Ctx, reply: Reply) -> Result<()> {
    if let Some(channel) = &ctx.channel {
        if ctx.outcome.reason == Reason::Upstream {
            ctx.outcome.reason = reply.reason;
        }
        if !reply.body.is_empty() {
            channel.say(Event::message(reply.body)).await.map_err(|()| left())?;
        }
        return Ok(());
    }
    answer::write(session, ctx, reply).await
}

/// A stream of events under way to the client.
pub(super) struct Stream<'a> {
    session: &'a mut Session,
    /// Where it goes instead.
    channel: Option<Arc<Channel>>,
    wrapped: Option<Slot>,
}

impl<'a> Stream<'a> {
    /// Writes the head.
    pub(super) async fn begin(
        session: &'a mut Session,
        ctx: &mut Ctx,
        carried: &Arc<Carried>,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Self> {
        if let Some(channel) = ctx.channel.clone() {
            return Ok(Self { session, channel: Some(channel), wrapped: None });
        }
        let mut head = ResponseHeader::build(200, Some(6))?;
        head.insert_header(CONTENT_TYPE, EVENT_STREAM)?;
        head.insert_header(CACHE_CONTROL, "no-cache, no-transform")?;
        head.insert_header(UNBUFFERED, "no")?;
        for (name, value) in headers {
            head.insert_header(name, value)?;
        }
        if session.req_header().version == http::Version::HTTP_11 {
            head.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
        let _ = answer::decorate(session.req_header(), &mut head, ctx)?;
        answer::settle(session, ctx);
        ctx.outcome.status = 200;
        ctx.load = Some(carried.take(Kind::Sse));
        session.write_response_header(Box::new(head), false).await?;
        Ok(Self { session, channel: None, wrapped: ctx.wrapped.clone() })
    }

    pub(super) async fn event(&mut self, event: &Event) -> Result<()> {
        if let Some(channel) = &self.channel {
            return match event.data.is_empty() {
                true => Ok(()),
                false => channel.say(event.clone()).await.map_err(|()| left()),
            };
        }
        self.session.write_response_body(Some(event.to_bytes()), false).await
    }

    /// Waits for what comes next, and meanwhile keeps the stream alive and watches whether the client is still there.
    pub(super) async fn next<T>(&mut self, mut coming: impl Future<Output = T> + Unpin) -> Result<T> {
        if let Some(channel) = &self.channel {
            return with(channel, coming).await;
        }
        loop {
            let mut pause = std::pin::pin!(tokio::time::sleep(KEEP_ALIVE));
            tokio::select! {
                biased;
                next = &mut coming => return Ok(next),
                gone = gone(self.session) => return Err(gone),
                () = &mut pause => self.session.write_response_body(Some(Bytes::from_static(COMMENT)), false).await?,
            }
        }
    }

    pub(super) async fn end(self) -> Result<()> {
        if self.channel.is_some() {
            return Ok(());
        }
        if crate::listen::conn_info(self.session).is_some_and(|it| it.draining()) {
            // What the client asks next, it asks elsewhere.
            match &self.wrapped {
                Some(slot) => slot.close(),
                None => self.session.set_keepalive(None),
            }
        }
        self.session.write_response_body(Some(Bytes::new()), true).await
    }
}

/// Waits for an answer, as long as the client does.
pub(super) async fn while_there<T>(session: &mut Session, ctx: &Ctx, coming: impl Future<Output = T>) -> Result<T> {
    if let Some(channel) = &ctx.channel {
        return with(channel, std::pin::pin!(coming)).await;
    }
    tokio::select! {
        biased;
        answer = coming => Ok(answer),
        gone = gone(session) => Err(gone),
    }
}

/// As long as somebody listens.
async fn with<T>(channel: &Channel, coming: impl Future<Output = T> + Unpin) -> Result<T> {
    tokio::select! {
        biased;
        next = coming => Ok(next),
        () = channel.gone() => Err(left()),
    }
}

fn left() -> Box<Error> {
    Error::new_down(ErrorType::ConnectionClosed)
}

/// Ends when the client has left.
async fn gone(session: &mut Session) -> Box<Error> {
    match session.downstream_session.read_body_or_idle(true).await {
        Ok(_) => Error::new_down(ErrorType::ConnectionClosed),
        Err(error) => error.into_down(),
    }
}
