//! One server's answer on its way to the client: as it is, but for what says whose things are.

use std::sync::Arc;

use bytes::Bytes;
use filters::Reason;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::json::Raw;
use protocols::mcp::{Edits, List, Message, Shape, list, modern, name, task};
use protocols::sse::Event;
use tokio::sync::Notify;

use super::fault::Fault;
use super::going::{self, Going};
use super::guard::Guards;
use super::modern::running;
use super::modern::seam::{self, Abandon, Seam, Step};
use super::reply;
use super::route::Bound;
use super::talk::Talk;
use super::target::{Answer, Sending};
use super::told::{self, Ended};
use super::{Target, audit, own_auth, target};
use crate::proxy::{Ctx, Proxy};

/// What a client asks, and whoever has to look at the answer.
pub(super) struct Asked<'a> {
    pub bound: Bound,
    pub id: &'a str,
    pub method: &'a str,
    pub guards: Option<Guards>,
}

/// Sends a request to its server and passes the answer on.
pub(super) async fn request(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    Asked { bound, id, method, guards }: Asked<'_>,
) -> Result<()> {
    let Bound { target, body, subject } = bound;
    told::whose(ctx, &target, subject.as_ref());
    ctx.attempt.started = Some(std::time::Instant::now());
    let run = talk.mcp.running.enter(talk, &target, id);
    let cancelled = run.as_ref().map(|it| it.cancelled.clone());
    let begun = begin(talk, &target, body, (id, method));
    let begun = Box::pin(running::unless(cancelled.as_deref(), begun));
    let begun = reply::while_there(session, ctx, begun).await?;
    let answer = match begun {
        Ok(Begun { answer: Answer::Stream(events), call, abandon }) => {
            let call = Call { cancelled, guards, ..call };
            let going = Going { answer: Answer::Stream(events), call, abandon, run };
            return Box::pin(going::stream(proxy, session, ctx, talk, going)).await;
        }
        Ok(Begun { answer: Answer::Message(message), call, mut abandon }) => {
            let message = match &guards {
                None => message,
                Some(guards) => {
                    let looked_at = Box::pin(Guards::result_of(Some(guards), message, &call.seam.sent));
                    reply::while_there(session, ctx, looked_at).await?
                }
            };
            match checked(talk, &target, message, &call.seam) {
                Ok(Checked::Asks(message)) => {
                    let call = Call { cancelled, guards, ..call };
                    let going = Going { answer: Answer::Message(message), call, abandon, run };
                    return Box::pin(going::stream(proxy, session, ctx, talk, going)).await;
                }
                Ok(Checked::Answer(message, ended)) => {
                    abandon.answered();
                    told::ended(ctx, ended);
                    Ok((call.seam.status(&message), message))
                }
                Err(fault) => {
                    abandon.answered();
                    Err(fault)
                }
            }
        }
        Ok(Begun { answer: Answer::Accepted, .. }) => Err(Fault::Silent),
        Err(fault) => Err(fault),
    };
    let answer = match answer {
        Ok((status, message)) => {
            audit::note(proxy, ctx, &message);
            reply::message(status, Reason::Upstream, message)
        }
        Err(fault) => {
            note(ctx, &target, &fault);
            let text = fault.answer(id, &target.name);
            told::ended(ctx, Ended::of_bytes(text.as_bytes()));
            own_auth::challenge(talk, id, &fault)
                .unwrap_or_else(|| reply::message(status_of(talk, &fault), Reason::UpstreamFailure, text))
        }
    };
    reply::write(session, ctx, answer).await
}

/// A call that is under way.
pub(super) struct Call {
    pub(super) target: Arc<Target>,
    pub(super) seam: Seam,
    /// As the server got it.
    pub(super) body: Bytes,
    pub(super) cancelled: Option<Arc<Notify>>,
    pub(super) guards: Option<Guards>,
}

struct Begun {
    answer: Answer,
    call: Call,
    abandon: Abandon,
}

async fn begin(
    talk: &Talk,
    target: &Arc<Target>,
    body: Bytes,
    (id, method): (&str, &str),
) -> std::result::Result<Begun, Fault> {
    let made = Seam::new(talk, target, body, (id, method)).await;
    if made.as_ref().is_err_and(Fault::is_failure) {
        target.failed(talk);
    }
    let (mut seam, body) = made?;
    let abandon = Abandon::of(talk, target, &seam);
    let answer = match seam.waiting.is_some() {
        true => talk.mcp.parked.resume(talk, target, &mut seam, &body).await?,
        false => {
            let sending = Sending { body: body.clone(), deadline: None, again: false };
            target.send(talk, sending).await?
        }
    };
    Ok(Begun { answer, call: Call { target: target.clone(), seam, body, cancelled: None, guards: None }, abandon })
}

/// The status with which a fault goes to the client.
fn status_of(talk: &Talk, fault: &Fault) -> u16 {
    match fault {
        Fault::Refused(status, _) if talk.is_modern() && (400..500).contains(status) => *status,
        Fault::Error(error) if talk.is_modern() => {
            let error = protocols::json::parse(error.as_bytes()).ok();
            error.and_then(seam::status_of_error).unwrap_or(200)
        }
        _ => 200,
    }
}

