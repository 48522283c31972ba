//! Sessions that are in the id alone: across replicas and upgrades, servers that forget, and ids of others.

use serde_json::json;
use tests::gateway::Lineage;
use tests::wait::PATIENCE;
use tests::{Gateway, McpClient, McpServer, eventually};

use super::federation_of;

pub(super) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

pub(super) fn with_key(yaml: &str, key: &str) -> String {
    format!("config:\n  session: {{ key: '{key}' }}\n{yaml}")
}

#[tokio::test]
async fn any_replica_with_the_key_goes_on_with_a_session() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let yaml = federation_of(&[("a", &one), ("b", &two)], "");
    let first = Gateway::start(&with_key(&yaml, KEY)).await;
    let rotated = format!("{} {KEY}", KEY.replace('0', "9"));
    let (second, third) = (Gateway::start(&with_key(&yaml, &rotated)).await, Gateway::start(&yaml).await);
    let client = McpClient::open(first.addr(0), "/mcp").await;
    first.stop().await;
    let elsewhere = client.over(second.addr(0));
    assert_eq!(elsewhere.text("b_echo", json!({})).await, "two: {}");
    assert_eq!((one.sessions(), two.sessions()), (1, 1), "no other session was opened");
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    client.over(third.addr(0)).post(&ping).await.expect_status(404);
    elsewhere.end().await.expect_status(200);
    eventually(PATIENCE, || async { (one.sessions(), two.sessions()) == (0, 0) }).await;
    elsewhere.post(&ping).await.expect_status(404);
    second.stop().await;
    third.stop().await;
}

#[tokio::test]
async fn a_server_that_has_forgotten_gets_another_session_and_the_client_does_not_notice() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let gateway = Gateway::start(&federation_of(&[("a", &one), ("b", &two)], "")).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(client.text("a_echo", json!({})).await, "one: {}");
    one.forget();
    let (x, y) = tokio::join!(client.text("a_echo", json!({})), async {
        client.over(gateway.addr(0)).text("a_echo", json!({})).await
    });
    assert_eq!((x.as_str(), y.as_str()), ("one: {}", "one: {}"));
    assert_eq!(client.text("b_echo", json!({})).await, "two: {}");
    assert_eq!((one.asked("initialize"), two.asked("initialize")), (2, 1), "one other session, and only there");
    gateway.stop().await;
}

#[tokio::test]
async fn an_upgrade_keeps_sessions() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&federation_of(&[("a", &one)], "")).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    let addr = gateway.addr(0);
    let mut lineage = Lineage::new(gateway);
    lineage.upgrade().await;
    let after = client.over(addr);
    assert_eq!(after.text("echo", json!({})).await, "one: {}");
    assert_eq!(one.asked("initialize"), 1);
    lineage.stop().await;
}

#[tokio::test]
async fn ids_of_others_and_inventions_open_nothing() {
    let one = McpServer::start("one");
    let yaml = federation_of(&[("a", &one)], "");
    let yaml = yaml.replace(
        "    - name: tools\n",
        "    - name: tools\n      policies: { basicAuth: { htpasswd: \"alice:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\\nbob:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\" } }\n",
    );
    let gateway = Gateway::start(&yaml).await;
    let as_user = |user: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:test")))
    };
    let alice = McpClient::open_with(gateway.addr(0), "/mcp", &[("authorization", &as_user("alice"))]).await;
    assert_eq!(alice.text("echo", json!({})).await, "one: {}");
    let before = one.backend.stats().requests();
    let id = alice.session.clone().expect("a session");
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    for (user, id) in [
        ("bob", id.as_str()),
        ("alice", "5d2b7a90-1111-4222-8333-444455556666"),
        ("alice", &id[..id.len() - 1]),
        ("alice", &id.replace('A', "B")),
        ("alice", "x"),
    ] {
        let call = gateway.client().post("/mcp").header("accept", "*/*").header("authorization", as_user(user));
        let reply = call.header("mcp-session-id", id).json(&ping).await.expect_status(404);
        assert_eq!(reply.json()["error"]["code"], -32600, "{user} {id}");
    }
    let call = gateway.client().post("/mcp").header("accept", "*/*").header("authorization", as_user("alice"));
    call.json(&ping).await.expect_status(400);
    assert_eq!(one.backend.stats().requests(), before, "the server heard nothing of it");
    gateway.stop().await;
}

