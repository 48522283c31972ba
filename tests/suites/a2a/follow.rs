//! What follows reaches the same agent: over endpoints, backends, replicas and restarts, whole and as a stream.

use serde_json::{Value, json};
use tests::client::Events;
use tests::gateway::Lineage;
use tests::wait::PATIENCE;
use tests::{Client, Gateway, eventually};

use super::{agents, ask, message};
use crate::agent::Agent;

/// Which agent a task is with.
fn agent(task: &Value) -> &str {
    task["artifacts"][0]["parts"][0]["text"].as_str().unwrap_or_default()
}

fn text<'a>(task: &'a Value, name: &str) -> &'a str {
    task[name].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_task_stays_with_its_agent_in_both_versions_and_bindings() {
    let all: Vec<Agent> = ["a", "b", "c", "d"].map(Agent::start).into();
    let gateway = Gateway::start(&agents(&all.iter().collect::<Vec<_>>(), "")).await;
    let client = Client::h1(gateway.addr(0));
    for round in 0..12 {
        let new = round % 2 == 0;
        let (send, get) = if new { ("SendMessage", "GetTask") } else { ("message/send", "tasks/get") };
        let sent = ask(&client, send, message(json!({}))).await["result"].clone();
        let task = if new { sent["task"].clone() } else { sent };
        let (id, context) = (text(&task, "id"), text(&task, "contextId"));
        assert!(!id.contains("task-") && !context.contains("context-"), "{task}");
        assert_eq!((&task["history"][0]["taskId"], &task["status"]["message"]["taskId"]), (&task["id"], &task["id"]));
        let again = ask(&client, get, json!({"id": id})).await["result"].clone();
        assert_eq!(again, task, "the same ids, and the same agent");
        // The context alone leads there as well.
        let more = ask(&client, send, message(json!({"contextId": context}))).await["result"].clone();
        let more = if new { more["task"].clone() } else { more };
        assert_eq!((agent(&more), text(&more, "contextId")), (agent(&task), context));
        assert_ne!(text(&more, "id"), id);
        let prefix = if new { "/rest" } else { "/rest/v1" };
        let rest = client.get(&format!("{prefix}/tasks/{id}")).await.expect_status(200).json();
        assert_eq!(rest, task, "over REST");
        let sent = client.post(&format!("{prefix}/message:send")).header("content-type", "application/json");
        let sent = sent.body(message(json!({"taskId": id})).to_string()).await.expect_status(200).json();
        assert_eq!(sent["task"], task);
    }
    let list = client.get("/rest/tasks?contextId=mine").await.expect_status(200).json();
    for agent in &all {
        let asked = agent.last().query("contextId");
        assert_eq!(asked.as_deref(), Some("mine"), "a context of the client's own goes on as it is");
    }
    assert!(!list.to_string().contains("task-"), "{list}");
    // Draws are random: each of four is missed a hundred times in a row once in 10^12 runs.
    let drawn = || all.iter().all(|it| it.backend.stats().requests() > 0);
    for _ in 0..100 {
        if !drawn() {
            ask(&client, "SendMessage", message(json!({}))).await;
        }
    }
    assert!(drawn(), "all of them are drawn");
    gateway.stop().await;
}

#[tokio::test]
async fn any_replica_with_the_key_follows_a_task_and_an_upgrade_does_too() {
    let all: Vec<Agent> = ["a", "b", "c", "d"].map(Agent::start).into();
    let yaml = agents(&all.iter().collect::<Vec<_>>(), "");
    let first = Gateway::start(&yaml).await;
    let task = ask(&Client::h1(first.addr(0)), "SendMessage", message(json!({}))).await["result"]["task"].clone();
    first.stop().await;
    let second = Gateway::start(&yaml).await;
    let get = json!({"id": task["id"]});
    assert_eq!(ask(&Client::h1(second.addr(0)), "GetTask", get.clone()).await["result"], task);
    second.stop().await;
    // With a key of its own a process opens nothing of another's, and its successor all of its own.
    let third = Gateway::start(&yaml.replace(&format!("  session: {{ key: '{}' }}\n", super::KEY), "")).await;
    let client = Client::h1(third.addr(0));
    assert_eq!(ask(&client, "GetTask", get).await["error"]["code"], -32001);
    let task = ask(&client, "SendMessage", message(json!({}))).await["result"]["task"].clone();
    let mut lineage = Lineage::new(third);
    lineage.upgrade().await;
    let addr = lineage.gateway().addr(0);
    assert_eq!(ask(&Client::h1(addr), "GetTask", json!({"id": task["id"]})).await["result"], task);
    lineage.stop().await;
}

