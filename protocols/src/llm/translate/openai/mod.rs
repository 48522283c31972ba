//! OpenAI's chat completions.
//!
//! Thoughts are `reasoning_content` of messages, as many providers of this dialect have it; where they are signed, they
//! stand in `thinking_blocks` beside it, and a client that sends those back with the message continues the thought.

mod answer;
mod decode;
mod encode;
mod stream;

pub(super) use answer::{decode as decode_answer, encode as encode_answer, tokens};
pub(super) use decode::{decode, media_of_url, number, schema_of, stop_of, tool_of};
pub(super) use encode::{encode, url};
pub(super) use stream::{Decoder, Encoder};

use super::model::Stop;
use super::write::{Text, Writer};

fn stop(word: &str) -> Stop {
    match word {
        "length" => Stop::Length,
        "tool_calls" | "function_call" => Stop::Call,
        "content_filter" => Stop::Refused,
        _ => Stop::End,
    }
}

fn stop_word(stop: Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence => "stop",
        Stop::Length => "length",
        Stop::Call => "tool_calls",
        Stop::Refused => "content_filter",
    }
}

/// A signed thought, as an element.
fn block(json: &mut Writer<'_>, text: &Text<'_>, signature: &Text<'_>) {
    json.item();
    json.word("type", "thinking");
    json.text("thinking", text);
    json.text("signature", signature);
    json.end();
}

/// One that only the provider can read.
fn sealed(json: &mut Writer<'_>, data: &Text<'_>) {
    json.item();
    json.word("type", "redacted_thinking");
    json.text("data", data);
    json.end();
}
