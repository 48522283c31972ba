//! The tasks of several agents as one list: the latest first, in pages of the size that is asked for, from any replica.

use serde_json::{Value, json};
use tests::backend::answer;
use tests::{Backend, Client, Gateway};

use super::{agents, ask, message};
use crate::agent::Agent;

fn text<'a>(it: &'a Value, name: &str) -> &'a str {
    it[name].as_str().unwrap_or_default()
}

/// Has `count` tasks made, each by an agent that is drawn; their ids as clients know them, the latest first.
async fn made(client: &Client, count: usize) -> Vec<String> {
    let mut sent = Vec::new();
    for _ in 0..count {
        let task = ask(client, "SendMessage", message(json!({}))).await["result"]["task"].clone();
        sent.insert(0, text(&task, "id").to_owned());
    }
    sent
}

#[tokio::test]
async fn pages_hold_the_latest_tasks_of_all_agents_in_their_order() {
    let all: Vec<Agent> = ["a", "b", "c"].map(Agent::start).into();
    let yaml = agents(&all.iter().collect::<Vec<_>>(), "");
    let (gateway, replica) = (Gateway::start(&yaml).await, Gateway::start(&yaml).await);
    let client = Client::h1(gateway.addr(0));
    let sent = made(&client, 14).await;
    for (rest, size) in [(false, 1), (false, 4), (true, 5), (true, 14), (false, 100)] {
        let (mut listed, mut token, mut pages) = (Vec::new(), String::new(), Vec::new());
        loop {
            assert!(pages.len() < 20, "there is an end");
            // Any replica goes on with a list.
            let client = Client::h1(if pages.len() % 2 == 0 { gateway.addr(0) } else { replica.addr(0) });
            let list = match rest {
                true => {
                    let path = format!("/rest/tasks?pageSize={size}&pageToken={token}");
                    client.get(&path).await.expect_status(200).json()
                }
                false => {
                    ask(&client, "ListTasks", json!({"pageToken": token, "pageSize": size})).await["result"].clone()
                }
            };
            assert_eq!((&list["pageSize"], &list["totalSize"]), (&json!(size), &json!(14)));
            let tasks = list["tasks"].as_array().expect("tasks");
            listed.extend(tasks.iter().map(|it| text(it, "id").to_owned()));
            pages.push(tasks.len());
            token = text(&list, "nextPageToken").to_owned();
            if token.is_empty() {
                break;
            }
            assert!(token.len() > 40, "nothing of the agents' own: {token}");
        }
        assert_eq!(listed, sent, "each once, and the latest first");
        let full: Vec<usize> = (0..14).step_by(size).map(|at| size.min(14 - at)).collect();
        assert_eq!(pages, full, "pages are as large as they were asked for");
    }
    // Without a size there are fifty, and tasks of a list are those that are asked for elsewhere.
    let list = ask(&client, "ListTasks", json!({})).await["result"].clone();
    assert_eq!((list["tasks"].as_array().map(Vec::len), &list["pageSize"]), (Some(14), &json!(50)));
    let first = &list["tasks"][0];
    assert_eq!(&ask(&client, "GetTask", json!({"id": first["id"]})).await["result"], first);
    // One context is with one agent, and that alone is asked.
    let before: Vec<u64> = all.iter().map(|it| it.backend.stats().requests()).collect();
    ask(&client, "ListTasks", json!({"contextId": first["contextId"]})).await;
    let asked = all.iter().zip(before).filter(|(it, before)| it.backend.stats().requests() > *before).count();
    assert_eq!(asked, 1);
    gateway.stop().await;
    replica.stop().await;
}

