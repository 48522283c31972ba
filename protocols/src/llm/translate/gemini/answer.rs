//! An answer in one piece.

use std::borrow::Cow;

use super::super::Terms;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::{in_base64, stop, stop_word, tokens, with_signature};
use crate::json::Raw;

/// Reads an answer: the first of its candidates. `prefix` begins the ids of calls that have none.
pub(in super::super) fn decode<'a>(body: Raw<'a>, terms: &Terms) -> Answer<'a> {
    let mut answer = Answer::default();
    for (key, value) in body.members() {
        match &*key {
            "responseId" => answer.id = Text::of(value),
            "modelVersion" => answer.model = Text::of(value),
            "usageMetadata" => answer.usage.count(value),
            "promptFeedback" if value.get("blockReason").is_some() => answer.stop = Stop::Refused,
            "candidates" => {
                let Some(first) = value.elements().next() else { continue };
                for part in parts(first) {
                    let position = answer.parts.len();
                    answer.parts.extend(self::part(part, terms, position));
                }
                if let Some(reason) = first.get("finishReason").and_then(Raw::as_str) {
                    answer.stop = stop(&reason);
                }
            }
            _ => {}
        }
    }
    if answer.stop == Stop::End && answer.parts.iter().any(|it| matches!(it.kind, Kind::Call(_))) {
        answer.stop = Stop::Call;
    }
    answer
}

/// Parts of a candidate.
pub(super) fn parts(candidate: Raw<'_>) -> impl Iterator<Item = Raw<'_>> {
    let parts = candidate.get("content").and_then(|it| it.get("parts"));
    parts.into_iter().flat_map(Raw::elements)
}

/// A part of an answer; `position` tells calls without an id apart.
pub(super) fn part<'a>(it: Raw<'a>, terms: &Terms, position: usize) -> Option<Part<'a>> {
    let (mut text, mut call, mut thought, mut signature) = (None, None, false, None);
    for (key, value) in it.members() {
        match &*key {
            "text" => text = Text::of(value),
            "functionCall" => call = Some(value),
            "thought" => thought = value.as_bool().unwrap_or(false),
            "thoughtSignature" => signature = Text::of(value),
            _ => {}
        }
    }
    if let Some(call) = call {
        let id = call.get("id").and_then(Text::of).filter(|it| !it.is_empty());
        let id = id.unwrap_or_else(|| Text::plain(&format!("call_{:016x}_{position}", terms.random)));
        let input = Input::Json(Cow::Borrowed(call.get("args").map_or("{}", Raw::text)));
        let name = call.get("name").and_then(Text::of)?;
        return Some(Part::new(Kind::Call(Call { id: with_signature(&id, signature.as_ref()), name, input })));
    }
    let text = text?;
    match thought {
        true => Some(Part::new(Kind::Thought { text, signature })),
        false => Some(text).filter(|it| !it.is_empty()).map(|it| Part::new(Kind::Text(it))),
    }
}

/// Writes an answer.
pub(in super::super) fn encode(answer: &Answer<'_>, terms: &Terms, out: &mut Vec<u8>) {
    let mut json = Writer(out);
    let json = &mut json;
    json.begin();
    json.array("candidates");
    json.item();
    json.object("content");
    json.word("role", "model");
    json.array("parts");
    answer.parts.iter().for_each(|it| written(json, it));
    json.end_array();
    json.end();
    json.word("finishReason", stop_word(answer.stop));
    json.number("index", 0);
    json.end();
    json.end_array();
    tokens(json, &answer.usage);
    json.text("modelVersion", &terms.model(answer.model.as_ref()));
    json.text("responseId", &terms.id(answer.id.as_ref(), ""));
    json.end();
}

fn written(json: &mut Writer<'_>, it: &Part<'_>) {
    match &it.kind {
        Kind::Text(text) | Kind::Refusal(text) => {
            json.item();
            json.text("text", text);
            json.end();
        }
        Kind::Thought { text, signature } => {
            json.item();
            json.text("text", text);
            json.bool("thought", true);
            signature.iter().for_each(|it| json.text("thoughtSignature", &in_base64(it)));
            json.end();
        }
        Kind::Call(it) => call(json, &it.id, &it.name, &it.input.json()),
        Kind::Sealed(_) | Kind::Image(..) | Kind::Document(..) | Kind::Audio(_) | Kind::Outcome(_) => {}
    }
}

/// A call, as an element.
pub(super) fn call(json: &mut Writer<'_>, id: &Text<'_>, name: &Text<'_>, input: &str) {
    json.item();
    json.object("functionCall");
    json.text("id", id);
    json.text("name", name);
    // An event has its data in one line.
    json.raw("args", &input.replace(['\n', '\r'], " "));
    json.end();
    json.end();
}
