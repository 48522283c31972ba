//! `mcpTools`: which tools clients see, under which names, and how much of a context they take.

use serde_json::{Value, json};
use tests::{Gateway, McpClient, McpServer};

use super::federation_of;

fn with_policy(yaml: &str, policy: &str) -> String {
    yaml.replace("    - name: tools\n", &format!("    - name: tools\n      policies: {policy}\n"))
}

async fn names(client: &McpClient) -> Vec<String> {
    client.list("tools/list", "tools", "name").await
}

#[tokio::test]
async fn tools_have_the_names_that_were_chosen_and_no_others() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    for prefix in ["", "prefixMode: never"] {
        let policy = r#"{ mcpTools: { targets: [
            { target: a, include: [echo, "l*"], rename: { echo: say }, describe: { echo: "Says it." } },
            { include: [echo, fail] } ] } }"#;
        let yaml = with_policy(&federation_of(&[("a", &one), ("b", &two)], prefix), &policy.replace('\n', " "));
        let gateway = Gateway::start(&yaml).await;
        let client = McpClient::open(gateway.addr(0), "/mcp").await;
        let (say, link, echo, fail) = match prefix {
            "" => ("a_say", "a_link", "b_echo", "b_fail"),
            _ => ("say", "link", "echo", "fail"),
        };
        assert_eq!(names(&client).await, [say, link, echo, fail], "{prefix}");
        let tools = client.ask("tools/list", json!({})).await["result"]["tools"].clone();
        assert_eq!(tools[0]["description"], "Says it.");
        assert_eq!(client.text(say, json!({"x": 1})).await, r#"one: {"x":1}"#);
        assert_eq!(client.text(echo, json!({})).await, "two: {}");
        let gone = if prefix.is_empty() { "a_echo" } else { "slow" };
        assert_eq!(client.call(gone, json!({})).await["error"]["message"], format!("Unknown tool: {gone}"));
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_shaped_list_is_short_and_the_same_bytes_whatever_the_order() {
    let server = McpServer::start("one");
    let tool = |name: &str| {
        json!({"name": name, "title": "T", "description": "x".repeat(900), "_meta": {"a": 1}, "inputSchema": {
            "type": "object", "$schema": "s", "properties": {"title": {"type": "string", "description": "y".repeat(300)}}}})
    };
    server.offer(vec![tool("b"), tool("a"), tool("c")]);
    let policy = "{ mcpTools: { sort: true, slim: { descriptionBytes: 40, parameterBytes: 20, members: [title, _meta], \
                  keywords: [title, $$schema] } } }";
    let gateway = Gateway::start(&with_policy(&federation_of(&[("a", &server)], ""), policy)).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    let list = async || client.ask("tools/list", json!({})).await["result"].to_string();
    let first = list().await;
    assert!(first.len() < 3 * 220, "{first}");
    let tools: Value = serde_json::from_str(&first).expect("JSON");
    let first_tool = &tools["tools"][0];
    assert_eq!(first_tool["name"], "a");
    assert_eq!(
        first_tool["inputSchema"]["properties"]["title"]["type"], "string",
        "a property is no keyword: {first_tool}"
    );
    assert_eq!(
        (&first_tool["title"], &first_tool["_meta"], &first_tool["inputSchema"]["$schema"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let _listening = client.listen(None).await;
    tests::eventually(tests::wait::PATIENCE, || async { server.listeners() == 1 }).await;
    let before = server.asked("tools/list");
    server.offer(vec![tool("c"), tool("b"), tool("a")]);
    tests::eventually(tests::wait::PATIENCE, || async { list().await == first && server.asked("tools/list") > before })
        .await;
    gateway.stop().await;
}

#[tokio::test]
async fn three_tools_stand_for_all() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let many = (0..300).map(|it| json!({"name": format!("job_{it}"), "description": "Does a job\nat length", "inputSchema": {"type": "object"}}));
    let echo = json!({"name": "echo", "description": "Says words back", "inputSchema": {"type": "object"}});
    one.offer(many.chain([echo]).collect());
    let policy = r#"{ mcpTools: { search: { keep: [b_link], results: 5 } },
        mcpAuthorization: { rules: [{ deny: 'has(mcp.tool) && mcp.tool.name == "job_7"' }] } }"#;
    let yaml = with_policy(&federation_of(&[("a", &one), ("b", &two)], ""), &policy.replace('\n', " "));
    let gateway = Gateway::start(&yaml).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(names(&client).await, ["search_tools", "describe_tool", "call_tool", "b_link"]);
    let found = client.call("search_tools", json!({"query": "say words"})).await["result"].clone();
    assert_eq!(found["structuredContent"]["tools"][0], json!({"name": "a_echo", "description": "Says words back"}));
    let found =
        client.call("search_tools", json!({"query": "job", "limit": 50})).await["result"]["structuredContent"].clone();
    assert_eq!(
        (found["tools"].as_array().map(Vec::len), &found["found"]),
        (Some(5), &json!(299)),
        "what may not be used is not found"
    );
    let described = client.call("describe_tool", json!({"name": "a_echo"})).await["result"].clone();
    assert_eq!(described["structuredContent"]["description"], "Says words back");
    let called = client.call("call_tool", json!({"name": "a_echo", "arguments": {"x": 1}})).await;
    assert_eq!(called["result"]["content"][0]["text"], r#"one: {"x":1}"#);
    let refused = client.call("call_tool", json!({"name": "a_job_7"})).await;
    assert_eq!(refused["error"]["message"], "Unknown tool: a_job_7");
    assert_eq!(client.call("describe_tool", json!({"name": "a_job_7"})).await["error"]["code"], -32602);
    for bad in [json!({}), json!({"query": "!?"}), json!({"query": 7})] {
        assert_eq!(client.call("search_tools", bad).await["error"]["code"], -32602);
    }
    assert_eq!(client.call("call_tool", json!({"name": "call_tool"})).await["error"]["code"], -32602);
    gateway.stop().await;
}

#[tokio::test]
async fn the_command_line_says_what_tools_weigh() {
    let (one, two) = (McpServer::start("one"), McpServer::start("two"));
    let gateway = Gateway::start(&federation_of(&[("a", &one), ("b", &two)], "")).await;
    let url = format!("http://{}/mcp", gateway.addr(0));
    let output = Gateway::run_cli(&["mcp", "ls", "--tokens", &url], "").await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<Vec<&str>> = said.lines().map(|it| it.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["target", "tools", "bytes", "tokens"]);
    let row = |name: &str| rows.iter().find(|it| it[0] == name).unwrap_or_else(|| panic!("{said}"));
    assert_eq!((row("a")[1], row("b")[1], row("all")[1]), ("9", "9", "18"));
    let bytes: usize = row("all")[2].parse().expect("a number");
    assert_eq!(row("all")[3], bytes.div_ceil(4).to_string());
    gateway.stop().await;
}
