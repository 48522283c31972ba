//! News of tasks by way of the gateway: agents are told a URL of ours, clients get news with the ids that they know, and
//! whoever has no ticket gets nothing sent.

use serde_json::{Value, json};
use tests::gateway::Lineage;
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, eventually};

use super::{agents, ask, message};
use crate::agent::Agent;

/// The place that the client wants news at, on a server that may be dialled.
struct Hook(Backend);

impl Hook {
    fn new() -> Hook {
        Hook(Backend::http(|asked| async move {
            match asked.uri.path() {
                "/gone" => tests::backend::answer::text(410, "gone"),
                "/hangs" => std::future::pending().await,
                "/elsewhere" => {
                    let mut answer = tests::backend::answer::text(307, "");
                    answer.headers_mut().insert("location", http::HeaderValue::from_static("/news"));
                    answer
                }
                _ => tests::backend::answer::text(202, "thanks"),
            }
        }))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0.addr())
    }
}

/// A gateway that relays, whose address agents know; and its configuration.
async fn relaying(all: &[&Agent], policies: &str) -> (Gateway, String) {
    let yaml = agents(all, policies).replace("  logging:", "  egressAllow: [127.0.0.1]\n  logging:");
    let gateway = Gateway::start(&yaml).await;
    let terms = format!("a2a: {{ pushNotifications: relayed, relayUrl: 'http://{}' }}", gateway.addr(0));
    let yaml = yaml.replace("a2a: {}", &terms);
    gateway.reload(&yaml).await;
    (gateway, yaml)
}

/// What a client writes of where it wants news.
fn wish(new: bool, url: &str) -> Value {
    let authentication = if new {
        json!({"scheme": "Basic", "credentials": "secret-credentials"})
    } else {
        json!({"schemes": ["Basic", "Bearer"], "credentials": "secret-credentials"})
    };
    json!({"id": "c1", "url": url, "token": "secret-token", "authentication": authentication})
}

/// Path and query of the URL that the agent was told, which names the gateway.
fn told<'a>(gateway: &Gateway, config: &'a Value) -> &'a str {
    let url = config["url"].as_str().expect("a URL");
    assert!(!config.to_string().contains("secret-"), "the agent sees no secret: {config}");
    let own = format!("http://{}", gateway.addr(0));
    url.strip_prefix(&own).unwrap_or_else(|| panic!("{url} is not at {own}"))
}

/// What an agent sends of a task of its own.
fn news(new: bool, task: &str, context: &str) -> Value {
    let state = if new { "TASK_STATE_COMPLETED" } else { "completed" };
    match new {
        true => json!({"statusUpdate": {"taskId": task, "contextId": context, "status": {"state": state}}}),
        false => json!({"kind": "task", "id": task, "contextId": context, "status": {"state": state}}),
    }
}

async fn send(client: &Client, path: &str, news: &Value) -> tests::Reply {
    client.post(path).header("content-type", "application/json").body(news.to_string()).await
}

/// Has a task made whose news go to `url`; its ids as the client knows them, and the path that the agent was told.
async fn subscribed(gateway: &Gateway, one: &Agent, url: &str) -> (Value, String) {
    let mut params = message(json!({}));
    params["configuration"] = json!({"taskPushNotificationConfig": wish(true, url)});
    let task = ask(&Client::h1(gateway.addr(0)), "SendMessage", params).await["result"]["task"].clone();
    let seen = one.last().json()["params"]["configuration"]["taskPushNotificationConfig"].clone();
    (task, told(gateway, &seen).to_owned())
}

