//! Servers of revision 2024-11-05: one stream of events carries everything they say, and its first event names the
//! path that messages are posted to. The stream is a [`Line`].

use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use protocols::mcp::transport::{EVENT_STREAM, JSON};
use tokio::sync::{mpsc, oneshot};

use super::TARGET_DEADLINE;
use super::Target;
use super::call::{HttpEvents, Terms};
use super::duplex::{Line, WAITING_MAX};
use super::fault::Fault;
use super::federation::Endpoint;
use super::talk::{Talk, insert};

/// Opens the stream. It ends with the line.
pub(super) async fn connect(talk: &Talk, target: &Arc<Target>, affinity: Option<u64>) -> Result<Arc<Line>, Fault> {
    let endpoint = target.sse()?;
    let mut head = talk.head(endpoint, (&Method::GET, &endpoint.path), b"").await?;
    insert(&mut head, header::ACCEPT, HeaderValue::from_static(EVENT_STREAM))?;
    let terms = Terms { deadline: TARGET_DEADLINE, again: true, affinity };
    let reply = talk.mcp.caller.send(endpoint, &head, None, terms).await?;
    if reply.status != StatusCode::OK || !reply.is_type(EVENT_STREAM) {
        return Err(Fault::Status(reply.status.as_u16()));
    }
    let mut events = reply.events();
    let path = loop {
        let event = events.next().await?.ok_or(Fault::Silent)?;
        if event.event.as_deref() == Some("endpoint") {
            break post_path(endpoint, &event.data)?;
        }
    };
    let (out, messages) = mpsc::channel(WAITING_MAX);
    let (end, ending) = oneshot::channel::<()>();
    let line = Line::new(out, end);
    tokio::spawn(hear(events, Arc::downgrade(&line), ending));
    tokio::spawn(say(talk.again(), (target.clone(), path, affinity), messages, Arc::downgrade(&line)));
    Ok(line)
}

/// The path in an `endpoint` event: of the same server, whatever it calls itself.
fn post_path(endpoint: &Endpoint, data: &[u8]) -> Result<String, Fault> {
    let wrong = || Fault::Message("an endpoint that is no path of the server".to_owned());
    let text = std::str::from_utf8(data).map_err(|_| wrong())?.trim();
    let path = match text.split_once("://") {
        Some((_, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').ok_or_else(wrong)?);
            let own = endpoint.host.as_ref().and_then(|it| it.to_str().ok());
            // A message may not be led to another server.
            if own.is_some_and(|own| !own.eq_ignore_ascii_case(authority)) {
                return Err(wrong());
            }
            path
        }
        None => text,
    };
    if path.starts_with("//") {
        return Err(wrong());
    }
    if path.starts_with('/') {
        return Ok(path.to_owned());
    }
    let folder = endpoint.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Ok(format!("{folder}/{path}"))
}

async fn hear(mut events: HttpEvents, line: Weak<Line>, mut ending: oneshot::Receiver<()>) {
    loop {
        let next = tokio::select! {
            next = events.next() => next,
            _ = &mut ending => return,
        };
        let (Ok(Some(event)), Some(line)) = (next, line.upgrade()) else { break };
        line.said(event.data).await;
    }
    if let Some(line) = line.upgrade() {
        line.ended();
    }
}

async fn say(
    talk: Talk,
    (target, path, affinity): (Arc<Target>, String, Option<u64>),
    mut messages: mpsc::Receiver<Bytes>,
    line: Weak<Line>,
) {
    while let Some(message) = messages.recv().await {
        if let Err(fault) = post(&talk, &target, (&path, affinity), message).await {
            tracing::debug!(target_name = &*target.name, error = %fault, "a message was not taken");
            if let Some(line) = line.upgrade() {
                line.ended();
            }
            return;
        }
    }
}

async fn post(
    talk: &Talk,
    target: &Target,
    (path, affinity): (&str, Option<u64>),
    message: Bytes,
) -> Result<(), Fault> {
    let endpoint = target.sse()?;
    let mut head = talk.head(endpoint, (&Method::POST, path), &message).await?;
    insert(&mut head, header::CONTENT_TYPE, HeaderValue::from_static(JSON))?;
    let terms = Terms { deadline: TARGET_DEADLINE, again: false, affinity };
    let reply = talk.mcp.caller.send(endpoint, &head, Some(message), terms).await?;
    let status = reply.status;
    reply.discard().await;
    if status.is_success() { Ok(()) } else { Err(Fault::Status(status.as_u16())) }
}
