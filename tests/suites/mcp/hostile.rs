//! Servers and clients that misbehave harm themselves only.

use serde_json::json;
use tests::mcp::opening;
use tests::wait::PATIENCE;
use tests::{Backend, Gateway, McpClient, McpServer, eventually, within};

use super::federation_of;

#[tokio::test]
async fn malformed_messages_get_the_error_of_the_protocol() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&federation_of(&[("a", &one)], "")).await;
    let both = "application/json, text/event-stream";
    for (accept, kind, body, status, code) in [
        (both, "application/json", "{", 400, -32700),
        (both, "application/json", "", 400, -32700),
        (both, "application/json", "[]", 400, -32600),
        (both, "application/json", "{\"jsonrpc\":\"2.0\",\"id\":1}", 400, -32600),
        (both, "application/json", "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}", 400, -32600),
        (both, "text/plain", "{}", 415, -32600),
        ("application/json", "application/json", "{}", 406, -32600),
        ("text/event-stream", "application/json", "{}", 406, -32600),
    ] {
        let call = gateway.client().post("/mcp").header("accept", accept).header("content-type", kind);
        let reply = call.body(body).await.expect_status(status);
        assert_eq!(reply.json()["error"]["code"], code, "{accept} {kind} {body}");
    }
    let call = gateway.client().post("/mcp").header("accept", both).header("mcp-protocol-version", "1999-01-01");
    let reply = call.json(&opening("2025-06-18")).await.expect_status(400);
    assert_eq!(reply.json()["error"]["data"]["requested"], "1999-01-01");
    gateway.client().get("/mcp").header("accept", "text/html").await.expect_status(406);
    gateway.client().get("/mcp").header("accept", "text/event-stream").await.expect_status(400);
    gateway.client().call(http::Method::PUT, "/mcp").await.expect_status(405);
    assert_eq!(one.backend.stats().requests(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn versions_are_negotiated_and_unknown_ones_answered_with_ours() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&federation_of(&[("a", &one)], "")).await;
    for (asked, got) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("3000-01-01", "2025-11-25"),
    ] {
        let call = gateway.client().post("/mcp").header("accept", "*/*");
        let reply = call.json(&opening(asked)).await.expect_status(200);
        assert_eq!(reply.json()["result"]["protocolVersion"], got, "{asked}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn servers_that_answer_nonsense_cost_an_error_and_no_more() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let gateway = Gateway::start(&federation_of(&[("a", &one), ("b", &two)], "")).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    let page = client.call("a_html", json!({})).await;
    assert_eq!(page["error"]["message"], "the server `a` answered with something that is no message");
    let events = client.stream("tools/call", json!({"name": "a_die", "arguments": {}})).await.all().await;
    let last = events.last().expect("an event").json();
    assert_eq!((last["id"].clone(), last["error"]["code"].clone()), (json!(7), json!(-32603)), "{last}");
    one.backend.stats().fail_next(1, 502);
    let failed = client.call("a_echo", json!({})).await;
    assert_eq!(failed["error"]["message"], "the server `a` answered with an HTTP error");
    assert_eq!(client.text("b_echo", json!({})).await, "two: {}");
    assert_eq!(client.text("a_echo", json!({})).await, "one: {}", "it is well again");
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_hangs_delays_no_other() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let hanging = Backend::http(|_| std::future::pending());
    let yaml = federation_of(&[("a", &one), ("b", &two)], "failureMode: failOpen");
    let yaml = format!("{yaml}          - name: stuck\n            mcp: {{ host: 'http://{}/mcp' }}\n", hanging.addr());
    let gateway = Gateway::start(&yaml).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    let call = client.over(gateway.addr(0));
    let stuck = tokio::spawn(async move { call.call("a_hang", json!({})).await });
    assert_eq!(client.text("b_echo", json!({})).await, "two: {}");
    assert_eq!(client.list("tools/list", "tools", "name").await.len(), 18, "it is left out");
    let mut listening = client.listen(None).await;
    eventually(PATIENCE, || async { two.listeners() == 1 }).await;
    two.say("notifications/message", json!({"level": "info", "data": "x"}));
    let said = within(PATIENCE, listening.next()).await.expect("a stream").expect("an event");
    assert_eq!(said.json()["params"]["data"], "x");
    stuck.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_is_down_fails_all_or_itself_as_the_backend_says() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    two.backend.down().await;
    let closed = Gateway::start(&federation_of(&[("a", &one), ("b", &two)], "")).await;
    let reply = closed.client().post("/mcp").header("accept", "*/*").json(&opening("2025-06-18")).await;
    assert_eq!(reply.json()["error"]["message"], "the server `b` cannot be reached");
    eventually(PATIENCE, || async { one.sessions() == 0 }).await;
    closed.stop().await;
    let open = Gateway::start(&federation_of(&[("a", &one), ("b", &two)], "failureMode: failOpen")).await;
    let client = McpClient::open(open.addr(0), "/mcp").await;
    assert_eq!(client.list("tools/list", "tools", "name").await.len(), 9);
    assert!(client.call("b_echo", json!({})).await["error"].is_object());
    assert_eq!(client.text("a_echo", json!({})).await, "one: {}");
    open.stop().await;
}

#[tokio::test]
async fn pages_of_elsewhere_are_refused_where_that_is_asked_for() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&federation_of(&[("a", &one)], "dnsRebindingProtection: true")).await;
    for (host, origin, status) in [
        ("localhost", "", 200),
        ("127.0.0.1:1", "http://localhost:5173", 200),
        ("rebound.example", "", 403),
        ("localhost", "https://evil.example", 403),
    ] {
        let mut call = gateway.client().host(host).post("/mcp").header("accept", "*/*");
        if !origin.is_empty() {
            call = call.header("origin", origin);
        }
        let reply = call.json(&opening("2025-06-18")).await;
        assert_eq!(reply.status.as_u16(), status, "{host} {origin}");
    }
    gateway.stop().await;
}