#[tokio::test]
async fn without_sessions_each_request_stands_alone() {
    let (one, two) = (McpServer::start("one"), McpServer::sessionless("two"));
    let gateway = Gateway::start(&federation_of(&[("a", &one), ("b", &two)], "statefulMode: stateless")).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(client.session, None);
    assert_eq!(client.opened["capabilities"]["tools"], json!({}), "nobody can be told unasked");
    assert_eq!(client.text("a_echo", json!({})).await, "one: {}");
    assert_eq!(client.text("b_echo", json!({})).await, "two: {}");
    assert_eq!(client.text("b_echo", json!({})).await, "two: {}");
    eventually(PATIENCE, || async { one.sessions() == 0 }).await;
    client.end().await.expect_status(405);
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_called_and_how_it_ended_is_in_log_and_metrics() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let yaml = federation_of(&[("a", &one), ("b", &two)], "");
    let gateway = Gateway::start(&format!("config:\n  logging: {{ format: json }}\n{yaml}")).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    client.text("a_echo", json!({})).await;
    client.call("b_fail", json!({})).await;
    client.call("b_none", json!({})).await;
    let traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let message =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "a_echo", "arguments": {}}});
    let call = gateway.client().post("/mcp").header("accept", "*/*").header("traceparent", traced);
    call.header("mcp-session-id", client.session.clone().expect("a session")).json(&message).await.expect_status(200);
    assert_eq!(one.backend.stats().last().json()["params"]["_meta"]["traceparent"], traced);
    // The opening, its notification and the four calls: counted and written after the client has its answer.
    gateway.wait_access(6).await;
    let metrics = gateway.metrics().await;
    for (labels, count) in [
        (r#"method="tools/call",resource_type="tool",server="a",resource="echo",outcome="ok""#, 2),
        (r#"method="tools/call",resource_type="tool",server="b",resource="fail",outcome="failed""#, 1),
        (r#"method="tools/call",resource_type="tool",server="b",resource="unknown",outcome="error""#, 1),
    ] {
        let line = metrics.lines().find(|it| it.starts_with("agentgateway_mcp_requests_total") && it.contains(labels));
        let line = line.unwrap_or_else(|| panic!("{labels} is not in\n{metrics}"));
        assert!(line.ends_with(&format!(" {count}")), "{line}");
    }
    assert!(metrics.contains(r#"agentgateway_mcp_server_up{"#), "{metrics}");
    eventually(PATIENCE, || async { gateway.access_lines().iter().any(|it| it["mcp.tool.name"] == "none") }).await;
    let lines = gateway.access_lines();
    let failed = lines.iter().find(|it| it["mcp.tool.name"] == "fail").expect("a line");
    assert_eq!(
        (&failed["mcp.method"], &failed["mcp.target"], &failed["error.type"]),
        (&json!("tools/call"), &json!("b"), &json!("tool_error"))
    );
    let session = failed["mcp.session.id"].as_str().expect("a session");
    assert!(session.len() == 24 && !client.session.clone().expect("a session").contains(session), "{session}");
    let unknown = lines.iter().find(|it| it["mcp.tool.name"] == "none").expect("a line");
    assert_eq!(unknown["mcp.error.code"], "-32602");
    let servers = gateway.admin("GET", "/mcp").await.expect_status(200).json();
    assert_eq!((&servers["servers"][0]["target"], &servers["servers"][0]["up"]), (&json!("a"), &json!(true)));
    let listed = client.list("tools/list", "tools", "name").await;
    let servers = gateway.admin("GET", "/mcp").await.expect_status(200).json();
    let tools = &servers["servers"][0]["lists"]["tools"];
    assert_eq!(tools["items"], listed.iter().filter(|it| it.starts_with("a_")).count(), "{servers}");
    let (bytes, tokens) = (tools["bytes"].as_u64().expect("bytes"), tools["tokens"].as_u64().expect("tokens"));
    assert!(tokens > 0 && tokens < bytes, "{servers}");
    let metrics = gateway.metrics().await;
    let line =
        metrics.lines().find(|it| it.starts_with("agentgateway_mcp_list_tokens{") && it.contains("server=\"a\""));
    assert!(line.is_some_and(|it| it.ends_with(&format!(" {tokens}"))), "{line:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends_and_one_that_listens_does_not() {
    let one = McpServer::start("one");
    let yaml = format!("config:\n  mcp: {{ sessionTtl: 3s }}\n{}", federation_of(&[("a", &one)], ""));
    let gateway = Gateway::start(&yaml).await;
    let listens = McpClient::open(gateway.addr(0), "/mcp").await;
    let _stream = listens.listen(None).await;
    let idle = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(one.sessions(), 2);
    eventually(PATIENCE, || async { one.sessions() == 1 }).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    idle.post(&ping).await.expect_status(404);
    listens.post(&ping).await.expect_status(200);
    assert_eq!(one.sessions(), 1, "the other one goes on");
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_that_was_ended_stays_ended_after_an_upgrade() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&federation_of(&[("a", &one)], "")).await;
    let (ended, goes_on) =
        (McpClient::open(gateway.addr(0), "/mcp").await, McpClient::open(gateway.addr(0), "/mcp").await);
    ended.end().await.expect_status(200);
    let addr = gateway.addr(0);
    let mut lineage = Lineage::new(gateway);
    lineage.upgrade().await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    ended.over(addr).post(&ping).await.expect_status(404);
    goes_on.over(addr).post(&ping).await.expect_status(200);
    lineage.stop().await;
}