#[tokio::test]
async fn events_pass_one_by_one_with_their_ids_sealed_and_everything_else_as_it_was() {
    let one = Agent::start("one");
    let gateway = Gateway::start(&agents(&[&one], "")).await;
    let client = Client::h1(gateway.addr(0));
    for new in [true, false] {
        let method = if new { "SendStreamingMessage" } else { "message/stream" };
        let asked = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": message(json!({}))});
        let call = client.post("/").header("content-type", "application/json").body(asked.to_string());
        let mut events = Events::new(call.stream().await);
        let first = events.next().await.expect("a stream").expect("an event");
        assert_eq!((&*first.name, first.id.as_deref()), ("x", Some("1")));
        let result = first.json()["result"].clone();
        let task = if new { result["task"].clone() } else { result };
        let own = one.last();
        assert!(own.json()["params"]["message"].get("taskId").is_none());
        let sender = one.stream().expect("a stream");
        let update = |state: &str| {
            let it = json!({"taskId": "task-one-0", "contextId": "c", "status": {"state": state}});
            let it = if new { json!({ "statusUpdate": it }) } else { it };
            json!({"jsonrpc": "2.0", "id": 7, "result": it})
        };
        let mut said = update("working");
        if !new {
            said["result"]["kind"] = "status-update".into();
            said["result"]["taskId"] = "task-one-1".into();
        }
        // In two pieces, with a line that nobody knows; it comes before anything else is sent.
        let text = format!("odd: 1\ndata: {said}\n\n");
        let (a, b) = text.split_at(20);
        assert!(sender.data(a.to_owned()).await && sender.data(b.to_owned()).await);
        let event = events.next().await.expect("a stream").expect("an event").json();
        let event = if new { event["result"]["statusUpdate"].clone() } else { event["result"].clone() };
        assert_eq!(event["taskId"], task["id"], "the same id as before");
        assert_eq!(event["status"]["state"], "working");
        assert!(sender.data("data: not a message\n\n").await);
        assert_eq!(events.next().await.expect("a stream").expect("an event").data, "not a message");
        drop(sender);
        assert!(events.next().await.expect("a proper end").is_none());
        // Coming back to a stream that broke off.
        let method = if new { "SubscribeToTask" } else { "tasks/resubscribe" };
        let asked = json!({"jsonrpc": "2.0", "id": 8, "method": method, "params": {"id": task["id"]}});
        let call = client.post("/").header("content-type", "application/json").body(asked.to_string());
        let mut events = Events::new(call.stream().await);
        let again = events.next().await.expect("a stream").expect("an event").json()["result"].clone();
        assert_eq!(if new { again["task"]["id"].clone() } else { again["id"].clone() }, task["id"]);
        drop((events, one.stream()));
    }
    eventually(PATIENCE, || async {
        let states: Vec<_> = gateway.access_lines().iter().map(|it| it["a2a.task.state"].clone()).collect();
        states.iter().filter(|it| *it == "working").count() == 2
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn where_the_backend_of_a_task_is_gone_no_other_is_asked() {
    let all: Vec<Agent> = ["a", "b"].map(Agent::start).into();
    let gateway = Gateway::start(&agents(&all.iter().collect::<Vec<_>>(), "")).await;
    let client = Client::h1(gateway.addr(0));
    let task = ask(&client, "SendMessage", message(json!({}))).await["result"]["task"].clone();
    let (gone, other): (Vec<_>, Vec<_>) = all.iter().partition(|it| it.backend.stats().requests() > 0);
    gone[0].backend.down().await;
    let get = json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": task["id"]}});
    for _ in 0..4 {
        let call = client.post("/").header("content-type", "application/json").body(get.to_string());
        call.await.expect_status(503);
    }
    assert_eq!(other[0].backend.stats().requests(), 0);
    gone[0].backend.up();
    assert_eq!(ask(&client, "GetTask", json!({"id": task["id"]})).await["result"], task);
    gateway.stop().await;
}

#[tokio::test]
async fn plain_ids_stay_as_they_are_byte_by_byte() {
    let one = Agent::start("one");
    let gateway = Gateway::start(&agents(&[&one], "").replace("a2a: {}", "a2a: { ids: plain }")).await;
    let client = Client::h1(gateway.addr(0));
    let sent = r#"{ "jsonrpc":"2.0","id":1.0, "method":"GetTask","params":{"id":"task-one-0" } }"#;
    let call = || client.post("/").header("content-type", "application/json").body(sent);
    call().await.expect_status(200);
    assert_eq!(one.last().text(), sent);
    let task = ask(&client, "SendMessage", message(json!({}))).await["result"]["task"].clone();
    assert_eq!(task["id"], "task-one-0");
    gateway.stop().await;
}
