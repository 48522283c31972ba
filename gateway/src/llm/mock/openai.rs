//! OpenAI's dialect: chat completions, responses, embeddings, images, rerank, models.

use protocols::llm::Operation;
use serde_json::{Value, json};

use super::script::Script;
use super::{Question, Said, event};

/// The end of a stream of chat completions.
const DONE: &str = "data: [DONE]\n\n";

pub(super) fn say(it: &Question) -> Said {
    match it.operation {
        Operation::Responses if it.stream => Said::Events(response_events(it)),
        Operation::Responses => Said::Document(response(it, "completed")),
        Operation::Completions if it.stream => Said::Events(completion_events(it)),
        Operation::Completions => Said::Document(completion(it)),
        Operation::Embeddings => Said::Document(embeddings(it)),
        Operation::Rerank => Said::Document(rerank(it)),
        _ => Said::Document(image(it)),
    }
}

pub(super) fn models(script: &Script) -> Value {
    let names = if script.models.is_empty() { vec!["mock".to_owned()] } else { script.models.clone() };
    let data: Vec<_> =
        names.iter().map(|it| json!({"id": it, "object": "model", "created": 0, "owned_by": "mock"})).collect();
    json!({"object": "list", "data": data})
}

fn usage(it: &Question) -> Value {
    let output = it.output_tokens();
    json!({"prompt_tokens": it.input_tokens, "completion_tokens": output, "total_tokens": it.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": it.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": it.reasoning_tokens, "audio_tokens": 0}})
}

