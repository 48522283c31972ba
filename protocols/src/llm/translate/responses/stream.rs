//! An answer that streams.

use super::super::super::Usage;
use super::super::Terms;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::answer::{signature, stop_of};
use super::{SEALED, call, frame, message, part, thought, tokens};
use crate::json::Raw;

/// Reads events.
#[derive(Debug, Default)]
pub(in super::super) struct Decoder {
    /// Of the items that are calls, their positions.
    calls: Vec<u64>,
    usage: Usage,
}

impl Decoder {
    pub(in super::super) fn event(&mut self, data: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let kind = data.get("type").and_then(Raw::as_str);
        let text = |name: &str| data.get(name).and_then(Text::of).filter(|it| !it.is_empty());
        let response = || data.get("response");
        let position = || data.get("output_index").and_then(|it| it.text().parse().ok()).unwrap_or(0);
        match kind.as_deref().and_then(|it| it.strip_prefix("response.")) {
            Some("output_text.delta") => text("delta").into_iter().for_each(|it| out(Event::Text(it))),
            Some("refusal.delta") => text("delta").into_iter().for_each(|it| out(Event::Refusal(it))),
            Some("reasoning_summary_text.delta" | "reasoning_text.delta") => {
                text("delta").into_iter().for_each(|it| out(Event::Thought(it)));
            }
            Some("reasoning_summary_part.added") if data.get("summary_index").is_some_and(|it| it.text() != "0") => {
                out(Event::Thought(Text::part("\\n\\n")));
            }
            Some("function_call_arguments.delta") => {
                let index = self.calls.iter().position(|it| *it == position());
                if let (Some(index), Some(json)) = (index, text("delta")) {
                    out(Event::Input { index, json });
                }
            }
            Some("output_item.added") => {
                let Some(item) = data.get("item") else { return };
                if item.get("type").is_some_and(|it| it.text() == "\"function_call\"") {
                    let index = self.calls.len();
                    self.calls.push(position());
                    let text = |name: &str| item.get(name).and_then(Text::of).unwrap_or_default();
                    out(Event::Call { index, id: text("call_id"), name: text("name") });
                }
            }
            Some("output_item.done") => {
                let signed =
                    data.get("item").filter(|it| it.get("type").is_some_and(|it| it.text() == "\"reasoning\""));
                signed.and_then(signature).into_iter().for_each(|it| out(Event::Signature(it)));
            }
            Some("created") => {
                let text = |name: &str| response().and_then(|it| it.get(name)).and_then(Text::of);
                out(Event::Start { id: text("id"), model: text("model") });
            }
            Some("completed" | "incomplete") => {
                let Some(response) = response() else { return };
                if let Some(usage) = response.get("usage") {
                    self.usage.count(usage);
                    out(Event::Usage(&self.usage));
                }
                out(Event::Stop(stop_of(response, !self.calls.is_empty()), None));
                out(Event::End);
            }
            Some("failed") => {
                let error = response().and_then(|it| it.get("error"));
                let said = |name: &str| error.and_then(|it| it.get(name)).and_then(Raw::as_str);
                let code = said("code").unwrap_or("upstream_error".into());
                let message = said("message").unwrap_or("the provider gave no reason".into());
                out(Event::Error { status: 502, code, message });
            }
            _ => {}
        }
    }
}

/// An item of the answer so far.
#[derive(Debug)]
struct Item {
    id: String,
    kind: Shape,
    text: Text<'static>,
}

#[derive(Debug)]
enum Shape {
    Message { refusal: bool },
    Call { id: Text<'static>, name: Text<'static> },
    Thought { signature: Option<Text<'static>> },
}

impl Item {
    fn write(&self, json: &mut Writer<'_>, done: bool) {
        match &self.kind {
            Shape::Message { refusal } if done => message(json, &self.id, true, &[(*refusal, &self.text)]),
            Shape::Message { .. } => message(json, &self.id, false, &[]),
            Shape::Call { id, name } => call(json, &self.id, (id, name), Some(&self.text).filter(|_| done)),
            Shape::Thought { signature } => {
                let text = Some(&self.text).filter(|it| done && !it.is_empty());
                thought(json, &self.id, text, signature.as_ref().filter(|_| done));
            }
        }
    }
}

/// Bytes of an answer that is said once more at its end.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Writes events.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    terms: Terms,
    id: Text<'static>,
    model: Text<'static>,
    number: u64,
    items: Vec<Item>,
    /// The last item is not over.
    open: bool,
    /// Which items are the calls.
    calls: Vec<usize>,
    bytes: usize,
    stop: Stop,
    usage: Usage,
}

