//! What a provider's events say for the account, picked out while they pass.

use std::sync::LazyLock;

use super::super::pick::{Pick, Places};
use super::super::tap::Seen;
use super::super::usage::Usage;
use crate::json;

/// Ways in which answers ended that are kept.
const FINISHES_MAX: usize = 8;
/// Longest name or id kept.
const TEXT_BYTES_MAX: usize = 256;

static PLACES: LazyLock<Places> = LazyLock::new(|| Places::new(LIST));

const LIST: &[&[&str]] = &[
    &["type"],
    &["session", "model"],
    &["session", "id"],
    &["response", "usage"],
    &["response", "status"],
    &["response", "max_output_tokens"],
    &["item", "role"],
    &["item", "type"],
];

/// An event of the provider's, as far as it is picked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: String,
    pub(super) role: String,
    pub(super) item: String,
    model: Option<String>,
    session: Option<String>,
    usage: Option<Usage>,
    status: Option<String>,
    output_max: Option<u64>,
}

/// What happens in a session that somebody has a say in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// An answer begins, of so many tokens at most.
    Begun { output_max: Option<u64> },
    /// An answer is over, and has used so many tokens.
    Ended { used: u64 },
}

/// See the file.
#[derive(Debug)]
pub(super) struct Watch {
    pick: Pick,
    event: Event,
    pub(super) seen: Seen,
    /// Answers under way.
    pub(super) open: u32,
    /// Pieces of text, of a transcript or of arguments in those.
    pieces: u64,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { pick: Pick::new(&PLACES), event: Event::default(), seen: Seen::default(), open: 0, pieces: 0 }
    }

    /// More of an event.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let Self { pick, event, .. } = self;
        pick.push(piece, &mut |place, text| event.note(place, text));
    }

    /// The event is over.
    pub(super) fn end(&mut self) -> (Event, Option<Moment>) {
        let Self { pick, event, .. } = self;
        pick.end(&mut |place, text| event.note(place, text));
        let event = std::mem::take(event);
        self.seen.events += 1;
        let moment = self.told(&event);
        (event, moment)
    }

    fn told(&mut self, event: &Event) -> Option<Moment> {
        match event.kind.as_str() {
            "session.created" | "session.updated" => {
                self.seen.model = event.model.clone().or(self.seen.model.take());
                self.seen.id = self.seen.id.take().or_else(|| event.session.clone());
                None
            }
            "response.created" => {
                self.open = self.open.saturating_add(1);
                Some(Moment::Begun { output_max: event.output_max })
            }
            "response.done" => {
                self.open = self.open.saturating_sub(1);
                if self.open == 0 {
                    self.pieces = 0;
                }
                let usage = event.usage.clone().unwrap_or_default();
                let used = usage.total().unwrap_or(0);
                self.seen.usage.add(usage);
                let reasons = &mut self.seen.finish_reasons;
                if let Some(status) = event.status.clone().filter(|it| !reasons.contains(it))
                    && reasons.len() < FINISHES_MAX
                {
                    reasons.push(status);
                }
                Some(Moment::Ended { used })
            }
            kind if kind.starts_with("response.") && kind.ends_with(".delta") && !kind.ends_with("audio.delta") => {
                self.pieces += 1;
                None
            }
            _ => None,
        }
    }

    /// About how many tokens came of answers that were cut off; nothing where none was under way.
    pub(super) fn cut_off(&self) -> Option<u64> {
        (self.open > 0).then_some(self.pieces)
    }
}

impl Event {
    fn note(&mut self, place: usize, text: &[u8]) {
        let Ok(value) = json::parse(text) else { return };
        let short = || value.as_str().filter(|it| it.len() <= TEXT_BYTES_MAX).map(std::borrow::Cow::into_owned);
        match place {
            0 => self.kind = short().unwrap_or_default(),
            1 => self.model = short(),
            2 => self.session = short(),
            3 => {
                let mut usage = Usage::default();
                usage.read(value);
                self.usage = Some(usage);
            }
            4 => self.status = short(),
            5 => self.output_max = value.text().parse().ok(),
            6 => self.role = short().unwrap_or_default(),
            _ => self.item = short().unwrap_or_default(),
        }
    }

