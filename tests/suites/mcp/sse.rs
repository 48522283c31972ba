//! Clients of the first revision: one stream for everything they hear, and a place that they post to.

use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};
use tests::client::Events;
use tests::gateway::Lineage;
use tests::mcp::opening;
use tests::wait::PATIENCE;
use tests::{Client, Gateway, McpServer, ModernServer, Reply, eventually, within};

use super::federation_of;

/// A client with its stream.
struct SseClient {
    addr: SocketAddr,
    place: String,
    events: Events,
}

impl SseClient {
    async fn connect(addr: SocketAddr) -> SseClient {
        let call = Client::h1(addr).get("/sse").header("accept", "text/event-stream");
        let mut events = Events::new(call.stream().await);
        let first = within(PATIENCE, events.next()).await.expect("a stream").expect("an event");
        assert_eq!(first.name, "endpoint");
        assert!(first.data.starts_with("/sse?sessionId="), "{}", first.data);
        SseClient { addr, place: first.data, events }
    }

    async fn open(addr: SocketAddr) -> SseClient {
        let mut it = SseClient::connect(addr).await;
        it.post(&opening("2024-11-05")).await.expect_status(202);
        let opened = it.next().await;
        assert_eq!(opened["result"]["protocolVersion"], "2024-11-05", "{opened}");
        it.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await.expect_status(202);
        it
    }

    async fn post(&self, message: &Value) -> Reply {
        Client::h1(self.addr).call(Method::POST, &self.place).json(message).await
    }

    async fn next(&mut self) -> Value {
        let event = within(PATIENCE, self.events.next()).await.expect("a stream").expect("an event");
        assert_eq!(event.name, "message");
        event.json()
    }

    async fn call(&mut self, id: u64, tool: &str) -> Reply {
        let params = json!({"name": tool, "arguments": {}, "_meta": {"progressToken": "t"}});
        self.post(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})).await
    }
}

#[tokio::test]
async fn everything_comes_over_the_stream_that_was_opened_first() {
    let (one, two) = (McpServer::start("one"), ModernServer::start("two"));
    let yaml = federation_of(&[("a", &one)], "");
    let target = format!("          - {{ name: b, mcp: {{ host: 'http://{}/mcp' }} }}\n", two.backend.addr());
    let gateway = Gateway::start(&format!("{yaml}{target}")).await;
    let mut client = SseClient::open(gateway.addr(0)).await;
    client.call(1, "a_echo").await.expect_status(202);
    let answer = client.next().await;
    assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(1), &json!("one: {}")));
    client.call(2, "b_echo").await.expect_status(202);
    assert_eq!(client.next().await["result"]["content"][0]["text"], "two: {}");
    client.call(3, "a_slow").await.expect_status(202);
    for step in 1..=3 {
        assert_eq!(client.next().await["params"]["progress"], step);
    }
    assert_eq!(client.next().await["id"], 3);
    client.post(&json!({"jsonrpc": "2.0", "id": 4, "method": "tools/list"})).await.expect_status(202);
    let tools = client.next().await;
    assert!(tools["result"]["tools"].as_array().expect("tools").len() > 10, "{tools}");
    gateway.stop().await;
}

#[tokio::test]
async fn servers_ask_and_tell_over_it_and_calls_do_not_wait_for_each_other() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&federation_of(&[("a", &one)], "")).await;
    let mut client = SseClient::open(gateway.addr(0)).await;
    client.call(1, "hang").await.expect_status(202);
    client.call(2, "ask").await.expect_status(202);
    let asked = client.next().await;
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    client.post(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}})).await.expect_status(202);
    let answer = client.next().await;
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&json!(2), &json!("one heard {\"action\":\"accept\"}"))
    );
    eventually(PATIENCE, || async { one.listeners() == 1 }).await;
    one.say("notifications/prompts/list_changed", json!({}));
    assert_eq!(client.next().await["method"], "notifications/prompts/list_changed");
    drop(client);
    eventually(PATIENCE, || async { (one.sessions(), one.listeners()) == (0, 0) }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn messages_that_belong_to_no_stream_are_refused() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&federation_of(&[("a", &one)], "")).await;
    let mut client = SseClient::connect(gateway.addr(0)).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    client.post(&ping).await.expect_status(202);
    assert_eq!(client.next().await["error"]["code"], -32600, "begin with initialize");
    let id = client.place.strip_prefix("/sse?sessionId=").expect("an id").to_owned();
    for (path, body, status) in [
        ("/sse".to_owned(), "{}", 422),
        ("/sse?sessionId=".to_owned(), "{}", 404),
        (format!("/sse?sessionId={}", &id[1..]), "{}", 404),
        (format!("/sse?sessionId={}x", id), "{}", 404),
        (format!("/sse?sessionId={}", id.replace('A', "B")), "{}", 404),
        (client.place.clone(), "{", 400),
        (client.place.clone(), "[]", 400),
        (client.place.clone(), "", 400),
    ] {
        let call = gateway.client().post(&path).header("content-type", "application/json");
        call.body(body).await.expect_status(status);
    }
    gateway.client().post(&client.place).header("content-type", "text/plain").body("{}").await.expect_status(415);
    gateway.client().get("/sse").header("accept", "text/html").await.expect_status(406);
    let gone = client.place.clone();
    drop(client);
    eventually(PATIENCE, || async {
        let reply = gateway.client().post(&gone).json(&ping).await;
        reply.status.as_u16() == 404
    })
    .await;
    assert_eq!(one.backend.stats().requests(), 0, "the server heard nothing of it");
    gateway.stop().await;
}

#[tokio::test]
async fn after_an_upgrade_answers_still_come_over_the_stream_that_the_elder_has() {
    let one = McpServer::start("one");
    let yaml = format!("config:\n  connectionTerminationDeadline: 10s\n{}", federation_of(&[("a", &one)], ""));
    let gateway = Gateway::start(&yaml).await;
    let addr = gateway.addr(0);
    let mut opened = SseClient::open(addr).await;
    // One that has not even begun its session.
    let mut fresh = SseClient::connect(addr).await;
    let mut lineage = Lineage::new(gateway);
    lineage.upgrade().await;
    opened.call(1, "echo").await.expect_status(202);
    assert_eq!(opened.next().await["result"]["content"][0]["text"], "one: {}");
    opened.call(2, "slow").await.expect_status(202);
    for step in 1..=3 {
        assert_eq!(opened.next().await["params"]["progress"], step);
    }
    assert_eq!(opened.next().await["id"], 2);
    fresh.post(&opening("2024-11-05")).await.expect_status(202);
    assert_eq!(fresh.next().await["result"]["protocolVersion"], "2024-11-05");
    fresh.call(3, "echo").await.expect_status(202);
    assert_eq!(fresh.next().await["id"], 3);
    drop((opened, fresh));
    lineage.drained(PATIENCE).await;
    lineage.stop().await;
}
