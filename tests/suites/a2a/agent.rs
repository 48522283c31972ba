//! A small agent of both versions, over JSON-RPC and REST: it keeps tasks, says who it is in their artifacts, and
//! misbehaves where the text of a message asks for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use http::{Method, Response};
use serde_json::{Value, json};
use tests::Backend;
use tests::backend::{Answer, Asked, answer};
use tests::http::{BodySender, channel};

/// Seconds of a day, one for each task of all agents: no two are made at once.
static CLOCK: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Agent {
    pub(crate) backend: Backend,
    state: Arc<State>,
}

struct State {
    name: String,
    /// Contexts of tasks, and when they were made.
    tasks: Mutex<HashMap<String, (String, u32)>>,
    /// What the card is, in place of the usual.
    card: Mutex<Option<String>>,
    /// The configuration for news that was made last.
    config: Mutex<Option<Value>>,
    /// Events that streams are to send, and who waits for them.
    streams: Mutex<Vec<BodySender>>,
}

impl Agent {
    pub(crate) fn start(name: &str) -> Agent {
        let state = Arc::new(State {
            name: name.to_owned(),
            tasks: Mutex::default(),
            card: Mutex::default(),
            config: Mutex::default(),
            streams: Mutex::default(),
        });
        let served = Arc::clone(&state);
        let backend = Backend::setup().named(name).http(move |asked| {
            let state = Arc::clone(&served);
            async move { state.answer(&asked) }
        });
        Agent { backend, state }
    }

    pub(crate) fn set_card(&self, card: impl Into<String>) {
        *self.state.card.lock().expect("no panic under the lock") = Some(card.into());
    }

    /// The stream that was opened last.
    pub(crate) fn stream(&self) -> Option<BodySender> {
        self.state.streams.lock().expect("no panic under the lock").pop()
    }

    /// Requests that came with this path.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.backend.stats().seen().iter().filter(|it| it.uri.path() == path).count()
    }

    /// How many tasks it has.
    pub(crate) fn tasks(&self) -> usize {
        self.state.tasks.lock().expect("no panic under the lock").len()
    }

    /// The last message that came, as it came.
    pub(crate) fn last(&self) -> Asked {
        self.backend.stats().seen().pop().expect("a request")
    }
}

/// What both versions call the same.
fn old_name(method: &str) -> &str {
    match method {
        "SendMessage" => "message/send",
        "SendStreamingMessage" => "message/stream",
        "GetTask" => "tasks/get",
        "CancelTask" => "tasks/cancel",
        "SubscribeToTask" => "tasks/resubscribe",
        "CreateTaskPushNotificationConfig" => "tasks/pushNotificationConfig/set",
        "GetTaskPushNotificationConfig" => "tasks/pushNotificationConfig/get",
        "ListTaskPushNotificationConfigs" => "tasks/pushNotificationConfig/list",
        "DeleteTaskPushNotificationConfig" => "tasks/pushNotificationConfig/delete",
        other => other,
    }
}

