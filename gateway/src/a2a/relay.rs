//! Messages that say where news are to go, where these come by the gateway: the agent gets a URL of ours in the place of
//! the client's, with a sealed ticket in it (`protocols::a2a::push`), and the client its own back when it asks.
//!
//! Which endpoint has the task is in the ids that clients see, and of a new one that is known when an endpoint was drawn:
//! the message is written for each attempt. How news are received is in [`super::news`].

use std::time::Duration;

use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use filters::Identity;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use protocols::a2a::answer::{Kind as Why, Refusal};
use protocols::a2a::frames::{self, Frames};
use protocols::a2a::id::Pin;
use protocols::a2a::push::{self, Ticket};
use protocols::a2a::walk::Walk;
use protocols::a2a::wire::{Fault, Wire};
use protocols::a2a::{Method, Place, Seen};
use protocols::json::{self, Raw};
use protocols::mcp::Message;

use super::answer;
use super::deleted::{Deleted, Name};
use super::names::Names;
use super::push::Wish;
use super::report::Outcome;
use super::talk::{Kind, Talk};
use crate::mcp::scope;
use crate::proxy::Ctx;

/// How long a ticket holds. What a client has deleted is only known where that was seen: this ends the rest.
const TICKET_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// A message on its way to an agent.
pub(super) struct Relay {
    ticket: Ticket,
    /// What stands before the ticket.
    base: String,
    /// With the agent's ids, and the client's URL.
    body: Bytes,
    /// For this attempt.
    written: Bytes,
    /// The attempt that it was given to.
    given: u32,
}

/// Where tickets of a route open.
pub(super) fn place(ctx: &Ctx) -> [u8; 32] {
    let route = ctx.entry.as_ref().map_or("", |it| it.route.key.as_str());
    scope("a2a push", route, &Identity::default())
}

/// Prepares what the agent is told in the place of `wish`. `now` is since 1970.
pub(super) fn begin(
    talk: &mut Talk,
    wish: Wish,
    (seen, body): (&Seen, Bytes),
    (origin, now): (&str, Duration),
) -> Result<(), Refusal> {
    let Wish { urls, id, token, scheme, credentials, twice } = wish;
    let invalid = |text: &str| Refusal::new(Why::InvalidParams, text);
    let [url] = <[String; 1]>::try_from(urls).map_err(|_| invalid("more than one URL for push notifications"))?;
    if twice {
        return Err(invalid("the push notification configuration says something twice"));
    }
    let scheme = scheme.unwrap_or_else(|| "Bearer".to_owned());
    let mut ticket = Ticket {
        until: (now + TICKET_TTL).as_secs(),
        scope: talk.names.scope,
        task: seen.task.clone().unwrap_or_default(),
        context: talk.names.made_up().unwrap_or_default().to_owned(),
        config: id.unwrap_or_default(),
        url,
        token: token.unwrap_or_default(),
        scheme: credentials.as_ref().map(|_| scheme).unwrap_or_default(),
        credentials: credentials.unwrap_or_default(),
        ..Ticket::default()
    };
    if token_value(&ticket).is_err() || authorization(&ticket).is_err() {
        return Err(invalid("the token or credentials for push notifications cannot stand in a header"));
    }
    // Of a task that is known ids are sealed as they were.
    ticket.pin = talk.pin.filter(|_| !ticket.task.is_empty()).unwrap_or_default();
    let base = format!("{origin}{}", talk.public_path);
    let relay = Relay { ticket, base, body, written: Bytes::new(), given: 0 };
    // Whether it can be written at all is known before anybody is asked.
    written(talk, &relay, Pin::default())?;
    talk.relay = Some(Box::new(relay));
    Ok(())
}

/// The header that a client knows its news by.
pub(super) fn token_value(ticket: &Ticket) -> Result<Option<HeaderValue>, http::header::InvalidHeaderValue> {
    let Ticket { token, .. } = ticket;
    if token.is_empty() { Ok(None) } else { HeaderValue::from_str(token).map(Some) }
}

