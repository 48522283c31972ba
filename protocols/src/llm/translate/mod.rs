//! From one dialect to another: requests, answers, streams and errors, both ways.
//!
//! A request is read into what all dialects can say (`model`), and written as the provider wants it; its answer goes the
//! other way, whole or event by event. There is a folder for each dialect, and no pair of two knows of each other. Text and JSON
//! that mean the same on both sides are copied as they are written. What the other side has no place for is in
//! [`Dropped`], by name. Nothing here refuses what it does not know: only what is no request at all.
//!
//! Same dialect on both sides is not translated: see `scan`.

mod anthropic;
mod bedrock;
mod gemini;
mod model;
mod openai;
mod responses;
mod stream;
mod write;

use std::borrow::Cow;

use super::request::{Fault, Scanned};
use super::{Dialect, Operation, error_body};
use crate::json::{self, Kind, Raw};

pub use model::Dropped;
pub use stream::Stream;

use model::{Answer, Chat};
use write::Text;

/// What is spoken: dialects whose requests are conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Completions,
    Responses,
    Messages,
    GenerateContent,
    Converse,
}

impl Wire {
    /// The one of this kind of request.
    pub fn of(operation: Operation) -> Option<Self> {
        Some(match operation {
            Operation::Completions => Self::Completions,
            Operation::Responses => Self::Responses,
            Operation::Messages => Self::Messages,
            Operation::GenerateContent => Self::GenerateContent,
            Operation::Converse => Self::Converse,
            _ => return None,
        })
    }

    pub fn operation(self) -> Operation {
        match self {
            Self::Completions => Operation::Completions,
            Self::Responses => Operation::Responses,
            Self::Messages => Operation::Messages,
            Self::GenerateContent => Operation::GenerateContent,
            Self::Converse => Operation::Converse,
        }
    }

    /// What to translate to, what comes nearest first.
    pub fn neighbours(self) -> &'static [Self] {
        use Wire::{Completions, Converse, GenerateContent, Messages, Responses};
        match self {
            Completions => &[Messages, GenerateContent, Converse, Responses],
            Responses => &[Completions, Messages, GenerateContent, Converse],
            Messages => &[Completions, Converse, Responses, GenerateContent],
            GenerateContent => &[Completions, Messages, Converse, Responses],
            Converse => &[Messages, Completions, GenerateContent, Responses],
        }
    }

    /// The media type of an answer.
    pub fn media_type(self, stream: bool) -> &'static str {
        match (self, stream) {
            (Self::Converse, true) => "application/vnd.amazon.eventstream",
            (_, true) => "text/event-stream",
            (_, false) => "application/json",
        }
    }
}

/// What a request is to become.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub client: Wire,
    pub provider: Wire,
    /// What the provider is asked for.
    pub model: &'a str,
    pub stream: bool,
    /// Seconds since 1970, for dialects whose answers say when they were made.
    pub now: u64,
    /// For ids, where the provider gives none.
    pub random: u64,
}

/// A request in the provider's dialect.
#[derive(Debug)]
pub struct Translated {
    pub body: Vec<u8>,
    pub dropped: Dropped,
    /// For the answer.
    pub terms: Terms,
}

/// What must be known of a request when its answer is translated.
#[derive(Clone, Debug)]
pub struct Terms {
    client: Wire,
    provider: Wire,
    model: String,
    stream: bool,
    include_usage: bool,
    now: u64,
    random: u64,
    /// Of tools, where they are others there.
    names: bedrock::Names,
}

/// What a request is written for.
struct Target<'a> {
    model: &'a str,
    stream: bool,
    /// Whose members nobody else knows.
    client: Dialect,
}

/// Why an answer is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    #[error("the provider's answer is no answer: {0}")]
    Json(#[from] json::Fault),
    #[error("the provider's answer is no answer: it has nothing to say")]
    Empty,
    /// An error, whatever its status was.
    #[error("{message}")]
    Error { status: u16, code: String, message: String },
}

/// Translates a request.
pub fn request(body: &[u8], wanted: &Wanted<'_>) -> Result<Translated, Fault> {
    let mut dropped = Dropped::default();
    let chat = read(wanted.client, body, &mut dropped)?;
    Ok(written(chat, dropped, body.len(), wanted))
}

/// As [`request`], of a body that was scanned for its kind before.
pub fn scanned(body: &Scanned, wanted: &Wanted<'_>) -> Result<Translated, Fault> {
    let mut dropped = Dropped::default();
    let (object, members) = body.parts()?;
    let members = members.filter_map(|(key, value)| Some((key.as_str()?, value)));
    let chat = decode(wanted.client, members, &mut dropped)?;
    Ok(written(chat, dropped, object.text().len(), wanted))
}

