//! An answer in one piece.

use std::borrow::Cow;

use super::super::Terms;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::{stop, stop_word, tokens};
use crate::json::Raw;

/// Reads an answer.
pub(in super::super) fn decode<'a>(body: Raw<'a>, terms: &Terms) -> Answer<'a> {
    let mut answer = Answer::default();
    for (key, value) in body.members() {
        match &*key {
            "output" => {
                let content = value.get("message").and_then(|it| it.get("content"));
                let blocks = content.into_iter().flat_map(Raw::elements);
                answer.parts = blocks.filter_map(|it| block(it, terms)).map(Part::new).collect();
            }
            "stopReason" => answer.stop = value.as_str().map(|it| stop(&it)).unwrap_or_default(),
            "usage" => answer.usage.count(value),
            _ => {}
        }
    }
    answer
}

fn block<'a>(it: Raw<'a>, terms: &Terms) -> Option<Kind<'a>> {
    let (key, value) = it.members().next()?;
    let text = |name: &str| value.get(name).and_then(Text::of);
    Some(match &*key {
        "text" => Kind::Text(Text::of(value)?),
        "toolUse" => {
            let input = Input::Json(Cow::Borrowed(value.get("input").map_or("{}", Raw::text)));
            Kind::Call(Call { id: text("toolUseId")?, name: terms.names.own(text("name")?), input })
        }
        "reasoningContent" => match value.get("reasoningText") {
            Some(said) => Kind::Thought {
                text: said.get("text").and_then(Text::of).unwrap_or_default(),
                signature: said.get("signature").and_then(Text::of).filter(|it| !it.is_empty()),
            },
            None => Kind::Sealed(text("redactedContent")?),
        },
        _ => return None,
    })
}

/// Writes an answer.
pub(in super::super) fn encode(answer: &Answer<'_>, out: &mut Vec<u8>) {
    let mut json = Writer(out);
    let json = &mut json;
    json.begin();
    json.object("output");
    json.object("message");
    json.word("role", "assistant");
    json.array("content");
    answer.parts.iter().for_each(|it| written(json, it));
    json.end_array();
    json.end();
    json.end();
    json.word("stopReason", stop_word(answer.stop));
    tokens(json, &answer.usage);
    json.end();
}

fn written(json: &mut Writer<'_>, it: &Part<'_>) {
    match &it.kind {
        Kind::Text(text) | Kind::Refusal(text) => {
            json.item();
            json.text("text", text);
            json.end();
        }
        Kind::Call(call) => {
            json.item();
            json.object("toolUse");
            json.text("toolUseId", &call.id);
            json.text("name", &call.name);
            json.raw("input", &call.input.json());
            json.end();
            json.end();
        }
        Kind::Thought { text, signature } => {
            json.item();
            json.object("reasoningContent");
            json.object("reasoningText");
            json.text("text", text);
            signature.iter().for_each(|it| json.text("signature", it));
            json.end();
            json.end();
            json.end();
        }
        Kind::Sealed(data) => {
            json.item();
            json.object("reasoningContent");
            json.text("redactedContent", data);
            json.end();
            json.end();
        }
        Kind::Image(..) | Kind::Document(..) | Kind::Audio(_) | Kind::Outcome(_) => {}
    }
}