/// What a client wants whoever sends news to say of who it is.
pub(super) fn authorization(ticket: &Ticket) -> Result<Option<HeaderValue>, http::header::InvalidHeaderValue> {
    let Ticket { scheme, credentials, .. } = ticket;
    if credentials.is_empty() {
        return Ok(None);
    }
    let mut value = HeaderValue::from_str(&format!("{scheme} {credentials}"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Writes the message for the endpoint that was drawn, and says so in the head.
pub fn requested(head: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
    let Some(mut talk) = ctx.a2a.take() else { return Ok(()) };
    talk.sent(head.uri.path());
    let pin = answer::pin(ctx);
    let outcome = match talk.relay.take() {
        Some(mut relay) => {
            let outcome = written(&talk, &relay, pin).map(|it| relay.written = it);
            talk.relay = Some(relay);
            outcome
        }
        None => return finish(ctx, talk, Ok(())),
    };
    let length = talk.relay.as_ref().map_or(0, |it| it.written.len());
    let outcome = outcome.map_err(|it| Error::explain(ErrorType::InternalError, it.text)).and_then(|()| {
        head.remove_header(&TRANSFER_ENCODING);
        head.insert_header(CONTENT_LENGTH, length)
    });
    finish(ctx, talk, outcome)
}

fn finish(ctx: &mut Ctx, talk: Box<Talk>, outcome: Result<()>) -> Result<()> {
    ctx.a2a = Some(talk);
    outcome
}

/// Puts the message of this attempt in the place of the one that is held.
pub fn swap(chunk: &mut Option<Bytes>, ctx: &mut Ctx) {
    let attempt = ctx.attempt.count;
    let Some(relay) = ctx.a2a.as_mut().and_then(|it| it.relay.as_mut()) else { return };
    let Some(held) = chunk.as_mut() else { return };
    *held = if relay.given == attempt { Bytes::new() } else { relay.written.clone() };
    relay.given = attempt;
}

impl Talk {
    /// The message as it leaves, where it is not the one that is held.
    pub fn relayed(&self) -> Option<&Bytes> {
        self.relay.as_ref().map(|it| &it.written)
    }
}

/// The message with the gateway's URL, for a task at `pin`.
fn written(talk: &Talk, relay: &Relay, pin: Pin) -> Result<Bytes, Refusal> {
    let Talk { names, kind, method, version, .. } = talk;
    let method = method.unwrap_or(Method::SendMessage);
    let long = |_| Refusal::new(Why::InvalidParams, "the push notification configuration is too long");
    let mut ticket = relay.ticket.clone();
    if ticket.pin == Pin::default() {
        ticket.pin = pin;
    }
    let url = push::url(&relay.base, &ticket.seal(names.ring(), &names.place).map_err(long)?);
    let mut place = |place: Place, text: &str| match place {
        Place::PushUrl => Ok(Some(url.clone())),
        Place::PushToken | Place::PushCredentials => {
            push::hide(names.ring(), text, &names.scope).map(Some).map_err(long)
        }
        _ => Ok(None),
    };
    let wrong = || Refusal::new(Why::InvalidRequest, "the message cannot be read");
    if let Kind::Grpc(..) = kind {
        let mut frames = Frames::new(relay.body.len());
        frames.push(&relay.body);
        let message = frames.take().ok().flatten().ok_or_else(wrong)?;
        let changed = Wire::new(*version, &mut place).message(&message, method.request(*version));
        let changed = changed.map_err(|fault| match fault {
            Fault::Refused(refusal) => refusal,
            Fault::Malformed => wrong(),
        })?;
        let mut out = BytesMut::new();
        frames::write(&changed, &mut out);
        return Ok(out.freeze());
    }
    let (whole, part) = match kind {
        Kind::JsonRpc => {
            let message = Message::parse(&relay.body).map_err(|_| wrong())?;
            (message.raw, message.params.ok_or_else(wrong)?)
        }
        _ => json::parse(&relay.body).map(|it: Raw<'_>| (it, it)).map_err(|_| wrong())?,
    };
    let mut walk = Walk::new(&mut place);
    walk.value(part, method.request(*version))?;
    Ok(whole.edited(walk.edits).into())
}

/// What the client wrote, where the agent shows what it was given.
pub(super) fn own(names: &Names, place: Place, text: &str) -> Option<String> {
    match place {
        Place::PushUrl => {
            let ticket = Ticket::open(names.ring(), push::of_url(text)?, &names.place).ok()?;
            // Who else may see the configuration does not see where it leads.
            (ticket.scope == names.scope).then_some(ticket.url)
        }
        Place::PushToken | Place::PushCredentials => push::reveal(names.ring(), text, &names.scope),
        _ => None,
    }
}

/// What a deleted configuration is known by. Agents call it like the task, where the client gave it no name.
pub(super) fn name(scope: &[u8], task: &str, config: &str) -> Name {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [b"a2a push", scope, task.as_bytes(), if config.is_empty() { task } else { config }.as_bytes()] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut name = Name::default();
    for (to, from) in name.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    name
}

/// Remembers what was deleted, and what is there again.
pub(super) fn remember(deleted: &Deleted, talk: &Talk, seen: &Seen, outcome: Option<Outcome>) {
    if outcome != Some(Outcome::Success) {
        return;
    }
    let scope = &talk.names.scope;
    if let Some((task, config)) = &talk.deletes {
        deleted.insert(name(scope, task, config));
    } else if let Some(relay) = &talk.relay {
        let task = if relay.ticket.task.is_empty() { seen.task.as_deref() } else { Some(&*relay.ticket.task) };
        if let Some(task) = task {
            deleted.remove(&name(scope, task, &relay.ticket.config));
        }
    }
}
