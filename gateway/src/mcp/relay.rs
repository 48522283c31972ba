//! One server's answer on its way to the client: as it is, but for what says whose things are.

use std::sync::Arc;

use bytes::Bytes;
use filters::Reason;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::json::Raw;
use protocols::mcp::resume::Last;
use protocols::mcp::{Edits, List, Message, Shape, list, modern, name, task};
use protocols::sse::Event;
use tokio::sync::Notify;

use super::fault::Fault;
use super::modern::seam::{self, Abandon, Seam, Step};
use super::modern::{inputs, running};
use super::reply::{self, Stream};
use super::route::Bound;
use super::talk::Talk;
use super::target::{Answer, Sending};
use super::told::{self, Ended};
use super::{Target, target};
use crate::proxy::{Ctx, Proxy};

/// Sends a request to its server and passes the answer on.
pub(super) async fn request(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (bound, id, method): (Bound, &str, &str),
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
            let call = Call { cancelled, ..call };
            return Box::pin(stream(proxy, session, ctx, talk, (Answer::Stream(events), call, abandon))).await;
        }
        Ok(Begun { answer: Answer::Message(message), call, abandon }) if asks(&call, &message) => {
            let call = Call { cancelled, ..call };
            return Box::pin(stream(proxy, session, ctx, talk, (Answer::Message(message), call, abandon))).await;
        }
        Ok(Begun { answer: Answer::Message(message), call, mut abandon }) => {
            abandon.answered();
            checked(talk, &target, message, &call.seam).map(|(it, ended)| {
                told::ended(ctx, ended);
                (call.seam.status(&it), it)
            })
        }
        Ok(Begun { answer: Answer::Accepted, .. }) => Err(Fault::Silent),
        Err(fault) => Err(fault),
    };
    let answer = match answer {
        Ok((status, message)) => reply::message(status, Reason::Upstream, message),
        Err(fault) => {
            note(ctx, &target, &fault);
            let text = fault.answer(id, &target.name);
            told::ended(ctx, Ended::of_bytes(text.as_bytes()));
            reply::message(status_of(talk, &fault), Reason::UpstreamFailure, text)
        }
    };
    reply::write(session, ctx, answer).await
}

/// A call that is under way.
struct Call {
    target: Arc<Target>,
    seam: Seam,
    /// As the server got it.
    body: Bytes,
    cancelled: Option<Arc<Notify>>,
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
    Ok(Begun { answer, call: Call { target: target.clone(), seam, body, cancelled: None }, abandon })
}

