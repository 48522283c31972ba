//! Answers looked through: streams as they pass, whole ones once they are there.

use std::sync::Arc;

use bytes::Bytes;
use filters::Effective;
use filters::ai::Guards;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Version};
use parking_lot::Mutex;
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use protocols::llm::guard::{Find, FrameStream, Refused, Stream, Windows, judge};
use protocols::llm::{Dialect, Framing, Operation, error_body, write_frame};

use super::coded::{Coded, framing, length};
use super::examine::{Examiner, Looking};
use super::webhook::{Asker, Side};
use super::{reply, shape};
use crate::proxy::{Ctx, Proxy, inputs};
use crate::session::{Finish, RESPONSE_REFUSED};

/// Guards that found something, known once the answer is there.
pub(super) type Noted = Arc<Mutex<Vec<usize>>>;

/// What is done with the answer of the attempt under way.
#[derive(Default)]
pub(crate) struct Watch {
    stream: Option<Box<Passing>>,
    /// Guards that found something in an answer that was looked through as a whole.
    whole: Option<(Arc<Effective>, Noted)>,
    /// The same of servers that are asked.
    asked: Option<(Arc<Effective>, Noted)>,
}

/// How a stream is written that is looked through.
enum Framed {
    Events(Stream),
    Frames(FrameStream),
}

/// A stream that is looked through.
struct Passing {
    settings: Arc<Effective>,
    stream: Framed,
    dialect: Dialect,
    /// It was refused: nothing more passes.
    ended: bool,
}

/// Whether answers to this request may have to be looked through as a whole.
pub(crate) fn looks_at_answers(ctx: &Ctx) -> bool {
    ctx.ai.is_some() && ctx.settings().and_then(|it| it.ai()).is_some_and(|it| !it.response.is_empty())
}

/// Looks at the head of an answer. What it gives looks at the whole of it before anything goes out.
pub(crate) fn guard_answer(
    proxy: &Proxy,
    client: &RequestHeader,
    head: &mut ResponseHeader,
    ctx: &mut Ctx,
) -> Result<Option<Finish>> {
    if !looks_at_answers(ctx) || !head.status.is_success() {
        return Ok(None);
    }
    let Some(settings) = ctx.settings().cloned() else { return Ok(None) };
    let (kind, coded) = (framing(&head.headers), Coded::of(&head.headers));
    examine(proxy, client, (kind, coded), &settings, ctx);
    let Some((policy, asked)) = settings.ai().zip(ctx.ai.as_mut()) else { return Ok(None) };
    let dialect = asked.operation.dialect();
    // What models write themselves into frames is in no shape that is known, and no server is asked about frames.
    let closed = policy.response.asks() || asked.operation != Operation::Converse;
    let hidden = coded == Coded::Unknown || kind == Some(Framing::Frames) && closed;
    if hidden && kind.is_some() && policy.response.enforces() {
        return Err(Error::explain(RESPONSE_REFUSED, "the answer cannot be looked through"));
    }
    match kind.filter(|_| !hidden) {
        Some(kind @ (Framing::Events | Framing::Frames)) if policy.streaming => {
            head.remove_header(&CONTENT_LENGTH);
            if head.version == Version::HTTP_11 {
                head.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
            }
            if !policy.response.finds() {
                return Ok(None);
            }
            let stream = match kind {
                Framing::Frames => Framed::Frames(FrameStream::default()),
                _ => Framed::Events(Stream::default()),
            };
            asked.watch.stream = Some(Box::new(Passing { settings: settings.clone(), stream, dialect, ended: false }));
            Ok(None)
        }
        Some(Framing::Json) => {
            let found = Noted::default();
            asked.watch.whole = Some((settings.clone(), found.clone()));
            let judging = Judging { settings, dialect, found, coded, bytes_max: ctx.body_bytes_max };
            Ok(Some(Box::new(move |head, body| judging.finish(head, body))))
        }
        _ => Ok(None),
    }
}

/// Has servers asked about an answer that is about to come.
fn examine(
    proxy: &Proxy,
    client: &RequestHeader,
    (kind, coded): (Option<Framing>, Coded),
    settings: &Arc<Effective>,
    ctx: &mut Ctx,
) {
    let Some(policy) = settings.ai().filter(|it| it.response.asks()) else { return };
    let looking = match kind {
        Some(Framing::Events) if policy.streaming => Looking::Stream { windows: Windows::default(), ended: false },
        Some(Framing::Json) => Looking::Whole { coded, bytes_max: ctx.body_bytes_max },
        _ => return,
    };
    let inputs = inputs::request(client, ctx);
    let asker = Asker::new(proxy, ctx, &policy.response, (Side::Answer, client, &inputs));
    let noted = Noted::default();
    let Some(asked) = &mut ctx.ai else { return };
    asked.watch.asked = Some((settings.clone(), noted.clone()));
    let dialect = asked.operation.dialect();
    let examiner = Examiner { asker, settings: settings.clone(), dialect, noted, looking };
    if let Some(slot) = &ctx.wrapped {
        slot.examine_with(Box::new(examiner));
    }
}

/// An answer that is looked through as a whole.
struct Judging {
    settings: Arc<Effective>,
    dialect: Dialect,
    found: Noted,
    coded: Coded,
    bytes_max: usize,
}

