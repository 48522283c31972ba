//! An answer that streams, event by event: what comes in leaves at once, and nothing is held but the event under way.

use super::super::frames::{Frame, Frames};
use super::model::{Event, Stop};
use super::write::Text;
use super::{Terms, Wire, anthropic, bedrock, failure, gemini, openai, responses, status_of};
use crate::json;
use crate::sse::Reader;

/// Longest event: an answer with pictures has them whole in one.
pub(super) const EVENT_BYTES_MAX: usize = 16 << 20;

/// See the file.
#[derive(Debug)]
pub struct Stream {
    reader: Framed,
    decoder: Decoder,
    out: Out,
}

#[derive(Debug)]
enum Framed {
    Events(Reader),
    Frames(Frames),
}

/// What leaves, and how far it is.
#[derive(Debug)]
struct Out {
    encoder: Encoder,
    /// The client has been told that an answer begins.
    started: bool,
    /// Why the answer ended has been said.
    stopped: bool,
    /// The last word has been spoken.
    over: bool,
    failed: bool,
}

#[derive(Debug)]
enum Decoder {
    Completions(openai::Decoder),
    Responses(responses::Decoder),
    Messages(anthropic::Decoder),
    GenerateContent(gemini::Decoder),
    Converse(bedrock::Decoder),
}

#[derive(Debug)]
pub(super) enum Encoder {
    Completions(openai::Encoder),
    Responses(responses::Encoder),
    Messages(anthropic::Encoder),
    GenerateContent(gemini::Encoder),
    Converse(bedrock::Encoder),
}

impl Decoder {
    /// Takes the data of an event; what it is stands beside it in frames alone.
    fn event(&mut self, kind: &str, data: json::Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        match self {
            Self::Completions(it) => it.event(data, out),
            Self::Responses(it) => it.event(data, out),
            Self::Messages(it) => it.event(data, out),
            Self::GenerateContent(it) => it.event(data, out),
            Self::Converse(it) => it.event(kind, data, out),
        }
    }
}

impl Encoder {
    pub(super) fn new(terms: Terms) -> Self {
        match terms.client {
            Wire::Completions => Self::Completions(openai::Encoder::new(terms)),
            Wire::Responses => Self::Responses(responses::Encoder::new(terms)),
            Wire::Messages => Self::Messages(anthropic::Encoder::new(terms)),
            Wire::GenerateContent => Self::GenerateContent(gemini::Encoder::new(terms)),
            Wire::Converse => Self::Converse(bedrock::Encoder::new(terms)),
        }
    }

    pub(super) fn event(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Completions(it) => it.event(event, out),
            Self::Responses(it) => it.event(event, out),
            Self::Messages(it) => it.event(event, out),
            Self::GenerateContent(it) => it.event(event, out),
            Self::Converse(it) => it.event(event, out),
        }
    }
}

impl Stream {
    pub fn new(terms: Terms) -> Self {
        let decoder = match terms.provider {
            Wire::Completions => Decoder::Completions(openai::Decoder::default()),
            Wire::Responses => Decoder::Responses(responses::Decoder::default()),
            Wire::Messages => Decoder::Messages(anthropic::Decoder::default()),
            Wire::GenerateContent => Decoder::GenerateContent(gemini::Decoder::new(terms.clone())),
            Wire::Converse => Decoder::Converse(bedrock::Decoder::new(terms.clone())),
        };
        let reader = match terms.provider {
            Wire::Converse => Framed::Frames(Frames::new(EVENT_BYTES_MAX)),
            _ => Framed::Events(Reader::new(EVENT_BYTES_MAX)),
        };
        let out = Out { encoder: Encoder::new(terms), started: false, stopped: false, over: false, failed: false };
        Self { reader, decoder, out }
    }

    /// Takes a piece of the provider's stream, cut anywhere; what the client is to get is put behind `bytes`.
    pub fn push(&mut self, piece: &[u8], bytes: &mut Vec<u8>) {
        let Self { reader, decoder, out } = self;
        if out.over {
            return;
        }
        let read = match reader {
            Framed::Events(reader) => {
                reader.push(piece, &mut |event| out.data(decoder, "", &event.data, bytes)).map_err(|it| it.to_string())
            }
            Framed::Frames(reader) => {
                reader.push(piece, &mut |it| out.frame(decoder, &it, bytes)).map_err(|it| it.to_string())
            }
        };
        if let Err(fault) = read {
            out.fail(502, "upstream_error", &format!("the provider's stream: {fault}"), bytes);
        }
    }

    /// The provider's stream is over.
    pub fn finish(&mut self, bytes: &mut Vec<u8>) {
        match self.out.stopped {
            // Not all say that they are done.
            true => self.out.event(Event::End, bytes),
            false => self.out.fail(502, "upstream_error", "the provider's stream broke off", bytes),
        }
    }

    /// Whether the client was told of an error.
    pub fn has_failed(&self) -> bool {
        self.out.failed
    }
}

impl Out {
    fn frame(&mut self, decoder: &mut Decoder, frame: &Frame<'_>, bytes: &mut Vec<u8>) {
        if !frame.is_exception {
            return self.data(decoder, frame.kind, frame.payload, bytes);
        }
        let said = json::parse(frame.payload).ok().and_then(failure);
        let message = said.map_or_else(|| frame.kind.to_owned(), |(_, _, message)| message.into_owned());
        self.fail(status_of(frame.kind), frame.kind, &message, bytes);
    }

    /// Data of one event.
    fn data(&mut self, decoder: &mut Decoder, kind: &str, data: &[u8], bytes: &mut Vec<u8>) {
        if self.over || data.is_empty() {
            return;
        }
        if data == b"[DONE]" {
            return self.event(Event::End, bytes);
        }
        let data = match json::parse(data) {
            Ok(data) => data,
            Err(fault) => {
                return self.fail(502, "upstream_error", &format!("the provider's stream: an event is {fault}"), bytes);
            }
        };
        if let Some((status, code, message)) = failure(data) {
            return self.fail(status, &code, &message, bytes);
        }
        decoder.event(kind, data, &mut |it| self.event(it, bytes));
    }

    fn event(&mut self, event: Event<'_>, bytes: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match &event {
            Event::Start { .. } if self.started => return,
            Event::Start { .. } => {}
            Event::Error { .. } => (self.over, self.failed) = (true, true),
            _ if !self.started => {
                self.begin(bytes);
            }
            _ => {}
        }
        match &event {
            Event::Start { .. } => self.started = true,
            Event::Stop(..) if self.stopped => return,
            Event::Stop(..) => self.stopped = true,
            Event::End if !self.stopped => {
                self.stopped = true;
                self.encoder.event(Event::Stop(Stop::End, None), bytes);
            }
            _ => {}
        }
        self.over |= matches!(event, Event::End);
        self.encoder.event(event, bytes);
    }

    fn begin(&mut self, bytes: &mut Vec<u8>) {
        self.started = true;
        self.encoder.event(Event::Start { id: None::<Text<'_>>, model: None }, bytes);
    }

    fn fail(&mut self, status: u16, code: &str, message: &str, bytes: &mut Vec<u8>) {
        self.event(Event::Error { status, code: code.into(), message: message.into() }, bytes);
    }
}
