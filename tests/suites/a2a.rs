//! Agents behind the gateway: cards, ids, streams and rules, in both versions and all bindings, and agents and clients
//! that misbehave. Peers of another make are in `tests/outside`.

#[path = "a2a/agent.rs"]
mod agent;
#[path = "a2a/card.rs"]
mod card;
#[path = "a2a/follow.rs"]
mod follow;
#[path = "a2a/grpc.rs"]
mod grpc;
#[path = "a2a/hostile.rs"]
mod hostile;
#[path = "a2a/list.rs"]
mod list;
#[path = "a2a/push.rs"]
mod push;
#[path = "a2a/rules.rs"]
mod rules;

use agent::Agent;
use serde_json::{Value, json};
use tests::{Client, Gateway};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// One route for everything to these agents; `policies` beside `a2a`, each a line.
fn agents(agents: &[&Agent], policies: &str) -> String {
    let policies: String = policies.lines().map(|it| format!("        {it}\n")).collect();
    let backends: String = agents.iter().map(|it| format!("      - host: '{}'\n", it.backend.addr())).collect();
    format!(
        "config:\n  session: {{ key: '{KEY}' }}\n  logging: {{ format: json }}\nbinds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - name: agents\n      policies:\n        a2a: {{}}\n{policies}      backends:\n{backends}"
    )
}

/// A JSON-RPC call, and what it answers.
async fn ask(client: &Client, method: &str, params: Value) -> Value {
    ask_with(client, method, params, &[]).await
}

async fn ask_with(client: &Client, method: &str, params: Value, headers: &[(&str, &str)]) -> Value {
    let message = json!({"jsonrpc": "2.0", "id": "r1", "method": method, "params": params});
    let call = client.post("/").header("content-type", "application/json").body(message.to_string());
    let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
    let answer = call.await.expect_status(200).json();
    assert_eq!(answer["id"], "r1", "{answer}");
    answer
}

/// The parameters of a message with these members besides.
fn message(more: Value) -> Value {
    let mut message = json!({"messageId": "m1", "role": "user", "parts": [{"kind": "text", "text": "taskId"}]});
    let members = message.as_object_mut().expect("an object");
    members.extend(more.as_object().cloned().unwrap_or_default());
    json!({"message": message})
}

#[tokio::test]
async fn a_listener_that_speaks_a2a_says_so_for_all_its_routes() {
    let one = Agent::start("one");
    let yaml = agents(&[&one], "").replace("  - routes:", "  - protocol: a2a\n    routes:");
    let yaml = yaml.replace("      policies:\n        a2a: {}\n", "");
    let gateway = Gateway::start(&yaml).await;
    let client = Client::h1(gateway.addr(0));
    let task = ask(&client, "SendMessage", message(json!({}))).await["result"]["task"].clone();
    assert!(task["id"].as_str().is_some_and(|it| it.len() > 60 && !it.starts_with("task-")), "{task}");
    gateway.stop().await;
}
