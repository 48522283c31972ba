//! Bedrock's dialect: conversations, and their streams in frames.

use protocols::llm::write_frame;
use serde_json::{Value, json};

use super::{Question, Said};

pub(super) fn say(it: &Question) -> Said {
    match it.stream {
        true => Said::Frames(frames(it)),
        false => Said::Document(answer(it)),
    }
}

/// What is read from a cache is beside the input in this dialect.
fn usage(it: &Question) -> Value {
    json!({"inputTokens": it.input_tokens - it.cached_tokens, "outputTokens": it.output_tokens(),
        "totalTokens": it.input_tokens + it.output_tokens(), "cacheReadInputTokens": it.cached_tokens,
        "cacheWriteInputTokens": 0})
}

fn stop(it: &Question) -> &'static str {
    if it.tool.is_some() { "tool_use" } else { "end_turn" }
}

fn answer(it: &Question) -> Value {
    let thought = it
        .thinking
        .as_ref()
        .map(|text| json!({"reasoningContent": {"reasoningText": {"text": text, "signature": "bW9jaw=="}}}));
    let said = match &it.tool {
        Some(name) => json!({"toolUse": {"toolUseId": "tooluse_mock", "name": name, "input": it.tool_input}}),
        None => json!({"text": it.text()}),
    };
    let content: Vec<_> = thought.into_iter().chain([said]).collect();
    json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop(it),
        "usage": usage(it), "metrics": {"latencyMs": 1}})
}

fn frames(it: &Question) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut push = |kind: &str, data: Value| {
        let mut frame = Vec::new();
        write_frame(&mut frame, kind, false, |out| out.extend_from_slice(data.to_string().as_bytes()));
        out.push(frame);
    };
    let mut index = 0;
    push("messageStart", json!({"role": "assistant"}));
    if let Some(thinking) = &it.thinking {
        for delta in [json!({"text": thinking}), json!({"signature": "bW9jaw=="})] {
            push("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"reasoningContent": delta}}));
        }
        push("contentBlockStop", json!({"contentBlockIndex": 0}));
        index = 1;
    }
    match &it.tool {
        Some(name) => {
            let start = json!({"toolUse": {"toolUseId": "tooluse_mock", "name": name}});
            push("contentBlockStart", json!({"contentBlockIndex": index, "start": start}));
            let delta = json!({"toolUse": {"input": it.tool_input.to_string()}});
            push("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}));
        }
        None => {
            for word in &it.words {
                push("contentBlockDelta", json!({"contentBlockIndex": index, "delta": {"text": word}}));
            }
        }
    }
    push("contentBlockStop", json!({"contentBlockIndex": index}));
    push("messageStop", json!({"stopReason": stop(it)}));
    push("metadata", json!({"usage": usage(it), "metrics": {"latencyMs": 1}}));
    out
}
