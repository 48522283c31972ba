//! APIs described by OpenAPI as servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tests::backend::answer;
use tests::{Backend, Gateway, McpClient, McpServer};

fn document() -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "Shop", "version": "7"}, "servers": [{"url": "https://elsewhere.example/v1"}],
        "paths": {
            "/orders/{id}": {"parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
                "get": {"operationId": "getOrder", "summary": "Gets an order", "parameters": [
                    {"name": "expand", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "X-Note", "in": "header", "schema": {"type": "string"}}]},
                "put": {"operationId": "putOrder", "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object"}}}}}},
            "/list": {"get": {"operationId": "list"}},
            "/broken": {"get": {"operationId": "broken"}},
            "/text": {"get": {"operationId": "text"}}}})
}

/// Says what it was asked.
fn shop() -> Backend {
    Backend::http(|asked| async move {
        match asked.uri.path() {
            "/v1/list" => answer::json(&json!([1, 2])),
            "/v1/broken" => answer::text(503, "secret detail"),
            "/v1/text" => answer::text(404, "no such thing"),
            _ => {
                let header = |name: &str| asked.header(name).unwrap_or_default().to_owned();
                answer::json(
                    &json!({"method": asked.method.as_str(), "target": asked.uri.to_string(), "note": header("x-note"),
                    "auth": header("authorization"), "body": asked.text()}),
                )
            }
        }
    })
}

fn config(target: &str) -> String {
    format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - name: tools\n      backends:\n      - mcp:\n          targets:\n{target}"
    )
}

fn target(shop: &Backend, more: &str, schema: &str) -> String {
    format!(
        "          - name: shop\n            openapi: {{ host: 'http://{}{more}', schema: {{ {schema} }} }}\n            policies: {{ backendAuth: {{ key: k }} }}\n",
        shop.addr()
    )
}

