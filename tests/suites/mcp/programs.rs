//! Servers on lines of their own: programs, and servers of revision 2024-11-05. And the client of the command line.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use serde_json::{Value, json};
use tests::gateway::{Lineage, binary_path};
use tests::http::{BodySender, channel, full};
use tests::wait::PATIENCE;
use tests::{Backend, Gateway, McpClient, McpServer, eventually, within};

use super::federation_of;

/// A backend of these targets, each written out.
fn targets(written: &[String]) -> String {
    let yaml = federation_of(&[], "");
    written.iter().fold(yaml, |yaml, it| format!("{yaml}          - {it}\n"))
}

fn demo(name: &str) -> String {
    format!("{{ name: {name}, stdio: {{ cmd: '{}', args: [mcp, demo], env: {{ A: b }} }} }}", binary_path().display())
}

/// Processes whose parent this is.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|it| std::fs::read_to_string(it.path().join("children")).ok());
    lists.flat_map(|it| it.split_whitespace().filter_map(|it| it.parse().ok()).collect::<Vec<u32>>()).collect()
}

#[tokio::test]
async fn programs_are_started_for_a_session_and_gone_with_it() {
    let one = McpServer::start("one");
    let http = format!("{{ name: web, mcp: {{ host: 'http://{}/mcp' }} }}", one.backend.addr());
    let gateway = Gateway::start(&targets(&[demo("demo"), http])).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(client.text("demo_add", json!({"a": 2, "b": 3})).await, "5");
    assert_eq!(client.text("web_echo", json!({})).await, "one: {}");
    assert_eq!(client.list("tools/list", "tools", "name").await[..2], ["demo_echo", "demo_add"]);
    let read = client.ask("resources/read", json!({"uri": "demo+demo://about"})).await;
    assert_eq!(read["result"]["contents"][0]["uri"], "demo+demo://about");
    let before = children(gateway.pid());
    assert_eq!(before.len(), 1);
    let killed = rustix::process::Pid::from_raw(before[0].try_into().expect("a process")).expect("not 0");
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).expect("it lives");
    gateway.wait_log(|it| it.contains("an MCP server has ended")).await;
    assert_eq!(client.text("demo_add", json!({"a": 1, "b": 1})).await, "2", "another one is started");
    client.end().await.expect_status(200);
    eventually(PATIENCE, || async { children(gateway.pid()).is_empty() }).await;
    for _ in 0..20 {
        let passing = McpClient::open(gateway.addr(0), "/mcp").await;
        passing.end().await.expect_status(200);
    }
    eventually(PATIENCE, || async { children(gateway.pid()).is_empty() && one.sessions() == 0 }).await;
    let _left = McpClient::open(gateway.addr(0), "/mcp").await;
    let last = children(gateway.pid());
    gateway.stop().await;
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}/cmdline")).exists();
    eventually(PATIENCE, || async { last.iter().all(gone) }).await;
}

/// A server of 2024-11-05 that answers every request with its method.
fn old_server() -> Backend {
    let stream: Arc<Mutex<Option<Arc<BodySender>>>> = Arc::default();
    Backend::http(move |asked| {
        let stream = Arc::clone(&stream);
        async move {
            if asked.method == http::Method::GET {
                let (sender, body) = channel();
                sender.data("event: endpoint\ndata: messages?session=1\n\n").await;
                *stream.lock().expect("no panic under the lock") = Some(Arc::new(sender));
                let builder = Response::builder().header("content-type", "text/event-stream");
                return builder.body(body).expect("an answer");
            }
            assert_eq!(asked.uri.to_string(), "/old/messages?session=1");
            let message = asked.json();
            let sender = stream.lock().expect("no panic under the lock").clone();
            let result = match message["method"].as_str() {
                Some("initialize") => json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "old", "version": "1"}}),
                Some("tools/list") => json!({"tools": [{"name": "old", "inputSchema": {}}]}),
                Some(method) => json!({"content": [{"type": "text", "text": method}]}),
                None => Value::Null,
            };
            if let (Some(sender), false) = (sender, message["id"].is_null()) {
                let said = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
                sender.data(format!("event: message\ndata: {said}\n\n")).await;
            }
            Response::builder().status(202).body(full("Accepted")).expect("an answer")
        }
    })
}