/// Whether an answer asks for something first, of a client that has to be asked for it.
fn asks(call: &Call, message: &[u8]) -> bool {
    let asks = |it: Message<'_>| it.result.is_some_and(modern::is_input_required);
    !call.seam.modern && Message::parse(message).is_ok_and(asks)
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
fn checked(talk: &Talk, target: &Target, message: Bytes, seam: &Seam) -> std::result::Result<(Bytes, Ended), Fault> {
    let parsed = Message::parse(&message).map_err(|fault| Fault::Message(fault.to_string()))?;
    if !parsed.answers(&seam.sent) && !is_error_for_nobody(&parsed) {
        return Err(Fault::Message("it answers something else".to_owned()));
    }
    let ended = Ended::of(&parsed);
    let outward = outward(talk, target, (&parsed, Some(seam)), &message);
    Ok((outward.unwrap_or(message), ended))
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

/// How a part of a call's stream ended.
enum End {
    Answered(Ended),
    Fault(Fault),
    /// The client goes on with `Last-Event-ID` (2025-11-25, resumability).
    Resumed,
    /// The server wants something first.
    Asks(Bytes),
}

async fn stream(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (mut answer, mut call, mut abandon): (Answer, Call, Abandon),
) -> Result<()> {
    let mut out = Stream::begin(session, ctx, &proxy.carried, Vec::new()).await?;
    let mut rounds = 0;
    let end = loop {
        let end = Box::pin(part(&mut out, talk, &call, answer)).await?;
        let End::Asks(message) = &end else { break end };
        rounds += 1;
        if rounds > inputs::ROUNDS_MAX {
            break End::Fault(Fault::Broken("it asks and asks".into()));
        }
        let params = match inputs::ask(&mut out, talk, message).await? {
            Ok(params) => params,
            Err(fault) => break End::Fault(fault),
        };
        call.seam.again();
        let body = inputs::again(&call.body, &call.seam.sent, &params);
        let again = Sending { body, deadline: None, again: false };
        let sent = running::unless(call.cancelled.as_deref(), call.target.send(talk, again));
        match out.next(Box::pin(sent)).await? {
            Ok(next) => answer = next,
            Err(fault) => break End::Fault(fault),
        }
    };
    match end {
        End::Answered(ended) => told::ended(ctx, ended),
        End::Fault(fault) => {
            note(ctx, &call.target, &fault);
            let text = fault.answer(&call.seam.id, &call.target.name);
            told::ended(ctx, Ended::of_bytes(text.as_bytes()));
            out.event(&Event::message(text)).await?;
        }
        End::Resumed | End::Asks(_) => {}
    }
    abandon.answered();
    out.end().await
}

/// Passes on what the server says until it has answered.
async fn part(out: &mut Stream<'_>, talk: &Talk, call: &Call, answer: Answer) -> Result<End> {
    let Call { target, seam, .. } = call;
    let mut events = match answer {
        Answer::Message(message) if asks(call, &message) => return Ok(End::Asks(message)),
        Answer::Message(message) => {
            return Ok(match checked(talk, target, message, seam) {
                Ok((message, ended)) => {
                    out.event(&Event::message(message)).await?;
                    End::Answered(ended)
                }
                Err(fault) => End::Fault(fault),
            });
        }
        Answer::Accepted => return Ok(End::Fault(Fault::Silent)),
        Answer::Stream(events) => events,
    };
    let mut resumable = false;
    loop {
        let next = running::unless(call.cancelled.as_deref(), events.next());
        let event = match out.next(std::pin::pin!(next)).await? {
            Ok(Some(event)) => event,
            Ok(None) if resumable && !seam.modern => return Ok(End::Resumed),
            Ok(None) => return Ok(End::Fault(Fault::Silent)),
            Err(fault) => return Ok(End::Fault(fault)),
        };
        resumable |= event.id.is_some();
        match passed(talk, target, event, seam) {
            Passed::Nothing => {}
            Passed::Event(event) => out.event(&event).await?,
            Passed::Last(event, _) if asks(call, &event.data) => {
                events.finish();
                return Ok(End::Asks(event.data));
            }
            Passed::Last(event, ended) => {
                out.event(&event).await?;
                events.finish();
                return Ok(End::Answered(ended));
            }
            Passed::Park(asked) => {
                let parked = talk.mcp.parked.park(talk, target, (seam, events), asked);
                return Ok(match parked.and_then(|it| checked(talk, target, it, seam)) {
                    Ok((message, ended)) => {
                        out.event(&Event::message(message)).await?;
                        End::Answered(ended)
                    }
                    Err(fault) => End::Fault(fault),
                });
            }
        }
    }
}

/// What becomes of an event of a call's stream.
enum Passed {
    Nothing,
    Event(Event),
    /// With the answer in it.
    Last(Event, Ended),
    /// The server asks something, and the call waits.
    Park(Bytes),
}

/// An event of a call's stream as the client gets it. What belongs to somebody else's call is kept back.
fn passed(talk: &Talk, target: &Arc<Target>, event: Event, seam: &Seam) -> Passed {
    let last = |it: &String| Last::Call { target: target.name.to_string(), id: it.clone() };
    let own = event.id.as_ref().filter(|_| talk.federation.naming.ids).map(|it| last(it).write());
    // Streams of that era are not gone on with.
    let event_id = own.unwrap_or_else(|| event.id.clone()).filter(|_| !seam.modern);
    if event.data.is_empty() {
        return if seam.modern { Passed::Nothing } else { Passed::Event(Event { id: event_id, ..event }) };
    }
    let Ok(message) = Message::parse(&event.data) else { return Passed::Nothing };
    let done = message.shape() == Shape::Response;
    if done && !message.answers(&seam.sent) && !is_error_for_nobody(&message) {
        return Passed::Nothing;
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
    let event = Event { id: event_id, data, ..event };
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
    target::note(target, event);
    if message.method() == "notifications/subscriptions/acknowledged" {
        // It is an answer to what we asked.
        return None;
    }
    Some(outward(talk, target, (&message, None), &event.data).unwrap_or_else(|| event.data.clone()))
}