#[tokio::test]
async fn news_reach_the_client_with_its_ids_its_token_and_its_credentials() {
    let all: Vec<Agent> = ["a", "b", "c"].map(Agent::start).into();
    let (gateway, _) = relaying(&all.iter().collect::<Vec<_>>(), "").await;
    let (client, hook) = (Client::h1(gateway.addr(0)), Hook::new());
    for round in 0..8 {
        let (new, url) = (round % 2 == 0, hook.url(&format!("/news?round={round}")));
        let before: Vec<u64> = all.iter().map(|it| it.backend.stats().requests()).collect();
        let mut params = message(if round < 4 { json!({}) } else { json!({"contextId": "mine"}) });
        let member = if new { "taskPushNotificationConfig" } else { "pushNotificationConfig" };
        params["configuration"] = json!({ member: wish(new, &url) });
        let sent = ask(&client, if new { "SendMessage" } else { "message/send" }, params).await["result"].clone();
        let task = if new { sent["task"].clone() } else { sent };
        let asked = all.iter().zip(before).find(|(it, before)| it.backend.stats().requests() > *before);
        let seen = asked.expect("one was asked").0.last().json();
        let own = seen["params"]["configuration"][member].clone();
        let name = task["artifacts"][0]["parts"][0]["text"].as_str().unwrap_or_default();
        let id = format!("task-{name}-{}", asked.map_or(0, |(it, _)| it.tasks() - 1));
        let context = if round < 4 { format!("context-{id}") } else { "mine".to_owned() };
        send(&client, told(&gateway, &own), &news(new, &id, &context)).await.expect_status(202);
        let got = hook.0.stats().last();
        assert_eq!(got.uri.to_string(), format!("/news?round={round}"));
        for header in ["x-a2a-notification-token", "a2a-notification-token"] {
            assert_eq!(got.header(header), Some("secret-token"));
        }
        assert_eq!(got.header("authorization"), Some("Basic secret-credentials"));
        let got = got.json();
        let got = if new { got["statusUpdate"].clone() } else { got };
        let got_id = if new { &got["taskId"] } else { &got["id"] };
        assert_eq!((got_id, &got["contextId"]), (&task["id"], &task["contextId"]), "{got}");
    }
    eventually(PATIENCE, || async {
        let lines = gateway.access_lines();
        let ours =
            lines.iter().filter(|it| it["a2a.method"] == "PushNotification" && it["a2a.task.state"] == "completed");
        ours.filter(|it| !it.to_string().contains("a2a-push")).count() == 8
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_configuration_comes_back_as_the_client_wrote_it_in_json_and_over_rest() {
    let one = Agent::start("one");
    let (gateway, _) = relaying(&[&one], "").await;
    let (client, hook) = (Client::h1(gateway.addr(0)), Hook::new());
    for new in [true, false] {
        let task = ask(&client, "SendMessage", message(json!({}))).await["result"]["task"].clone();
        let own = format!("task-one-{}", one.tasks() - 1);
        let config = wish(new, &hook.url("/news"));
        let mut params = if new { config.clone() } else { json!({ "pushNotificationConfig": config }) };
        params["taskId"] = task["id"].clone();
        let names = match new {
            true => {
                ["CreateTaskPushNotificationConfig", "GetTaskPushNotificationConfig", "ListTaskPushNotificationConfigs"]
            }
            false => [
                "tasks/pushNotificationConfig/set",
                "tasks/pushNotificationConfig/get",
                "tasks/pushNotificationConfig/list",
            ],
        };
        let made = ask(&client, names[0], params.clone()).await["result"].clone();
        assert_eq!(made, params, "as it was written");
        let seen = one.last().json()["params"].clone();
        assert_eq!(seen["taskId"], own);
        let inner = if new { seen } else { seen["pushNotificationConfig"].clone() };
        send(&client, told(&gateway, &inner), &news(new, &own, "c")).await.expect_status(202);
        assert!(hook.0.stats().last().text().contains(task["id"].as_str().unwrap_or_default()));
        // Of another task nothing is sent with this ticket.
        send(&client, told(&gateway, &inner), &news(new, "task-one-99", "c")).await.expect_status(400);
        let reference = match new {
            true => json!({"taskId": task["id"], "id": "c1"}),
            false => json!({"id": task["id"], "pushNotificationConfigId": "c1"}),
        };
        assert_eq!(ask(&client, names[1], reference.clone()).await["result"], params);
        let list = ask(&client, names[2], reference).await["result"].clone();
        assert_eq!(if new { list["configs"][0].clone() } else { list[0].clone() }, params);
        let path = format!("/rest/tasks/{}/pushNotificationConfigs", task["id"].as_str().unwrap_or_default());
        if new {
            let call = client.post(&path).header("content-type", "application/json").body(config.to_string());
            let made = call.await.expect_status(200).json();
            assert_eq!((&made["url"], &made["token"]), (&config["url"], &config["token"]), "{made}");
            let seen = one.last().json();
            send(&client, told(&gateway, &seen), &news(new, &own, "c")).await.expect_status(202);
            let got = client.get(&format!("{path}/c1")).await.expect_status(200).json();
            assert_eq!(got["authentication"], config["authentication"]);
        }
    }
    gateway.stop().await;
}

/// What hangs is left after ten seconds, and takes no more than its share meanwhile.
#[tokio::test]
async fn a_client_that_does_not_answer_its_news_holds_nobody_up() {
    const UNDER_WAY_MAX: usize = 256;
    let one = Agent::start("one");
    let (gateway, _) = relaying(&[&one], "").await;
    let hook = Hook::new();
    let (_, path) = subscribed(&gateway, &one, &hook.url("/hangs")).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..UNDER_WAY_MAX {
        let (client, path) = (Client::h1(gateway.addr(0)), path.clone());
        waiting.spawn(async move { send(&client, &path, &news(true, "task-one-0", "c")).await.status.as_u16() });
    }
    eventually(PATIENCE, || async { hook.0.stats().requests() == UNDER_WAY_MAX as u64 }).await;
    let client = Client::h1(gateway.addr(0));
    send(&client, &path, &news(true, "task-one-0", "c")).await.expect_status(503);
    ask(&client, "SendMessage", message(json!({}))).await["result"]["task"]["id"].as_str().expect("others are served");
    let statuses = waiting.join_all().await;
    assert!(statuses.iter().all(|it| *it == 504), "{statuses:?}");
    // Their places are free again.
    let (_, path) = subscribed(&gateway, &one, &hook.url("/news")).await;
    send(&client, &path, &news(true, "task-one-2", "c")).await.expect_status(202);
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_ticket_that_holds_nothing_is_sent() {
    let one = Agent::start("one");
    let (gateway, yaml) = relaying(&[&one], "").await;
    let (client, hook) = (Client::h1(gateway.addr(0)), Hook::new());
    let (task, path) = subscribed(&gateway, &one, &hook.url("/news")).await;
    let asked = one.backend.stats().requests();
    let said = news(true, "task-one-0", "c");
    let other = |at: usize| if &path[at..=at] == "A" { "B" } else { "A" };
    let forged = |at: usize| format!("{}{}{}", &path[..at], other(at), &path[at + 1..]);
    for (path, status) in [
        (path[..path.len() - 5].to_owned(), 404),
        (forged(40), 404),
        (forged(path.len() - 8), 404),
        ("/?a2a-push=x".to_owned(), 404),
        (format!("/?a2a-push={}", task["id"].as_str().unwrap_or_default()), 404),
    ] {
        let refused = send(&client, &path, &said).await.expect_status(status).json();
        assert_eq!(refused["error"]["details"][0]["reason"], "TASK_NOT_FOUND", "{path}");
    }
    for (body, kind, status) in [
        ("{", "application/json", 400),
        ("[]", "application/json", 400),
        (r#"{"x":1}"#, "application/json", 400),
        (r#"{"kind":"task","id":"t"}"#, "text/plain", 400),
        ("", "application/json", 400),
    ] {
        let call = client.post(&path).header("content-type", kind).body(body.to_owned());
        call.await.expect_status(status);
    }
    let coded = client.post(&path).header("content-type", "application/json").header("content-encoding", "gzip");
    coded.body(said.to_string()).await.expect_status(400);
    let large = json!({"kind": "task", "id": "task-one-0", "x": "x".repeat(4 << 20)});
    send(&client, &path, &large).await.expect_status(413);
    assert_eq!((hook.0.stats().requests(), one.backend.stats().requests()), (0, asked), "nobody was asked");
    // What is deleted is not heard of any more, and what is made again is.
    let reference = json!({"taskId": task["id"], "id": "c1"});
    ask(&client, "DeleteTaskPushNotificationConfig", reference.clone()).await;
    eventually(PATIENCE, || async { send(&client, &path, &said).await.status == 404 }).await;
    let sent = hook.0.stats().requests();
    send(&client, &path, &said).await.expect_status(404);
    assert_eq!(hook.0.stats().requests(), sent);
    let mut again = wish(true, &hook.url("/news"));
    again["taskId"] = task["id"].clone();
    ask(&client, "CreateTaskPushNotificationConfig", again).await;
    let path = told(&gateway, &one.last().json()["params"]).to_owned();
    eventually(PATIENCE, || async { send(&client, &path, &said).await.status == 202 }).await;
    // Where news do not come by the gateway any more, agents hear so.
    let checked = yaml.replace("pushNotifications: relayed, relayUrl", "pushNotifications: checked } #");
    gateway.reload(&checked).await;
    send(&client, &path, &said).await.expect_status(400);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_take_news_is_tried_and_never_followed() {
    let one = Agent::start("one");
    let (gateway, _) = relaying(&[&one], "").await;
    let (client, hook) = (Client::h1(gateway.addr(0)), Hook::new());
    let (_, path) = subscribed(&gateway, &one, &hook.url("/news")).await;
    let own = |it: usize| news(true, &format!("task-one-{it}"), "c");
    hook.0.stats().fail_next(2, 503);
    send(&client, &path, &own(0)).await.expect_status(202);
    hook.0.stats().fail_next(3, 503);
    send(&client, &path, &own(0)).await.expect_status(502);
    for (at, (place, status)) in [("/gone", 410), ("/elsewhere", 502)].into_iter().enumerate() {
        let (_, path) = subscribed(&gateway, &one, &hook.url(place)).await;
        let before = hook.0.stats().requests();
        send(&client, &path, &own(at + 1)).await.expect_status(status);
        assert_eq!(hook.0.stats().requests(), before + 1, "{place}");
    }
    let gone = Hook::new();
    let (_, path) = subscribed(&gateway, &one, &gone.url("/news")).await;
    gone.0.down().await;
    send(&client, &path, &own(3)).await.expect_status(502);
    // What may not be dialled is refused before the agent hears of it.
    let asked = one.backend.stats().requests();
    for url in ["http://169.254.169.254/", "http://10.0.0.1/", "ftp://127.0.0.1/", "x"] {
        let mut params = message(json!({}));
        params["configuration"] = json!({"taskPushNotificationConfig": {"url": url}});
        assert_eq!(ask(&client, "SendMessage", params).await["error"]["code"], -32602, "{url}");
    }
    for (member, value) in [("token", "a\nb"), ("token", &"x".repeat(5000)), ("url", "http://127.0.0.1:9/x")] {
        // Twice: `id` stays, and another is beside it.
        let mut params = message(json!({}));
        params["configuration"] = json!({"taskPushNotificationConfig": wish(true, &hook.url("/news"))});
        match member {
            "url" => params["configuration"]["pushNotificationConfig"] = json!({ "url": value }),
            _ => params["configuration"]["taskPushNotificationConfig"][member] = value.into(),
        }
        let refused = ask(&client, "SendMessage", params).await;
        assert_eq!(refused["error"]["code"], -32602, "{member}: {refused}");
    }
    assert_eq!(one.backend.stats().requests(), asked, "the agent was not asked");
    gateway.stop().await;
}

#[tokio::test]
async fn any_replica_with_the_key_sends_news_on_and_a_successor_does_too() {
    let one = Agent::start("one");
    let (gateway, yaml) = relaying(&[&one], "").await;
    let hook = Hook::new();
    let (task, path) = subscribed(&gateway, &one, &hook.url("/news")).await;
    let said = news(true, "task-one-0", "c");
    let replica = Gateway::start(&yaml).await;
    send(&Client::h1(replica.addr(0)), &path, &said).await.expect_status(202);
    assert_eq!(hook.0.stats().last().json()["statusUpdate"]["taskId"], task["id"]);
    replica.stop().await;
    let stranger = Gateway::start(&yaml.replace("000102", "ff0102")).await;
    send(&Client::h1(stranger.addr(0)), &path, &said).await.expect_status(404);
    stranger.stop().await;
    let other = Gateway::start(&yaml.replace("name: agents", "name: others")).await;
    send(&Client::h1(other.addr(0)), &path, &said).await.expect_status(404);
    other.stop().await;
    let client = Client::h1(gateway.addr(0));
    ask(&client, "DeleteTaskPushNotificationConfig", json!({"taskId": task["id"], "id": "c1"})).await;
    let (_, second) = subscribed(&gateway, &one, &hook.url("/news")).await;
    eventually(PATIENCE, || async { send(&client, &path, &said).await.status == 404 }).await;
    let mut lineage = Lineage::new(gateway);
    lineage.upgrade().await;
    let client = Client::h1(lineage.gateway().addr(0));
    send(&client, &second, &news(true, "task-one-1", "c")).await.expect_status(202);
    send(&client, &path, &said).await.expect_status(404);
    lineage.stop().await;
}
