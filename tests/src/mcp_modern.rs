//! MCP without sessions (2026-07-28): a small server, and a client.
//!
//! Tools of the server: `echo` says its arguments back, `slow` reports progress, `ask` wants input first, `where` has an
//! argument that a header repeats, and says what the header said; `task` answers with a task, `hang` never. `grow` says that the list
//! has changed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Response};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::backend::{Answer, Asked, answer};
use crate::client::{Call, Events};
use crate::http::{channel, full};
use crate::{Backend, Client, Reply};

const VERSION: &str = "2026-07-28";
const META: &str = "io.modelcontextprotocol";

/// A server that knows nothing else.
pub struct ModernServer {
    pub backend: Backend,
    state: Arc<State>,
}

struct State {
    name: String,
    unasked: broadcast::Sender<Value>,
    /// Calls whose clients have left.
    left: AtomicUsize,
}

impl ModernServer {
    pub fn start(name: &str) -> ModernServer {
        let state =
            Arc::new(State { name: name.to_owned(), unasked: broadcast::channel(64).0, left: AtomicUsize::new(0) });
        let served = Arc::clone(&state);
        let backend = Backend::setup().named(name).http(move |asked| {
            let state = Arc::clone(&served);
            async move { State::answer(&state, &asked) }
        });
        ModernServer { backend, state }
    }

    /// Calls that were not waited for to the end.
    pub fn left(&self) -> usize {
        self.state.left.load(Ordering::SeqCst)
    }

    /// Streams that listen.
    pub fn listeners(&self) -> usize {
        self.state.unasked.receiver_count()
    }

