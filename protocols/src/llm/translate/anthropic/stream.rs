//! An answer that streams.

use super::super::super::Usage;
use super::super::Terms;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::{stop, stop_word, tokens};
use crate::json::Raw;

/// Reads events.
#[derive(Debug, Default)]
pub(in super::super) struct Decoder {
    /// Calls that have begun.
    calls: usize,
    /// The block under way is a call, and so much of its arguments has come.
    call: Option<usize>,
    usage: Usage,
}

impl Decoder {
    pub(in super::super) fn event(&mut self, data: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let kind = data.get("type").and_then(Raw::as_str);
        match kind.as_deref() {
            Some("content_block_delta") => data.get("delta").into_iter().for_each(|it| self.delta(it, out)),
            Some("content_block_start") => data.get("content_block").into_iter().for_each(|it| self.begin(it, out)),
            Some("content_block_stop") => self.end_block(out),
            Some("message_start") => {
                let message = data.get("message");
                let text = |name: &str| message.and_then(|it| it.get(name)).and_then(Text::of);
                out(Event::Start { id: text("id"), model: text("model") });
                if let Some(usage) = message.and_then(|it| it.get("usage")) {
                    self.usage.count(usage);
                    out(Event::Usage(&self.usage));
                }
            }
            Some("message_delta") => {
                if let Some(delta) = data.get("delta")
                    && let Some(reason) = delta.get("stop_reason").and_then(Raw::as_str)
                {
                    out(Event::Stop(stop(&reason), delta.get("stop_sequence").and_then(Text::of)));
                }
                if let Some(usage) = data.get("usage") {
                    self.usage.count(usage);
                    out(Event::Usage(&self.usage));
                }
            }
            Some("message_stop") => out(Event::End),
            _ => {}
        }
    }

    fn begin(&mut self, block: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let text = |name: &str| block.get(name).and_then(Text::of);
        self.call = None;
        match block.get("type").and_then(Raw::as_str).as_deref() {
            Some("text") => {
                text("text").filter(|it| !it.is_empty()).into_iter().for_each(|it| out(Event::Text(it)));
            }
            Some("thinking") => {
                text("thinking").filter(|it| !it.is_empty()).into_iter().for_each(|it| out(Event::Thought(it)));
            }
            Some("redacted_thinking") => text("data").into_iter().for_each(|it| out(Event::Sealed(it))),
            Some("tool_use") => {
                let index = self.calls;
                self.calls += 1;
                self.call = Some(0);
                let (id, name) = (text("id").unwrap_or_default(), text("name").unwrap_or_default());
                out(Event::Call { index, id, name });
            }
            _ => {}
        }
    }

    fn delta(&mut self, delta: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        for (key, value) in delta.members() {
            let Some(text) = Text::of(value).filter(|it| !it.is_empty()) else { continue };
            match &*key {
                "text" => out(Event::Text(text)),
                "thinking" => out(Event::Thought(text)),
                "signature" => out(Event::Signature(text)),
                "partial_json" => {
                    let Some(bytes) = &mut self.call else { return };
                    *bytes += text.written().len();
                    out(Event::Input { index: self.calls.saturating_sub(1), json: text });
                }
                _ => {}
            }
        }
    }

