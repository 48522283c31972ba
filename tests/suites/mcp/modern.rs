//! Requests without sessions (2026-07-28), and every pair of eras on the two sides of the gateway.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tests::mcp::opening;
use tests::wait::PATIENCE;
use tests::{Gateway, McpClient, McpServer, ModernClient, ModernServer, eventually, within};

/// One route for everything to servers at these addresses.
fn servers_at(servers: &[(&str, SocketAddr)]) -> String {
    let target = |(name, addr): &(&str, SocketAddr)| {
        format!("          - {{ name: {name}, mcp: {{ host: 'http://{addr}/mcp' }} }}\n")
    };
    let targets: String = servers.iter().map(target).collect();
    format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - name: tools\n      backends:\n      - mcp:\n          targets:\n{targets}"
    )
}

/// An elder server and one without sessions, and one gateway before each and one before both.
struct Eras {
    old: McpServer,
    new: ModernServer,
    gateway: Gateway,
}

impl Eras {
    async fn both() -> Eras {
        let (old, new) = (McpServer::start("old"), ModernServer::start("new"));
        let gateway = Gateway::start(&servers_at(&[("a", old.backend.addr()), ("b", new.backend.addr())])).await;
        Eras { old, new, gateway }
    }
}

#[tokio::test]
async fn a_client_without_sessions_uses_servers_of_both_eras() {
    let Eras { old, new, gateway } = Eras::both().await;
    let client = ModernClient::new(gateway.addr(0), "/mcp");
    let found = client.ask("server/discover", json!({})).await;
    let found = &found["result"];
    assert_eq!(found["supportedVersions"][0], "2026-07-28", "{found}");
    assert_eq!(found["capabilities"]["tools"]["listChanged"], true, "{found}");
    assert_eq!(
        (&found["ttlMs"], &found["cacheScope"], &found["resultType"]),
        (&json!(0), &json!("private"), &json!("complete"))
    );
    let tools = client.ask("tools/list", json!({})).await;
    let tools: Vec<_> =
        tools["result"]["tools"].as_array().expect("tools").iter().map(|it| it["name"].clone()).collect();
    assert!(tools.contains(&json!("a_echo")) && tools.contains(&json!("b_echo")), "{tools:?}");
    for _ in 0..3 {
        assert_eq!(client.text("a_echo", json!({"x": 1})).await, "old: {\"x\":1}");
        assert_eq!(client.text("b_echo", json!({"x": 1})).await, "new: {\"x\":1}");
    }
    assert_eq!(old.asked("initialize"), 1, "one session serves all requests of a client");
    assert_eq!(new.asked("initialize"), 0);
    let read = client.ask("resources/read", json!({"uri": "a+memo://old/1"})).await;
    assert_eq!(
        (&read["result"]["ttlMs"], &read["result"]["contents"][0]["uri"]),
        (&json!(0), &json!("a+memo://old/1"))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn an_elder_client_uses_servers_of_both_eras() {
    let Eras { old, new, gateway } = Eras::both().await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let call = gateway.client().post("/mcp").header("accept", "*/*");
        let opened = call.json(&opening(version)).await.expect_status(200).json();
        assert_eq!(opened["result"]["protocolVersion"], version);
    }
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(client.text("a_echo", json!({})).await, "old: {}");
    assert_eq!(client.text("b_echo", json!({})).await, "new: {}");
    let meta = &new.last("tools/call")["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "harness", "{meta}");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({"elicitation": {}}));
    let names = client.list("tools/list", "tools", "name").await;
    assert!(names.contains(&"a_slow".to_owned()) && names.contains(&"b_where".to_owned()), "{names:?}");
    assert_eq!(client.text("b_where", json!({"region": "west"})).await, "new: west", "headers repeat arguments");
    assert!(old.sessions() >= 1);
    gateway.stop().await;
}

#[tokio::test]
async fn each_pair_of_eras_works_with_one_server_and_nothing_renamed() {
    let (old, new) = (McpServer::start("old"), ModernServer::start("new"));
    for (addr, name) in [(old.backend.addr(), "old"), (new.backend.addr(), "new")] {
        let gateway = Gateway::start(&servers_at(&[("a", addr)])).await;
        let elder = McpClient::open(gateway.addr(0), "/mcp").await;
        assert_eq!(elder.opened["serverInfo"]["name"], name);
        assert_eq!(elder.opened["instructions"], format!("be kind to {name}"));
        assert_eq!(elder.text("echo", json!({})).await, format!("{name}: {{}}"));
        assert_eq!(elder.ask("ping", json!({})).await["result"], json!({}));
        let modern = ModernClient::new(gateway.addr(0), "/mcp");
        let found = modern.ask("server/discover", json!({})).await;
        assert_eq!(found["result"]["serverInfo"]["name"], name, "{found}");
        assert_eq!(modern.text("echo", json!({})).await, format!("{name}: {{}}"));
        let steps = modern.messages("tools/call", json!({"name": "slow", "_meta": {"progressToken": "t"}})).await;
        let tokens: Vec<_> = steps.iter().filter_map(|it| it["params"]["progressToken"].as_str()).collect();
        assert_eq!(tokens, ["t", "t", "t"], "{name} {steps:?}");
        let listed = modern.ask("tools/list", json!({})).await;
        assert!(listed["result"]["ttlMs"].is_u64() && listed["result"]["resultType"] == "complete", "{listed}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_tool_that_no_list_has_shown_yet_is_called_with_its_headers() {
    let new = ModernServer::start("new");
    let gateway = Gateway::start(&servers_at(&[("a", new.backend.addr())])).await;
    let elder = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(elder.text("where", json!({"region": "west"})).await, "new: west");
    assert_eq!(new.asked("tools/list"), 1, "the list was asked for since the call was refused");
    assert_eq!(elder.text("where", json!({"region": "east"})).await, "new: east");
    assert_eq!(new.asked("tools/call"), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn what_an_elder_server_asks_in_a_call_becomes_a_result() {
    let Eras { old, new: _new, gateway } = Eras::both().await;
    let client = ModernClient::new(gateway.addr(0), "/mcp");
    let asked = client.ask("tools/call", json!({"name": "a_ask"})).await;
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let (key, request) = result["inputRequests"].as_object().expect("requests").iter().next().expect("one");
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!(request["params"]["message"], "your name?");
    let state = result["requestState"].clone();
    let retry = |responses: Value| json!({"name": "a_ask", "inputResponses": responses, "requestState": state});
    let again = client.ask("tools/call", retry(json!({}))).await;
    assert_eq!(again["result"]["requestState"], state, "what is missing is asked for again: {again}");
    let told = json!({"action": "accept", "content": {"name": "x"}});
    let mut stranger = ModernClient::new(gateway.addr(0), "/mcp");
    stranger.capabilities = json!({});
    let other =
        client.ask("tools/call", json!({"name": "b_ask", "requestState": "agw-waits-00", "inputResponses": {}})).await;
    assert_eq!(other["result"]["resultType"], "input_required", "state of others goes to the server: {other}");
    let done = client.ask("tools/call", retry(json!({key: told}))).await;
    let text = done["result"]["content"][0]["text"].as_str().expect("text");
    assert!(text.starts_with("old heard") && text.contains("accept"), "{done}");
    let twice = client.ask("tools/call", retry(json!({key: told}))).await;
    assert_eq!(twice["error"]["code"], -32602, "{twice}");
    assert_eq!(old.asked("tools/call"), 1, "the call was made once");
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_result_asks_for_is_asked_of_an_elder_client() {
    let Eras { old: _old, new, gateway } = Eras::both().await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    let mut events = client.stream("tools/call", json!({"name": "b_ask", "arguments": {}})).await;
    let asked = within(PATIENCE, events.next()).await.expect("a stream").expect("an event").json();
    assert_eq!((&asked["method"], &asked["params"]["message"]), (&json!("elicitation/create"), &json!("your name?")));
    let stranger = McpClient::open(gateway.addr(0), "/mcp").await;
    let told = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}});
    stranger.post(&told).await.expect_status(400);
    client.post(&told).await.expect_status(202);
    let done = within(PATIENCE, events.next()).await.expect("a stream").expect("an event").json();
    assert_eq!(done["id"], 7, "{done}");
    assert_eq!(done["result"]["content"][0]["text"], "new heard {\"action\":\"accept\"}", "{done}");
    client.post(&told).await.expect_status(400);
    let calls = new.backend.stats().seen();
    let ids: Vec<_> =
        calls.iter().filter(|it| it.json()["method"] == "tools/call").map(|it| it.json()["id"].clone()).collect();
    assert_ne!(ids[0], ids[1], "a call that is made again has another id");
    gateway.stop().await;
}

#[tokio::test]
async fn one_stream_tells_of_servers_of_both_eras_and_of_nothing_else() {
    let Eras { old, new, gateway } = Eras::both().await;
    let client = ModernClient::new(gateway.addr(0), "/mcp");
    let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": ["a+memo://old/1", "b+memo://new/1"]});
    let mut events = client.stream("subscriptions/listen", json!({"notifications": wanted})).await;
    let first = within(PATIENCE, events.next()).await.expect("a stream").expect("an event").json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    assert_eq!(first["params"]["notifications"]["toolsListChanged"], true);
    assert_eq!(first["params"]["notifications"]["resourceSubscriptions"].as_array().expect("URIs").len(), 2, "{first}");
    eventually(PATIENCE, || async { (old.listeners(), new.listeners()) == (1, 1) }).await;
    let changed = json!("notifications/tools/list_changed");
    for tool in ["a_grow", "b_grow"] {
        old.say("notifications/prompts/list_changed", json!({}));
        client.text(tool, json!({})).await;
        let event = within(PATIENCE, events.next()).await.expect("a stream").expect("an event").json();
        assert_eq!(
            (&event["method"], &event["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]),
            (&changed, &json!(7))
        );
    }
    for (uri, shown) in [("memo://old/1", "a+memo://old/1"), ("memo://new/1", "b+memo://new/1")] {
        old.say("notifications/resources/updated", json!({"uri": uri}));
        new.say("notifications/resources/updated", json!({"uri": uri}));
        let event = within(PATIENCE, events.next()).await.expect("a stream").expect("an event").json();
        assert_eq!(event["params"]["uri"], shown, "{event}");
        if uri.contains("old") {
            continue;
        }
    }
    drop(events);
    eventually(PATIENCE, || async { (old.listeners(), new.listeners()) == (0, 0) }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_elder_client_hears_what_a_server_without_sessions_says_of_what_it_watches() {
    let Eras { old, new, gateway } = Eras::both().await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    let mut listening = client.listen(None).await;
    eventually(PATIENCE, || async { (old.listeners(), new.listeners()) == (1, 1) }).await;
    client.call("b_grow", json!({})).await;
    let event = within(PATIENCE, listening.next()).await.expect("a stream").expect("an event");
    assert_eq!(event.json()["method"], "notifications/tools/list_changed");
    let asked = new.asked("subscriptions/listen");
    let subscribed = client.ask("resources/subscribe", json!({"uri": "b+memo://new/1"})).await;
    assert_eq!(subscribed["result"], json!({}));
    eventually(PATIENCE, || async { new.asked("subscriptions/listen") > asked && new.listeners() == 1 }).await;
    new.say("notifications/resources/updated", json!({"uri": "memo://new/1"}));
    let event = within(PATIENCE, listening.next()).await.expect("a stream").expect("an event");
    assert_eq!(event.json()["params"]["uri"], "b+memo://new/1");
    gateway.stop().await;
}

#[tokio::test]
async fn head_and_body_have_to_agree() {
    let Eras { old: _old, new, gateway } = Eras::both().await;
    let client = ModernClient::new(gateway.addr(0), "/mcp");
    let call = client.message("tools/call", json!({"name": "b_echo", "arguments": {}}));
    let bare = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "b_echo"}});
    let head = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "b_echo")];
    let without = |name: &str| head.into_iter().filter(|it| it.0 != name).collect::<Vec<_>>();
    let instead = |name: &'static str, value: &'static str| {
        let mut head = without(name);
        head.push((name, value));
        head
    };
    for (head, body, status, code) in [
        (head.to_vec(), &call, 200, 0),
        (without("mcp-protocol-version"), &call, 400, -32020),
        (without("mcp-method"), &call, 400, -32020),
        (without("mcp-name"), &call, 400, -32020),
        (instead("mcp-method", "TOOLS/CALL"), &call, 400, -32020),
        (instead("mcp-name", "b_other"), &call, 400, -32020),
        (instead("mcp-name", "=?base64?Yl9lY2hv?="), &call, 200, 0),
        (instead("mcp-name", "=?base64?Yl9lY2h?="), &call, 400, -32020),
        (instead("mcp-protocol-version", "2025-11-25"), &call, 400, -32020),
        (instead("mcp-protocol-version", "v9"), &bare, 400, -32022),
        (head.to_vec(), &bare, 400, -32602),
    ] {
        let mut asking = gateway.client().post("/mcp").header("accept", "*/*");
        for (name, value) in &head {
            asking = asking.header(name, *value);
        }
        let reply = asking.json(body).await.expect_status(status);
        let answer = reply.json();
        assert_eq!(
            (&answer["id"], answer["error"]["code"].as_i64().unwrap_or(0)),
            (&json!(7), code),
            "{head:?}: {answer}"
        );
    }
    assert_eq!(new.asked("tools/call"), 2);
    for method in ["ping", "initialize", "logging/setLevel", "resources/subscribe", "no/such"] {
        let reply = client.post(method, json!({})).await.expect_status(404);
        assert_eq!(reply.json()["error"]["code"], -32601, "{method}");
    }
    for method in [http::Method::GET, http::Method::DELETE] {
        let call = gateway.client().call(method, "/mcp").header("accept", "*/*");
        call.header("mcp-protocol-version", "2026-07-28").await.expect_status(405);
    }
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    let call = gateway.client().post("/mcp").header("accept", "*/*").header("mcp-protocol-version", "2026-07-28");
    call.json(&answer).await.expect_status(400);
    client.ask("tools/list", json!({})).await;
    let where_ = client.post("tools/call", json!({"name": "b_where", "arguments": {"region": "west"}})).await;
    assert_eq!(
        (where_.status.as_u16(), where_.json()["error"]["code"].as_i64()),
        (400, Some(-32020)),
        "the server says so"
    );
    let with = ModernClient::new(gateway.addr(0), "/mcp").with("mcp-param-region", "west");
    assert_eq!(with.text("b_where", json!({"region": "west"})).await, "new: west");
    gateway.stop().await;
}

#[tokio::test]
async fn a_task_is_followed_at_the_server_that_has_it() {
    let Eras { old, new, gateway } = Eras::both().await;
    let client = ModernClient::new(gateway.addr(0), "/mcp");
    let begun = client.ask("tools/call", json!({"name": "b_task", "arguments": {}})).await;
    assert_eq!((&begun["result"]["resultType"], &begun["result"]["taskId"]), (&json!("task"), &json!("b+7")));
    let followed = client.ask("tasks/get", json!({"taskId": "b+7"})).await;
    assert_eq!((&followed["result"]["taskId"], &followed["result"]["status"]), (&json!("b+7"), &json!("completed")));
    assert_eq!(new.last("tasks/get")["params"]["taskId"], "7");
    for id in ["7", "c+7", ""] {
        let unknown = client.ask("tasks/get", json!({"taskId": id})).await;
        assert_eq!(unknown["error"]["code"], -32602, "{id}");
    }
    assert_eq!((new.asked("tasks/get"), old.asked("tasks/get")), (1, 0));
    gateway.stop().await;
}

#[tokio::test]
async fn calls_are_cancelled_at_servers_of_the_other_era() {
    let Eras { old, new, gateway } = Eras::both().await;
    let elder = McpClient::open(gateway.addr(0), "/mcp").await;
    let mut events = elder.stream("tools/call", json!({"name": "b_hang", "arguments": {}})).await;
    eventually(PATIENCE, || async { new.asked("tools/call") == 1 }).await;
    let other = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "7"}});
    elder.post(&other).await.expect_status(202);
    let stranger = McpClient::open(gateway.addr(0), "/mcp").await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    stranger.post(&cancel).await.expect_status(202);
    assert_eq!(new.left(), 0, "another id, and another session's");
    elder.post(&cancel).await.expect_status(202);
    let ended = within(PATIENCE, events.next()).await.expect("a stream").expect("an event").json();
    assert_eq!((&ended["id"], ended["error"]["code"].as_i64()), (&json!(7), Some(-32603)), "{ended}");
    eventually(PATIENCE, || async { new.left() == 1 }).await;
    let modern = ModernClient::new(gateway.addr(0), "/mcp");
    let call = modern.post("tools/call", json!({"name": "a_hang"}));
    tokio::select! {
        reply = call => panic!("answered: {}", reply.text()),
        () = eventually(PATIENCE, || async { old.asked("tools/call") == 1 }) => {}
    }
    eventually(PATIENCE, || async { old.asked("notifications/cancelled") >= 4 }).await;
    let sent = old.backend.stats().seen();
    let id = sent.iter().find(|it| it.json()["method"] == "tools/call").expect("the call").json()["id"].clone();
    let told = sent
        .iter()
        .any(|it| it.json()["params"]["requestId"] == id && it.json()["method"] == "notifications/cancelled");
    assert!(told, "the server knows the call by the id that it got");
    gateway.stop().await;
}

