//! An answer that streams: every event is an answer with the next part.

use super::super::super::Usage;
use super::super::Terms;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::answer::{self, call};
use super::{in_base64, stop, stop_word, tokens};
use crate::json::Raw;

/// Reads events.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    terms: Terms,
    started: bool,
    calls: usize,
    usage: Usage,
}

impl Decoder {
    pub(in super::super) fn new(terms: Terms) -> Self {
        Self { terms, started: false, calls: 0, usage: Usage::default() }
    }

    pub(in super::super) fn event(&mut self, data: Raw<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let (mut id, mut model, mut candidate, mut usage, mut blocked) = (None, None, None, None, false);
        for (key, value) in data.members().filter(|(_, it)| !it.is_null()) {
            match &*key {
                "responseId" => id = Text::of(value),
                "modelVersion" => model = Text::of(value),
                "candidates" => candidate = value.elements().next(),
                "usageMetadata" => usage = Some(value),
                "promptFeedback" => blocked = value.get("blockReason").is_some(),
                _ => {}
            }
        }
        if !self.started {
            self.started = true;
            out(Event::Start { id, model });
        }
        if let Some(usage) = usage {
            self.usage.count(usage);
            out(Event::Usage(&self.usage));
        }
        for part in candidate.into_iter().flat_map(answer::parts) {
            let Some(part) = answer::part(part, &self.terms, self.calls) else { continue };
            self.part(&part, out);
        }
        if blocked {
            out(Event::Stop(Stop::Refused, None));
        }
        if let Some(reason) = candidate.and_then(|it| it.get("finishReason")).and_then(Raw::as_str) {
            let said = stop(&reason);
            out(Event::Stop(if said == Stop::End && self.calls > 0 { Stop::Call } else { said }, None));
        }
    }

    fn part(&mut self, part: &Part<'_>, out: &mut dyn FnMut(Event<'_>)) {
        match &part.kind {
            Kind::Text(text) => out(Event::Text(text.borrowed())),
            Kind::Thought { text, signature } => {
                out(Event::Thought(text.borrowed()));
                signature.iter().for_each(|it| out(Event::Signature(it.borrowed())));
            }
            Kind::Call(call) => {
                let index = self.calls;
                self.calls += 1;
                out(Event::Call { index, id: call.id.borrowed(), name: call.name.borrowed() });
                out(Event::Input { index, json: call.input.text() });
            }
            _ => {}
        }
    }
}

/// A call that waits for the rest of its arguments.
#[derive(Debug)]
struct Waiting {
    id: Text<'static>,
    name: Text<'static>,
    input: String,
}

/// Writes events.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    terms: Terms,
    model: Text<'static>,
    id: Text<'static>,
    /// Calls go out whole.
    calls: Vec<Waiting>,
    stop: Stop,
    usage: Usage,
}

impl Encoder {
    pub(in super::super) fn new(terms: Terms) -> Self {
        let (model, id) = (terms.model(None), terms.id(None, ""));
        Self { terms, model, id, calls: Vec::new(), stop: Stop::End, usage: Usage::default() }
    }

    pub(in super::super) fn event(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model } => {
                self.id = self.terms.id(id.as_ref(), "").into_owned();
                self.model = self.terms.model(model.as_ref()).into_owned();
            }
            Event::Text(text) | Event::Refusal(text) => self.part(out, |json| {
                json.item();
                json.text("text", &text);
                json.end();
            }),
            Event::Thought(text) => self.part(out, |json| {
                json.item();
                json.text("text", &text);
                json.bool("thought", true);
                json.end();
            }),
            Event::Signature(signature) => self.part(out, |json| {
                json.item();
                json.word("text", "");
                json.bool("thought", true);
                json.text("thoughtSignature", &in_base64(&signature));
                json.end();
            }),
            Event::Call { id, name, .. } => {
                let (id, name) = (id.into_owned(), name.into_owned());
                self.calls.push(Waiting { id, name, input: String::new() });
            }
            Event::Input { index, json } => {
                if let Some(it) = self.calls.get_mut(index) {
                    it.input.push_str(json.written());
                }
            }
            Event::Stop(stop, _) => self.stop = stop,
            Event::Usage(usage) => self.usage = usage.clone(),
            Event::End => self.end(out),
            Event::Sealed(_) => {}
            Event::Error { status, code, message } => {
                let (body, _) = super::super::super::error_body(self.terms.client_dialect(), status, &code, &message);
                out.extend_from_slice(format!("data: {body}\n\n").as_bytes());
            }
        }
    }

    fn part(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
        self.written(out, write, |_| {}, |_| {});
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let calls = std::mem::take(&mut self.calls);
        let parts = |json: &mut Writer<'_>| {
            for it in &calls {
                let input = Input::Text(Text::part(&it.input));
                call(json, &it.id, &it.name, &input.json());
            }
        };
        let finish = |json: &mut Writer<'_>| json.word("finishReason", stop_word(self.stop));
        self.written(out, parts, finish, |json| tokens(json, &self.usage));
    }

    fn written(
        &self,
        out: &mut Vec<u8>,
        parts: impl FnOnce(&mut Writer<'_>),
        candidate: impl FnOnce(&mut Writer<'_>),
        whole: impl FnOnce(&mut Writer<'_>),
    ) {
        out.extend_from_slice(b"data: ");
        let mut json = Writer(out);
        json.begin();
        json.array("candidates");
        json.item();
        json.object("content");
        json.word("role", "model");
        json.array("parts");
        parts(&mut json);
        json.end_array();
        json.end();
        candidate(&mut json);
        json.number("index", 0);
        json.end();
        json.end_array();
        whole(&mut json);
        json.text("modelVersion", &self.model);
        json.text("responseId", &self.id);
        json.end();
        out.extend_from_slice(b"\n\n");
    }
}