fn written(chat: Chat<'_>, mut dropped: Dropped, length: usize, wanted: &Wanted<'_>) -> Translated {
    let Wanted { client, provider, model, stream, now, random } = *wanted;
    let names = if provider == Wire::Converse { bedrock::Names::of(&chat) } else { bedrock::Names::default() };
    let include_usage = chat.include_usage;
    let terms = Terms { client, provider, model: model.to_owned(), stream, include_usage, now, random, names };
    let target = Target { model, stream, client: client.operation().dialect() };
    let mut out = Vec::with_capacity(length + length / 8 + 256);
    match provider {
        Wire::Completions => openai::encode(&chat, &target, &mut out, &mut dropped),
        Wire::Responses => responses::encode(&chat, &target, &mut out, &mut dropped),
        Wire::Messages => anthropic::encode(&chat, &target, &mut out, &mut dropped),
        Wire::GenerateContent => gemini::encode(&chat, &target, &mut out, &mut dropped),
        Wire::Converse => bedrock::encode(&chat, (&target, &terms.names), &mut out, &mut dropped),
    }
    Translated { body: out, dropped, terms }
}

/// Whether a body can be translated at all.
pub fn check(client: Wire, body: &[u8]) -> Result<(), Fault> {
    read(client, body, &mut Dropped::default()).map(drop)
}

fn read<'a>(client: Wire, body: &'a [u8], dropped: &mut Dropped) -> Result<Chat<'a>, Fault> {
    let mut members: Vec<(Cow<'a, str>, Raw<'a>)> = Vec::with_capacity(16);
    let object = json::outline(body, |key, value| {
        members.extend(key.as_str().map(|key| (key, value)));
    })?;
    if object.kind() != Kind::Object {
        return Err(Fault::NotObject);
    }
    decode(client, members.into_iter(), dropped)
}

fn decode<'a>(
    client: Wire,
    members: impl Iterator<Item = (Cow<'a, str>, Raw<'a>)>,
    dropped: &mut Dropped,
) -> Result<Chat<'a>, Fault> {
    match client {
        Wire::Completions => openai::decode(members, dropped),
        Wire::Responses => responses::decode(members, dropped),
        Wire::Messages => anthropic::decode(members, dropped),
        Wire::GenerateContent => gemini::decode(members, dropped),
        Wire::Converse => bedrock::decode(members, dropped),
    }
}

/// Translates an answer with a status that says that it is one. What it is to be named is [`Terms::media_type`].
pub fn answer(terms: &Terms, body: &[u8]) -> Result<Vec<u8>, AnswerFault> {
    let body = json::parse(body)?;
    if let Some((status, code, message)) = failure(body) {
        let (code, message) = (code.into_owned(), message.into_owned());
        return Err(AnswerFault::Error { status, code, message });
    }
    if body.kind() != Kind::Object {
        return Err(AnswerFault::Empty);
    }
    let answer = match terms.provider {
        Wire::Completions => openai::decode_answer(body),
        Wire::Responses => responses::decode_answer(body),
        Wire::Messages => anthropic::decode_answer(body),
        Wire::GenerateContent => gemini::decode_answer(body, terms),
        Wire::Converse => bedrock::decode_answer(body, terms),
    };
    if answer.parts.is_empty() && answer.usage.is_empty() && answer.id.is_none() {
        return Err(AnswerFault::Empty);
    }
    let mut out = Vec::with_capacity(body.text().len() + 512);
    write(terms, &answer, &mut out);
    Ok(out)
}

fn write(terms: &Terms, answer: &Answer<'_>, out: &mut Vec<u8>) {
    if terms.stream {
        // It was to stream, and did not: said at once, it still reads like a stream.
        let mut encoder = stream::Encoder::new(terms.clone());
        return answer.events(&mut |it| encoder.event(it, out));
    }
    match terms.client {
        Wire::Completions => openai::encode_answer(answer, terms, out),
        Wire::Responses => responses::encode_answer(answer, terms, out),
        Wire::Messages => anthropic::encode_answer(answer, terms, out),
        Wire::GenerateContent => gemini::encode_answer(answer, terms, out),
        Wire::Converse => bedrock::encode_answer(answer, out),
    }
}

