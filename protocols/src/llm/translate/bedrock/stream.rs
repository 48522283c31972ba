//! An answer that streams, in frames.

use super::super::super::{Usage, error_body, write_frame};
use super::super::Terms;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::{stop, stop_word, tokens};
use crate::json::Raw;

/// Reads frames.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    terms: Terms,
    calls: usize,
    /// The block under way is a call, and so much of its arguments has come.
    call: Option<usize>,
    usage: Usage,
}

impl Decoder {
    pub(in super::super) fn new(terms: Terms) -> Self {
        Self { terms, calls: 0, call: None, usage: Usage::default() }
    }

    pub(in super::super) fn event(&mut self, kind: &str, data: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        match kind {
            "messageStart" => out(Event::Start { id: None, model: None }),
            "contentBlockStart" => {
                self.call = None;
                let Some(call) = data.get("start").and_then(|it| it.get("toolUse")) else { return };
                let text = |name: &str| call.get(name).and_then(Text::of).unwrap_or_default();
                let (index, id, name) = (self.calls, text("toolUseId"), self.terms.names.own(text("name")));
                self.calls += 1;
                self.call = Some(0);
                out(Event::Call { index, id, name });
            }
            "contentBlockDelta" => data.get("delta").into_iter().for_each(|it| self.delta(it, out)),
            // A call without arguments has none in pieces either.
            "contentBlockStop" if self.call.take() == Some(0) => {
                out(Event::Input { index: self.calls.saturating_sub(1), json: Text::part("{}") });
            }
            "messageStop" => {
                let reason = data.get("stopReason").and_then(Raw::as_str);
                out(Event::Stop(reason.map(|it| stop(&it)).unwrap_or_default(), None));
            }
            "metadata" => {
                if let Some(usage) = data.get("usage") {
                    self.usage.count(usage);
                    out(Event::Usage(&self.usage));
                }
                out(Event::End);
            }
            _ => {}
        }
    }

    fn delta(&mut self, delta: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        for (key, value) in delta.members() {
            let inner = |name: &str| value.get(name).and_then(Text::of).filter(|it| !it.is_empty());
            match &*key {
                "text" => Text::of(value).filter(|it| !it.is_empty()).into_iter().for_each(|it| out(Event::Text(it))),
                "toolUse" => {
                    let (Some(bytes), Some(json)) = (&mut self.call, inner("input")) else { continue };
                    *bytes += json.written().len();
                    out(Event::Input { index: self.calls.saturating_sub(1), json });
                }
                "reasoningContent" => {
                    inner("text").into_iter().for_each(|it| out(Event::Thought(it)));
                    inner("signature").into_iter().for_each(|it| out(Event::Signature(it)));
                    inner("redactedContent").into_iter().for_each(|it| out(Event::Sealed(it)));
                }
                _ => {}
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thought,
    Call(usize),
}

/// Writes frames.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    terms: Terms,
    blocks: u64,
    open: Option<Block>,
    /// Where the block of each call is.
    calls: Vec<u64>,
    stop: Stop,
    usage: Usage,
}

impl Encoder {
    pub(in super::super) fn new(terms: Terms) -> Self {
        Self { terms, blocks: 0, open: None, calls: Vec::new(), stop: Stop::End, usage: Usage::default() }
    }

    pub(in super::super) fn event(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => written(out, "messageStart", |json| json.word("role", "assistant")),
            Event::Text(text) | Event::Refusal(text) => {
                self.enter(Block::Text, out);
                self.delta(self.blocks - 1, out, |json| json.text("text", &text));
            }
            Event::Thought(text) => self.thought("text", &text, out),
            Event::Signature(text) => self.thought("signature", &text, out),
            Event::Sealed(data) => {
                self.leave(out);
                self.thought("redactedContent", &data, out);
                self.leave(out);
            }
            Event::Call { index, id, name } => {
                self.leave(out);
                self.open = Some(Block::Call(index));
                let block = self.blocks;
                self.blocks += 1;
                self.calls.push(block);
                written(out, "contentBlockStart", |json| {
                    json.object("start");
                    json.object("toolUse");
                    json.text("toolUseId", &id);
                    json.text("name", &name);
                    json.end();
                    json.end();
                    json.number("contentBlockIndex", block);
                });
            }
            Event::Input { index, json: input } => {
                let Some(block) = self.calls.get(index) else { return };
                self.delta(*block, out, |json| {
                    json.object("toolUse");
                    json.text("input", &input);
                    json.end();
                });
            }
            Event::Stop(stop, _) => self.stop = stop,
            Event::Usage(usage) => self.usage = usage.clone(),
            Event::End => {
                self.leave(out);
                written(out, "messageStop", |json| json.word("stopReason", stop_word(self.stop)));
                written(out, "metadata", |json| tokens(json, &self.usage));
            }
            Event::Error { status, code, message } => {
                let (body, header) = error_body(self.terms.client_dialect(), status, &code, &message);
                let kind = header.map_or("InternalServerException", |(_, kind)| kind);
                // In streams their names begin small.
                let (first, rest) = kind.split_at(1);
                let kind = format!("{}{rest}", first.to_ascii_lowercase());
                write_frame(out, &kind, true, |out| out.extend_from_slice(body.as_bytes()));
            }
        }
    }

    fn thought(&mut self, key: &str, text: &Text<'_>, out: &mut Vec<u8>) {
        self.enter(Block::Thought, out);
        self.delta(self.blocks - 1, out, |json| {
            json.object("reasoningContent");
            json.text(key, text);
            json.end();
        });
    }

    /// Blocks of text and thoughts begin with what they say.
    fn enter(&mut self, block: Block, out: &mut Vec<u8>) {
        if self.open != Some(block) {
            self.leave(out);
            self.open = Some(block);
            self.blocks += 1;
        }
    }

    fn leave(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            let index = self.blocks - 1;
            written(out, "contentBlockStop", |json| json.number("contentBlockIndex", index));
        }
    }

    fn delta(&self, block: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
        written(out, "contentBlockDelta", |json| {
            json.number("contentBlockIndex", block);
            json.object("delta");
            write(json);
            json.end();
        });
    }
}

fn written(out: &mut Vec<u8>, kind: &str, write: impl FnOnce(&mut Writer<'_>)) {
    write_frame(out, kind, false, |out| {
        let mut json = Writer(out);
        json.begin();
        write(&mut json);
        json.end();
    });
}
