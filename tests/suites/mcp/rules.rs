//! `mcpAuthorization`: what may not be used is not shown, and not there.

use serde_json::json;
use tests::wait::{PATIENCE, eventually};
use tests::{Gateway, McpClient, McpServer};

use super::federation_of;

fn with_rules(yaml: &str, rules: &str) -> String {
    yaml.replace(
        "    - name: tools\n",
        &format!("    - name: tools\n      policies: {{ mcpAuthorization: {{ rules: [{rules}] }} }}\n"),
    )
}

#[tokio::test]
async fn rules_filter_lists_and_refuse_calls() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let yaml = federation_of(&[("a", &one), ("b", &two)], "");
    let rules = r#"'has(mcp.tool) && mcp.tool.target == "a" && mcp.tool.name in ["echo", "link"]',
        'has(mcp.prompt) && request.headers["x-role"] == "ops"', 'has(mcp.resource) && mcp.resource.name.startsWith("memo://two")',
        { deny: 'has(mcp.tool) && has(mcp.tool.arguments) && has(mcp.tool.arguments.x) && mcp.tool.arguments.x > 9' }"#;
    let gateway = Gateway::start(&with_rules(&yaml, &rules.replace('\n', " "))).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(client.list("tools/list", "tools", "name").await, ["a_echo", "a_link"]);
    assert_eq!(client.list("resources/list", "resources", "uri").await, ["b+memo://two/1"]);
    assert_eq!(client.list("prompts/list", "prompts", "name").await, Vec::<String>::new());
    let ops = McpClient::open_with(gateway.addr(0), "/mcp", &[("x-role", "ops")]).await;
    assert_eq!(ops.list("prompts/list", "prompts", "name").await, ["a_greet", "b_greet"]);
    assert_eq!(client.text("a_echo", json!({"x": 9})).await, r#"one: {"x":9}"#);
    let asked = one.backend.stats().requests() + two.backend.stats().requests();
    for (method, params, code, text) in [
        ("tools/call", json!({"name": "a_echo", "arguments": {"x": 10}}), -32602, "Unknown tool: a_echo"),
        ("tools/call", json!({"name": "a_fail", "arguments": {}}), -32602, "Unknown tool: a_fail"),
        ("tools/call", json!({"name": "b_echo", "arguments": {}}), -32602, "Unknown tool: b_echo"),
        ("prompts/get", json!({"name": "a_greet"}), -32602, "Unknown prompt: a_greet"),
        ("resources/read", json!({"uri": "a+memo://one/1"}), -32002, "Resource not found: a+memo://one/1"),
        ("resources/subscribe", json!({"uri": "a+memo://one/1"}), -32002, "Resource not found: a+memo://one/1"),
    ] {
        let error = client.ask(method, params).await["error"].clone();
        assert_eq!(error, json!({"code": code, "message": text}), "as of a thing that is not there");
    }
    let again = one.backend.stats().requests() + two.backend.stats().requests();
    assert_eq!(again, asked, "the servers were not asked");
    // Lines come in any order; the first of these calls was refused by the last rule.
    let refused = |it: &serde_json::Value| it["reason"] == "Authorization" && it["policy.rule"] == 3;
    eventually(PATIENCE, || async { gateway.access_lines().iter().any(refused) }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn one_server_alone_is_judged_as_well() {
    let one = McpServer::start("one");
    let yaml = federation_of(&[("a", &one)], "");
    let gateway = Gateway::start(&with_rules(&yaml, "{ deny: 'has(mcp.tool) && mcp.tool.name == \"echo\"' }")).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    let tools = client.list("tools/list", "tools", "name").await;
    assert!(!tools.contains(&"echo".to_owned()) && tools.len() == 8, "{tools:?}");
    assert_eq!(client.call("echo", json!({})).await["error"]["message"], "Unknown tool: echo");
    assert_eq!(client.call("fail", json!({})).await["result"]["isError"], true);
    gateway.stop().await;
}
