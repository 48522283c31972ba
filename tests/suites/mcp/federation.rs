//! Several servers as one: names, lists, calls, and what servers ask of clients.

use serde_json::json;
use tests::wait::PATIENCE;
use tests::{Gateway, McpClient, McpServer, eventually, within};

use super::federation_of;

async fn two() -> (McpServer, McpServer, Gateway, McpClient) {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let gateway = Gateway::start(&federation_of(&[("a", &one), ("b", &two)], "")).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    (one, two, gateway, client)
}

#[tokio::test]
async fn clients_see_the_tools_of_all_servers_and_reach_each() {
    let (one, two, gateway, client) = two().await;
    assert_eq!(client.opened["protocolVersion"], "2025-06-18");
    assert_eq!(client.opened["serverInfo"]["name"], "agentgateway");
    let capabilities = json!({"tools": {"listChanged": true}, "prompts": {}, "resources": {"subscribe": true},
        "completions": {}, "logging": {}});
    assert_eq!(client.opened["capabilities"], capabilities);
    let said = client.opened["instructions"].as_str().expect("instructions");
    assert!(said.contains("[a]\nbe kind to one") && said.contains("[b]\nbe kind to two"), "{said}");
    let tools = client.list("tools/list", "tools", "name").await;
    assert_eq!(tools.len(), 18);
    assert!(tools.contains(&"a_echo".to_owned()) && tools.contains(&"b_hang".to_owned()), "{tools:?}");
    assert_eq!(client.text("a_echo", json!({"x": 1})).await, r#"one: {"x":1}"#);
    assert_eq!(client.text("b_echo", json!({"x": 2})).await, r#"two: {"x":2}"#);
    let unknown = client.call("c_echo", json!({})).await;
    assert_eq!(unknown["error"], json!({"code": -32602, "message": "Unknown tool: c_echo"}));
    assert_eq!(client.call("a_no", json!({})).await["error"]["message"], "Unknown tool: no", "the server's own word");
    assert_eq!(client.call("a_fail", json!({})).await["result"]["isError"], true);
    assert_eq!(client.ask("ping", json!({})).await["result"], json!({}));
    assert_eq!(client.ask("logging/setLevel", json!({"level": "info"})).await["result"], json!({}));
    eventually(PATIENCE, || async { (one.asked("logging/setLevel"), two.asked("logging/setLevel")) == (1, 1) }).await;
    assert_eq!(client.ask("no/such", json!({})).await["error"]["code"], -32601);
    gateway.stop().await;
}

#[tokio::test]
async fn resources_prompts_and_completions_find_their_server() {
    let (_one, _two, gateway, client) = two().await;
    let uris = client.list("resources/list", "resources", "uri").await;
    assert_eq!(uris, ["a+memo://one/1", "b+memo://two/1"]);
    let templates = client.list("resources/templates/list", "resourceTemplates", "uriTemplate").await;
    assert_eq!(templates, ["a+memo://one/{n}", "b+memo://two/{n}"]);
    let read = client.ask("resources/read", json!({"uri": "b+memo://two/1"})).await;
    assert_eq!(read["result"]["contents"][0], json!({"uri": "b+memo://two/1", "text": "two"}));
    assert_eq!(client.ask("resources/read", json!({"uri": "memo://two/1"})).await["error"]["code"], -32002);
    assert_eq!(client.list("prompts/list", "prompts", "name").await, ["a_greet", "b_greet"]);
    let prompt = client.ask("prompts/get", json!({"name": "b_greet"})).await;
    assert_eq!(prompt["result"]["messages"][0]["content"]["text"], "two: \"greet\"");
    for (reference, want) in [
        (json!({"type": "ref/prompt", "name": "b_greet"}), r#"{"name":"greet","type":"ref/prompt"}"#),
        (
            json!({"type": "ref/resource", "uri": "a+memo://one/{n}"}),
            r#"{"type":"ref/resource","uri":"memo://one/{n}"}"#,
        ),
    ] {
        let argument = json!({"name": "who", "value": ""});
        let done = client.ask("completion/complete", json!({"ref": reference, "argument": argument})).await;
        let got: serde_json::Value =
            serde_json::from_str(done["result"]["completion"]["values"][0].as_str().expect("a text")).expect("JSON");
        assert_eq!(got, serde_json::from_str::<serde_json::Value>(want).expect("JSON"));
    }
    let link = client.call("b_link", json!({})).await;
    assert_eq!(link["result"]["content"][0]["uri"], "b+memo://two/1");
    gateway.stop().await;
}

#[tokio::test]
async fn progress_comes_as_it_is_made_and_questions_come_back_to_who_asked() {
    let (_one, _two, gateway, client) = two().await;
    let slow = json!({"name": "a_slow", "arguments": {}, "_meta": {"progressToken": "t"}});
    let events = client.stream("tools/call", slow).await.all().await;
    let steps: Vec<_> = events.iter().map(|it| it.json()["params"]["progress"].clone()).collect();
    assert_eq!(steps, [json!(1), json!(2), json!(3), json!(null)]);
    assert_eq!(events[0].json()["params"]["progressToken"], "t");
    assert_eq!(events[3].json()["result"]["content"][0]["text"], "one: done");

    let mut asking = client.stream("tools/call", json!({"name": "b_ask", "arguments": {}})).await;
    let question = within(PATIENCE, asking.next()).await.expect("a stream").expect("an event").json();
    assert_eq!(question["method"], "elicitation/create");
    let id = question["id"].as_str().expect("an id that says whose it is").to_owned();
    assert!(id.starts_with("agw_b_n_"), "{id}");
    let other = client.over(gateway.addr(0));
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept"}});
    other.post(&answer).await.expect_status(202);
    let done = within(PATIENCE, asking.next()).await.expect("a stream").expect("an event").json();
    assert_eq!(done["result"]["content"][0]["text"], r#"two heard {"action":"accept"}"#);
    let stray = json!({"jsonrpc": "2.0", "id": "agw_x_n_1", "result": {}});
    other.post(&stray).await.expect_status(400);
    gateway.stop().await;
}

#[tokio::test]
async fn what_servers_say_unasked_reaches_clients_and_lists_are_new_then() {
    let (one, two, gateway, client) = two().await;
    assert_eq!(client.list("tools/list", "tools", "name").await.len(), 18);
    assert_eq!(client.list("tools/list", "tools", "name").await.len(), 18);
    assert_eq!((one.asked("tools/list"), two.asked("tools/list")), (1, 1), "the second is from what was kept");
    let mut listening = client.listen(None).await;
    eventually(PATIENCE, || async { (one.listeners(), two.listeners()) == (1, 1) }).await;
    client.call("b_grow", json!({})).await;
    let event = within(PATIENCE, listening.next()).await.expect("a stream").expect("an event");
    assert_eq!(event.json()["method"], "notifications/tools/list_changed");
    let tools = client.list("tools/list", "tools", "name").await;
    assert!(tools.contains(&"b_grown".to_owned()) && tools.len() == 19, "{tools:?}");
    assert_eq!((one.asked("tools/list"), two.asked("tools/list")), (1, 2), "only what has changed is asked for");
    one.say("notifications/resources/updated", json!({"uri": "memo://one/1"}));
    let event = within(PATIENCE, listening.next()).await.expect("a stream").expect("an event");
    assert_eq!(event.json()["params"]["uri"], "a+memo://one/1");
    let id = event.id.expect("an id to go on from");
    let (_, places) = id.split_once('~').expect("where the servers were");
    // As another replica would see it, which has kept nothing.
    let _again = client.listen(Some(&format!("1.1.1~{places}"))).await;
    eventually(PATIENCE, || async { (one.listeners(), two.listeners()) == (2, 2) }).await;
    let shown = one.backend.stats().last();
    assert_eq!(shown.header("last-event-id"), Some("1"), "each server is told its own place");
    gateway.stop().await;
}

#[tokio::test]
async fn names_are_the_servers_own_where_that_is_asked_for() {
    let (one, two) = (McpServer::start("one"), McpServer::sessionless("two"));
    for (more, servers, names) in [
        ("", vec![("a", &one)], ["echo", "slow"]),
        ("prefixMode: always", vec![("a", &one)], ["a_echo", "a_slow"]),
        ("prefixMode: never", vec![("a", &one), ("b", &two)], ["echo", "slow"]),
    ] {
        let gateway = Gateway::start(&federation_of(&servers, more)).await;
        let client = McpClient::open(gateway.addr(0), "/mcp").await;
        let tools = client.list("tools/list", "tools", "name").await;
        assert_eq!((&tools[..2], tools.len()), (&names.map(str::to_owned)[..], 9), "{more}");
        assert_eq!(client.text(names[0], json!({})).await, "one: {}", "{more}");
        if more.ends_with("never") {
            let uris = client.list("resources/list", "resources", "uri").await;
            assert_eq!(uris, ["memo://one/1", "memo://two/1"]);
            for (uri, text) in [("memo://two/1", "two"), ("memo://one/9", "one"), ("memo://two/9", "two")] {
                let read = client.ask("resources/read", json!({"uri": uri})).await;
                assert_eq!(read["result"]["contents"][0], json!({"uri": uri, "text": text}));
            }
            assert_eq!(client.ask("resources/read", json!({"uri": "x:1"})).await["error"]["code"], -32002);
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn one_server_is_passed_through_byte_by_byte() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&federation_of(&[("a", &one)], "")).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(client.opened["serverInfo"]["name"], "one");
    let body = r#"{ "params" : {"arguments":{"n":1.50e2,"big":12345678901234567890, "t":"\u00e4"},"name":"echo"},"id":"x\u0041" ,"method":"tools/call","jsonrpc":"2.0"}"#;
    let call = gateway.client().post("/mcp").header("accept", "application/json, text/event-stream");
    let call = call
        .header("content-type", "application/json")
        .header("mcp-session-id", client.session.as_deref().expect("one"));
    let reply = call.body(body).await.expect_status(200);
    assert_eq!(one.backend.stats().last().text(), body);
    assert_eq!(reply.json()["id"], "xA");
    gateway.stop().await;
}

#[tokio::test]
async fn the_protocol_of_a_listener_says_what_its_routes_lead_to() {
    let one = McpServer::start("one");
    let yaml = format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - protocol: mcp\n    routes:\n    - backends:\n      - host: '{}'\n",
        one.backend.addr()
    );
    let gateway = Gateway::start(&yaml).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(client.opened["serverInfo"]["name"], "one", "one server is passed through");
    assert_eq!(client.text("echo", json!({})).await, "one: {}");
    gateway.client().get("/mcp").header("accept", "text/html").await.expect_status(406);
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_was_left_alone_is_asked_whether_it_is_back() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    let (well, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let state = (well.clone(), asked.clone());
    let backend = tests::Backend::setup().http(move |request| {
        let (well, asked) = state.clone();
        async move {
            if request.json()["id"] == "agw-probe" {
                assert_eq!(request.header("authorization"), None, "nothing of a client's");
                asked.fetch_add(1, Ordering::SeqCst);
            }
            let status = if well.load(Ordering::SeqCst) { 400 } else { 500 };
            http::Response::builder().status(status).body(tests::http::full("")).expect("an answer")
        }
    });
    let yaml = format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - backends:\n      - mcp:\n          targets:\n          - {{ name: a, mcp: {{ host: 'http://{}/mcp' }} }}\n",
        backend.addr()
    );
    let gateway = Gateway::start(&yaml).await;
    let open = || async {
        let call = gateway.client().post("/mcp").header("accept", "*/*").header("authorization", "Bearer x");
        call.json(&tests::mcp::opening("2025-06-18")).await.expect_status(200);
    };
    for _ in 0..3 {
        open().await;
    }
    let up = || async { gateway.metric_sum("agentgateway_mcp_server_up", &[("server", "a")]).await };
    assert_eq!(up().await, 0.0);
    eventually(PATIENCE, || async { asked.load(Ordering::SeqCst) >= 1 }).await;
    well.store(true, Ordering::SeqCst);
    eventually(PATIENCE, || async { up().await == 1.0 }).await;
    gateway.stop().await;
}
