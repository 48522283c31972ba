//! Answers that stream, looked through event by event and message by message; nothing is held that is whole.

use bytes::{Bytes, BytesMut};
use pingora_error::{Error, Result};
use protocols::a2a::answer::Refusal;
use protocols::a2a::card::{Relocation, relocated_message};
use protocols::a2a::events::{self, Events};
use protocols::a2a::frames::{self, Frames};
use protocols::a2a::shape::NEXT_PAGE_NUMBER;
use protocols::a2a::wire::{self, Wire};
use protocols::a2a::{Method, Place, Version};
use protocols::json;
use protocols::mcp::Message;

use super::answer;
use super::report::Outcome;
use super::talk::{Kind, Talk};
use crate::proxy::Ctx;
use crate::session::RESPONSE_REFUSED;

/// What is under way.
pub(super) enum Stream {
    Events(Events),
    Frames { frames: Frames, asked: (Method, Version), relocation: Relocation },
}

impl Stream {
    pub(super) fn events(bytes_max: usize) -> Self {
        Self::Events(Events::new(bytes_max))
    }

    pub(super) fn frames(method: Method, version: Version, relocation: Relocation, bytes_max: usize) -> Self {
        Self::Frames { frames: Frames::new(bytes_max), asked: (method, version), relocation }
    }
}

/// A piece of an answer's body on its way to the client.
pub fn pass(body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    let Some(talk) = ctx.a2a.as_mut().filter(|it| it.stream.is_some()) else { return Ok(()) };
    let piece = body.take().unwrap_or_default();
    let mut out = BytesMut::with_capacity(piece.len() + 256);
    let passed = match talk.stream.take() {
        Some(Stream::Events(mut events)) => {
            let passed = pass_events(talk, &mut events, &piece, &mut out);
            if end {
                out.extend_from_slice(&events.rest());
            }
            talk.stream = Some(Stream::Events(events));
            passed
        }
        Some(Stream::Frames { mut frames, asked, relocation }) => {
            let passed = pass_frames(talk, &mut frames, &piece, (asked, &relocation), &mut out);
            talk.stream = Some(Stream::Frames { frames, asked, relocation });
            passed
        }
        None => Ok(()),
    };
    if let Err(why) = passed {
        // What went out cannot be taken back: the stream ends here.
        talk.answered.lock().outcome = Some(Outcome::Error);
        ctx.outcome.error.get_or_insert_with(|| why.clone());
        return Err(Error::explain(RESPONSE_REFUSED, why));
    }
    *body = (!out.is_empty()).then(|| out.freeze());
    Ok(())
}

fn pass_events(talk: &mut Talk, events: &mut Events, piece: &[u8], out: &mut BytesMut) -> Result<(), String> {
    let mut change = |data: &[u8]| changed(talk, data);
    events.push(piece, out, &mut change).map_err(|fault| match fault {
        events::Fault::Refused(refusal) => refusal.text,
        events::Fault::Size(most) => format!("an event is larger than {most} bytes"),
    })
}

/// Other data for an event. What is no message is nothing of ours.
fn changed(talk: &mut Talk, data: &[u8]) -> Result<Option<String>, Refusal> {
    let method = talk.method;
    let said = match (talk.kind, method) {
        (Kind::JsonRpc, _) => match Message::parse(data) {
            Ok(message) => answer::of_message(message, &mut talk.names, method),
            Err(_) => return Ok(None),
        },
        (_, Some(method)) => match json::parse(data) {
            Ok(document) => answer::walked(document, document, &mut talk.names, method).map(|it| {
                let is_error = document.get("error").is_some();
                (it.0, it.1, if is_error { Outcome::Error } else { Outcome::Success })
            }),
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    let (changed, seen, outcome) = said?;
    let mut answered = talk.answered.lock();
    answered.seen.merge(seen);
    answered.outcome = Some(outcome);
    Ok(changed)
}

fn pass_frames(
    talk: &mut Talk,
    frames: &mut Frames,
    piece: &[u8],
    ((method, version), relocation): ((Method, Version), &Relocation),
    out: &mut BytesMut,
) -> Result<(), String> {
    frames.push(piece);
    while let Some(message) = frames.take().map_err(|it| it.to_string())? {
        if method == Method::GetExtendedAgentCard {
            let card = relocated_message(&message, version, relocation).map_err(|it| it.to_string())?;
            frames::write(&card, out);
            continue;
        }
        let mut place = |place: Place, text: &str| talk.names.show(place, text);
        let mut wire = Wire::new(version, &mut place);
        let mut changed = wire.message(&message, method.answer()).map_err(|fault| match fault {
            wire::Fault::Malformed => "the agent's answer is no message".to_owned(),
            wire::Fault::Refused(refusal) => refusal.text,
        })?;
        let seen = std::mem::take(&mut wire.seen);
        if method == Method::ListTasks
            && let Some(token) = talk.names.next_agent().map_err(|it| it.text)?
        {
            wire::push_text(NEXT_PAGE_NUMBER, &token, &mut changed);
        }
        talk.answered.lock().seen.merge(seen);
        frames::write(&changed, out);
    }
    Ok(())
}