fn tool_call(it: &Question, name: &str) -> Value {
    let arguments = it.tool_input.to_string();
    json!({"id": "call_mock", "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn completion(it: &Question) -> Value {
    let (mut message, finish) = match &it.tool {
        Some(name) => {
            (json!({"role": "assistant", "content": null, "tool_calls": [tool_call(it, name)]}), "tool_calls")
        }
        None => (json!({"role": "assistant", "content": it.text(), "refusal": null}), "stop"),
    };
    if let (Some(thinking), Some(object)) = (&it.thinking, message.as_object_mut()) {
        object.insert("reasoning_content".to_owned(), thinking.as_str().into());
    }
    json!({"id": "chatcmpl-mock", "object": "chat.completion", "created": 0, "model": it.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": usage(it), "service_tier": "default"})
}

fn completion_events(it: &Question) -> Vec<String> {
    let head = json!({"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 0, "model": it.model});
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = head.clone();
        if let Some(object) = chunk.as_object_mut() {
            object.insert("choices".to_owned(), choices);
            if it.include_usage {
                object.insert("usage".to_owned(), usage);
            }
        }
        event(None, &chunk)
    };
    let delta = |delta: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]), Value::Null)
    };
    let mut events = vec![delta(json!({"role": "assistant", "content": ""}), Value::Null)];
    events.extend(it.thinking.iter().map(|it| delta(json!({"reasoning_content": it}), Value::Null)));
    match &it.tool {
        Some(name) => {
            let mut call = tool_call(it, name);
            if let Some(object) = call.as_object_mut() {
                object.insert("index".to_owned(), 0.into());
            }
            events.push(delta(json!({"tool_calls": [call]}), Value::Null));
            events.push(delta(json!({}), "tool_calls".into()));
        }
        None => {
            events.extend(it.words.iter().map(|word| delta(json!({"content": word}), Value::Null)));
            events.push(delta(json!({}), "stop".into()));
        }
    }
    if it.include_usage {
        events.push(chunk(json!([]), usage(it)));
    }
    events.push(DONE.to_owned());
    events
}

fn output(it: &Question, status: &str) -> Value {
    match &it.tool {
        Some(name) => json!({"type": "function_call", "id": "fc_mock", "call_id": "call_mock", "name": name,
            "arguments": it.tool_input.to_string(), "status": status}),
        None => json!({"type": "message", "id": "msg_mock", "role": "assistant", "status": status,
            "content": [{"type": "output_text", "text": it.text(), "annotations": []}]}),
    }
}

fn outputs(it: &Question, status: &str) -> Vec<Value> {
    let thought = it.thinking.iter().map(|it| {
        json!({"type": "reasoning", "id": "rs_mock", "summary": [{"type": "summary_text", "text": it}],
            "encrypted_content": "bW9jaw=="})
    });
    thought.chain([output(it, status)]).collect()
}

fn response(it: &Question, status: &str) -> Value {
    let done = status == "completed";
    let usage = json!({"input_tokens": it.input_tokens, "input_tokens_details": {"cached_tokens": it.cached_tokens},
        "output_tokens": it.output_tokens(), "output_tokens_details": {"reasoning_tokens": it.reasoning_tokens},
        "total_tokens": it.input_tokens + it.output_tokens()});
    json!({"id": "resp_mock", "object": "response", "created_at": 0, "status": status, "model": it.model, "error": null,
        "incomplete_details": null, "instructions": null, "metadata": {}, "parallel_tool_calls": true, "tool_choice": "auto",
        "tools": [], "temperature": 1.0, "top_p": 1.0,
        "output": if done { json!(outputs(it, status)) } else { json!([]) },
        "usage": if done { usage } else { Value::Null }})
}

fn response_events(it: &Question) -> Vec<String> {
    let mut number = 0;
    let mut events = Vec::new();
    let mut push = |kind: &str, mut data: Value| {
        if let Some(object) = data.as_object_mut() {
            object.insert("type".to_owned(), kind.into());
            object.insert("sequence_number".to_owned(), number.into());
        }
        number += 1;
        events.push(event(Some(kind), &data));
    };
    push("response.created", json!({"response": response(it, "in_progress")}));
    push("response.in_progress", json!({"response": response(it, "in_progress")}));
    let place = usize::from(it.thinking.is_some());
    if let Some(thinking) = &it.thinking {
        let empty = json!({"type": "reasoning", "id": "rs_mock", "summary": []});
        push("response.output_item.added", json!({"output_index": 0, "item": empty}));
        let delta = json!({"item_id": "rs_mock", "output_index": 0, "summary_index": 0, "delta": thinking});
        push("response.reasoning_summary_text.delta", delta);
        push("response.output_item.done", json!({"output_index": 0, "item": outputs(it, "completed").first()}));
    }
    let mut begun = output(it, "in_progress");
    if let Some(object) = begun.as_object_mut() {
        let (key, empty) = if it.tool.is_some() { ("arguments", json!("")) } else { ("content", json!([])) };
        object.insert(key.to_owned(), empty);
    }
    push("response.output_item.added", json!({"output_index": place, "item": begun}));
    if it.tool.is_some() {
        let arguments = it.tool_input.to_string();
        let delta = json!({"item_id": "fc_mock", "output_index": place, "delta": arguments});
        push("response.function_call_arguments.delta", delta);
        let done = json!({"item_id": "fc_mock", "output_index": place, "arguments": arguments});
        push("response.function_call_arguments.done", done);
    } else {
        let part = |text: &str| {
            json!({"item_id": "msg_mock", "output_index": place, "content_index": 0,
            "part": {"type": "output_text", "text": text, "annotations": []}})
        };
        push("response.content_part.added", part(""));
        for word in &it.words {
            let delta = json!({"item_id": "msg_mock", "output_index": place, "content_index": 0, "delta": word, "logprobs": []});
            push("response.output_text.delta", delta);
        }
        let text = it.text();
        let done =
            json!({"item_id": "msg_mock", "output_index": place, "content_index": 0, "text": text, "logprobs": []});
        push("response.output_text.done", done);
        push("response.content_part.done", part(&text));
    }
    push("response.output_item.done", json!({"output_index": place, "item": output(it, "completed")}));
    push("response.completed", json!({"response": response(it, "completed")}));
    events
}

fn embeddings(it: &Question) -> Value {
    let data: Vec<_> =
        (0..it.items).map(|at| json!({"object": "embedding", "index": at, "embedding": [0.25, -0.5, 0.125]})).collect();
    json!({"object": "list", "model": it.model, "data": data,
        "usage": {"prompt_tokens": it.input_tokens, "total_tokens": it.input_tokens}})
}

fn rerank(it: &Question) -> Value {
    let results: Vec<_> =
        (0..it.items).map(|at| json!({"index": at, "relevance_score": 1.0 / (at + 1) as f64})).collect();
    json!({"id": "rerank-mock", "results": results,
        "meta": {"tokens": {"input_tokens": it.input_tokens, "output_tokens": 0}}})
}

/// A single grey pixel.
fn image(it: &Question) -> Value {
    const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCB2+xZ6QAAAABJRU5ErkJggg==";
    json!({"created": 0, "data": [{"b64_json": PIXEL}], "usage": {"input_tokens": it.input_tokens, "output_tokens": 8,
        "total_tokens": it.input_tokens + 8, "input_tokens_details": {"text_tokens": it.input_tokens, "image_tokens": 0},
        "output_tokens_details": {"text_tokens": 0, "image_tokens": 8}}})
}