/// An error of the provider's, with this status, as the client reads it; and the header that says its kind, where the dialect
/// has it there.
pub fn error(terms: &Terms, status: u16, body: &[u8]) -> (String, Option<(&'static str, &'static str)>) {
    let said = json::parse(body).ok().and_then(failure);
    let (code, message) = match &said {
        Some((_, code, message)) => (&**code, Cow::Borrowed(&**message)),
        None => ("upstream_error", Cow::Owned(readable(body))),
    };
    error_body(terms.client_dialect(), status, code, &message)
}

/// Bytes kept of an error that is no JSON.
const ERROR_BYTES_MAX: usize = 1 << 10;

fn readable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..ERROR_BYTES_MAX).unwrap_or(body)).trim().to_owned();
    if text.is_empty() { "the provider gave no reason".to_owned() } else { text }
}

/// Status, code and message, where a document says that something failed: in the shape of whatever dialect.
fn failure(body: Raw<'_>) -> Option<(u16, Cow<'_, str>, Cow<'_, str>)> {
    // Google has them in a list, if it was to stream.
    let body = body.elements().next().unwrap_or(body);
    let of = |it: Raw<'_>, names: &[&str]| -> Option<String> {
        names.iter().find_map(|name| it.get(name).and_then(Raw::as_str)).map(Cow::into_owned)
    };
    let kind = || of(body, &["code", "__type", "type"]);
    // Answers are many, and each is walked for it: once.
    let (mut error, mut answers, mut messages) = (None, false, [None; 3]);
    for (key, value) in body.members() {
        match &*key {
            "error" => error = error.or(Some(value).filter(|it| !it.is_null())),
            "choices" | "content" | "candidates" | "output" => answers = true,
            "message" => messages[0] = Some(value),
            "Message" => messages[1] = Some(value),
            "detail" => messages[2] = Some(value),
            _ => {}
        }
    }
    match error {
        Some(error) if error.kind() == Kind::String => {
            Some((502, kind().unwrap_or_else(|| "upstream_error".to_owned()).into(), error.as_str()?))
        }
        Some(error) => {
            let code = of(error, &["code", "status", "type"]).or_else(|| of(body, &["status"]));
            let code = code.unwrap_or_else(|| "upstream_error".to_owned());
            let number = ["code", "status"].iter().find_map(|it| error.get(it)?.text().parse::<u16>().ok());
            let status = number.filter(|it| (400..600).contains(it)).unwrap_or_else(|| status_of(&code));
            let message = of(error, &["message"]).unwrap_or_else(|| error.text().to_owned());
            Some((status, code.into(), message.into()))
        }
        None if answers => None,
        None => {
            let message = messages.into_iter().flatten().find_map(Raw::as_str)?;
            let code = kind().unwrap_or_else(|| "upstream_error".to_owned());
            Some((status_of(&code), code.into(), message))
        }
    }
}

/// The status of an error that has only a name.
fn status_of(code: &str) -> u16 {
    match code {
        "overloaded_error" | "UNAVAILABLE" | "serviceUnavailableException" => 503,
        "rate_limit_error" | "rate_limit_exceeded" | "RESOURCE_EXHAUSTED" | "throttlingException" => 429,
        "invalid_request_error" | "INVALID_ARGUMENT" | "validationException" => 400,
        "authentication_error" | "UNAUTHENTICATED" => 401,
        "permission_error" | "PERMISSION_DENIED" => 403,
        "timeout_error" | "DEADLINE_EXCEEDED" | "modelTimeoutException" => 504,
        _ => 502,
    }
}

impl Terms {
    pub fn client_dialect(&self) -> Dialect {
        self.client.operation().dialect()
    }

    pub fn media_type(&self) -> &'static str {
        self.client.media_type(self.stream)
    }

    pub fn client(&self) -> Wire {
        self.client
    }

    pub fn provider(&self) -> Wire {
        self.provider
    }

    /// Whether the client waits for a stream.
    pub fn streams(&self) -> bool {
        self.stream
    }

    /// The provider's id, or one of ours that begins like those of the dialect.
    fn id<'a>(&self, given: Option<&Text<'a>>, prefix: &str) -> Text<'a> {
        match given.filter(|it| !it.is_empty()) {
            Some(given) => given.clone(),
            None => Text::plain(&format!("{prefix}{:016x}", self.random)),
        }
    }

    fn model<'a>(&self, given: Option<&Text<'a>>) -> Text<'a> {
        match given.filter(|it| !it.is_empty()) {
            Some(given) => given.clone(),
            None => Text::plain(&self.model),
        }
    }
}

#[cfg(test)]
mod tests;
