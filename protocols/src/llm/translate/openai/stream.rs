//! An answer that streams.

use super::super::super::Usage;
use super::super::Terms;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::{block, sealed, stop, stop_word, tokens};
use crate::json::Raw;

/// Reads chunks.
#[derive(Debug, Default)]
pub(in super::super) struct Decoder {
    started: bool,
    /// Calls that have begun.
    calls: usize,
    usage: Usage,
}

impl Decoder {
    /// Takes the data of an event that is JSON; `[DONE]` is none, and ends the stream.
    pub(in super::super) fn event(&mut self, data: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let (mut id, mut model, mut choice, mut usage) = (None, None, None, None);
        for (key, value) in data.members().filter(|(_, it)| !it.is_null()) {
            match &*key {
                "id" => id = Text::of(value),
                "model" => model = Text::of(value),
                "choices" => choice = value.elements().next(),
                "usage" => usage = Some(value),
                _ => {}
            }
        }
        if !self.started {
            self.started = true;
            out(Event::Start { id, model });
        }
        if let Some(choice) = choice {
            self.choice(choice, out);
        }
        if let Some(usage) = usage {
            self.usage.count(usage);
            out(Event::Usage(&self.usage));
        }
    }

    fn choice(&mut self, choice: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let mut finish = None;
        for (key, value) in choice.members().filter(|(_, it)| !it.is_null()) {
            match &*key {
                // Other choices have no place elsewhere.
                "index" if value.text() != "0" => return,
                "delta" => self.delta(value, out),
                "finish_reason" => finish = value.as_str(),
                _ => {}
            }
        }
        if let Some(finish) = finish {
            let said = stop(&finish);
            let stop = if said == Stop::End && self.calls > 0 { Stop::Call } else { said };
            out(Event::Stop(stop, None));
        }
    }

    fn delta(&mut self, delta: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let mut thought = false;
        for (key, value) in delta.members().filter(|(_, it)| !it.is_null()) {
            let text = Text::of(value).filter(|it| !it.is_empty());
            match (&*key, text) {
                ("content", Some(text)) => out(Event::Text(text)),
                ("refusal", Some(text)) => out(Event::Refusal(text)),
                // Some say it in both.
                ("reasoning_content" | "reasoning", Some(text)) if !thought => {
                    thought = true;
                    out(Event::Thought(text));
                }
                ("tool_calls", _) => value.elements().for_each(|it| self.call(it, out)),
                _ => {}
            }
        }
    }

    fn call(&mut self, it: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let (mut index, mut id, mut name, mut json) = (0, None, None, None);
        for (key, value) in it.members() {
            match &*key {
                "index" => index = value.text().parse().unwrap_or(0),
                "id" => id = Text::of(value),
                "function" => {
                    for (key, value) in value.members() {
                        match &*key {
                            "name" => name = Text::of(value),
                            "arguments" => json = Text::of(value).filter(|it| !it.is_empty()),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if index >= self.calls
            && let Some(name) = name.filter(|it| !it.is_empty())
        {
            index = self.calls;
            self.calls += 1;
            out(Event::Call { index, id: id.unwrap_or_default(), name });
        }
        if let Some(json) = json
            && index < self.calls
        {
            out(Event::Input { index, json });
        }
    }
}

/// Writes chunks.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    terms: Terms,
    /// What every chunk begins with.
    head: Vec<u8>,
    thought: String,
    usage: Option<Usage>,
}

impl Encoder {
    pub(in super::super) fn new(terms: Terms) -> Self {
        Self { terms, head: Vec::new(), thought: String::new(), usage: None }
    }

    pub(in super::super) fn event(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model } => self.start(id, model, out),
            Event::Text(text) => self.delta(out, |json| json.text("content", &text)),
            Event::Refusal(text) => self.delta(out, |json| json.text("refusal", &text)),
            Event::Thought(text) => {
                self.thought.push_str(text.written());
                self.delta(out, |json| json.text("reasoning_content", &text));
            }
            Event::Signature(signature) => {
                let thought = std::mem::take(&mut self.thought);
                self.blocks(out, |json| block(json, &Text::part(&thought), &signature));
            }
            Event::Sealed(data) => self.blocks(out, |json| sealed(json, &data)),
            Event::Call { index, id, name, .. } => self.delta(out, |json| {
                json.array("tool_calls");
                json.item();
                json.number("index", index as u64);
                json.text("id", &id);
                json.word("type", "function");
                json.object("function");
                json.text("name", &name);
                json.word("arguments", "");
                json.end();
                json.end();
                json.end_array();
            }),
            Event::Input { index, json: input } => self.delta(out, |json| {
                json.array("tool_calls");
                json.item();
                json.number("index", index as u64);
                json.object("function");
                json.text("arguments", &input);
                json.end();
                json.end();
                json.end_array();
            }),
            Event::Stop(stop, _) => self.chunk(out, |_| {}, Some(stop_word(stop))),
            Event::Usage(usage) => self.usage = Some(usage.clone()),
            Event::End => self.end(out),
            Event::Error { status, code, message } => {
                let (body, _) = super::super::super::error_body(self.terms.client_dialect(), status, &code, &message);
                out.extend_from_slice(format!("data: {body}\n\n").as_bytes());
            }
        }
    }

    fn start(&mut self, id: Option<Text<'_>>, model: Option<Text<'_>>, out: &mut Vec<u8>) {
        let mut json = Writer(&mut self.head);
        json.0.clear();
        json.0.extend_from_slice(b"data: ");
        json.begin();
        json.text("id", &self.terms.id(id.as_ref(), "chatcmpl-"));
        json.word("object", "chat.completion.chunk");
        json.number("created", self.terms.now);
        json.text("model", &self.terms.model(model.as_ref()));
        json.array("choices");
        self.delta(out, |json| {
            json.word("role", "assistant");
            json.word("content", "");
        });
    }

    fn delta(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
        self.chunk(out, write, None);
    }

    fn blocks(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
        self.delta(out, |json| {
            json.array("thinking_blocks");
            write(json);
            json.end_array();
        });
    }

    fn chunk(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>), finish: Option<&str>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":0,\"delta\":{");
        let mut json = Writer(out);
        write(&mut json);
        json.end();
        match finish {
            Some(finish) => json.word("finish_reason", finish),
            None => json.raw("finish_reason", "null"),
        }
        json.end();
        json.end_array();
        if self.terms.include_usage {
            json.raw("usage", "null");
        }
        json.end();
        out.extend_from_slice(b"\n\n");
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.terms.include_usage {
            out.extend_from_slice(&self.head);
            let mut json = Writer(out);
            json.end_array();
            tokens(&mut json, &self.usage.take().unwrap_or_default());
            json.end();
            out.extend_from_slice(b"\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