    /// Whether somebody other than the model says this, or nobody: terms, counts, and what the client said itself.
    pub(super) fn is_not_of_the_model(&self) -> bool {
        const OTHERS: [&str; 8] = [
            "session.",
            "transcription_session.",
            "rate_limits.",
            "input_audio_buffer.",
            "output_audio_buffer.",
            "conversation.created",
            "conversation.item.input_audio_transcription.",
            "error",
        ];
        let echo = self.kind.starts_with("conversation.item.")
            && (matches!(self.role.as_str(), "user" | "system") || self.item == "function_call_output");
        echo || OTHERS.iter().any(|it| self.kind.starts_with(it)) || self.kind.ends_with("audio.delta")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(watch: &mut Watch, event: &str) -> Option<Moment> {
        event.as_bytes().chunks(7).for_each(|it| watch.push(it));
        watch.end().1
    }

    #[test]
    fn answers_are_counted_one_by_one_and_add_up() {
        let mut watch = Watch::new();
        let session = r#"{"type":"session.created","session":{"id":"s","model":"gpt-realtime","type":"realtime"}}"#;
        assert_eq!(told(&mut watch, session), None);
        let begun = r#"{"response":{"id":"r","max_output_tokens":300},"type":"response.created"}"#;
        assert_eq!(told(&mut watch, begun), Some(Moment::Begun { output_max: Some(300) }));
        told(&mut watch, r#"{"type":"response.output_audio.delta","delta":"AAAA"}"#);
        told(&mut watch, r#"{"type":"response.output_audio_transcript.delta","delta":"Hi"}"#);
        assert_eq!(watch.cut_off(), Some(1), "tokens are counted by the words");
        let done = r#"{"type":"response.done","response":{"status":"completed","usage":{"total_tokens":30,
            "input_tokens":20,"output_tokens":10,"input_token_details":{"audio_tokens":15,"cached_tokens":4},
            "output_token_details":{"audio_tokens":8}}}}"#;
        assert_eq!(told(&mut watch, done), Some(Moment::Ended { used: 30 }));
        assert_eq!(watch.cut_off(), None);
        let begun = r#"{"type":"response.created","response":{"max_output_tokens":"inf"}}"#;
        assert_eq!(told(&mut watch, begun), Some(Moment::Begun { output_max: None }));
        told(&mut watch, done);
        let Seen { usage, model, id, finish_reasons, .. } = &watch.seen;
        let counted = (usage.input(), usage.output, usage.cache_read, usage.input_audio, usage.output_audio);
        assert_eq!(counted, (Some(40), Some(20), Some(8), Some(30), Some(16)));
        assert_eq!((model.as_deref(), id.as_deref()), (Some("gpt-realtime"), Some("s")));
        assert_eq!(finish_reasons, &["completed"]);
    }

    #[test]
    fn what_the_model_says_is_told_from_what_others_say() {
        for (event, is_other) in [
            (r#"{"type":"session.updated","session":{"instructions":"x"}}"#, true),
            (r#"{"type":"conversation.item.added","item":{"type":"message","role":"user"}}"#, true),
            (r#"{"type":"conversation.item.added","item":{"type":"message","role":"assistant"}}"#, false),
            (r#"{"type":"conversation.item.done","item":{"type":"function_call_output"}}"#, true),
            (r#"{"type":"conversation.item.done","item":{"type":"function_call"}}"#, false),
            (r#"{"type":"response.output_audio.delta"}"#, true),
            (r#"{"type":"response.output_audio_transcript.delta"}"#, false),
            (r#"{"type":"something.new"}"#, false),
        ] {
            let mut watch = Watch::new();
            watch.push(event.as_bytes());
            assert_eq!(watch.end().0.is_not_of_the_model(), is_other, "{event}");
        }
    }
}