#[tokio::test]
async fn operations_are_tools_and_calls_are_requests() {
    let shop = shop();
    let inline = format!("inline: '{}'", document());
    let gateway = Gateway::start(&config(&target(&shop, "", &inline))).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(client.opened["serverInfo"], json!({"name": "Shop", "version": "7"}));
    let mut names = client.list("tools/list", "tools", "name").await;
    names.sort();
    assert_eq!(names, ["broken", "getOrder", "list", "putOrder", "text"]);
    let call = async |name: &str, arguments: Value| client.call(name, arguments).await["result"].clone();
    let seen = call(
        "getOrder",
        json!({"path": {"id": "../../admin?x#y"}, "query": {"expand": ["a b", "c"]}, "header": {"X-Note": "n"}}),
    )
    .await;
    let seen = &seen["structuredContent"];
    assert_eq!(seen["target"], "/v1/orders/..%2F..%2Fadmin%3Fx%23y?expand=a%20b&expand=c", "nothing leaves its place");
    assert_eq!((&seen["note"], &seen["auth"]), (&json!("n"), &json!("Bearer k")));
    let seen = call("putOrder", json!({"path": {"id": "7"}, "body": {"a": 1}})).await;
    assert_eq!(
        (&seen["structuredContent"]["method"], &seen["structuredContent"]["body"]),
        (&json!("PUT"), &json!(r#"{"a":1}"#))
    );
    assert_eq!(call("list", json!({})).await["structuredContent"], json!({"data": [1, 2]}));
    let missing = call("text", json!({})).await;
    assert_eq!(
        (&missing["isError"], &missing["structuredContent"]),
        (&json!(true), &json!({"code": 404, "message": "no such thing"}))
    );
    let asked = shop.stats().requests();
    for (arguments, why) in [
        (json!({}), "`path.id` is missing"),
        (json!({"path": {"id": ".."}}), "not a part of a path"),
        (json!({"path": {"id": "1"}, "header": {"Host": "evil"}}), "not a parameter"),
        (json!({"path": {"id": "1"}, "header": {"X-Note": "a\r\nx: y"}}), "does not fit"),
    ] {
        let refused = call("getOrder", arguments).await;
        let text = refused["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        assert!(refused["isError"] == true && text.contains(why), "{refused}");
    }
    assert_eq!(shop.stats().requests(), asked, "nothing was sent");
    let broken = client.call("broken", json!({})).await["error"].clone();
    assert!(
        broken["message"].as_str().is_some_and(|it| it.contains("HTTP error") && !it.contains("secret")),
        "{broken}"
    );
    assert_eq!(client.call("nothing", json!({})).await["error"]["code"], -32602);
    for (method, key) in [("prompts/list", "prompts"), ("resources/list", "resources")] {
        assert_eq!(client.ask(method, json!({})).await["result"][key], json!([]));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_api_stands_beside_servers_with_its_document_behind_a_url() {
    let (one, shop) = (McpServer::start("one"), shop());
    let good = Arc::new(AtomicBool::new(false));
    let serves = good.clone();
    let documents = Backend::http(move |_| {
        let good = serves.load(Ordering::SeqCst);
        async move { if good { answer::json(&document()) } else { answer::text(200, "<html>") } }
    });
    let url = format!("url: 'http://{}/api.json'", documents.addr());
    let server = format!("          - name: one\n            mcp: {{ host: 'http://{}/mcp' }}\n", one.backend.addr());
    let yaml = config(&format!("{}{server}", target(&shop, "/base", &url)));
    let gateway =
        Gateway::start(&yaml.replace("      - mcp:\n", "      - mcp:\n          failureMode: failOpen\n")).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    let names = client.list("tools/list", "tools", "name").await;
    assert!(
        names.iter().all(|it| it.starts_with("one_")) && names.len() == 9,
        "without a document it is left out: {names:?}"
    );
    good.store(true, Ordering::SeqCst);
    let found = async || client.list("tools/list", "tools", "name").await.contains(&"shop_list".to_owned());
    tests::within(std::time::Duration::from_secs(30), async {
        while !found().await {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    })
    .await;
    let seen =
        client.call("shop_getOrder", json!({"path": {"id": "1"}})).await["result"]["structuredContent"]["target"]
            .clone();
    assert_eq!(seen, "/base/orders/1", "the path that is written stands for that of the document");
    assert_eq!(client.text("one_echo", json!({})).await, "one: {}");
    gateway.stop().await;
}

#[tokio::test]
async fn documents_that_cannot_be_used_are_refused_where_they_are_written() {
    let shop = shop();
    let run = async |schema: &str| {
        let yaml = config(&target(&shop, "", schema));
        let output = Gateway::run_cli(&["validate", "-f", "-"], &yaml).await;
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (schema, why) in [
        ("inline: '{}'", "not an OpenAPI document"),
        ("inline: '{\"swagger\":\"2.0\"}'", "not an OpenAPI document"),
        ("inline: '{\"openapi\":\"3.0.0\"}'", "no operation becomes a tool"),
        ("inline: 'x: [y'", "schema"),
        ("url: 'file:///etc/passwd'", "is not a URL to fetch"),
        ("url: 'http://u:p@a/'", "no user and password"),
        ("", "exactly one of `file`, `inline`, `url`"),
    ] {
        let said = run(schema).await;
        assert!(said.contains(why), "{schema}: {said}");
    }
}

#[tokio::test]
async fn no_document_is_fetched_from_where_the_gateway_does_not_go() {
    let shop = shop();
    let leads = Backend::http(|_| async {
        let mut redirect = answer::text(302, "");
        redirect.headers_mut().insert("location", "http://169.254.169.254/api.json".parse().expect("a value"));
        redirect
    });
    for url in ["http://169.254.169.254/api.json".to_owned(), format!("http://{}/", leads.addr())] {
        let gateway = Gateway::start(&config(&target(&shop, "", &format!("url: '{url}'")))).await;
        let opening =
            gateway.client().call(http::Method::POST, "/mcp").header("accept", "application/json, text/event-stream");
        let refused = opening.json(&tests::mcp::opening("2025-06-18")).await.expect_status(200);
        let text = refused.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("cannot be reached") && !text.contains("169.254"), "{text}");
        gateway.log().wait(|line| line.contains("the address 169.254.169.254 is refused")).await;
        gateway.stop().await;
    }
    assert_eq!(shop.stats().requests(), 0);
}
