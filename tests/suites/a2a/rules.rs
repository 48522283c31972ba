//! Rules, log and counters see what an agent is asked and what it answers.

use serde_json::json;
use tests::wait::PATIENCE;
use tests::{Client, Gateway, eventually};

use super::{agents, ask, ask_with, message};
use crate::agent::Agent;

fn with_rules(rules: &str) -> String {
    format!("authorization:\n  rules: [{rules}]\napiKey:\n  keys: [{{ key: alice-key }}, {{ key: bob-key }}]")
}

const ALICE: (&str, &str) = ("authorization", "Bearer alice-key");
const BOB: (&str, &str) = ("authorization", "Bearer bob-key");

#[tokio::test]
async fn rules_decide_on_method_skill_and_task_in_both_versions() {
    let one = Agent::start("one");
    let rules = r#"'a2a.method in ["SendMessage", "GetAgentCard"]', { deny: 'has(a2a.skill) && a2a.skill == "danger"' },
        'a2a.method == "GetTask" && a2a.task.id == "task-one-0"'"#;
    let gateway = Gateway::start(&agents(&[&one], &with_rules(&rules.replace('\n', " ")))).await;
    let client = Client::h1(gateway.addr(0));
    let first = ask_with(&client, "SendMessage", message(json!({})), &[ALICE]).await["result"]["task"].clone();
    let second = ask_with(&client, "message/send", message(json!({})), &[ALICE]).await["result"].clone();
    ask_with(&client, "GetTask", json!({"id": first["id"]}), &[ALICE]).await;
    let asked = one.backend.stats().requests();
    for (method, params) in [
        ("GetTask", json!({"id": second["id"]})),
        ("tasks/get", json!({"id": second["id"]})),
        ("CancelTask", json!({"id": first["id"]})),
        ("tasks/cancel", json!({"id": first["id"]})),
        ("SendMessage", message(json!({"metadata": {"skillId": "danger"}}))),
        ("message/send", message(json!({"metadata": {"skill_id": "danger"}}))),
        ("anything/else", json!({})),
    ] {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let call = client.post("/").header("content-type", "application/json").header(ALICE.0, ALICE.1);
        call.body(message.to_string()).await.expect_status(403);
    }
    assert_eq!(one.backend.stats().requests(), asked, "the agent was not asked");
    client.get("/.well-known/agent-card.json").header(ALICE.0, ALICE.1).await.expect_status(200);
    gateway.stop().await;
}

#[tokio::test]
async fn ids_of_others_are_tasks_that_do_not_exist() {
    let one = Agent::start("one");
    let gateway = Gateway::start(&agents(&[&one], &with_rules("'true'"))).await;
    let client = Client::h1(gateway.addr(0));
    let task = ask_with(&client, "SendMessage", message(json!({})), &[ALICE]).await["result"]["task"].clone();
    let asked = one.backend.stats().requests();
    for method in ["GetTask", "tasks/get", "CancelTask", "tasks/cancel", "SubscribeToTask", "tasks/resubscribe"] {
        let answer = ask_with(&client, method, json!({"id": task["id"]}), &[BOB]).await;
        assert_eq!(answer["error"], json!({"code": -32001, "message": "Task not found"}), "{method}");
    }
    for member in ["taskId", "contextId", "referenceTaskIds"] {
        let id = if member == "contextId" { &task["contextId"] } else { &task["id"] };
        let value = if member == "referenceTaskIds" { json!([id]) } else { id.clone() };
        let answer = ask_with(&client, "SendMessage", message(json!({ member: value })), &[BOB]).await;
        assert!(answer["error"]["code"].is_i64(), "{member}: {answer}");
    }
    let rest = client.get(&format!("/rest/tasks/{}", task["id"].as_str().unwrap_or_default()));
    let rest = rest.header(BOB.0, BOB.1).await.expect_status(404).json();
    assert_eq!(rest["error"]["details"][0]["reason"], "TASK_NOT_FOUND");
    assert_eq!(one.backend.stats().requests(), asked, "the agent was not asked");
    let answer = ask_with(&client, "GetTask", json!({"id": task["id"]}), &[ALICE]).await;
    assert_eq!(answer["result"], task);
    gateway.stop().await;
}

