//! An answer watched while it passes: what was used, by which model, how it ended. Nothing of it is held or changed.

use std::sync::LazyLock;

use super::Usage;
use super::event_stream::{self, Frames};
use super::lines::{self, Lines};
use super::pick::{Pick, Places};
use crate::json::{self, Raw};

/// Ways an answer ended that are kept: one for each choice.
const FINISHES_MAX: usize = 8;

/// Longest name or id kept.
const TEXT_BYTES_MAX: usize = 256;

#[derive(Clone, Copy, Debug)]
enum Field {
    Usage,
    /// Tokens counted because somebody asked for the count: nothing was used.
    Counted,
    Model,
    Id,
    Finish,
    Tier,
    Error,
}

/// Where each dialect says it, streamed or not. No two dialects mean different things by one place.
static PLACES: LazyLock<Places> = LazyLock::new(|| Places::new(LIST));

const LIST: &[&[&str]] = &[
    &["usage"],
    &["message", "usage"],
    &["response", "usage"],
    &["usageMetadata"],
    &["*", "usageMetadata"],
    &["response", "usageMetadata"],
    &["meta", "tokens"],
    &["input_tokens"],
    &["totalTokens"],
    &["model"],
    &["message", "model"],
    &["response", "model"],
    &["modelVersion"],
    &["*", "modelVersion"],
    &["id"],
    &["message", "id"],
    &["response", "id"],
    &["responseId"],
    &["choices", "*", "finish_reason"],
    &["stop_reason"],
    &["delta", "stop_reason"],
    &["stopReason"],
    &["candidates", "*", "finishReason"],
    &["*", "candidates", "*", "finishReason"],
    &["incomplete_details", "reason"],
    &["response", "incomplete_details", "reason"],
    &["service_tier"],
    &["response", "service_tier"],
    &["error"],
    &["response", "error"],
    &["*", "error"],
];

fn field(place: usize) -> Option<Field> {
    Some(match place {
        0..=6 => Field::Usage,
        7..=8 => Field::Counted,
        9..=13 => Field::Model,
        14..=17 => Field::Id,
        18..=25 => Field::Finish,
        26..=27 => Field::Tier,
        28..=30 => Field::Error,
        _ => return None,
    })
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One document, or one after the other.
    Json,
    /// Server-sent events.
    Events,
    /// AWS's frames.
    Frames,
}

impl Framing {
    /// By its media type; nothing where there is nothing to be seen.
    pub fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("text/event-stream") {
            return Some(Self::Events);
        }
        if is("application/vnd.amazon.eventstream") {
            return Some(Self::Frames);
        }
        let json = is("application/json") || is("application/x-ndjson") || essence.ends_with("+json");
        json.then_some(Self::Json)
    }
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub usage: Usage,
    pub counted: Option<u64>,
    pub model: Option<String>,
    pub id: Option<String>,
    pub finish_reasons: Vec<String>,
    pub service_tier: Option<String>,
    /// The answer carries an error, whatever its status.
    pub is_error: bool,
    /// Events with data so far; of an answer in one piece there are none.
    pub events: u64,
    /// It was not what its media type says.
    pub is_garbled: bool,
}

/// See the file.
#[derive(Debug)]
pub struct Tap {
    framing: Reader,
    pick: Pick,
    seen: Seen,
}

#[derive(Debug)]
enum Reader {
    Json,
    Events(Lines),
    Frames(Frames),
}

impl Tap {
    pub fn new(framing: Framing) -> Self {
        let framing = match framing {
            Framing::Json => Reader::Json,
            Framing::Events => Reader::Events(Lines::new()),
            Framing::Frames => Reader::Frames(Frames::new()),
        };
        Self { framing, pick: Pick::new(&PLACES), seen: Seen::default() }
    }

    /// What was seen so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes a piece of the answer, cut anywhere.
    pub fn push(&mut self, piece: &[u8]) {
        let Self { framing, pick, seen } = self;
        match framing {
            Reader::Json => pick.push(piece, &mut |place, text| seen.note(place, text)),
            Reader::Events(reader) => reader.push(piece, &mut |it| match it {
                lines::Piece::Data(data) => pick.push(data, &mut |place, text| seen.note(place, text)),
                lines::Piece::End => seen.event(pick),
            }),
            Reader::Frames(_) if seen.is_garbled => {}
            Reader::Frames(reader) => {
                let pushed = reader.push(piece, &mut |it| match it {
                    event_stream::Piece::Payload(data) => pick.push(data, &mut |place, text| seen.note(place, text)),
                    event_stream::Piece::End => seen.event(pick),
                });
                seen.is_garbled = pushed.is_err();
            }
        }
    }

    /// The answer is over, or nobody waits for the rest.
    pub fn finish(mut self) -> Seen {
        let seen = &mut self.seen;
        self.pick.end(&mut |place, text| seen.note(place, text));
        self.seen
    }
}

impl Seen {
    fn event(&mut self, pick: &mut Pick) {
        self.events += 1;
        pick.end(&mut |place, text| self.note(place, text));
    }

    fn note(&mut self, place: usize, text: &[u8]) {
        if text == b"null" {
            return;
        }
        let Some(field) = field(place) else { return };
        // Each piece of a stream names them again.
        match field {
            Field::Model if self.model.as_deref().is_some_and(|it| is_quoted(text, it)) => return,
            Field::Id if self.id.is_some() => return,
            _ => {}
        }
        let Ok(value) = json::parse(text) else { return };
        let short =
            |value: Raw<'_>| value.as_str().filter(|it| it.len() <= TEXT_BYTES_MAX).map(std::borrow::Cow::into_owned);
        match field {
            Field::Usage => self.usage.read(value),
            Field::Counted => self.counted = value.text().parse().ok(),
            Field::Model => self.model = short(value).or(self.model.take()),
            // Ids of parts of a stream come after that of the whole.
            Field::Id => self.id = short(value),
            Field::Tier => self.service_tier = short(value),
            Field::Error => self.is_error = true,
            Field::Finish => {
                if let Some(reason) = short(value).filter(|_| self.finish_reasons.len() < FINISHES_MAX) {
                    self.finish_reasons.push(reason);
                }
            }
        }
    }
}

/// Whether this is the text as a JSON string in which nothing is escaped.
fn is_quoted(json: &[u8], text: &str) -> bool {
    let inside = json.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\""));
    inside == Some(text.as_bytes()) && !text.contains('\\')
}

#[cfg(test)]
mod tests;
