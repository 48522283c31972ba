//! Clients and agents that misbehave: an error of the protocol, and harm to themselves alone.

use serde_json::{Value, json};
use tests::{Client, Gateway};

use super::{agents, ask, message};
use crate::agent::Agent;

/// Parameters with a URL for news.
type Params = fn(&str) -> Value;

#[tokio::test]
async fn malformed_messages_get_the_right_error_and_do_not_reach_the_agent() {
    let one = Agent::start("one");
    let gateway = Gateway::start(&agents(&[&one], "")).await;
    let client = Client::h1(gateway.addr(0));
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    for (text, code) in [
        ("", -32700),
        ("{", -32700),
        ("[]", -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"GetTask"}]"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"GetTask"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"GetTask"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"GetTask"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"GetTask","params":[]}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"x"}}"#, -32001),
        (r#"{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"x","\u0069d":"y"}}"#, -32001),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"id":"../x"}}"#, -32001),
        (&deep, -32700),
    ] {
        let call = client.post("/").header("content-type", "application/json").body(text.to_owned());
        let answer = call.await.expect_status(200).json();
        assert_eq!(answer["error"]["code"], code, "{text}: {answer}");
    }
    let large = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"x": "x".repeat(4 << 20)}});
    let call = client.post("/").header("content-type", "application/json").body(large.to_string());
    call.await.expect_status(413);
    for path in ["/rest/tasks/forged", "/rest/v1/tasks/forged", "/rest/tasks/forged/pushNotificationConfigs"] {
        client.get(path).await.expect_status(404);
    }
    let call = client.post("/rest/message:send").header("content-type", "application/json").body("{");
    call.await.expect_status(400);
    assert_eq!(one.backend.stats().requests(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn ids_that_were_cut_or_changed_are_tasks_that_do_not_exist() {
    let one = Agent::start("one");
    let gateway = Gateway::start(&agents(&[&one], "")).await;
    let client = Client::h1(gateway.addr(0));
    let task = ask(&client, "SendMessage", message(json!({}))).await["result"]["task"].clone();
    let id = task["id"].as_str().unwrap_or_default();
    for forged in [
        &id[..id.len() - 4],
        &format!("{id}AAAA"),
        &id.replace(&id[30..34], "AAAA"),
        "task-one-0",
        id.trim_end_matches('A'),
    ] {
        if forged != id {
            let answer = ask(&client, "GetTask", json!({"id": forged})).await;
            assert_eq!(answer["error"]["code"], -32001, "{forged}");
        }
    }
    let context = &task["contextId"];
    assert_eq!(ask(&client, "GetTask", json!({"id": context})).await["error"]["code"], -32001, "one is not the other");
    gateway.stop().await;
}

#[tokio::test]
async fn urls_for_news_are_those_that_may_be_dialled() {
    let one = Agent::start("one");
    let yaml = agents(&[&one], "").replace("  logging:", "  egressAllow: [127.0.0.9]\n  logging:");
    let gateway = Gateway::start(&yaml).await;
    let client = Client::h1(gateway.addr(0));
    let ways: [(&str, Params); 3] = [
        ("SendMessage", |url| {
            let mut params = message(json!({}));
            params["configuration"] = json!({"taskPushNotificationConfig": {"url": url}});
            params
        }),
        ("message/send", |url| {
            let mut params = message(json!({}));
            params["configuration"] = json!({"pushNotificationConfig": {"url": url}});
            params
        }),
        ("tasks/pushNotificationConfig/set", |url| json!({"pushNotificationConfig": {"url": url}})),
    ];
    for (method, params) in ways {
        for url in [
            "http://127.0.0.1/",
            "http://169.254.169.254/latest",
            "http://10.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://localhost/",
            "file:///etc/passwd",
            "ftp://192.0.2.1/",
            "http://user:pass@192.0.2.1/",
            "http://0/",
            "//192.0.2.1/",
            "x",
        ] {
            let answer = ask(&client, method, params(url)).await;
            assert_eq!(answer["error"]["code"], -32602, "{method} {url}: {answer}");
            assert!(!answer.to_string().contains("127.0.0.1"), "{answer}");
        }
        for url in ["https://192.0.2.1/news", "http://127.0.0.9:9/"] {
            assert!(ask(&client, method, params(url)).await.get("result").is_some(), "{method} {url}");
        }
    }
    gateway.reload(&yaml.replace("a2a: {}", "a2a: { pushNotifications: refused }")).await;
    let answer = ask(
        &client,
        "tasks/pushNotificationConfig/set",
        json!({"pushNotificationConfig": {"url": "https://192.0.2.1/"}}),
    )
    .await;
    assert_eq!(answer["error"]["code"], -32003);
    gateway.stop().await;
}

#[tokio::test]
async fn answers_that_are_none_are_errors_of_the_protocol() {
    let one = Agent::start("one");
    let gateway = Gateway::start(&agents(&[&one], "")).await;
    let client = Client::h1(gateway.addr(0));
    for text in ["garbage", "long", "page"] {
        let mut params = message(json!({}));
        params["message"]["parts"][0]["text"] = text.into();
        let asked = json!({"jsonrpc": "2.0", "id": "r", "method": "message/send", "params": params});
        let call = client.post("/").header("content-type", "application/json").body(asked.to_string());
        let answer = call.await.expect_status(502).json();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("r"), &json!(-32006)), "{text}");
    }
    let mut params = message(json!({}));
    params["message"]["parts"][0]["text"] = "who are you".into();
    let asked = json!({"jsonrpc": "2.0", "id": "r", "method": "SendMessage", "params": params});
    let call = client.post("/").header("content-type", "application/json").body(asked.to_string());
    let refused = call.await.expect_status(401);
    assert_eq!((refused.header("www-authenticate"), &*refused.text()), (Some("Bearer"), r#"{"error":"unauthorized"}"#));
    let answer = ask(&client, "GetTask", json!({"id": "x"})).await;
    assert_eq!(answer["error"]["code"], -32001, "and the connection goes on");
    gateway.stop().await;
}