    /// Says something to everybody who listens and wants to hear it.
    pub fn say(&self, method: &str, params: Value) {
        let _ = self.state.unasked.send(json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Messages of this method that came.
    pub fn asked(&self, method: &str) -> usize {
        let is = |it: &Asked| it.method == Method::POST && it.json()["method"] == method;
        self.backend.stats().seen().iter().filter(|it| is(it)).count()
    }

    /// The last message of this method.
    pub fn last(&self, method: &str) -> Value {
        let seen = self.backend.stats().seen();
        let last = seen.iter().rev().find(|it| it.method == Method::POST && it.json()["method"] == method);
        last.expect("such a message").json()
    }
}

impl State {
    fn answer(self: &Arc<Self>, asked: &Asked) -> Answer {
        if asked.method != Method::POST {
            return plain(405);
        }
        let message = asked.json();
        let (id, params) = (&message["id"], &message["params"]);
        let method = message["method"].as_str().unwrap_or_default();
        let refuse = |status: u16, code: i32, text: &str| {
            let error = json!({"code": code, "message": text});
            answer::with_type(
                status,
                "application/json",
                json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string(),
            )
        };
        let meta = &params["_meta"];
        if meta[format!("{META}/protocolVersion")] != VERSION || !meta[format!("{META}/clientCapabilities")].is_object()
        {
            return refuse(400, -32602, "Invalid params: _meta");
        }
        let name = params["name"].as_str().or(params["uri"].as_str()).or(params["taskId"].as_str());
        let named = matches!(method, "tools/call" | "prompts/get" | "resources/read");
        if asked.header("mcp-protocol-version") != Some(VERSION)
            || asked.header("mcp-method") != Some(method)
            || (named && asked.header("mcp-name") != name)
        {
            return refuse(400, -32020, "Header mismatch");
        }
        let result = match method {
            "server/discover" => self.discovered(),
            "tools/list" => self.tools(),
            "resources/read" => json!({"contents": [{"uri": params["uri"], "text": self.name}]}),
            "resources/list" => json!({"resources": [{"uri": format!("memo://{}/1", self.name), "name": "memo"}]}),
            "tasks/get" => json!({"taskId": params["taskId"], "status": "completed"}),
            "subscriptions/listen" => return self.listen(id.clone(), params["notifications"].clone()),
            "tools/call" if params["name"] == "hang" => return self.hang(),
            "tools/call" => match self.call(asked, params) {
                Ok(Some(result)) => result,
                Ok(None) => return slow(id, params),
                Err(text) => return refuse(400, -32020, text),
            },
            _ => return refuse(404, -32601, "Method not found"),
        };
        let mut result = result;
        if result["resultType"].is_null() {
            result["resultType"] = "complete".into();
        }
        answer::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }

    fn discovered(&self) -> Value {
        json!({"supportedVersions": [VERSION], "ttlMs": 1000, "cacheScope": "public",
            "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true},
                "extensions": {"io.modelcontextprotocol/tasks": {}}},
            "serverInfo": {"name": self.name, "version": "1"}, "instructions": format!("be kind to {}", self.name)})
    }

    fn tools(&self) -> Value {
        let plain =
            ["echo", "slow", "ask", "task", "grow"].map(|it| json!({"name": it, "inputSchema": {"type": "object"}}));
        let mut tools = plain.to_vec();
        tools.push(json!({"name": "where", "inputSchema": {"type": "object",
            "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}}));
        json!({"tools": tools, "ttlMs": 1000, "cacheScope": "public"})
    }

    /// Never answers, and notes when nobody waits any more.
    fn hang(self: &Arc<Self>) -> Answer {
        let (sender, body) = channel();
        let state = Arc::clone(self);
        tokio::spawn(async move {
            sender.data(": wait\n\n").await;
            sender.closed().await;
            state.left.fetch_add(1, Ordering::SeqCst);
        });
        stream(body)
    }

    /// `None`: in a stream.
    fn call(&self, asked: &Asked, params: &Value) -> Result<Option<Value>, &'static str> {
        let text = |text: String| json!({"content": [{"type": "text", "text": text}]});
        let arguments = &params["arguments"];
        Ok(Some(match params["name"].as_str().unwrap_or_default() {
            "echo" => text(format!("{}: {arguments}", self.name)),
            "where" => {
                let header = asked.header("mcp-param-region").ok_or("`Mcp-Param-Region` is missing")?;
                if arguments["region"] != header {
                    return Err("`Mcp-Param-Region` says something else");
                }
                text(format!("{}: {header}", self.name))
            }
            "ask" if params["inputResponses"]["who"].is_object() && params["requestState"] == "half-way" => {
                text(format!("{} heard {}", self.name, params["inputResponses"]["who"]))
            }
            "ask" => json!({"resultType": "input_required", "requestState": "half-way", "inputRequests":
                {"who": {"method": "elicitation/create", "params": {"message": "your name?"}}}}),
            "task" => json!({"resultType": "task", "taskId": "7", "status": "working"}),
            "grow" => {
                self.say_changed();
                text("grown".into())
            }
            _ => return Ok(None),
        }))
    }

    fn say_changed(&self) {
        let _ =
            self.unasked.send(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}));
    }

    fn listen(&self, id: Value, filter: Value) -> Answer {
        let (sender, body) = channel();
        let mut unasked = self.unasked.subscribe();
        tokio::spawn(async move {
            let meta = json!({format!("{META}/subscriptionId"): id});
            let said = |method: &str, mut params: Value| {
                params["_meta"] = meta.clone();
                format!("data: {}\n\n", json!({"jsonrpc": "2.0", "method": method, "params": params}))
            };
            let first = said("notifications/subscriptions/acknowledged", json!({"notifications": filter}));
            if !sender.data(first).await {
                return;
            }
            loop {
                let event = tokio::select! {
                    event = unasked.recv() => event,
                    () = sender.closed() => return,
                };
                let Ok(event) = event else { return };
                let (method, params) = (event["method"].as_str().unwrap_or_default(), event["params"].clone());
                let wanted = match method {
                    "notifications/tools/list_changed" => filter["toolsListChanged"] == true,
                    _ => filter["resourceSubscriptions"].as_array().is_some_and(|it| it.contains(&params["uri"])),
                };
                if wanted && !sender.data(said(method, params)).await {
                    return;
                }
            }
        });
        stream(body)
    }
}

fn slow(id: &Value, params: &Value) -> Answer {
    let (sender, body) = channel();
    let (id, token) = (id.clone(), params["_meta"]["progressToken"].clone());
    tokio::spawn(async move {
        for step in 1..=3 {
            let progress = json!({"progressToken": token, "progress": step});
            let event = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress});
            sender.data(format!("data: {event}\n\n")).await;
        }
        let result = json!({"resultType": "complete", "content": [{"type": "text", "text": "done"}]});
        sender.data(format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": id, "result": result}))).await;
    });
    stream(body)
}

fn plain(status: u16) -> Answer {
    Response::builder().status(status).body(full("")).expect("a status that HTTP allows")
}

fn stream(body: crate::http::Body) -> Answer {
    let builder = Response::builder().status(200).header("content-type", "text/event-stream");
    builder.body(body).expect("a content type that HTTP allows")
}

/// A client that says everything with each request.
pub struct ModernClient {
    addr: SocketAddr,
    path: String,
    pub capabilities: Value,
    pub headers: Vec<(String, String)>,
}

impl ModernClient {
    pub fn new(addr: SocketAddr, path: &str) -> ModernClient {
        let capabilities = json!({"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}});
        ModernClient { addr, path: path.to_owned(), capabilities, headers: Vec::new() }
    }

    /// With this header besides.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> ModernClient {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A request with its meta data.
    pub fn message(&self, method: &str, mut params: Value) -> Value {
        let meta = params["_meta"].take();
        params["_meta"] = if meta.is_object() { meta } else { json!({}) };
        params["_meta"][format!("{META}/protocolVersion")] = VERSION.into();
        params["_meta"][format!("{META}/clientInfo")] = json!({"name": "harness", "version": "1"});
        params["_meta"][format!("{META}/clientCapabilities")] = self.capabilities.clone();
        json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    }

    pub fn call_of(&self, message: &Value) -> Call {
        let params = &message["params"];
        let name = params["name"].as_str().or(params["uri"].as_str()).or(params["taskId"].as_str());
        let mut call = Client::h1(self.addr).call(Method::POST, &self.path);
        call = call.header("accept", "application/json, text/event-stream");
        call = call.header("mcp-protocol-version", VERSION);
        call = call.header("mcp-method", message["method"].as_str().unwrap_or_default());
        if let Some(name) = name {
            call = call.header("mcp-name", name);
        }
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        call.json(message)
    }

    pub async fn post(&self, method: &str, params: Value) -> Reply {
        self.call_of(&self.message(method, params)).await
    }

    /// All messages of an answer, of either form.
    pub async fn messages(&self, method: &str, params: Value) -> Vec<Value> {
        let reply = self.post(method, params).await;
        let text = reply.text();
        match reply.header("content-type") {
            Some("text/event-stream") => {
                let data = text.lines().filter_map(|it| it.strip_prefix("data: "));
                data.map(|it| serde_json::from_str(it).expect("JSON")).collect()
            }
            _ => vec![reply.json()],
        }
    }

    /// The answer.
    pub async fn ask(&self, method: &str, params: Value) -> Value {
        let answer = self.messages(method, params).await.pop().expect("an answer");
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }

    /// The text that a tool answers with.
    pub async fn text(&self, tool: &str, arguments: Value) -> String {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await;
        assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
        answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer}")).to_owned()
    }

    /// The answer as it comes.
    pub async fn stream(&self, method: &str, params: Value) -> Events {
        Events::new(self.call_of(&self.message(method, params)).stream().await)
    }
}