    /// A call without arguments has none in pieces either.
    fn end_block(&mut self, out: &mut dyn FnMut(Event<'_>)) {
        if self.call.take() == Some(0) {
            out(Event::Input { index: self.calls.saturating_sub(1), json: Text::part("{}") });
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thought,
    Call(usize),
}

/// Writes events.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    terms: Terms,
    /// Blocks that have begun.
    blocks: usize,
    open: Option<Block>,
    /// Where the block of each call is.
    calls: Vec<usize>,
    stop: Stop,
    sequence: Option<Text<'static>>,
    usage: Usage,
}

impl Encoder {
    pub(in super::super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            blocks: 0,
            open: None,
            calls: Vec::new(),
            stop: Stop::End,
            sequence: None,
            usage: Usage::default(),
        }
    }

    pub(in super::super) fn event(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model } => self.start(id, model, out),
            Event::Text(text) | Event::Refusal(text) => {
                self.enter(Block::Text, out, |json| {
                    json.word("type", "text");
                    json.word("text", "");
                });
                self.delta(self.blocks - 1, "text_delta", ("text", &text), out);
            }
            Event::Thought(text) => {
                self.think(out);
                self.delta(self.blocks - 1, "thinking_delta", ("thinking", &text), out);
            }
            Event::Signature(signature) => {
                self.think(out);
                self.delta(self.blocks - 1, "signature_delta", ("signature", &signature), out);
            }
            Event::Sealed(data) => {
                self.leave(out);
                self.begin(out, |json| {
                    json.word("type", "redacted_thinking");
                    json.text("data", &data);
                });
                self.end_block(out);
            }
            Event::Call { index, id, name, .. } => {
                self.enter(Block::Call(index), out, |json| {
                    json.word("type", "tool_use");
                    json.text("id", &id);
                    json.text("name", &name);
                    json.raw("input", "{}");
                });
                self.calls.push(self.blocks - 1);
            }
            Event::Input { index, json } => {
                if let Some(block) = self.calls.get(index) {
                    self.delta(*block, "input_json_delta", ("partial_json", &json), out);
                }
            }
            Event::Stop(stop, sequence) => {
                self.stop = stop;
                self.sequence = sequence.map(Text::into_owned);
            }
            Event::Usage(usage) => self.usage = usage.clone(),
            Event::End => self.end(out),
            Event::Error { status, code, message } => {
                let (body, _) = super::super::super::error_body(self.terms.client_dialect(), status, &code, &message);
                out.extend_from_slice(format!("event: error\ndata: {body}\n\n").as_bytes());
            }
        }
    }

    fn start(&mut self, id: Option<Text<'_>>, model: Option<Text<'_>>, out: &mut Vec<u8>) {
        written(out, "message_start", |json| {
            json.object("message");
            json.text("id", &self.terms.id(id.as_ref(), "msg_"));
            json.word("type", "message");
            json.word("role", "assistant");
            json.text("model", &self.terms.model(model.as_ref()));
            json.raw("content", "[]");
            json.raw("stop_reason", "null");
            json.raw("stop_sequence", "null");
            // What went in is known at the end alone, and said there.
            tokens(json, &self.usage);
            json.end();
        });
    }

    fn think(&mut self, out: &mut Vec<u8>) {
        self.enter(Block::Thought, out, |json| {
            json.word("type", "thinking");
            json.word("thinking", "");
            json.word("signature", "");
        });
    }

    /// Makes a block of this kind the one under way.
    fn enter(&mut self, block: Block, out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
        if self.open == Some(block) {
            return;
        }
        self.leave(out);
        self.open = Some(block);
        self.begin(out, write);
    }

    fn begin(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
        let index = self.blocks as u64;
        self.blocks += 1;
        written(out, "content_block_start", |json| {
            json.number("index", index);
            json.object("content_block");
            write(json);
            json.end();
        });
    }

    fn leave(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            self.end_block(out);
        }
    }

    fn end_block(&mut self, out: &mut Vec<u8>) {
        let index = self.blocks.saturating_sub(1) as u64;
        written(out, "content_block_stop", |json| json.number("index", index));
    }

    fn delta(&self, block: usize, kind: &str, (key, text): (&str, &Text<'_>), out: &mut Vec<u8>) {
        written(out, "content_block_delta", |json| {
            json.number("index", block as u64);
            json.object("delta");
            json.word("type", kind);
            json.text(key, text);
            json.end();
        });
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.leave(out);
        written(out, "message_delta", |json| {
            json.object("delta");
            json.word("stop_reason", stop_word(self.stop));
            match &self.sequence {
                Some(sequence) => json.text("stop_sequence", sequence),
                None => json.raw("stop_sequence", "null"),
            }
            json.end();
            tokens(json, &self.usage);
        });
        written(out, "message_stop", |_| {});
    }
}

/// One event, with its name.
fn written(out: &mut Vec<u8>, kind: &str, write: impl FnOnce(&mut Writer<'_>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let mut json = Writer(out);
    json.begin();
    json.word("type", kind);
    write(&mut json);
    json.end();
    out.extend_from_slice(b"\n\n");
}
