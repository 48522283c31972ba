//! One server's answer on its way to the client: as it is, but for what says whose things are.

use std::sync::Arc;

use bytes::Bytes;
use filters::Reason;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::json::Raw;
use protocols::mcp::resume::Last;
use protocols::mcp::{Edits, List, Message, Shape, list, name};
use protocols::sse::Event;

use super::events::Events;
use super::fault::Fault;
use super::guard::Guards;
use super::reply::{self, Stream};
use super::route::Bound;
use super::talk::Talk;
use super::target::{Answer, Sending};
use super::{Target, audit, own_auth, target};
use crate::proxy::{Ctx, Proxy};

/// Sends a request to its server and passes the answer on.
pub(super) async fn request(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (bound, id, guards): (Bound, &str, Option<&Guards>),
) -> Result<()> {
    let Bound { target, body, subject: _ } = bound;
    let sending = Sending { body, deadline: None, again: false };
    ctx.attempt.started = Some(std::time::Instant::now());
    let answer = reply::while_there(session, Box::pin(target.send(talk, sending))).await?;
    let answer = match answer {
        Ok(Answer::Stream(events)) => return stream(proxy, session, ctx, talk, (&target, events, id, guards)).await,
        Ok(Answer::Message(message)) => {
            let looked_at = Guards::result_of(guards, proxy, message, id);
            let message = reply::while_there(session, Box::pin(looked_at)).await?;
            checked(talk, &target, message, id)
        }
        Ok(Answer::Accepted) => Err(Fault::Silent),
        Err(fault) => Err(fault),
    };
    let answer = match answer {
        Ok(message) => {
            audit::note(proxy, ctx, &message);
            reply::message(200, Reason::Upstream, message)
        }
        Err(fault) => {
            note(ctx, &target, &fault);
            own_auth::challenge(talk, id, &fault)
                .unwrap_or_else(|| reply::message(200, Reason::UpstreamFailure, fault.answer(id, &target.name)))
        }
    };
    reply::write(session, ctx, answer).await
}

/// Says in the log what the client is not told.
pub(super) fn note(ctx: &mut Ctx, target: &Target, fault: &Fault) {
    ctx.outcome.error.get_or_insert_with(|| format!("MCP server `{}`: {fault}", target.name));
}

/// A whole message that answers what was asked.
fn checked(talk: &Talk, target: &Target, message: Bytes, id: &str) -> std::result::Result<Bytes, Fault> {
    let parsed = Message::parse(&message).map_err(|fault| Fault::Message(fault.to_string()))?;
    if !parsed.answers(id) && !is_error_for_nobody(&parsed) {
        return Err(Fault::Message("it answers something else".to_owned()));
    }
    Ok(outward(talk, target, &parsed, &message).unwrap_or(message))
}

/// A server that could not read an id answers with none.
fn is_error_for_nobody(message: &Message<'_>) -> bool {
    message.error.is_some() && message.id.is_some_and(Raw::is_null)
}

/// The message as the client has to see it, where that is different.
fn outward(talk: &Talk, target: &Target, message: &Message<'_>, bytes: &Bytes) -> Option<Bytes> {
    let naming = talk.federation.naming;
    if !naming.uris && !naming.ids {
        return None;
    }
    let mut edits = Edits::default();
    match message.shape() {
        Shape::Request if !naming.ids => return None,
        Shape::Request => {
            let id = message.id?;
            edits.replace(id.range(), name::join_id(&target.name, id));
        }
        Shape::Notification if message.method() == "notifications/resources/updated" => {
            naming.edit_uri(&target.name, message.param("uri").ok()?, &mut edits);
        }
        Shape::Notification => return None,
        Shape::Response => list::edit_uris(naming, &target.name, message.result?, &mut edits),
    }
    if edits.is_empty() {
        return None;
    }
    let document = std::str::from_utf8(bytes).ok()?;
    Some(edits.apply(document, 0..document.len()).into())
}

async fn stream(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (target, mut events, id, guards): (&Arc<Target>, Events, &str, Option<&Guards>),
) -> Result<()> {
    let mut out = Stream::begin(session, ctx, &proxy.carried, Vec::new()).await?;
    let mut resumable = false;
    let fault = loop {
        let next = out.next(std::pin::pin!(events.next())).await?;
        let event = match next {
            Ok(Some(event)) => Event { data: Guards::result_of(guards, proxy, event.data, id).await, ..event },
            Ok(None) => break Some(Fault::Silent),
            Err(fault) => break Some(fault),
        };
        resumable |= event.id.is_some();
        let (event, done) = match passed(talk, target, event, id) {
            Some(passed) => passed,
            None => continue,
        };
        if done {
            audit::note(proxy, ctx, &event.data);
        }
        out.event(&event).await?;
        if done {
            break None;
        }
    };
    match fault {
        None => events.finish(),
        // The client goes on with `Last-Event-ID` (2025-11-25, resumability).
        Some(Fault::Silent) if resumable => {}
        Some(fault) => {
            note(ctx, target, &fault);
            out.event(&Event::message(fault.answer(id, &target.name))).await?;
        }
    }
    out.end().await
}

/// An event of a call's stream as the client gets it, and whether it is the last. What belongs to somebody else's call
/// is kept back.
fn passed(talk: &Talk, target: &Target, event: Event, id: &str) -> Option<(Event, bool)> {
    let last = |it: &String| Last::Call { target: target.name.to_string(), id: it.clone() };
    let own = event.id.as_ref().filter(|_| talk.federation.naming.ids).map(|it| last(it).write());
    let event_id = own.unwrap_or_else(|| event.id.clone());
    if event.data.is_empty() {
        return Some((Event { id: event_id, ..event }, false));
    }
    let Ok(message) = Message::parse(&event.data) else { return None };
    let done = message.shape() == Shape::Response;
    if done && !message.answers(id) && !is_error_for_nobody(&message) {
        return None;
    }
    target.state.changed(List::changed(message.method()));
    let data = outward(talk, target, &message, &event.data).unwrap_or_else(|| event.data.clone());
    Some((Event { id: event_id, data, ..event }, done))
}

/// An event of the stream of what nobody asked for, as the client gets it; answers have no place there, but for those
/// of a call that is gone on with.
pub(super) fn unasked(talk: &Talk, target: &Target, event: &Event) -> Option<Bytes> {
    if event.data.is_empty() {
        return Some(Bytes::new());
    }
    let message = Message::parse(&event.data).ok()?;
    target::note(target, event);
    Some(outward(talk, target, &message, &event.data).unwrap_or_else(|| event.data.clone()))
}