/// Says in the log what the client is not told.
pub(super) fn note(ctx: &mut Ctx, target: &Target, fault: &Fault) {
    ctx.outcome.error.get_or_insert_with(|| format!("MCP server `{}`: {fault}", target.name));
}

/// A whole message that answers what was asked.
pub(super) enum Checked {
    /// As the client gets it, and what it says.
    Answer(Bytes, Ended),
    /// It asks for something first, of a client that has to be asked for it.
    Asks(Bytes),
}

pub(super) fn checked(
    talk: &Talk,
    target: &Target,
    message: Bytes,
    seam: &Seam,
) -> std::result::Result<Checked, Fault> {
    let parsed = Message::parse(&message).map_err(|fault| Fault::Message(fault.to_string()))?;
    if !parsed.answers(&seam.sent) && !is_error_for_nobody(&parsed) {
        return Err(Fault::Message("it answers something else".to_owned()));
    }
    if asks(&parsed, seam) {
        return Ok(Checked::Asks(message));
    }
    let ended = Ended::of(&parsed);
    let outward = outward(talk, target, (&parsed, Some(seam)), &message);
    Ok(Checked::Answer(outward.unwrap_or(message), ended))
}

fn asks(message: &Message<'_>, seam: &Seam) -> bool {
    !seam.modern && message.result.is_some_and(modern::is_input_required)
}

/// A server that could not read an id answers with none.
fn is_error_for_nobody(message: &Message<'_>) -> bool {
    message.error.is_some() && message.id.is_some_and(Raw::is_null)
}

/// The message as the client has to see it, where that is different.
fn outward(
    talk: &Talk,
    target: &Target,
    (message, seam): (&Message<'_>, Option<&Seam>),
    bytes: &Bytes,
) -> Option<Bytes> {
    let naming = talk.federation.naming;
    let mut edits = Edits::default();
    if let Some(seam) = seam {
        seam.edit(message, &mut edits);
    }
    match message.shape() {
        Shape::Request if !naming.ids => {}
        Shape::Request => {
            let id = message.id?;
            edits.replace(id.range(), name::join_id(&target.name, id));
        }
        Shape::Notification if message.method() == "notifications/resources/updated" => {
            naming.edit_uri(&target.name, message.param("uri").ok()?, &mut edits);
        }
        Shape::Notification => {
            if let Some(params) = message.params {
                task::edit(naming, &target.name, (message.method(), params), &mut edits);
            }
        }
        Shape::Response => {
            if let Some(result) = message.result {
                let method = seam.map_or("", |it| &it.method);
                task::edit(naming, &target.name, (method, result), &mut edits);
                list::edit_uris(naming, &target.name, result, &mut edits);
            }
        }
    }
    if edits.is_empty() {
        return None;
    }
    let document = std::str::from_utf8(bytes).ok()?;
    Some(edits.apply(document, 0..document.len()).into())
}

/// What becomes of an event of a call's stream.
pub(super) enum Passed {
    Nothing,
    Event(Event),
    /// With the answer in it.
    Last(Event, Ended),
    /// The answer asks the client for something first.
    Asks(Bytes),
    /// The server asks something, and the call waits.
    Park(Bytes),
}

/// An event of a call's stream as the client gets it. What belongs to somebody else's call is kept back.
pub(super) fn passed(talk: &Talk, target: &Arc<Target>, event: Event, seam: &Seam) -> Passed {
    if event.data.is_empty() {
        // Streams of that era are not gone on with.
        return if seam.modern { Passed::Nothing } else { Passed::Event(event) };
    }
    let Ok(message) = Message::parse(&event.data) else { return Passed::Nothing };
    let done = message.shape() == Shape::Response;
    if done && !message.answers(&seam.sent) && !is_error_for_nobody(&message) {
        return Passed::Nothing;
    }
    if done && asks(&message, seam) {
        return Passed::Asks(event.data.clone());
    }
    target.state.changed(List::changed(message.method()));
    match seam.step(&message) {
        Step::Pass => {}
        Step::Drop => return Passed::Nothing,
        Step::Pong => {
            seam::pong(talk, target, message.id.map_or("null", Raw::text));
            return Passed::Nothing;
        }
        Step::Park => return Passed::Park(event.data.clone()),
    }
    let data = outward(talk, target, (&message, Some(seam)), &event.data).unwrap_or_else(|| event.data.clone());
    let ended = done.then(|| Ended::of(&message));
    let event = Event { data, ..event };
    match ended {
        Some(ended) => Passed::Last(event, ended),
        None => Passed::Event(event),
    }
}

/// An event of the stream of what nobody asked for, as the client gets it; answers have no place there, but for those
/// of a call that is gone on with.
pub(super) fn unasked(talk: &Talk, target: &Target, event: &Event) -> Option<Bytes> {
    if event.data.is_empty() {
        return Some(Bytes::new());
    }
    let message = Message::parse(&event.data).ok()?;
    if talk.guarded && message.shape() == Shape::Response {
        return None;
    }
    target::note(target, event);
    if message.method() == "notifications/subscriptions/acknowledged" {
        // It is an answer to what we asked.
        return None;
    }
    Some(outward(talk, target, (&message, None), &event.data).unwrap_or_else(|| event.data.clone()))
}
