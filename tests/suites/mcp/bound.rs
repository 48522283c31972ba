//! What is bound to one process: asked for after an upgrade, and asked for in a replica that has never had it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tests::client::{Event, Events};
use tests::gateway::{Lineage, binary_path};
use tests::wait::PATIENCE;
use tests::{Client, Gateway, McpClient, McpServer, ModernClient, ModernServer, eventually, within};

use super::federation_of;
use super::session::{KEY, with_key};

async fn next(events: &mut Events) -> Event {
    within(PATIENCE, events.next()).await.expect("a stream").expect("an event")
}

fn with_deadline(yaml: &str) -> String {
    format!("config:\n  connectionTerminationDeadline: 20s\n{yaml}")
}

/// A target that is a program.
fn demo() -> String {
    format!("          - {{ name: demo, stdio: {{ cmd: '{}', args: [mcp, demo] }} }}\n", binary_path().display())
}

/// The state that a call waits under, and what goes on with it.
fn waiting(asked: &Value) -> (Value, impl Fn(Value) -> Value + use<>) {
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let state = asked["result"]["requestState"].clone();
    let held = state.clone();
    (state, move |brought| json!({"name": "a_ask", "inputResponses": brought, "requestState": held}))
}

#[tokio::test]
async fn a_call_that_waits_for_its_client_goes_on_in_the_process_that_has_it() {
    let old = McpServer::start("old");
    let new = ModernServer::start("new");
    let target = format!("          - {{ name: b, mcp: {{ host: 'http://{}/mcp' }} }}\n", new.backend.addr());
    let yaml = with_deadline(&format!("{}{target}", federation_of(&[("a", &old)], "")));
    let gateway = Gateway::start(&yaml).await;
    let addr = gateway.addr(0);
    let client = ModernClient::new(addr, "/mcp");
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(waiting(&client.ask("tools/call", json!({"name": "a_ask"})).await));
    }
    let mut lineage = Lineage::new(gateway);
    lineage.upgrade().await;
    let told = json!({"input": {"action": "accept", "content": {"name": "x"}}});
    let heard = |done: &Value| done["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    let (state, retry) = &calls[0];
    let again = client.ask("tools/call", retry(json!({}))).await;
    assert_eq!(again["result"]["requestState"], *state, "what is missing is asked for again: {again}");
    let done = client.ask("tools/call", retry(told.clone())).await;
    assert_eq!(heard(&done), r#"old heard {"action":"accept","content":{"name":"x"}}"#, "{done}");
    let twice = client.ask("tools/call", retry(told.clone())).await;
    assert_eq!(twice["error"]["code"], -32602, "{twice}");
    // One goes on through two processes, and the last is given up.
    lineage.upgrade().await;
    let done = client.ask("tools/call", (calls[1].1)(told)).await;
    assert!(heard(&done).contains("accept"), "{done}");
    assert_eq!(old.asked("tools/call"), 3, "each call was made once");
    lineage.stop().await;
}

#[tokio::test]
async fn another_replica_refuses_what_is_bound_to_the_first_and_lets_nobody_wait() {
    let old = McpServer::start("old");
    old.anonymous();
    let new = ModernServer::start("new");
    let target = format!("          - {{ name: b, mcp: {{ host: 'http://{}/mcp' }} }}\n", new.backend.addr());
    let yaml = with_key(&format!("{}{target}", federation_of(&[("a", &old)], "")), KEY);
    let (first, second) = (Gateway::start(&yaml).await, Gateway::start(&yaml).await);
    let client = McpClient::open(first.addr(0), "/mcp").await;
    let elsewhere = client.over(second.addr(0));
    assert_eq!(elsewhere.text("a_echo", json!({})).await, "old: {}", "the session itself is everybody's");

    // The answer to a call whose server gives no ids.
    let params = json!({"name": "a_paced", "arguments": {}, "_meta": {"progressToken": "t"}});
    let mut calling = client.stream("tools/call", params).await;
    eventually(PATIENCE, || async { old.paced() == 1 }).await;
    old.pace();
    let id = next(&mut calling).await.id.expect("an id to go on from");
    let refused = elsewhere.resume(&id).await.expect_status(404).json();
    assert_eq!(refused["error"]["code"], -32600, "{refused}");

    // A stream of the first revision.
    let call = Client::h1(first.addr(0)).get("/sse").header("accept", "text/event-stream");
    let mut events = Events::new(call.stream().await);
    let place = next(&mut events).await.data;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let refused = Client::h1(second.addr(0)).call(Method::POST, &place).json(&ping).await.expect_status(404).json();
    assert_eq!(refused["error"]["code"], -32600, "{refused}");

    // A call that waits for a client without sessions.
    let modern = ModernClient::new(first.addr(0), "/mcp");
    let (_, retry) = waiting(&modern.ask("tools/call", json!({"name": "a_ask"})).await);
    let lost = ModernClient::new(second.addr(0), "/mcp").ask("tools/call", retry(json!({"input": {}}))).await;
    assert_eq!(lost["error"]["code"], -32602, "{lost}");

    // What the first replica's own question is answered with.
    let single = federation_of(&[], "");
    let yaml = with_key(&format!("{single}{target}"), KEY);
    let (third, fourth) = (Gateway::start(&yaml).await, Gateway::start(&yaml).await);
    let client = McpClient::open(third.addr(0), "/mcp").await;
    let mut asking = client.stream("tools/call", json!({"name": "ask", "arguments": {}})).await;
    let asked = next(&mut asking).await.json();
    let told = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}});
    let refused = client.over(fourth.addr(0)).post(&told).await.expect_status(404).json();
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    client.over(third.addr(0)).post(&told).await.expect_status(202);
    assert!(next(&mut asking).await.json()["result"].is_object());
    for gateway in [first, second, third, fourth] {
        gateway.stop().await;
    }
}

#[tokio::test]
async fn an_answer_to_a_program_of_another_replica_starts_none() {
    let yaml = with_key(&format!("{}{}", federation_of(&[], ""), demo()), KEY);
    let (first, second) = (Gateway::start(&yaml).await, Gateway::start(&yaml).await);
    let client = McpClient::open(first.addr(0), "/mcp").await;
    let elsewhere = client.over(second.addr(0));
    let told = json!({"jsonrpc": "2.0", "id": 99, "result": {"action": "accept"}});
    elsewhere.post(&told).await.expect_status(404);
    assert_eq!(elsewhere.text("add", json!({"a": 1, "b": 2})).await, "3", "calls have a program of their own there");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_at_a_program_fails_during_an_upgrade() {
    const SESSIONS: usize = 20;
    let gateway = Gateway::start(&with_deadline(&format!("{}{}", federation_of(&[], ""), demo()))).await;
    let addr = gateway.addr(0);
    let done = Arc::new(AtomicBool::new(false));
    let mut talking = Vec::new();
    for session in 0..SESSIONS {
        let client = McpClient::open(addr, "/mcp").await;
        let done = done.clone();
        talking.push(tokio::spawn(async move {
            let mut calls = 0_usize;
            while !done.load(Ordering::SeqCst) {
                let sum = client.text("add", json!({"a": session, "b": calls})).await;
                assert_eq!(sum, (session + calls).to_string());
                calls += 1;
            }
            client.end().await.expect_status(200);
            calls
        }));
    }
    let mut lineage = Lineage::new(gateway);
    for _ in 0..2 {
        lineage.upgrade().await;
        lineage.drained(Duration::from_secs(60)).await;
    }
    done.store(true, Ordering::SeqCst);
    for talking in talking {
        assert!(talking.await.expect("no call failed") > 0);
    }
    lineage.stop().await;
}
