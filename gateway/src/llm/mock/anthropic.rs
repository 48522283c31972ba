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

/// The signature of thoughts.
const SIGNATURE: &str = "bW9jaw==";

fn said(it: &Question) -> Value {
    match &it.tool {
        Some(name) => json!({"type": "tool_use", "id": "toolu_mock", "name": name, "input": it.tool_input}),
        None => json!({"type": "text", "text": it.text()}),
    }
}

fn thought(it: &Question) -> Option<Value> {
    let thinking = it.thinking.as_ref()?;
    Some(json!({"type": "thinking", "thinking": thinking, "signature": SIGNATURE}))
}

fn stop(it: &Question) -> &'static str {
    if it.tool.is_some() { "tool_use" } else { "end_turn" }
}

fn message(it: &Question) -> Value {
    let content: Vec<_> = thought(it).into_iter().chain([said(it)]).collect();
    json!({"id": "msg_mock", "type": "message", "role": "assistant", "model": it.model, "content": content,
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
    push("ping", json!({}));
    let mut index = 0;
    if let Some(thinking) = &it.thinking {
        let empty = json!({"type": "thinking", "thinking": "", "signature": ""});
        push("content_block_start", json!({"index": 0, "content_block": empty}));
        let delta = json!({"type": "thinking_delta", "thinking": thinking});
        push("content_block_delta", json!({"index": 0, "delta": delta}));
        let delta = json!({"type": "signature_delta", "signature": SIGNATURE});
        push("content_block_delta", json!({"index": 0, "delta": delta}));
        push("content_block_stop", json!({"index": 0}));
        index = 1;
    }
    let empty = match &it.tool {
        Some(name) => json!({"type": "tool_use", "id": "toolu_mock", "name": name, "input": {}}),
        None => json!({"type": "text", "text": ""}),
    };
    push("content_block_start", json!({"index": index, "content_block": empty}));
    match &it.tool {
        Some(_) => {
            let input = it.tool_input.to_string();
            let delta = json!({"type": "input_json_delta", "partial_json": input});
            push("content_block_delta", json!({"index": index, "delta": delta}));
        }
        None => {
            for word in &it.words {
                push("content_block_delta", json!({"index": index, "delta": {"type": "text_delta", "text": word}}));
            }
        }
    }
    push("content_block_stop", json!({"index": index}));
    let delta = json!({"stop_reason": stop(it), "stop_sequence": null});
    push("message_delta", json!({"delta": delta, "usage": {"output_tokens": it.output_tokens()}}));
    push("message_stop", json!({}));
    out
}