#[tokio::test]
async fn what_is_no_page_is_refused_and_nobody_is_asked() {
    let all: Vec<Agent> = ["a", "b"].map(Agent::start).into();
    let keys = "apiKey:\n  keys: [{ key: alice-key }, { key: bob-key }]";
    let gateway = Gateway::start(&agents(&all.iter().collect::<Vec<_>>(), keys)).await;
    let client = Client::h1(gateway.addr(0));
    let by = |who: &str, params: Value| {
        let call = client.post("/").header("content-type", "application/json").header("authorization", who);
        call.body(json!({"jsonrpc": "2.0", "id": "l", "method": "ListTasks", "params": params}).to_string())
    };
    let (alice, bob) = ("Bearer alice-key", "Bearer bob-key");
    for who in [alice, alice, alice] {
        let call = client.post("/").header("content-type", "application/json").header("authorization", who);
        let sent = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message(json!({}))});
        call.body(sent.to_string()).await.expect_status(200);
    }
    let list = by(alice, json!({"pageSize": 1})).await.json()["result"].clone();
    let token = text(&list, "nextPageToken").to_owned();
    let asked = || all.iter().map(|it| it.backend.stats().requests()).sum::<u64>();
    let before = asked();
    for (who, params) in [
        (bob, json!({"pageToken": token})),
        (alice, json!({"pageToken": &token[..token.len() - 4]})),
        (alice, json!({"pageToken": "2"})),
        (alice, json!({"pageToken": list["tasks"][0]["id"]})),
        (alice, json!({"pageSize": 0})),
        (alice, json!({"pageSize": 101})),
        (alice, json!({"pageSize": -1})),
        (alice, json!({"pageSize": "many"})),
    ] {
        let refused = by(who, params.clone()).await.json();
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("l"), &json!(-32602)), "{params}: {refused}");
    }
    client.get("/rest/tasks?pageSize=0").header("authorization", alice).await.expect_status(400);
    assert_eq!(asked(), before, "no agent was asked");
    let next = by(alice, json!({"pageToken": token, "pageSize": 1})).await.json()["result"].clone();
    assert_ne!(next["tasks"][0]["id"], list["tasks"][0]["id"], "the list goes on for whom it is");
    // What an agent knows is for it to show: all are asked about everything that this client may see.
    assert!(!next.to_string().contains("task-"), "{next}");
    gateway.stop().await;
}

#[tokio::test]
async fn an_agent_without_lists_is_left_out_and_one_that_fails_fails_the_list() {
    let (one, two) = (Agent::start("one"), Agent::start("two"));
    let old = Backend::http(|asked| async move {
        let id = asked.json()["id"].clone();
        answer::json(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no such method"}}))
    });
    let odd = Backend::http(|_| async { answer::text(200, "<html>") });
    let with = |addr: std::net::SocketAddr| format!("{}      - host: '{addr}'\n", agents(&[&one, &two], ""));
    let gateway = Gateway::start(&agents(&[&one, &two], "")).await;
    let client = Client::h1(gateway.addr(0));
    let sent = made(&client, 3).await;
    gateway.reload(&with(old.addr())).await;
    let list = ask(&client, "ListTasks", json!({})).await["result"].clone();
    let ids: Vec<&str> = list["tasks"].as_array().expect("tasks").iter().map(|it| text(it, "id")).collect();
    assert_eq!((ids.len(), ids == sent, &list["totalSize"]), (3, true, &json!(3)), "{list}");
    gateway.reload(&with(odd.addr())).await;
    let call = || client.post("/").header("content-type", "application/json");
    let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}).to_string();
    let failed = call().body(asked.clone()).await.expect_status(502).json();
    assert_eq!(failed["error"]["code"], -32006, "{failed}");
    assert!(!failed.to_string().contains(&odd.addr().to_string()), "which agent it is is for the log: {failed}");
    let lines = gateway.wait_access(5).await;
    assert!(lines.iter().any(|it| text(it, "error").contains(&odd.addr().to_string())), "{lines:?}");
    gateway.reload(&agents(&[&one, &two], "")).await;
    two.backend.down().await;
    call().body(asked.clone()).await.expect_status(502);
    two.backend.up();
    gateway
        .reload(
            &with(old.addr())
                .replace("        a2a: {}\n", "        a2a: {}\n        timeout: { requestTimeout: 20s }\n"),
        )
        .await;
    assert_eq!(ask(&client, "ListTasks", json!({})).await["result"]["tasks"][0]["id"], sent[0]);
    gateway.stop().await;
}

#[tokio::test]
async fn policies_of_each_agent_say_whose_tasks_are_listed() {
    let (one, two) = (Agent::start("one"), Agent::start("two"));
    let yaml = agents(&[&one, &two], "").replace(
        &format!("      - host: '{}'\n", two.backend.addr()),
        &format!(
            "      - host: '{}'\n        policies:\n          authorization: {{ rules: ['request.headers[\"x-user\"] == \"boss\"'] }}\n          requestHeaderModifier: {{ set: {{ x-agent: two }} }}\n",
            two.backend.addr()
        ),
    );
    let gateway = Gateway::start(&yaml).await;
    let client = Client::h1(gateway.addr(0));
    for (user, count) in [("boss", 2), ("clerk", 1)] {
        let (a, b) = (one.backend.stats().requests(), two.backend.stats().requests());
        let call = client.post("/").header("content-type", "application/json").header("x-user", user);
        let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}});
        call.body(asked.to_string()).await.expect_status(200);
        let asked = [one.backend.stats().requests() > a, two.backend.stats().requests() > b];
        assert_eq!(asked.iter().filter(|it| **it).count(), count, "{user}: {asked:?}");
        assert_eq!(one.last().header("x-agent"), None, "what is written for one agent is for that one");
    }
    assert_eq!(two.last().header("x-agent"), Some("two"));
    gateway.stop().await;
}
