//! What the embedded default answers: the request, said back. It needs no backend, so that a new
//! user sees traffic in the first minute.

use std::time::Duration;

use bytes::Bytes;
use filters::{Reason, Reply};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, TRANSFER_ENCODING};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::answer;
use super::body::Taken;
use super::ctx::Ctx;

/// Events of the demo stream, one every [`EVENT_PAUSE`].
const EVENTS: u32 = 10;
const EVENT_PAUSE: Duration = Duration::from_millis(300);
/// Largest request body read and said back.
const BODY_BYTES_MAX: usize = 64 << 10;

pub(super) async fn answer(session: &mut Session, ctx: &mut Ctx) -> Result<()> {
    if session.req_header().uri.path() == "/events" {
        return events(session, ctx).await;
    }
    super::request::answer_expect(session).await?;
    let (taken, ended) = ctx.taken.take().map(Taken::into_parts).unwrap_or_default();
    let mut body = taken.concat();
    loop {
        let chunk = if ended { None } else { session.downstream_session.read_request_body().await? };
        let Some(chunk) = chunk else { break };
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            session.set_keepalive(None);
            let reply = Reply::text(413, Reason::TooLarge, "the demo reads bodies of up to 64 KiB\n");
            return answer::write(session, ctx, reply).await;
        }
        body.extend_from_slice(&chunk);
    }
    let head = session.req_header();
    let headers: serde_json::Map<String, serde_json::Value> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()))
        .collect();
    let said = serde_json::json!({
        "gateway": "agentgateway",
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "host": ctx.facts.host,
        "client": ctx.facts.client.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
        "next": "write a config.yaml and start with -f config.yaml; GET /events streams",
    });
    let text = serde_json::to_vec_pretty(&said).map(Bytes::from).unwrap_or_default();
    let mut reply = Reply::text(200, Reason::DirectResponse, text);
    reply.headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    answer::write(session, ctx, reply).await
}

async fn events(session: &mut Session, ctx: &mut Ctx) -> Result<()> {
    let mut head = ResponseHeader::build(200, Some(4))?;
    head.insert_header(CONTENT_TYPE, "text/event-stream")?;
    head.insert_header(CACHE_CONTROL, "no-cache")?;
    if session.req_header().version == http::Version::HTTP_11 {
        head.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    answer::decorate(&mut head, ctx)?;
    ctx.outcome.status = 200;
    ctx.outcome.reason = Reason::DirectResponse;
    session.write_response_header(Box::new(head), false).await?;
    for number in 1..=EVENTS {
        let event = format!("id: {number}\ndata: event {number} of {EVENTS}\n\n");
        session.write_response_body(Some(event.into()), false).await?;
        tokio::select! {
            () = tokio::time::sleep(EVENT_PAUSE) => {}
            _ = session.downstream_session.read_body_or_idle(true) => {
                ctx.outcome.reason = Reason::ClientGone;
                return Err(pingora_error::Error::new_down(pingora_error::ErrorType::ConnectionClosed));
            }
        }
    }
    session.write_response_body(Some(Bytes::from_static(b"data: done\n\n")), true).await
}
