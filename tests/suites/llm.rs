//! Language models: bytes that pass untouched, routing by model, accounting to the token, failover, errors in the client's
//! dialect.

#[path = "llm/coded.rs"]
mod coded;
#[path = "llm/costs.rs"]
mod costs;
#[path = "llm/errors.rs"]
mod errors;
#[path = "llm/failover.rs"]
mod failover;
#[path = "llm/guards.rs"]
mod guards;
#[path = "llm/hostile.rs"]
mod hostile;
#[path = "llm/limits.rs"]
mod limits;
#[path = "llm/models.rs"]
mod models;
#[path = "llm/pass.rs"]
mod pass;
#[path = "llm/prompts.rs"]
mod prompts;
#[path = "llm/providers.rs"]
mod providers;
#[path = "llm/realtime.rs"]
mod realtime;
#[path = "llm/routing.rs"]
mod routing;
#[path = "llm/translate.rs"]
mod translate;
#[path = "llm/webhook.rs"]
mod webhook;

use serde_json::{Value, json};
use tests::backend::answer;
use tests::client::Streaming;
use tests::http::{BodySender, channel};
use tests::{Backend, Gateway, MockLlm};
use tokio::sync::mpsc;

/// One route to a single provider: `provider` as written, and where it is.
fn single(provider: &str, host: &str) -> String {
    format!(
        "config:\n  logging: {{ format: json }}\nbinds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - name: ai\n      backends:\n      - ai:\n          provider: {{ {provider} }}\n          hostOverride: '{host}'\n          policies:\n            backendAuth: {{ key: gateway-key }}\n"
    )
}

/// The access line of a request to a language model.
async fn accounted(gateway: &Gateway, n: usize) -> Value {
    let lines = gateway.wait_access(n).await;
    lines.last().cloned().expect("an access line")
}

/// A provider whose answers are streams that the test writes, and where their writers come from.
fn written() -> (Backend, mpsc::UnboundedReceiver<BodySender>) {
    let (writers, written) = mpsc::unbounded_channel();
    let backend = Backend::http(move |_| {
        let (writer, body) = channel();
        writers.send(writer).expect("the test waits for it");
        async { answer::event_stream(body) }
    });
    (backend, written)
}

/// Reads on until this text has come.
async fn until(stream: &mut Streaming, heard: &mut String, text: &str) {
    while !heard.contains(text) {
        let piece = stream.chunk().await.expect("the stream goes on").unwrap_or_else(|| panic!("no {text} in {heard}"));
        heard.push_str(&String::from_utf8_lossy(&piece));
    }
}

/// An event of chat completions with this text.
fn delta(text: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
}

fn chat(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "one two three"}]})
}

/// A mock provider that wants the gateway's key, with these rules.
async fn mock(rules: Value) -> MockLlm {
    MockLlm::start(&json!({"key": "gateway-key", "rules": rules}).to_string()).await
}
