//! Gemini's dialect: generated content and the count of tokens.

use protocols::llm::Operation;
use serde_json::{Value, json};

use super::{Question, Said, event};

pub(super) fn say(it: &Question) -> Said {
    match it.operation {
        Operation::GeminiCountTokens => Said::Document(json!({"totalTokens": it.input_tokens})),
        _ if it.stream => Said::Events(events(it)),
        _ => Said::Document(content(it, &it.text(), (true, true))),
    }
}

fn usage(it: &Question) -> Value {
    let words = it.words.len() as u64;
    json!({"promptTokenCount": it.input_tokens, "cachedContentTokenCount": it.cached_tokens, "candidatesTokenCount": words,
        "thoughtsTokenCount": it.reasoning_tokens, "totalTokenCount": it.input_tokens + words + it.reasoning_tokens})
}

fn content(it: &Question, text: &str, (first, last): (bool, bool)) -> Value {
    let part = match &it.tool {
        Some(name) => json!({"functionCall": {"name": name, "args": it.tool_input}, "thoughtSignature": "bW9jaw=="}),
        None => json!({"text": text}),
    };
    let thought = it.thinking.as_ref().filter(|_| first).map(|it| json!({"text": it, "thought": true}));
    let parts: Vec<_> = thought.into_iter().chain([part]).collect();
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if let Some(object) = candidate.as_object_mut().filter(|_| last) {
        object.insert("finishReason".to_owned(), "STOP".into());
    }
    json!({"candidates": [candidate], "usageMetadata": usage(it), "modelVersion": it.model, "responseId": "resp-mock"})
}

fn events(it: &Question) -> Vec<String> {
    if it.tool.is_some() {
        return vec![event(None, &content(it, "", (true, true)))];
    }
    let last = it.words.len().saturating_sub(1);
    let words = it.words.iter().enumerate();
    words.map(|(at, word)| event(None, &content(it, word, (at == 0, at == last)))).collect()
}
