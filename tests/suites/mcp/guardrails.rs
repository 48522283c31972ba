//! `mcpGuardrails`: servers that pass, change and refuse what clients ask and servers answer.

use serde_json::{Value, json};
use tests::backend::answer;
use tests::pb::{field, holds, number};
use tests::{Backend, Gateway, McpClient, McpServer};

use super::federation_of;

/// Refuses what holds `forbidden`, changes what holds `change`, hides what holds `secret`, and decides nothing about
/// `nonsense`.
fn guard() -> Backend {
    Backend::http(|asked| async move {
        let (body, path) = (asked.body.clone(), asked.uri.path().to_owned());
        let result = match &*path {
            "/agentgateway.dev.ext_mcp.ExtMcp/CheckRequest" if holds(&body, "forbidden") => {
                field(3, [number(1, 1), field(2, "not today")].concat())
            }
            "/agentgateway.dev.ext_mcp.ExtMcp/CheckRequest" if holds(&body, "change") => {
                field(2, r#"{"name":"echo","arguments":{"changed":true}}"#)
            }
            "/agentgateway.dev.ext_mcp.ExtMcp/CheckRequest" if holds(&body, "broken") => field(2, "[1]"),
            "/agentgateway.dev.ext_mcp.ExtMcp/CheckResponse" if holds(&body, "secret") => {
                field(2, r#"{"content":[{"type":"text","text":"***"}]}"#)
            }
            "/agentgateway.dev.ext_mcp.ExtMcp/CheckResponse" if holds(&body, "own-error") => {
                field(3, [number(1, 3), field(3, r#"{"code":-5,"message":"own","data":{"a":1}}"#)].concat())
            }
            _ if holds(&body, "nonsense") => Vec::new(),
            _ => field(1, ""),
        };
        answer::grpc(&result)
    })
}

fn with_policy(yaml: &str, guard: &str, more: &str) -> String {
    let policy = format!(
        "mcpGuardrails: {{ processors: [{{ host: '{guard}', methods: {{ tools/call: full, '*/list': response }}, \
         metadata: {{ user: 'request.headers[\"x-user\"]' }}{more} }}] }}"
    );
    yaml.replace("    - name: tools\n", &format!("    - name: tools\n      policies: {{ {policy} }}\n"))
}

#[tokio::test]
async fn a_guardrail_passes_changes_and_refuses() {
    let (one, two, guard) = (McpServer::start("one"), McpServer::start("two"), guard());
    let yaml = with_policy(&federation_of(&[("a", &one), ("b", &two)], ""), &guard.addr().to_string(), "");
    let gateway = Gateway::start(&yaml).await;
    let client = McpClient::open_with(gateway.addr(0), "/mcp", &[("x-user", "alice")]).await;
    let call = async |arguments: Value| client.call("a_echo", arguments).await;
    assert_eq!(call(json!({"x": 1})).await["result"]["content"][0]["text"], r#"one: {"x":1}"#);
    let asked = guard.stats().seen();
    let first = asked.iter().find(|it| it.uri.path().ends_with("CheckRequest")).expect("asked");
    for part in ["tools/call", "user", "alice", r#""name":"echo""#] {
        assert!(holds(&first.body, part), "{part}: the server's own name, and who it is");
    }
    let before = one.asked("tools/call");
    let refused = call(json!({"x": "forbidden"})).await["error"].clone();
    assert_eq!(refused, json!({"code": -32001, "message": "not today"}));
    assert_eq!(one.asked("tools/call"), before, "the server was not asked");
    assert_eq!(call(json!({"x": "change"})).await["result"]["content"][0]["text"], r#"one: {"changed":true}"#);
    assert_eq!(call(json!({"x": "secret"})).await["result"]["content"][0]["text"], "***");
    assert_eq!(call(json!({"x": "own-error"})).await["error"], json!({"code": -5, "message": "own", "data": {"a": 1}}));
    // What decides nothing, or changes parameters into none, is a failure.
    for broken in ["nonsense", "broken"] {
        assert_eq!(call(json!({ "x": broken })).await["error"]["code"], -32000, "{broken}");
    }
    assert_eq!(client.text("a_slow", json!({})).await, "one: done", "streams as well");
    assert_eq!(client.list("tools/list", "tools", "name").await.len(), 18);
    gateway.stop().await;
}

#[tokio::test]
async fn a_guardrail_that_is_away_refuses_or_is_passed_by() {
    let one = McpServer::start("one");
    for (more, code) in [("", json!(-32000)), (", failureMode: failOpen", Value::Null)] {
        let yaml = with_policy(&federation_of(&[("a", &one)], ""), "127.0.0.1:1", more);
        let gateway = Gateway::start(&yaml).await;
        let client = McpClient::open(gateway.addr(0), "/mcp").await;
        assert_eq!(client.call("echo", json!({})).await["error"]["code"], code, "{more}");
        gateway.stop().await;
    }
}
