//! What it costs to look at a request and at an answer of a language model, by the byte.
//!
//! Goals: a request of 16 KiB is scanned at 1.5 GB/s or faster on one core.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

criterion_group!(benches, requests);
criterion_main!(benches);
