//! Anthropic's messages.

mod answer;
mod decode;
mod encode;
mod stream;

pub(super) use answer::{decode as decode_answer, encode as encode_answer};
pub(super) use decode::decode;
pub(super) use encode::{encode, is_adaptive, sampled};
pub(super) use stream::{Decoder, Encoder};

use super::super::Usage;
use super::model::{Cache, Call, Stop};
use super::write::{Text, Writer};

fn stop(word: &str) -> Stop {
    match word {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "tool_use" => Stop::Call,
        "stop_sequence" => Stop::Sequence,
        "refusal" => Stop::Refused,
        _ => Stop::End,
    }
}

fn stop_word(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "end_turn",
        Stop::Sequence => "stop_sequence",
        Stop::Length => "max_tokens",
        Stop::Call => "tool_use",
        Stop::Refused => "refusal",
    }
}

/// Begins a block of thoughts that only their provider can read; whoever asks ends it.
fn sealed(json: &mut Writer<'_>, data: &Text<'_>) {
    json.item();
    json.word("type", "redacted_thinking");
    json.text("data", data);
}

/// Begins a block of a tool's call; whoever asks ends it.
fn tool_use(json: &mut Writer<'_>, call: &Call<'_>) {
    json.item();
    json.word("type", "tool_use");
    json.text("id", &call.id);
    json.text("name", &call.name);
    json.raw("input", &call.input.json());
}

/// What was used, as the value of `usage`. What was read from a cache stands beside the rest in this dialect.
fn tokens(json: &mut Writer<'_>, usage: &Usage) {
    let (read, written) = (usage.cache_read.unwrap_or(0), usage.cache_write.unwrap_or(0));
    json.object("usage");
    json.number("input_tokens", usage.input().unwrap_or(0).saturating_sub(read).saturating_sub(written));
    json.number("cache_creation_input_tokens", written);
    json.number("cache_read_input_tokens", read);
    json.number("output_tokens", usage.output.unwrap_or(0));
    if let Some(tokens) = usage.reasoning {
        json.object("output_tokens_details");
        json.number("thinking_tokens", tokens);
        json.end();
    }
    json.end();
}

fn cache(json: &mut Writer<'_>, cache: Option<Cache>) {
    match cache {
        None => {}
        Some(Cache::Short) => json.raw("cache_control", "{\"type\":\"ephemeral\"}"),
        Some(Cache::Long) => json.raw("cache_control", "{\"type\":\"ephemeral\",\"ttl\":\"1h\"}"),
    }
}
