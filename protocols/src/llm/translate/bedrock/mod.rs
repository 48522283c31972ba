//! Bedrock's conversations (`converse` and `converse-stream`).
//!
//! The model stands in the path. Names of tools may be made of fewer characters there than elsewhere: others are replaced,
//! and put back in the answer. Streams are frames of AWS's event stream.

mod answer;
mod decode;
mod encode;
mod names;
mod stream;

pub(super) use answer::{decode as decode_answer, encode as encode_answer};
pub(super) use decode::decode;
pub(super) use encode::encode;
pub(super) use names::Names;
pub(super) use stream::{Decoder, Encoder};

use super::super::Usage;
use super::model::Stop;
use super::write::Writer;

fn stop(word: &str) -> Stop {
    match word {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "tool_use" => Stop::Call,
        "stop_sequence" => Stop::Sequence,
        "guardrail_intervened" | "content_filtered" | "refusal" => Stop::Refused,
        _ => Stop::End,
    }
}

fn stop_word(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "end_turn",
        Stop::Sequence => "stop_sequence",
        Stop::Length => "max_tokens",
        Stop::Call => "tool_use",
        Stop::Refused => "content_filtered",
    }
}

/// What was used, as the value of `usage`. What was read from a cache stands beside the rest in this dialect.
fn tokens(json: &mut Writer<'_>, usage: &Usage) {
    let (read, written) = (usage.cache_read.unwrap_or(0), usage.cache_write.unwrap_or(0));
    json.object("usage");
    json.number("inputTokens", usage.input().unwrap_or(0).saturating_sub(read).saturating_sub(written));
    json.number("outputTokens", usage.output.unwrap_or(0));
    json.number("totalTokens", usage.total().unwrap_or(0));
    json.number("cacheReadInputTokens", read);
    json.number("cacheWriteInputTokens", written);
    json.end();
    // How long it took is the provider's to know; those who read answers want it to be there.
    json.raw("metrics", "{\"latencyMs\":0}");
}
