//! What it costs to look at a request and at an answer of a language model, by the byte.
//!
//! Goals: a request of 16 KiB is scanned at 1.5 GB/s or faster on one core.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocols::llm::translate::{self, Wanted, Wire};
use protocols::llm::{Framing, Operation, Tap, scan};
use serde_json::json;
use units as _;

/// A conversation of about so many bytes, as clients send it: paragraphs with line ends, quotes and code.
fn conversation(bytes: usize) -> Vec<u8> {
    let text = "Please read the following function and tell me what it does.\n\n```rust\nfn add(a: i32, b: i32) -> i32 {\n    \
                println!(\"adding\");\n    a + b\n}\n```\n\nThen explain, step by step, how you would test it, and why. ";
    let mut messages = vec![json!({"role": "system", "content": "You are a helpful assistant."})];
    let build = |messages: &[serde_json::Value]| {
        let body = json!({"model": "gpt-5", "stream": true, "messages": messages, "temperature": 0.7, "max_tokens": 1024,
            "tools": [{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object",
                "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}}, "required": ["query"]}}}]});
        serde_json::to_vec(&body).expect("JSON")
    };
    while build(&messages).len() + text.len() < bytes {
        let role = if messages.len() % 2 == 1 { "user" } else { "assistant" };
        let times = (bytes / text.len() / 8).max(1);
        messages.push(json!({"role": role, "content": text.repeat(times)}));
    }
    build(&messages)
}

/// The same as Anthropic's clients write it.
fn messages(bytes: usize) -> Vec<u8> {
    let mut body: serde_json::Value = serde_json::from_slice(&conversation(bytes)).expect("JSON");
    let all = body["messages"].as_array_mut().expect("messages");
    body["system"] = all.remove(0)["content"].take();
    body["tools"] = json!([{"name": "lookup", "input_schema": body["tools"][0]["function"]["parameters"].take()}]);
    serde_json::to_vec(&body).expect("JSON")
}

/// Requests and answers from one dialect to another.
fn translated(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("translate");
    let chat = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "A sentence, and no more.", "refusal": null}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details":
        {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 0}}});
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content":
        [{"type": "text", "text": "A sentence, and no more."}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0}});
    for (name, (client, provider), answer) in [
        ("messages to completions", (Wire::Messages, Wire::Completions), chat),
        ("completions to messages", (Wire::Completions, Wire::Messages), message),
    ] {
        let wanted = Wanted { client, provider, model: "gpt-5", stream: false, now: 1, random: 1 };
        for (size, bytes) in [("1KiB", 1 << 10), ("16KiB", 16 << 10)] {
            let body = if client == Wire::Messages { messages(bytes) } else { conversation(bytes) };
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(format!("{name} {size}"), |it| {
                it.iter(|| translate::request(black_box(&body), &wanted).expect("a request").body.len());
            });
        }
        let translated = translate::request(b"{\"messages\":[]}", &wanted).expect("a request");
        let answer = serde_json::to_vec(&answer).expect("JSON");
        group.throughput(Throughput::Bytes(answer.len() as u64));
        group.bench_function(format!("{name} answer"), |it| {
            it.iter(|| translate::answer(&translated.terms, black_box(&answer)).expect("an answer").len());
        });
    }
}

fn requests(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("scan");
    for (name, bytes) in [("1KiB", 1 << 10), ("16KiB", 16 << 10), ("1MiB", 1 << 20)] {
        let body = conversation(bytes);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |it| {
            it.iter(|| scan(Operation::Completions, black_box(&body)).expect("a request").stream);
        });
    }
    group.finish();
    let mut group = bench.benchmark_group("tap");
    let chunk = b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    let mut tap = Tap::new(Framing::Events);
    group.bench_function("event", |it| it.iter(|| tap.push(black_box(chunk))));
    let answer = conversation(16 << 10);
    group.throughput(Throughput::Bytes(answer.len() as u64));
    group.bench_function("answer16KiB", |it| {
        it.iter(|| {
            let mut tap = Tap::new(Framing::Json);
            tap.push(black_box(&answer));
            tap.finish().events
        });
    });
}

criterion_group!(benches, requests, translated);
criterion_main!(benches);
