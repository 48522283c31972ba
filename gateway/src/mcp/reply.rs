//! What goes to the client: messages, refusals, and streams that say that they live.

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
use crate::listen::carried::{Carried, Kind};
use crate::proxy::{Ctx, answer};

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

/// Writes a reply.
pub(super) async fn write(session: &mut Session, ctx: &mut Ctx, reply: Reply) -> Result<()> {
    answer::write(session, ctx, reply).await
}

/// A stream of events under way to the client.
pub(super) struct Stream<'a> {
    session: &'a mut Session,
}

impl<'a> Stream<'a> {
    /// Writes the head.
    pub(super) async fn begin(
        session: &'a mut Session,
        ctx: &mut Ctx,
        carried: &std::sync::Arc<Carried>,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Self> {
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
        Ok(Self { session })
    }

    pub(super) async fn event(&mut self, event: &Event) -> Result<()> {
        self.session.write_response_body(Some(event.to_bytes()), false).await
    }

    /// Waits for what comes next, and meanwhile keeps the stream alive and watches whether the client is still there.
    pub(super) async fn next<T>(&mut self, mut coming: impl Future<Output = T> + Unpin) -> Result<T> {
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
        self.session.write_response_body(Some(Bytes::new()), true).await
    }
}

/// Waits for an answer, as long as the client does.
pub(super) async fn while_there<T>(session: &mut Session, coming: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        biased;
        answer = coming => Ok(answer),
        gone = gone(session) => Err(gone),
    }
}

/// Ends when the client has left.
async fn gone(session: &mut Session) -> Box<Error> {
    match session.downstream_session.read_body_or_idle(true).await {
        Ok(_) => Error::new_down(ErrorType::ConnectionClosed),
        Err(error) => error.into_down(),
    }
}