impl State {
    fn answer(&self, asked: &Asked) -> Answer {
        if asked.method == Method::GET && asked.uri.path().contains("/.well-known/") {
            let card = self.card.lock().expect("no panic under the lock").clone();
            return answer::with_type(200, "application/json", card.unwrap_or_else(|| card_of(&self.name)));
        }
        if let Some(path) = asked.uri.path().strip_prefix("/rest") {
            return self.rest(asked, path);
        }
        let message = asked.json();
        let (id, method, params) = (&message["id"], message["method"].as_str().unwrap_or_default(), &message["params"]);
        let new = old_name(method) != method;
        let wrap = |it: Value| json!({"jsonrpc": "2.0", "id": id, "result": it});
        let error = |code: i32, text: &str| {
            answer::json(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}))
        };
        if params["message"]["parts"][0]["text"] == "who are you" {
            let mut refused = answer::with_type(401, "application/json", r#"{"error":"unauthorized"}"#);
            refused.headers_mut().insert("www-authenticate", http::HeaderValue::from_static("Bearer"));
            return refused;
        }
        match old_name(method) {
            "message/send" => match self.send(&params["message"], new) {
                Ok(Some(task)) => answer::json(&wrap(if new { json!({"task": task}) } else { task })),
                Ok(None) => answer::with_type(200, "application/json", "{\"jsonrpc\":\"2.0\",\"id\":"),
                Err("<html>") => answer::with_type(200, "text/html", "<html>"),
                Err(text) => error(-32001, text),
            },
            "message/stream" | "tasks/resubscribe" => self.open(params, new, id),
            "tasks/get" | "tasks/cancel" => match self.task(params["id"].as_str().unwrap_or_default(), new) {
                Some(task) => answer::json(&wrap(task)),
                None => error(-32001, "no such task"),
            },
            "ListTasks" => {
                answer::json(&wrap(self.list(params["pageToken"].as_str(), params["pageSize"].as_u64(), true)))
            }
            method if method.starts_with("tasks/pushNotificationConfig/") => {
                answer::json(&wrap(self.config(method, params, new)))
            }
            _ => error(-32601, "method not found"),
        }
    }

    fn rest(&self, asked: &Asked, path: &str) -> Answer {
        let new = !path.starts_with("/v1/");
        let path = path.strip_prefix("/v1").unwrap_or(path);
        let body = if asked.body.is_empty() { Value::Null } else { asked.json() };
        let found = match path {
            "/message:send" => self.send(&body["message"], new).ok().flatten().map(|it| json!({ "task": it })),
            "/tasks" => {
                let size = asked.query("pageSize").and_then(|it| it.parse().ok());
                let mut list = self.list(asked.query("pageToken").as_deref(), size, new);
                list["asked"] = json!(asked.query("contextId"));
                Some(list)
            }
            path if path.contains("/pushNotificationConfigs") => {
                let method = if asked.method == Method::POST { "/set" } else { "/get" };
                Some(self.config(method, &body, new))
            }
            path => path.strip_prefix("/tasks/").and_then(|id| self.task(id.trim_end_matches(":cancel"), new)),
        };
        match found {
            Some(found) => answer::json(&found),
            None => answer::with_type(404, "application/json", r#"{"error":{"code":404}}"#),
        }
    }

    /// The latest first, at most three at a time; the token is how many came before.
    fn list(&self, token: Option<&str>, size: Option<u64>, new: bool) -> Value {
        let tasks = self.tasks.lock().expect("no panic under the lock");
        let mut ids: Vec<_> = tasks.iter().map(|(id, (_, at))| (std::cmp::Reverse(*at), id.clone())).collect();
        drop(tasks);
        ids.sort();
        let size = size.map_or(3, |it| usize::try_from(it).unwrap_or(3).min(3));
        let from: usize = token.filter(|it| !it.is_empty()).map_or(0, |it| it.parse().expect("a token of our own"));
        let tasks: Vec<_> = ids.iter().skip(from).take(size).filter_map(|(_, id)| self.task(id, new)).collect();
        let next = if from + size < ids.len() { (from + size).to_string() } else { String::new() };
        json!({"tasks": tasks, "nextPageToken": next, "pageSize": size, "totalSize": ids.len()})
    }

    /// Keeps one configuration, whatever task it is of.
    fn config(&self, method: &str, params: &Value, new: bool) -> Value {
        let mut config = self.config.lock().expect("no panic under the lock");
        match method.rsplit('/').next() {
            Some("set") => *config = Some(params.clone()),
            Some("delete") => return config.take().map_or(Value::Null, |_| Value::Null),
            _ => {}
        }
        let kept = config.clone().unwrap_or_default();
        match (method.ends_with("/list"), new) {
            (true, true) => json!({ "configs": [kept] }),
            (true, false) => json!([kept]),
            _ => kept,
        }
    }

    fn task(&self, id: &str, new: bool) -> Option<Value> {
        let (context, at) = self.tasks.lock().expect("no panic under the lock").get(id)?.clone();
        let timestamp = format!("2025-01-01T{:02}:{:02}:{:02}.5Z", at / 3600, at / 60 % 60, at % 60);
        let state = if new { "TASK_STATE_COMPLETED" } else { "completed" };
        Some(json!({
            "history": [{"messageId": "m0", "taskId": id, "contextId": context}],
            "id": id,
            "contextId": context,
            "kind": "task",
            "status": {"state": state, "timestamp": timestamp, "message": {"taskId": id, "messageId": "m2"}},
            "artifacts": [{"artifactId": "a1", "parts": [{"text": self.name}]}],
        }))
    }

    fn send(&self, message: &Value, new: bool) -> Result<Option<Value>, &'static str> {
        match message["parts"][0]["text"].as_str().unwrap_or_default() {
            "garbage" => return Ok(None),
            "page" => return Err("<html>"),
            "long" => return Ok(Some(json!({"id": "x".repeat(600), "kind": "task"}))),
            _ => {}
        }
        let mut tasks = self.tasks.lock().expect("no panic under the lock");
        let id = match message["taskId"].as_str() {
            Some(id) if tasks.contains_key(id) => id.to_owned(),
            Some(_) => return Err("no such task"),
            None => format!("task-{}-{}", self.name, tasks.len()),
        };
        let context = message["contextId"].as_str().map_or(format!("context-{id}"), str::to_owned);
        let made = tasks.get(&id).map_or_else(|| CLOCK.fetch_add(1, Ordering::Relaxed), |(_, at)| *at);
        tasks.insert(id.clone(), (context, made));
        drop(tasks);
        Ok(self.task(&id, new))
    }

    /// A stream that begins with the task; what follows is sent by the test.
    fn open(&self, params: &Value, new: bool, id: &Value) -> Answer {
        let task = match params["id"].as_str() {
            Some(task) => self.task(task, new),
            None => self.send(&params["message"], new).ok().flatten(),
        };
        let Some(task) = task else {
            return answer::json(
                &json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32001, "message": "no such task"}}),
            );
        };
        let result = if new { json!({ "task": task }) } else { task };
        let (sender, body) = channel();
        let first =
            format!(": hello\n\nid: 1\nevent: x\ndata: {}\n\n", json!({"jsonrpc": "2.0", "id": id, "result": result}));
        let streams = &self.streams;
        let sent = futures::executor::block_on(sender.data(first));
        assert!(sent, "somebody reads");
        streams.lock().expect("no panic under the lock").push(sender);
        let answer = Response::builder().header("content-type", "text/event-stream");
        answer.body(body).expect("a valid answer")
    }
}

pub(crate) fn card_of(name: &str) -> String {
    json!({
        "name": name,
        "url": "http://10.0.0.7:9999/rpc",
        "supportedInterfaces": [
            {"url": "http://10.0.0.7:9999/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": "http://10.0.0.7:9999/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"},
            {"url": "10.0.0.7:50051", "protocolBinding": "GRPC", "protocolVersion": "1.0"},
        ],
        "provider": {"url": "https://maker.example"},
        "skills": [{"id": "s"}],
    })
    .to_string()
}
