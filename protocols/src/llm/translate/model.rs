//! What all dialects can say, one way: a request, an answer, and the steps of one that streams.
//!
//! Text is kept as it is written ([`Text`]), and JSON as it stands in the document ([`Raw`]).

use std::borrow::Cow;

use super::super::Usage;
use super::write::Text;
use crate::json::Raw;

/// A request.
#[derive(Debug, Default)]
pub(super) struct Chat<'a> {
    /// Text alone.
    pub(super) system: Vec<Part<'a>>,
    pub(super) messages: Vec<Message<'a>>,
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) choice: Option<Choice<'a>>,
    /// Whether the model may call several tools at once.
    pub(super) parallel: Option<bool>,
    pub(super) max_tokens: Option<u64>,
    /// Numbers as they are written.
    pub(super) temperature: Option<&'a str>,
    pub(super) top_p: Option<&'a str>,
    pub(super) top_k: Option<&'a str>,
    pub(super) presence_penalty: Option<&'a str>,
    pub(super) frequency_penalty: Option<&'a str>,
    pub(super) seed: Option<&'a str>,
    pub(super) stop: Vec<Text<'a>>,
    pub(super) thinking: Option<Thinking>,
    pub(super) format: Option<Format<'a>>,
    /// Who asks, as the provider is to know them.
    pub(super) user: Option<Text<'a>>,
    /// Of a stream, whether the client wants to hear what was used where its dialect leaves that open.
    pub(super) include_usage: bool,
    /// What only dialects of one family can say.
    pub(super) rest: Vec<(Cow<'a, str>, Raw<'a>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    User,
    Assistant,
}

#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) role: Role,
    pub(super) parts: Vec<Part<'a>>,
}

/// A part of a message.
#[derive(Clone, Debug)]
pub(super) struct Part<'a> {
    pub(super) kind: Kind<'a>,
    /// What is before the end of this is worth keeping.
    pub(super) cache: Option<Cache>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    Short,
    Long,
}

