//! Anthropic's dialect: messages and the count of their tokens.

use protocols::llm::Operation;
use serde_json::{Value, json};

use super::{Question, Said, event};

pub(super) fn say(it: &Question) -> Said {
    match it.operation {
        Operation::CountTokens => Said::Document(json!({"input_tokens": it.input_tokens})),
        _ if it.stream => Said::Events(events(it)),
        _ => Said::Document(message(it)),
    }
}

/// What is read from a cache is beside the input in this dialect.
fn usage(it: &Question, output: u64) -> Value {
    json!({"input_tokens": it.input_tokens - it.cached_tokens, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": it.cached_tokens, "output_tokens": output, "service_tier": "standard"})
}

fn block(it: &Question) -> Value {
    match &it.tool {
        Some(name) => json!({"type": "tool_use", "id": "toolu_mock", "name": name, "input": {}}),
        None => json!({"type": "text", "text": it.text()}),
    }
}

fn stop(it: &Question) -> &'static str {
    if it.tool.is_some() { "tool_use" } else { "end_turn" }
}

fn message(it: &Question) -> Value {
    json!({"id": "msg_mock", "type": "message", "role": "assistant", "model": it.model, "content": [block(it)],
        "stop_reason": stop(it), "stop_sequence": null, "usage": usage(it, it.output_tokens())})
}

fn events(it: &Question) -> Vec<String> {
    let mut begun = message(it);
    if let Some(object) = begun.as_object_mut() {
        object.insert("content".to_owned(), json!([]));
        object.insert("stop_reason".to_owned(), Value::Null);
        object.insert("usage".to_owned(), usage(it, 1));
    }
    let mut out = Vec::new();
    let mut push = |kind: &str, mut data: Value| {
        if let Some(object) = data.as_object_mut() {
            object.insert("type".to_owned(), kind.into());
        }
        out.push(event(Some(kind), &data));
    };
    push("message_start", json!({"message": begun}));
    let empty = if it.tool.is_some() { block(it) } else { json!({"type": "text", "text": ""}) };
    push("content_block_start", json!({"index": 0, "content_block": empty}));
    push("ping", json!({}));
    match &it.tool {
        Some(_) => {
            push(
                "content_block_delta",
                json!({"index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}}),
            );
        }
        None => {
            for word in &it.words {
                push("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": word}}));
            }
        }
    }
    push("content_block_stop", json!({"index": 0}));
    let delta = json!({"stop_reason": stop(it), "stop_sequence": null});
    push("message_delta", json!({"delta": delta, "usage": {"output_tokens": it.output_tokens()}}));
    push("message_stop", json!({}));
    out
}
