//! OpenAI's responses.
//!
//! Nothing is kept between requests by providers of other dialects: what refers to an earlier answer is refused, for the
//! model would answer without having seen it. Signed thoughts stand in `encrypted_content`.

mod answer;
mod decode;
mod encode;
mod stream;

pub(super) use answer::{decode as decode_answer, encode as encode_answer};
pub(super) use decode::decode;
pub(super) use encode::encode;
pub(super) use stream::{Decoder, Encoder};

use super::super::Usage;
use super::model::Stop;
use super::write::{Text, Writer};

/// Begins `encrypted_content` of a thought that only the provider can read, there is no text of.
const SEALED: &str = "sealed:";

/// Between the id of a thought and what is encrypted of it, where other dialects have one signature.
const JOINT: char = ':';

/// What was used, as the value of `usage`.
fn tokens(json: &mut Writer<'_>, usage: &Usage) {
    json.object("usage");
    json.number("input_tokens", usage.input().unwrap_or(0));
    json.object("input_tokens_details");
    json.number("cached_tokens", usage.cache_read.unwrap_or(0));
    json.number("cache_write_tokens", usage.cache_write.unwrap_or(0));
    json.end();
    json.number("output_tokens", usage.output.unwrap_or(0));
    json.object("output_tokens_details");
    json.number("reasoning_tokens", usage.reasoning.unwrap_or(0));
    json.end();
    json.number("total_tokens", usage.total().unwrap_or(0));
    json.end();
}

/// How an answer ended: its status, and why it is not complete.
fn status(stop: Stop) -> (&'static str, Option<&'static str>) {
    match stop {
        Stop::End | Stop::Sequence | Stop::Call => ("completed", None),
        Stop::Length => ("incomplete", Some("max_output_tokens")),
        Stop::Refused => ("incomplete", Some("content_filter")),
    }
}

/// Members of an answer around what it says.
fn frame(json: &mut Writer<'_>, id: &Text<'_>, model: &Text<'_>, created: u64, stop: Option<Stop>) {
    let (status, reason) = stop.map_or(("in_progress", None), status);
    json.text("id", id);
    json.word("object", "response");
    json.number("created_at", created);
    json.word("status", status);
    json.raw("error", "null");
    match reason {
        Some(reason) => {
            json.object("incomplete_details");
            json.word("reason", reason);
            json.end();
        }
        None => json.raw("incomplete_details", "null"),
    }
    json.text("model", model);
    for (key, value) in [
        ("instructions", "null"),
        ("metadata", "{}"),
        ("parallel_tool_calls", "true"),
        ("previous_response_id", "null"),
        ("temperature", "null"),
        ("tool_choice", "\"auto\""),
        ("tools", "[]"),
        ("top_p", "null"),
    ] {
        json.raw(key, value);
    }
}

/// A message of the model, as the members of an item.
fn message(json: &mut Writer<'_>, id: &str, done: bool, texts: &[(bool, &Text<'_>)]) {
    json.word("id", id);
    json.word("type", "message");
    json.word("status", if done { "completed" } else { "in_progress" });
    json.word("role", "assistant");
    json.array("content");
    for (refusal, text) in texts {
        json.item();
        part(json, *refusal, text);
        json.end();
    }
    json.end_array();
}

/// Text or a refusal, as the members of a part.
fn part(json: &mut Writer<'_>, refusal: bool, text: &Text<'_>) {
    match refusal {
        true => {
            json.word("type", "refusal");
            json.text("refusal", text);
        }
        false => {
            json.word("type", "output_text");
            json.text("text", text);
            json.raw("annotations", "[]");
            json.raw("logprobs", "[]");
        }
    }
}

/// A call, as the members of an item.
fn call(json: &mut Writer<'_>, id: &str, (call, name): (&Text<'_>, &Text<'_>), input: Option<&Text<'_>>) {
    json.word("id", id);
    json.word("type", "function_call");
    json.word("status", if input.is_some() { "completed" } else { "in_progress" });
    json.text("call_id", call);
    json.text("name", name);
    json.text("arguments", input.unwrap_or(&Text::default()));
}

/// A thought, as the members of an item.
fn thought(json: &mut Writer<'_>, id: &str, text: Option<&Text<'_>>, signature: Option<&Text<'_>>) {
    json.word("id", id);
    json.word("type", "reasoning");
    json.array("summary");
    if let Some(text) = text {
        json.item();
        json.word("type", "summary_text");
        json.text("text", text);
        json.end();
    }
    json.end_array();
    signature.iter().for_each(|it| json.text("encrypted_content", it));
}