impl Judging {
    fn finish(&self, head: &mut ResponseHeader, body: &mut Bytes) -> Result<()> {
        let Some(guards) = self.settings.ai().map(|it| &it.response) else { return Ok(()) };
        let plain = self.coded.undone(body, self.bytes_max).ok();
        let judged = plain.as_ref().and_then(|it| judge(it, false, guards).ok());
        let (Some(judged), Some(plain)) = (judged, plain) else {
            return match guards.enforces() {
                false => Ok(()),
                true => Err(Error::explain(RESPONSE_REFUSED, "the answer cannot be looked through")),
            };
        };
        *self.found.lock() = judged.found;
        if let Some(guard) = judged.refused.and_then(|it| guards.guards.get(it)) {
            let reply = reply::rejection(self.dialect, guard.rejection.as_ref());
            head.set_status(reply.status)?;
            for (name, value) in reply.headers {
                head.insert_header(name, value)?;
            }
            head.remove_header(&CONTENT_ENCODING);
            *body = reply.body;
        } else if !judged.edits.is_empty() {
            head.remove_header(&CONTENT_ENCODING);
            *body = judged.edits.apply(&plain).concat().into();
        }
        length(head, body)
    }
}

impl Watch {
    /// Lets of a piece of the answer through what may pass.
    pub(crate) fn push(&mut self, body: &mut Option<Bytes>, end: bool) {
        let Some(passing) = &mut self.stream else { return };
        let piece = body.take().unwrap_or_default();
        *body = Some(passing.pass(&piece, end)).filter(|it| !it.is_empty());
    }

    /// What was found, with the guards that did.
    fn take(&mut self) -> Option<(Arc<Effective>, Vec<usize>)> {
        let of = |(settings, found): (Arc<Effective>, Noted)| (settings, std::mem::take(&mut *found.lock()));
        let own = match self.stream.take() {
            Some(mut passing) => Some((passing.settings.clone(), passing.stream.found())),
            None => self.whole.take().map(of),
        };
        match (own, self.asked.take().map(of)) {
            (Some((settings, mut found)), Some((_, mut more))) => {
                found.append(&mut more);
                Some((settings, found))
            }
            (one, other) => one.or(other),
        }
    }
}

impl Framed {
    fn pass(&mut self, piece: &[u8], end: bool, guards: &Guards) -> Result<Bytes, Refused> {
        let (passed, rest) = match self {
            Self::Events(stream) => (stream.push(piece, guards)?, end.then(|| stream.finish(guards))),
            Self::Frames(stream) => (stream.push(piece, guards)?, end.then(|| stream.finish(guards))),
        };
        Ok(match rest {
            Some(rest) => [passed, rest?].concat().into(),
            None => passed,
        })
    }

    fn found(&mut self) -> Vec<usize> {
        match self {
            Self::Events(stream) => std::mem::take(&mut stream.found),
            Self::Frames(stream) => stream.found(),
        }
    }
}

impl Passing {
    fn pass(&mut self, piece: &[u8], end: bool) -> Bytes {
        let Some(guards) = self.settings.ai().map(|it| &it.response).filter(|_| !self.ended) else {
            return Bytes::new();
        };
        match self.stream.pass(piece, end, guards) {
            Ok(passed) => passed,
            // What only counts stops nothing.
            Err(_) if !guards.enforces() => Bytes::copy_from_slice(piece),
            Err(refused) => {
                self.ended = true;
                if let (Refused::Rule(rule), Framed::Events(stream)) = (refused, &mut self.stream) {
                    stream.found.push(rule);
                }
                self.error(guards, refused)
            }
        }
    }

    fn error(&self, guards: &Guards, refused: Refused) -> Bytes {
        let (status, code, text) = match refused {
            Refused::Rule(rule) => {
                let guard = guards.guards.get(rule).and_then(|it| it.rejection.as_ref());
                (guard.map_or(403, |it| it.status), reply::REJECTED, reply::REJECTED_TEXT)
            }
            Refused::Unreadable(why) => (502, "upstream_error", why),
        };
        if let Framed::Frames(_) = self.stream {
            return frame_error(status, text);
        }
        stream_error(self.dialect, status, code, text)
    }
}

/// What ends a stream of frames: the exceptions that it may carry are few.
fn frame_error(status: u16, text: &str) -> Bytes {
    let kind = if status == 502 { "modelStreamErrorException" } else { "validationException" };
    let mut out = Vec::new();
    write_frame(&mut out, kind, true, |out| {
        out.extend_from_slice(format!("{{\"message\":{}}}", protocols::json::quoted(text)).as_bytes());
    });
    out.into()
}

/// What ends a stream.
pub(super) fn stream_error(dialect: Dialect, status: u16, code: &str, text: &str) -> Bytes {
    let (body, _) = error_body(dialect, status, code, text);
    let name = if dialect == Dialect::Anthropic { "event: error\n" } else { "" };
    let done = if dialect == Dialect::OpenAi { "data: [DONE]\n\n" } else { "" };
    format!("{name}data: {body}\n\n{done}").into()
}

/// Notes what guards of the answer have found, once it has ended.
pub(crate) fn noted(ctx: &mut Ctx) {
    let Some((settings, found)) = ctx.ai.as_mut().and_then(|it| it.watch.take()) else { return };
    if let Some(policy) = settings.ai() {
        shape::note(&policy.response, &found, &mut ctx.facts);
    }
    if let Some(asked) = &mut ctx.ai {
        asked.findings += found.len() as u64;
    }
}
