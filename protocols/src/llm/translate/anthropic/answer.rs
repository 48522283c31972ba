//! An answer in one piece.

use super::super::Terms;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::{sealed, stop, stop_word, tokens, tool_use};
use crate::json::Raw;

/// Reads an answer.
pub(in super::super) fn decode(body: Raw<'_>) -> Answer<'_> {
    let mut answer = Answer::default();
    for (key, value) in body.members() {
        match &*key {
            "id" => answer.id = Text::of(value),
            "model" => answer.model = Text::of(value),
            "usage" => answer.usage.count(value),
            "content" => answer.parts = value.elements().filter_map(block).collect(),
            "stop_reason" => answer.stop = value.as_str().map(|it| stop(&it)).unwrap_or_default(),
            "stop_sequence" => answer.sequence = Text::of(value),
            _ => {}
        }
    }
    answer
}

fn block(it: Raw<'_>) -> Option<Part<'_>> {
    let text = |name: &str| it.get(name).and_then(Text::of);
    let kind = match it.get("type").and_then(Raw::as_str).as_deref()? {
        "text" => Kind::Text(text("text")?),
        "thinking" => {
            let signature = text("signature").filter(|it| !it.is_empty());
            Kind::Thought { text: text("thinking")?, signature }
        }
        "redacted_thinking" => Kind::Sealed(text("data")?),
        "tool_use" => {
            let input = it.get("input").map_or("{}", Raw::text).into();
            Kind::Call(Call { id: text("id")?, name: text("name")?, input: Input::Json(input) })
        }
        // What the provider's own tools did has been taken up in what it says.
        _ => return None,
    };
    Some(Part::new(kind))
}

/// Writes an answer.
pub(in super::super) fn encode(answer: &Answer<'_>, terms: &Terms, out: &mut Vec<u8>) {
    let mut json = Writer(out);
    let json = &mut json;
    json.begin();
    json.text("id", &terms.id(answer.id.as_ref(), "msg_"));
    json.word("type", "message");
    json.word("role", "assistant");
    json.text("model", &terms.model(answer.model.as_ref()));
    json.array("content");
    for it in &answer.parts {
        match &it.kind {
            Kind::Text(text) | Kind::Refusal(text) => {
                json.item();
                json.word("type", "text");
                json.text("text", text);
                json.end();
            }
            Kind::Thought { text, signature } => {
                json.item();
                json.word("type", "thinking");
                json.text("thinking", text);
                json.text("signature", signature.as_ref().unwrap_or(&Text::default()));
                json.end();
            }
            Kind::Sealed(data) => {
                sealed(json, data);
                json.end();
            }
            Kind::Call(call) => {
                tool_use(json, call);
                json.end();
            }
            Kind::Image(..) | Kind::Document(..) | Kind::Audio(_) | Kind::Outcome(_) => {}
        }
    }
    json.end_array();
    json.word("stop_reason", stop_word(answer.stop));
    match &answer.sequence {
        Some(sequence) => json.text("stop_sequence", sequence),
        None => json.raw("stop_sequence", "null"),
    }
    tokens(json, &answer.usage);
    json.end();
}