#[tokio::test]
async fn many_identities_at_once_see_their_own_tasks_alone() {
    const CLIENTS: usize = 16;
    let all: Vec<Agent> = ["a", "b", "c"].map(Agent::start).into();
    let keys: Vec<String> = (0..CLIENTS).map(|it| format!("{{ key: key-{it} }}")).collect();
    let policies = format!("apiKey:\n  keys: [{}]", keys.join(", "));
    let gateway = Gateway::start(&agents(&all.iter().collect::<Vec<_>>(), &policies)).await;
    let clients: Vec<(Client, String)> =
        (0..CLIENTS).map(|it| (Client::h1(gateway.addr(0)), format!("Bearer key-{it}"))).collect();
    let send = clients.iter().map(|(client, key)| async move {
        let headers = [("authorization", &**key)];
        ask_with(client, "SendMessage", message(json!({})), &headers).await["result"]["task"].clone()
    });
    let tasks = futures::future::join_all(send).await;
    let look = clients.iter().enumerate().map(|(ours, (client, key))| {
        let tasks = &tasks;
        async move {
            for (theirs, task) in tasks.iter().enumerate() {
                let headers = [("authorization", &**key)];
                let answer = ask_with(client, "GetTask", json!({"id": task["id"]}), &headers).await;
                match ours == theirs {
                    true => assert_eq!(answer["result"], *task, "its own, as it was shown"),
                    false => assert_eq!(answer["error"]["code"], -32001, "{ours} sees a task of {theirs}"),
                }
            }
        }
    });
    futures::future::join_all(look).await;
    gateway.stop().await;
}

#[tokio::test]
async fn log_and_counters_say_what_was_asked_and_answered() {
    let one = Agent::start("one");
    let gateway = Gateway::start(&agents(&[&one], "")).await;
    let client = Client::h1(gateway.addr(0));
    let task = ask(&client, "message/send", message(json!({}))).await["result"].clone();
    ask(&client, "GetTask", json!({"id": task["id"]})).await;
    ask(&client, "GetTask", json!({"id": "forged"})).await;
    ask(&client, "odd/method", json!({})).await;
    client.get("/.well-known/agent.json").await.expect_status(200);
    let lines = gateway.wait_access(5).await;
    let line = |method: &str, outcome: &str| {
        let found = lines.iter().find(|it| it["a2a.method"] == method && it["a2a.response.outcome"] == outcome);
        found.unwrap_or_else(|| panic!("no {method} {outcome} in {lines:?}")).clone()
    };
    let sent = line("SendMessage", "success");
    assert_eq!(
        (&sent["a2a.task.state"], &sent["a2a.context.id"], &sent["a2a.result.kind"]),
        (&json!("completed"), &json!("context-task-one-0"), &json!("task"))
    );
    assert_eq!(line("GetTask", "success")["a2a.task.id"], "task-one-0");
    line("GetTask", "error");
    assert_eq!(line("odd/method", "error")["a2a.response.error_code"], -32601);
    line("GetAgentCard", "success");
    for (labels, count) in [
        (&[("method", "SendMessage"), ("version", "0.3"), ("binding", "JSONRPC"), ("state", "completed")][..], 1.0),
        (&[("method", "GetTask"), ("version", "1.0"), ("outcome", "success")], 1.0),
        (&[("method", "GetTask"), ("outcome", "error")], 1.0),
        (&[("method", "unknown")], 1.0),
    ] {
        eventually(PATIENCE, || async { gateway.metric_sum("agentgateway_a2a_requests_total", labels).await == count })
            .await;
    }
    gateway.stop().await;
}