impl Encoder {
    pub(in super::super) fn new(terms: Terms) -> Self {
        let (id, model) = (terms.id(None, "resp_"), terms.model(None));
        let (items, calls) = (Vec::new(), Vec::new());
        let (stop, usage) = (Stop::End, Usage::default());
        Self { terms, id, model, number: 0, items, open: false, calls, bytes: 0, stop, usage }
    }

    pub(in super::super) fn event(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model } => {
                self.id = self.terms.id(id.as_ref(), "resp_").into_owned();
                self.model = self.terms.model(model.as_ref()).into_owned();
                self.whole(out, "response.created", None);
                self.whole(out, "response.in_progress", None);
            }
            Event::Text(text) => self.say(false, &text, out),
            Event::Refusal(text) => self.say(true, &text, out),
            Event::Thought(text) => {
                self.think(out);
                self.more(&text);
                self.delta(out, "response.reasoning_summary_text.delta", "summary_index", &text);
            }
            Event::Signature(text) => {
                self.think(out);
                if let Some(Item { kind: Shape::Thought { signature }, .. }) = self.items.last_mut() {
                    *signature = Some(text.into_owned());
                }
                self.close(out);
            }
            Event::Sealed(data) => {
                let mut sealed = Text::part(SEALED).into_owned();
                sealed.push(&data);
                self.begin(out, "rs", Shape::Thought { signature: Some(sealed) });
                self.open = false;
                self.item(out, "response.output_item.done", true);
            }
            Event::Call { id, name, .. } => {
                let shape = Shape::Call { id: id.into_owned(), name: name.into_owned() };
                self.begin(out, "fc", shape);
                self.calls.push(self.items.len() - 1);
            }
            Event::Input { index, json } => {
                let Some(at) = self.calls.get(index).copied() else { return };
                self.bytes += json.written().len();
                let Some(item) = self.items.get_mut(at).filter(|_| self.bytes <= ANSWER_BYTES_MAX) else { return };
                item.text.push(&json);
                let id = item.id.clone();
                self.written(out, "response.function_call_arguments.delta", |writer| {
                    writer.word("item_id", &id);
                    writer.number("output_index", at as u64);
                    writer.text("delta", &json);
                });
            }
            Event::Stop(stop, _) => self.stop = stop,
            Event::Usage(usage) => self.usage = usage.clone(),
            Event::End => {
                self.close(out);
                let (status, _) = super::status(self.stop);
                let kind = if status == "completed" { "response.completed" } else { "response.incomplete" };
                self.whole(out, kind, Some(self.stop));
            }
            Event::Error { code, message, .. } => self.written(out, "error", |json| {
                json.escaped("code", &code);
                json.escaped("message", &message);
                json.raw("param", "null");
            }),
        }
    }

    fn say(&mut self, refusal: bool, text: &Text<'_>, out: &mut Vec<u8>) {
        let same =
            matches!(self.items.last(), Some(Item { kind: Shape::Message { refusal: held }, .. }) if *held == refusal);
        if !(self.open && same) {
            self.begin(out, "msg", Shape::Message { refusal });
            self.placed(out, "response.content_part.added", "content_index", |json, _| {
                json.object("part");
                part(json, refusal, &Text::default());
                json.end();
            });
        }
        self.more(text);
        let kind = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        self.delta(out, kind, "content_index", text);
    }

    fn think(&mut self, out: &mut Vec<u8>) {
        if self.open && matches!(self.items.last(), Some(Item { kind: Shape::Thought { .. }, .. })) {
            return;
        }
        self.begin(out, "rs", Shape::Thought { signature: None });
        self.placed(out, "response.reasoning_summary_part.added", "summary_index", |json, _| {
            json.object("part");
            json.word("type", "summary_text");
            json.word("text", "");
            json.end();
        });
    }

    fn begin(&mut self, out: &mut Vec<u8>, prefix: &str, kind: Shape) {
        self.close(out);
        let id = format!("{prefix}_{:016x}_{}", self.terms.random, self.items.len());
        self.items.push(Item { id, kind, text: Text::default() });
        self.open = true;
        self.item(out, "response.output_item.added", false);
    }

    /// What is kept for the end has a limit; what goes out has none.
    fn more(&mut self, text: &Text<'_>) {
        self.bytes += text.written().len();
        if let Some(item) = self.items.last_mut().filter(|_| self.bytes <= ANSWER_BYTES_MAX) {
            item.text.push(text);
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        match self.items.last().map(|it| &it.kind) {
            Some(Shape::Message { refusal }) => {
                let refusal = *refusal;
                let (kind, key) = match refusal {
                    true => ("response.refusal.done", "refusal"),
                    false => ("response.output_text.done", "text"),
                };
                self.placed(out, kind, "content_index", |json, text| {
                    json.text(key, text);
                    if !refusal {
                        json.raw("logprobs", "[]");
                    }
                });
                self.placed(out, "response.content_part.done", "content_index", |json, text| {
                    json.object("part");
                    part(json, refusal, text);
                    json.end();
                });
            }
            Some(Shape::Call { name, .. }) => {
                let name = name.clone();
                self.placed(out, "response.function_call_arguments.done", "", |json, text| {
                    json.text("name", &name);
                    json.text("arguments", text);
                });
            }
            Some(Shape::Thought { .. }) => {
                self.placed(out, "response.reasoning_summary_text.done", "summary_index", |json, text| {
                    json.text("text", text);
                });
                self.placed(out, "response.reasoning_summary_part.done", "summary_index", |json, text| {
                    json.object("part");
                    json.word("type", "summary_text");
                    json.text("text", text);
                    json.end();
                });
            }
            None => {}
        }
        self.item(out, "response.output_item.done", true);
    }

    fn delta(&mut self, out: &mut Vec<u8>, kind: &str, index: &str, text: &Text<'_>) {
        self.placed(out, kind, index, |json, _| {
            json.text("delta", text);
            if kind == "response.output_text.delta" {
                json.raw("logprobs", "[]");
            }
        });
    }

    /// An event at the place of the last item, with what that says so far at hand.
    fn placed(&mut self, out: &mut Vec<u8>, kind: &str, index: &str, write: impl FnOnce(&mut Writer<'_>, &Text<'_>)) {
        let Some(item) = self.items.pop() else { return };
        let at = self.items.len() as u64;
        self.written(out, kind, |json| {
            json.word("item_id", &item.id);
            json.number("output_index", at);
            if !index.is_empty() {
                json.number(index, 0);
            }
            write(json, &item.text);
        });
        self.items.push(item);
    }

    fn item(&mut self, out: &mut Vec<u8>, kind: &str, done: bool) {
        let Some(item) = self.items.pop() else { return };
        let at = self.items.len() as u64;
        self.written(out, kind, |json| {
            json.number("output_index", at);
            json.object("item");
            item.write(json, done);
            json.end();
        });
        self.items.push(item);
    }

    /// An event with the whole answer.
    fn whole(&mut self, out: &mut Vec<u8>, kind: &str, stop: Option<Stop>) {
        let items = std::mem::take(&mut self.items);
        let (id, model, usage) = (self.id.clone(), self.model.clone(), std::mem::take(&mut self.usage));
        let created = self.terms.now;
        self.written(out, kind, |json| {
            json.object("response");
            frame(json, &id, &model, created, stop);
            json.array("output");
            for it in &items {
                json.item();
                it.write(json, true);
                json.end();
            }
            json.end_array();
            match stop {
                Some(_) => tokens(json, &usage),
                None => json.raw("usage", "null"),
            }
            json.end();
        });
        (self.items, self.usage) = (items, usage);
    }

    fn written(&mut self, out: &mut Vec<u8>, kind: &str, write: impl FnOnce(&mut Writer<'_>)) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        let mut json = Writer(out);
        json.begin();
        json.word("type", kind);
        json.number("sequence_number", self.number);
        self.number += 1;
        write(&mut json);
        json.end();
        out.extend_from_slice(b"\n\n");
    }
}