#[tokio::test]
async fn nobody_takes_up_what_waits_for_somebody_else() {
    let old = McpServer::start("old");
    let yaml = servers_at(&[("a", old.backend.addr())]).replace(
        "    - name: tools\n",
        "    - name: tools\n      policies: { basicAuth: { htpasswd: \"alice:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\\nbob:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\" } }\n",
    );
    let gateway = Gateway::start(&yaml).await;
    let as_user = |user: &str| {
        use base64::Engine as _;
        let credential = base64::engine::general_purpose::STANDARD.encode(format!("{user}:test"));
        ModernClient::new(gateway.addr(0), "/mcp").with("authorization", &format!("Basic {credential}"))
    };
    let (alice, bob) = (as_user("alice"), as_user("bob"));
    let asked = alice.ask("tools/call", json!({"name": "ask"})).await;
    let state = asked["result"]["requestState"].clone();
    let retry = json!({"name": "ask", "requestState": state, "inputResponses": {"input": {"action": "accept"}}});
    let stolen = bob.ask("tools/call", retry.clone()).await;
    assert_eq!(stolen["error"]["code"], -32602, "{stolen}");
    let other = alice.ask("prompts/get", json!({"name": "greet", "requestState": "agw-waits-ff"})).await;
    assert_eq!(other["error"]["code"], -32602, "an invention: {other}");
    let done = alice.ask("tools/call", retry).await;
    assert!(done["result"]["content"][0]["text"].as_str().expect("text").contains("accept"), "{done}");
    assert_eq!(old.sessions(), 2, "each has a session of its own");
    let calls = (0..40).map(|number| {
        let user = if number % 2 == 0 { &alice } else { &bob };
        async move { (number, user.text("echo", json!({"n": number})).await) }
    });
    for (number, text) in futures::future::join_all(calls).await {
        assert_eq!(text, format!("old: {{\"n\":{number}}}"));
    }
    assert_eq!(old.sessions(), 2);
    gateway.stop().await;
}