#[derive(Clone, Debug)]
pub(super) enum Kind<'a> {
    Text(Text<'a>),
    Refusal(Text<'a>),
    Image(Media<'a>, Option<Text<'a>>),
    /// A document, and its name.
    Document(Media<'a>, Option<Text<'a>>),
    Audio(Media<'a>),
    Call(Call<'a>),
    Outcome(Outcome<'a>),
    Thought {
        text: Text<'a>,
        signature: Option<Text<'a>>,
    },
    /// A thought that only the provider can read.
    Sealed(Text<'a>),
}

/// Where the bytes of a picture or document are.
#[derive(Clone, Debug)]
pub(super) enum Media<'a> {
    Url(Text<'a>),
    /// A media type, and base64.
    Inline(Text<'a>, Text<'a>),
    /// As the provider knows it.
    File(Text<'a>),
    /// As it is.
    Plain(Text<'a>),
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub(super) id: Text<'a>,
    pub(super) name: Text<'a>,
    pub(super) input: Input<'a>,
}

/// Arguments: JSON as it is, or as a string.
#[derive(Clone, Debug)]
pub(super) enum Input<'a> {
    Json(Cow<'a, str>),
    Text(Text<'a>),
}

/// What a tool said.
#[derive(Clone, Debug)]
pub(super) struct Outcome<'a> {
    pub(super) id: Text<'a>,
    pub(super) parts: Vec<Part<'a>>,
    pub(super) is_error: bool,
}

#[derive(Debug)]
pub(super) struct Tool<'a> {
    pub(super) name: Text<'a>,
    pub(super) description: Option<Text<'a>>,
    /// A schema as it is written.
    pub(super) parameters: Option<Cow<'a, str>>,
    pub(super) strict: Option<bool>,
    pub(super) cache: Option<Cache>,
}

#[derive(Debug)]
pub(super) enum Choice<'a> {
    Auto,
    /// Some tool.
    Any,
    None,
    Named(Text<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    Off,
    Budget(u64),
    /// As much as the model likes.
    Adaptive,
    Effort(Effort),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

#[derive(Debug)]
pub(super) enum Format<'a> {
    /// Any object.
    Json,
    Schema {
        name: Option<Text<'a>>,
        schema: Cow<'a, str>,
        strict: Option<bool>,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    #[default]
    End,
    /// A stop sequence.
    Sequence,
    Length,
    Call,
    /// Refused, or filtered.
    Refused,
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) parts: Vec<Part<'a>>,
    pub(super) stop: Stop,
    /// Which stop sequence it was.
    pub(super) sequence: Option<Text<'a>>,
    pub(super) usage: Usage,
}

/// A step of an answer that streams.
#[derive(Debug)]
pub(super) enum Event<'a> {
    Start {
        id: Option<Text<'a>>,
        model: Option<Text<'a>>,
    },
    Text(Text<'a>),
    Refusal(Text<'a>),
    Thought(Text<'a>),
    /// Of the thought so far.
    Signature(Text<'a>),
    Sealed(Text<'a>),
    /// A call begins; calls are numbered in their order.
    Call {
        index: usize,
        id: Text<'a>,
        name: Text<'a>,
    },
    /// More of its arguments: JSON in the inside of a string.
    Input {
        index: usize,
        json: Text<'a>,
    },
    Stop(Stop, Option<Text<'a>>),
    Usage(&'a Usage),
    /// Over, and whole.
    End,
    Error {
        status: u16,
        code: Cow<'a, str>,
        message: Cow<'a, str>,
    },
}

impl<'a> Part<'a> {
    pub(super) fn new(kind: Kind<'a>) -> Self {
        Self { kind, cache: None }
    }
}

impl Effort {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" => Self::Xhigh,
            "max" => Self::Max,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// Tokens that this much thinking may take, where a provider wants a number.
    pub(super) fn budget(self) -> u64 {
        match self {
            Self::Minimal | Self::Low => 1_024,
            Self::Medium => 2_048,
            Self::High => 4_096,
            Self::Xhigh => 8_192,
            Self::Max => 16_384,
        }
    }

    /// What comes nearest to so many tokens.
    pub(super) fn of_budget(tokens: u64) -> Self {
        match tokens {
            0..2_048 => Self::Low,
            2_048..4_096 => Self::Medium,
            _ => Self::High,
        }
    }
}

impl Thinking {
    /// Reads `none`, `low`, …; nothing where it is no word for that.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::Off),
            name => Effort::parse(name).map(Self::Effort),
        }
    }
}

impl<'a> Input<'a> {
    /// As an object: whatever is none becomes the one member of one, so that nothing is lost.
    pub(super) fn json(&self) -> Cow<'_, str> {
        let text = match self {
            Self::Json(it) => return Cow::Borrowed(it),
            Self::Text(it) => it.read(),
        };
        if text.trim().is_empty() {
            return Cow::Borrowed("{}");
        }
        let is_object = crate::json::parse(text.as_bytes()).is_ok_and(|it| it.kind() == crate::json::Kind::Object);
        match is_object {
            true => text,
            false => Cow::Owned(format!("{{\"arguments\":{}}}", crate::json::quoted(&text))),
        }
    }

    /// As the inside of a string.
    pub(super) fn text(&self) -> Text<'_> {
        match self {
            Self::Json(it) => Text::plain(it),
            Self::Text(it) => it.borrowed(),
        }
    }
}

impl Answer<'_> {
    /// The same as if it had streamed.
    pub(super) fn events(&self, out: &mut impl FnMut(Event<'_>)) {
        let borrowed = |it: &Option<Text<'_>>| it.as_ref().map(|it| it.clone().into_owned());
        out(Event::Start { id: borrowed(&self.id), model: borrowed(&self.model) });
        let mut calls = 0;
        for part in &self.parts {
            match &part.kind {
                Kind::Text(text) => out(Event::Text(text.borrowed())),
                Kind::Refusal(text) => out(Event::Refusal(text.borrowed())),
                Kind::Thought { text, signature } => {
                    out(Event::Thought(text.borrowed()));
                    signature.iter().for_each(|it| out(Event::Signature(it.borrowed())));
                }
                Kind::Sealed(data) => out(Event::Sealed(data.borrowed())),
                Kind::Call(call) => {
                    let (id, name) = (call.id.borrowed(), call.name.borrowed());
                    out(Event::Call { index: calls, id, name });
                    out(Event::Input { index: calls, json: call.input.text() });
                    calls += 1;
                }
                Kind::Image(..) | Kind::Document(..) | Kind::Audio(_) | Kind::Outcome(_) => {}
            }
        }
        out(Event::Stop(self.stop, borrowed(&self.sequence)));
        out(Event::Usage(&self.usage));
        out(Event::End);
    }
}

/// Names kept of what could not be carried over.
const NAMES_MAX: usize = 16;
/// Longest of them.
const NAME_BYTES_MAX: usize = 64;

/// What the other dialect has no place for: each once, by its place in the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped(Vec<Cow<'static, str>>);

impl Dropped {
    pub(super) fn add(&mut self, name: &'static str) {
        self.note(Cow::Borrowed(name));
    }

    /// A name that the client wrote.
    pub(super) fn add_other(&mut self, before: &str, name: &str) {
        let kept = name.chars().filter(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.'));
        self.note(Cow::Owned(before.chars().chain(kept).take(NAME_BYTES_MAX).collect()));
    }

    fn note(&mut self, name: Cow<'static, str>) {
        if !self.0.contains(&name) && self.0.len() < NAMES_MAX {
            self.0.push(name);
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|it| &**it)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Chat<'a> {
    /// Names of tools that were called before.
    pub(super) fn called(&self) -> impl Iterator<Item = &Text<'a>> {
        self.messages.iter().flat_map(|it| &it.parts).filter_map(|it| match &it.kind {
            Kind::Call(call) => Some(&call.name),
            _ => None,
        })
    }
}
