//! An answer in one piece.

use super::super::Terms;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::{JOINT, SEALED, call, frame, message, thought, tokens};
use crate::json::Raw;

/// Reads an answer.
pub(in super::super) fn decode(body: Raw<'_>) -> Answer<'_> {
    let mut answer = Answer::default();
    for (key, value) in body.members() {
        match &*key {
            "id" => answer.id = Text::of(value),
            "model" => answer.model = Text::of(value),
            "usage" => answer.usage.count(value),
            "output" => value.elements().for_each(|it| item(it, &mut answer.parts)),
            _ => {}
        }
    }
    answer.stop = stop_of(body, answer.parts.iter().any(|it| matches!(it.kind, Kind::Call(_))));
    answer
}

/// Why it ended.
pub(super) fn stop_of(response: Raw<'_>, calls: bool) -> Stop {
    let details = response.get("incomplete_details").and_then(|it| it.get("reason"));
    match details.and_then(Raw::as_str).as_deref() {
        Some("content_filter") => Stop::Refused,
        Some(_) => Stop::Length,
        None if calls => Stop::Call,
        None => Stop::End,
    }
}

fn item<'a>(it: Raw<'a>, parts: &mut Vec<Part<'a>>) {
    let text = |name: &str| it.get(name).and_then(Text::of);
    match it.get("type").and_then(Raw::as_str).as_deref() {
        Some("message") => {
            for part in it.get("content").into_iter().flat_map(Raw::elements) {
                let text = |name: &str| part.get(name).and_then(Text::of).filter(|it| !it.is_empty());
                let kind = text("text").map(Kind::Text).or_else(|| text("refusal").map(Kind::Refusal));
                parts.extend(kind.map(Part::new));
            }
        }
        Some("function_call") => {
            let input = Input::Text(text("arguments").unwrap_or_default());
            let (id, name) = (text("call_id").unwrap_or_default(), text("name").unwrap_or_default());
            parts.push(Part::new(Kind::Call(Call { id, name, input })));
        }
        Some("reasoning") => {
            let said = ["summary", "content"].iter().filter_map(|name| it.get(name)).flat_map(Raw::elements);
            let mut texts = said.filter_map(|it| it.get("text").and_then(Text::of));
            let mut all = texts.next().unwrap_or_default();
            texts.for_each(|it| {
                all.push(&Text::part("\\n\\n"));
                all.push(&it);
            });
            let signature = signature(it);
            if !all.is_empty() || signature.is_some() {
                parts.push(Part::new(Kind::Thought { text: all, signature }));
            }
        }
        _ => {}
    }
}

/// Id and what is encrypted, in one.
pub(super) fn signature(item: Raw<'_>) -> Option<Text<'static>> {
    let text = |name: &str| item.get(name).and_then(Text::of).filter(|it| !it.is_empty());
    let sealed = text("encrypted_content")?;
    let id = text("id").unwrap_or_default();
    Some(Text::plain(&format!("{}{JOINT}{}", id.read(), sealed.read())))
}

/// Writes an answer.
pub(in super::super) fn encode(answer: &Answer<'_>, terms: &Terms, out: &mut Vec<u8>) {
    let mut json = Writer(out);
    let json = &mut json;
    json.begin();
    let (id, model) = (terms.id(answer.id.as_ref(), "resp_"), terms.model(answer.model.as_ref()));
    frame(json, &id, &model, terms.now, Some(answer.stop));
    json.array("output");
    let texts: Vec<_> = answer
        .parts
        .iter()
        .filter_map(|it| match &it.kind {
            Kind::Text(text) => Some((false, text)),
            Kind::Refusal(text) => Some((true, text)),
            _ => None,
        })
        .collect();
    let mut said = false;
    for (position, it) in answer.parts.iter().enumerate() {
        let id = |prefix: &str| format!("{prefix}_{:016x}_{position}", terms.random);
        match &it.kind {
            Kind::Text(_) | Kind::Refusal(_) if said => {}
            Kind::Text(_) | Kind::Refusal(_) => {
                said = true;
                json.item();
                message(json, &id("msg"), true, &texts);
                json.end();
            }
            Kind::Call(it) => {
                json.item();
                call(json, &id("fc"), (&it.id, &it.name), Some(&it.input.text()));
                json.end();
            }
            Kind::Thought { text, signature } => {
                json.item();
                thought(json, &id("rs"), Some(text).filter(|it| !it.is_empty()), signature.as_ref());
                json.end();
            }
            Kind::Sealed(data) => {
                let mut sealed = Text::part(SEALED);
                sealed.push(data);
                json.item();
                thought(json, &id("rs"), None, Some(&sealed));
                json.end();
            }
            Kind::Image(..) | Kind::Document(..) | Kind::Audio(_) | Kind::Outcome(_) => {}
        }
    }
    json.end_array();
    tokens(json, &answer.usage);
    json.end();
}