#[tokio::test]
async fn servers_of_the_first_revision_are_spoken_to_over_their_stream() {
    let old = old_server();
    let target = format!("{{ name: old, sse: {{ host: 'http://{}/old/sse' }} }}", old.addr());
    let gateway = Gateway::start(&targets(&[target])).await;
    let client = McpClient::open(gateway.addr(0), "/mcp").await;
    assert_eq!(client.opened["protocolVersion"], "2024-11-05");
    assert_eq!(client.list("tools/list", "tools", "name").await, ["old"]);
    assert_eq!(client.text("old", json!({})).await, "tools/call");
    old.down().await;
    old.up();
    // A call that meets the end of the old stream fails and is not asked again: nobody knows how far it came.
    eventually(PATIENCE, || async { client.call("old", json!({})).await["result"].is_object() }).await;
    assert_eq!(client.text("old", json!({})).await, "tools/call", "over another stream");
    client.end().await.expect_status(200);
    eventually(PATIENCE, || async { old.stats().open() == 0 || old.stats().in_flight() == 0 }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_command_line_lists_inspects_and_calls() {
    let one = McpServer::start("one");
    let gateway = Gateway::start(&targets(&[
        demo("demo"),
        format!("{{ name: web, mcp: {{ host: 'http://{}/mcp' }} }}", one.backend.addr()),
    ]))
    .await;
    let url = format!("http://{}/mcp", gateway.addr(0));
    let run = |args: Vec<String>| async move {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = Gateway::run_cli(&args, "").await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    };
    let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let (code, text) = run(words(&["mcp", "ls", &url])).await;
    assert!(code == 0 && text.contains("demo_add") && text.contains("web+memo://one/1"), "{code}: {text}");
    let (code, text) = run(words(&["mcp", "call", &url, "demo_add", r#"{"a": 20, "b": 22}"#])).await;
    assert!(code == 0 && text.contains("\"42\""), "{code}: {text}");
    let (code, text) = run(words(&["mcp", "call", &url, "web_slow"])).await;
    assert!(code == 0 && text.contains("one: done"), "{code}: {text}");
    let (code, text) = run(words(&["mcp", "call", &url, "web_fail"])).await;
    assert!(code == 1 && text.contains("it failed"), "{code}: {text}");
    let (code, text) = run(words(&["mcp", "inspect", &url])).await;
    let said: Value = serde_json::from_str(&text).expect("JSON");
    assert!(code == 0 && said["server"]["serverInfo"]["name"] == "agentgateway", "{text}");
    let (code, text) = run(words(&["mcp", "ls", "http://127.0.0.1:1/"])).await;
    assert!(code == 1 && text.contains("cannot connect"), "{code}: {text}");
    assert_eq!(run(words(&["mcp", "ls", "nonsense"])).await.0, 2);
    eventually(PATIENCE, || async { one.sessions() == 0 }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn one_program_serves_all_requests_of_a_client_without_sessions() {
    let gateway = Gateway::start(&targets(&[demo("demo")])).await;
    let client = tests::ModernClient::new(gateway.addr(0), "/mcp");
    let calls = (0..40).map(|number| {
        let client = &client;
        async move { (number, client.text("add", json!({"a": number, "b": 1})).await) }
    });
    for (number, text) in futures::future::join_all(calls).await {
        assert_eq!(text, (number + 1).to_string(), "ids of calls at once are told apart");
    }
    assert_eq!(children(gateway.pid()).len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_target_starts_no_more_programs_than_it_may() {
    let limited = demo("demo").replace("env: { A: b }", "maxInstances: 2, maxMemory: 1073741824");
    let gateway = Gateway::start(&targets(&[limited])).await;
    let open = || async {
        let call = gateway.client().post("/mcp").header("accept", "*/*");
        call.json(&tests::mcp::opening("2025-06-18")).await.expect_status(200).json()
    };
    for _ in 0..2 {
        assert!(open().await["result"].is_object());
    }
    assert_eq!(open().await["error"]["code"], -32603, "a third one is refused");
    eventually(PATIENCE, || async { children(gateway.pid()).len() == 2 }).await;
    gateway.stop().await;
}

/// A server that is a few lines of shell: it opens sessions, and its tool asks the client before it answers the call 7.
struct Script(tempfile::TempDir);

impl Script {
    fn new() -> Script {
        let opened = json!({"jsonrpc": "2.0", "id": "agw-open", "result": {"protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}}, "serverInfo": {"name": "sh", "version": "1"}}});
        let asks = json!({"jsonrpc": "2.0", "id": 99, "method": "elicitation/create", "params": {"message": "?"}});
        let answer = json!({"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": "heard"}]}});
        let text = format!(
            "while read -r line; do case \"$line\" in\n*'\"initialize\"'*) echo '{opened}' ;;\n*'\"tools/call\"'*) echo '{asks}' ;;\n*'\"id\":99'*) echo '{answer}' ;;\nesac; done\n"
        );
        let dir = tempfile::Builder::new().prefix("agw-script-").tempdir().expect("a directory");
        let script = Script(dir);
        std::fs::write(script.path(), text).expect("a file");
        script
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("server.sh")
    }

    fn target(&self) -> String {
        format!("{{ name: sh, stdio: {{ cmd: /bin/sh, args: ['{}'] }} }}", self.path().display())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_leave_no_program_and_no_pipe_behind() {
    const SESSIONS: usize = 1_000;
    const AT_ONCE: usize = 10;
    let script = Script::new();
    let gateway = Gateway::start(&targets(&[script.target()])).await;
    let (addr, pid) = (gateway.addr(0), gateway.pid());
    let files = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process that runs").count();
    let visit = || async move {
        let client = McpClient::open(addr, "/mcp").await;
        client.end().await.expect_status(200);
    };
    futures::future::join_all((0..AT_ONCE).map(|_| visit())).await;
    eventually(PATIENCE, || async { children(pid).is_empty() }).await;
    let before = files();
    for _ in 0..SESSIONS / AT_ONCE {
        futures::future::join_all((0..AT_ONCE).map(|_| visit())).await;
    }
    eventually(PATIENCE, || async { children(pid).is_empty() }).await;
    // Connections of clients that have left may be about to be closed.
    eventually(PATIENCE, || async { files() <= before + AT_ONCE }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_program_that_does_not_want_to_end_does_with_the_gateway() {
    let script = Script::new();
    let stubborn = "trap '' TERM; sleep 1000 & sleep 1000; wait";
    let text = std::fs::read_to_string(script.path()).expect("the script");
    std::fs::write(script.path(), format!("{text}{stubborn}\n")).expect("a file");
    let gateway = Gateway::start(&targets(&[script.target()])).await;
    let _client = McpClient::open(gateway.addr(0), "/mcp").await;
    let programs = children(gateway.pid());
    assert_eq!(programs.len(), 1);
    gateway.stop().await;
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}/cmdline")).exists();
    eventually(PATIENCE, || async { programs.iter().all(gone) }).await;
}

#[tokio::test]
async fn an_upgrade_lets_calls_at_programs_end_and_starts_others_for_what_comes() {
    let script = Script::new();
    let yaml = targets(&[script.target(), demo("demo")]);
    let gateway = Gateway::start(&format!("config:\n  connectionTerminationDeadline: 10s\n{yaml}")).await;
    let addr = gateway.addr(0);
    let client = McpClient::open(addr, "/mcp").await;
    let programs = children(gateway.pid());
    assert_eq!(programs.len(), 2);
    let mut asking = client.stream("tools/call", json!({"name": "sh_ask", "arguments": {}})).await;
    let asked = within(PATIENCE, asking.next()).await.expect("a stream").expect("an event").json();
    assert_eq!(asked["method"], "elicitation/create");
    let mut lineage = Lineage::new(gateway);
    let heir = lineage.upgrade().await.to;
    let after = client.over(addr);
    // The program that asks is the elder's.
    after.post(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}})).await.expect_status(202);
    let answer = within(PATIENCE, asking.next()).await.expect("a stream").expect("an event").json();
    assert_eq!(answer["result"]["content"][0]["text"], "heard", "{answer}");
    assert_eq!(after.text("demo_add", json!({"a": 2, "b": 3})).await, "5", "another program, in the same session");
    assert_eq!(children(heir).len(), 1);
    drop((asking, client));
    lineage.drained(Duration::from_secs(60)).await;
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}/cmdline")).exists();
    eventually(PATIENCE, || async { programs.iter().all(gone) }).await;
    after.end().await.expect_status(200);
    eventually(PATIENCE, || async { children(heir).is_empty() }).await;
    lineage.stop().await;
}
