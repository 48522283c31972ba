//! Rate limits that count calls of tools, and what the log says of them.

use serde_json::{Value, json};
use tests::{Gateway, McpClient, McpServer};

use super::federation_of;

#[tokio::test]
async fn each_tool_has_its_own_limit_and_lists_use_up_nothing() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let policy = "policies: { localRateLimit: [{ maxTokens: 2, tokensPerFill: 2, fillInterval: 1h, \
                  key: 'mcp.tool.target + \"/\" + mcp.tool.name' }], mcpAuthorization: { rules: [{ deny: 'has(mcp.tool) && mcp.tool.name == \"fail\"' }] } }";
    let yaml = federation_of(&[("a", &one), ("b", &two)], "");
    let yaml = yaml.replace("    - name: tools\n", &format!("    - name: tools\n      {policy}\n"));
    let gateway = Gateway::start(&yaml).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    for _ in 0..4 {
        client.list("tools/list", "tools", "name").await;
    }
    for _ in 0..3 {
        assert_eq!(client.call("a_fail", json!({})).await["error"]["code"], -32602, "what is refused uses nothing up");
    }
    for _ in 0..2 {
        assert_eq!(client.text("a_echo", json!({})).await, "one: {}");
    }
    let refused =
        client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a_echo"}})).await;
    assert_eq!(refused.status.as_u16(), 200);
    let error = refused.json()["error"].clone();
    assert_eq!((&error["code"], &error["message"]), (&json!(-32000), &json!("rate limit exceeded")));
    assert!(error["data"]["retryAfter"].as_u64().is_some_and(|it| it > 3000), "{error}");
    assert!(refused.header("retry-after").is_some() && refused.header("x-ratelimit-remaining") == Some("0"));
    assert_eq!(client.text("b_echo", json!({})).await, "two: {}", "another server's tool has a bucket of its own");
    assert_eq!(one.asked("tools/call"), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn users_of_one_tool_do_not_use_up_each_others_calls() {
    let server = McpServer::start("one");
    let policy = "policies: { localRateLimit: [{ maxTokens: 3, tokensPerFill: 3, fillInterval: 1h, \
                  key: 'mcp.tool.name + request.headers[\"x-user\"]' }] }";
    let yaml = federation_of(&[("a", &server)], "");
    let yaml = yaml.replace("    - name: tools\n", &format!("    - name: tools\n      {policy}\n"));
    let gateway = Gateway::start(&yaml).await;
    let calls = (0..20).map(|user| {
        let gateway = &gateway;
        async move {
            let client = McpClient::open_with(gateway.addr(0), "/mcp", &[("x-user", &format!("u{user}"))]).await;
            let mut good = 0;
            for _ in 0..5 {
                good += usize::from(client.call("echo", json!({})).await["result"].is_object());
            }
            good
        }
    });
    let good = futures::future::join_all(calls).await;
    assert_eq!(good, vec![3; 20], "three calls each");
    gateway.stop().await;
}

#[tokio::test]
async fn the_log_says_of_calls_what_was_chosen() {
    let server = McpServer::start("one");
    let yaml = federation_of(&[("a", &server)], "");
    let log = "frontendPolicies: { accessLog: { add: { tool: 'mcp.tool.name', args: 'mcp.tool.arguments', \
               result: 'mcp.tool.result.content[0].text', error: 'mcp.tool.error.message', \
               code: 'string(mcp.tool.error.code)', failed: 'string(mcp.tool.result.isError)' } } }\n";
    let gateway = Gateway::start(&format!("{log}{yaml}")).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    client.call("echo", json!({"x": 1})).await;
    client.call("slow", json!({})).await;
    client.call("nothing", json!({})).await;
    client.call("fail", json!({})).await;
    let has = |wanted: &[(&str, Value)]| {
        gateway.access_lines().iter().any(|line| wanted.iter().all(|(key, value)| line[*key] == *value))
    };
    for wanted in [
        vec![("tool", json!("echo")), ("args", json!(r#"{"x":1}"#)), ("result", json!(r#"one: {"x":1}"#))],
        vec![("tool", json!("slow")), ("result", json!("one: done"))],
        vec![("tool", json!("nothing")), ("error", json!("Unknown tool: nothing")), ("code", json!("-32602"))],
        // The tool's own failure is a result, and no error of the protocol.
        vec![("tool", json!("fail")), ("failed", json!("true")), ("error", Value::Null), ("code", Value::Null)],
    ] {
        tests::eventually(tests::wait::PATIENCE, || async { has(&wanted) }).await;
    }
    gateway.stop().await;
}
