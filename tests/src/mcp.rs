//! A small MCP server over Streamable HTTP, and a client that speaks it through the gateway.
//!
//! Tools of the server: `echo` says its arguments back, `slow` reports progress and then answers, `ask` asks the client
//! for input first, `link` answers with a resource, `fail` fails, `hang` never answers, `html` answers with a page,
//! `die` breaks the stream off; `paced` says what it says when it is told to, and is not listed. `grow` adds a tool and says that the list has changed.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{broadcast, oneshot, watch};

use crate::backend::{Answer, Asked, answer};
use crate::client::{Call, Events};
use crate::http::{BodySender, channel, full};
use crate::mcp_listening::Listening;
use crate::{Backend, Client, Reply};

/// A server and what it remembers.
pub struct McpServer {
    pub backend: Backend,
    state: Arc<State>,
}

struct State {
    name: String,
    sessions: Mutex<HashSet<String>>,
    next: AtomicU64,
    /// Sessions are not used.
    sessionless: bool,
    /// There is no stream of what nobody asked for.
    mute: bool,
    grown: AtomicBool,
    /// In the place of its own tools.
    offered: Mutex<Option<Vec<Value>>>,
    listening: Mutex<HashMap<String, Listening>>,
    streams: Arc<AtomicUsize>,
    /// Events have no ids, and cannot be asked for again.
    anonymous: AtomicBool,
    /// A session has one stream, and a second one is refused.
    single: AtomicBool,
    /// Requests for streams are not answered.
    held: watch::Sender<bool>,
    /// Requests for streams that wait.
    waiting_streams: AtomicUsize,
    /// Lets calls of `paced` go on.
    paces: broadcast::Sender<()>,
    /// Answers of clients that calls wait for, by id.
    waiting: Mutex<Vec<(Value, oneshot::Sender<Value>)>>,
}

impl McpServer {
    pub fn start(name: &str) -> McpServer {
        McpServer::with(name, false, false)
    }

    /// Without sessions, and without a stream.
    pub fn sessionless(name: &str) -> McpServer {
        McpServer::with(name, true, true)
    }

    fn with(name: &str, sessionless: bool, mute: bool) -> McpServer {
        let state = Arc::new(State {
            name: name.to_owned(),
            sessions: Mutex::default(),
            next: AtomicU64::new(1),
            sessionless,
            mute,
            grown: AtomicBool::new(false),
            offered: Mutex::default(),
            listening: Mutex::default(),
            streams: Arc::default(),
            anonymous: AtomicBool::new(false),
            single: AtomicBool::new(false),
            held: watch::Sender::new(false),
            waiting_streams: AtomicUsize::new(0),
            paces: broadcast::channel(64).0,
            waiting: Mutex::default(),
        });
        let served = Arc::clone(&state);
        let backend = Backend::setup().named(name).http(move |asked| {
            let state = Arc::clone(&served);
            async move { state.answer(asked).await }
        });
        McpServer { backend, state }
    }

    /// Sessions that are open.
    pub fn sessions(&self) -> usize {
        self.state.sessions.lock().expect("no panic under the lock").len()
    }

    /// Lists these tools from now on, and says that the list has changed.
    pub fn offer(&self, tools: Vec<Value>) {
        *self.state.offered.lock().expect("no panic under the lock") = Some(tools);
        self.say("notifications/tools/list_changed", json!({}));
    }

    /// Forgets them, as a restart would.
    pub fn forget(&self) {
        self.state.sessions.lock().expect("no panic under the lock").clear();
    }

    /// Says something unasked to everybody who listens.
    pub fn say(&self, method: &str, params: Value) {
        self.state.say(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Streams that listen.
    pub fn listeners(&self) -> usize {
        self.state.streams.load(Ordering::SeqCst)
    }

    /// Gives events no ids from now on.
    pub fn anonymous(&self) {
        self.state.anonymous.store(true, Ordering::SeqCst);
    }

    /// Refuses a session a second stream from now on.
    pub fn single(&self) {
        self.state.single.store(true, Ordering::SeqCst);
    }

    /// Answers no request for a stream, or those that wait and all to come.
    pub fn hold_streams(&self, held: bool) {
        self.state.held.send_replace(held);
    }

    /// Requests for streams that wait for an answer.
    pub fn held_streams(&self) -> usize {
        self.state.waiting_streams.load(Ordering::SeqCst)
    }

    /// Lets each call of `paced` say one thing more; the third is its answer.
    pub fn pace(&self) {
        let _ = self.state.paces.send(());
    }

    /// Calls of `paced` that wait.
    pub fn paced(&self) -> usize {
        self.state.paces.receiver_count()
    }

    /// Messages of this method that came.
    pub fn asked(&self, method: &str) -> usize {
        let is = |it: &Asked| it.method == Method::POST && it.json()["method"] == method;
        self.backend.stats().seen().iter().filter(|it| is(it)).count()
    }
}

impl State {
    async fn answer(self: Arc<Self>, asked: Asked) -> Answer {
        let session = asked.header("mcp-session-id").map(str::to_owned);
        let known = |id: &String| self.sessions.lock().expect("no panic under the lock").contains(id);
        let opening = asked.method == Method::POST && asked.json()["method"] == "initialize";
        if !self.sessionless && !opening && !session.as_ref().is_some_and(known) {
            return status(404);
        }
        match asked.method {
            Method::GET if self.mute => status(405),
            Method::GET => {
                self.waiting_streams.fetch_add(1, Ordering::SeqCst);
                let free = self.held.subscribe().wait_for(|it| !*it).await.is_ok();
                self.waiting_streams.fetch_sub(1, Ordering::SeqCst);
                assert!(free, "the server lives");
                self.listen(&asked, session.unwrap_or_default())
            }
            Method::DELETE => {
                self.sessions.lock().expect("no panic under the lock").remove(&session.unwrap_or_default());
                status(200)
            }
            _ => self.message(asked.json()).await,
        }
    }

    fn say(&self, said: &Value) {
        self.listening.lock().expect("no panic under the lock").values_mut().for_each(|it| it.say(said.clone()));
    }

    /// The session's stream; what is said goes into the newest, and into no other.
    fn listen(&self, asked: &Asked, session: String) -> Answer {
        let anonymous = self.anonymous.load(Ordering::SeqCst);
        let last = asked.header("last-event-id").and_then(|it| it.parse().ok()).filter(|_| !anonymous);
        let (mut said, open) = {
            let mut listening = self.listening.lock().expect("no panic under the lock");
            let listening = listening.entry(session).or_default();
            if self.single.load(Ordering::SeqCst) && listening.open.load(Ordering::SeqCst) > 0 {
                return status(409);
            }
            listening.open.fetch_add(1, Ordering::SeqCst);
            (listening.listen(last), listening.open.clone())
        };
        let (sender, body) = channel();
        let streams = Arc::clone(&self.streams);
        streams.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let said = async {
                while let Some((number, said)) = said.recv().await {
                    let id = if anonymous { String::new() } else { format!("id: {number}\n") };
                    if !sender.data(format!("{id}data: {said}\n\n")).await {
                        return;
                    }
                }
                sender.closed().await;
            };
            tokio::select! {
                () = said => {}
                () = sender.closed() => {}
            }
            streams.fetch_sub(1, Ordering::SeqCst);
            open.fetch_sub(1, Ordering::SeqCst);
        });
        stream(body)
    }

    async fn message(self: Arc<Self>, message: Value) -> Answer {
        let id = message["id"].clone();
        let Some(method) = message["method"].as_str() else {
            let mut waiting = self.waiting.lock().expect("no panic under the lock");
            if let Some(at) = waiting.iter().position(|(wanted, _)| *wanted == id) {
                let _ = waiting.remove(at).1.send(message);
            }
            return status(202);
        };
        if id.is_null() {
            return status(202);
        }
        let params = &message["params"];
        let result = match method {
            "initialize" => return self.open(&id, params),
            "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => json!({}),
            "tools/list" => json!({"tools": self.tools()}),
            "prompts/list" => json!({"prompts": [{"name": "greet", "arguments": [{"name": "who"}]}]}),
            "prompts/get" => json!({"messages": [{"role": "user",
                "content": {"type": "text", "text": format!("{}: {}", self.name, params["name"])}}]}),
            "resources/list" => json!({"resources": [{"uri": format!("memo://{}/1", self.name), "name": "memo"}]}),
            "resources/templates/list" => {
                json!({"resourceTemplates": [{"uriTemplate": format!("memo://{}/{{n}}", self.name), "name": "memos"}]})
            }
            "resources/read" => json!({"contents": [{"uri": params["uri"], "text": self.name}]}),
            "completion/complete" => json!({"completion": {"values": [params["ref"].to_string()]}}),
            "tools/call" => return self.call(id, params.clone()).await,
            _ => {
                let error = json!({"code": -32601, "message": "Method not found"});
                return answer::json(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
            }
        };
        answer::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }

    fn open(&self, id: &Value, params: &Value) -> Answer {
        let result = json!({
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {"listChanged": true}, "prompts": {}, "resources": {"subscribe": true},
                "completions": {}, "logging": {}},
            "serverInfo": {"name": self.name, "version": "1"},
            "instructions": format!("be kind to {}", self.name),
        });
        let mut opened = answer::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
        if !self.sessionless {
            let session = format!("{}-{}", self.name, self.next.fetch_add(1, Ordering::SeqCst));
            opened.headers_mut().insert("mcp-session-id", session.parse().expect("a header's value"));
            self.sessions.lock().expect("no panic under the lock").insert(session);
        }
        opened
    }

    fn tools(&self) -> Vec<Value> {
        if let Some(offered) = &*self.offered.lock().expect("no panic under the lock") {
            return offered.clone();
        }
        let mut names = vec!["echo", "slow", "ask", "link", "fail", "hang", "html", "die", "grow"];
        if self.grown.load(Ordering::SeqCst) {
            names.push("grown");
        }
        names.iter().map(|it| json!({"name": it, "inputSchema": {"type": "object"}})).collect()
    }

    async fn call(self: Arc<Self>, id: Value, params: Value) -> Answer {
        let text = |text: String| json!({"content": [{"type": "text", "text": text}]});
        let result = match params["name"].as_str().unwrap_or_default() {
            "echo" => text(format!("{}: {}", self.name, params["arguments"])),
            "link" => {
                json!({"content": [{"type": "resource_link", "uri": format!("memo://{}/1", self.name), "name": "memo"}]})
            }
            "fail" => json!({"isError": true, "content": [{"type": "text", "text": "it failed"}]}),
            "html" => return answer::with_type(200, "text/html", "<html>"),
            "hang" => std::future::pending().await,
            "grow" => {
                self.grown.store(true, Ordering::SeqCst);
                self.say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
                text("grown".into())
            }
            "slow" | "ask" | "die" | "paced" => {
                let (sender, body) = channel();
                tokio::spawn(self.converse(id, params, sender));
                return stream(body);
            }
            name => {
                let error = json!({"code": -32602, "message": format!("Unknown tool: {name}")});
                return answer::json(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
            }
        };
        answer::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }

    async fn converse(self: Arc<Self>, id: Value, params: Value, out: BodySender) {
        let say = |value: Value| format!("event: message\ndata: {value}\n\n");
        let token = &params["_meta"]["progressToken"];
        match params["name"].as_str() {
            Some("slow") => {
                for step in 1..=3 {
                    let progress = json!({"progressToken": token, "progress": step});
                    let event = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress});
                    out.data(say(event)).await;
                }
            }
            Some("paced") => {
                let mut paces = self.paces.subscribe();
                for step in 1..=3 {
                    if paces.recv().await.is_err() {
                        return;
                    }
                    if step < 3 {
                        let progress = json!({"progressToken": token, "progress": step});
                        let event = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress});
                        out.data(say(event)).await;
                    }
                }
            }
            Some("ask") => {
                let asking = json!(self.next.fetch_add(1, Ordering::SeqCst));
                let (sender, receiver) = oneshot::channel();
                self.waiting.lock().expect("no panic under the lock").push((asking.clone(), sender));
                let request = json!({"jsonrpc": "2.0", "id": asking, "method": "elicitation/create",
                    "params": {"message": "your name?"}});
                out.data(say(request)).await;
                let Ok(answered) = receiver.await else { return };
                let text = format!("{} heard {}", self.name, answered["result"]);
                let result = json!({"content": [{"type": "text", "text": text}]});
                out.data(say(json!({"jsonrpc": "2.0", "id": id, "result": result}))).await;
                return;
            }
            _ => {
                out.data(say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}))).await;
                return out.abort().await;
            }
        }
        let result = json!({"content": [{"type": "text", "text": format!("{}: done", self.name)}]});
        out.data(say(json!({"jsonrpc": "2.0", "id": id, "result": result}))).await;
    }
}

fn status(status: u16) -> Answer {
    Response::builder().status(status).body(full("")).expect("a status that HTTP allows")
}

fn stream(body: crate::http::Body) -> Answer {
    let builder = Response::builder().status(StatusCode::OK).header("content-type", "text/event-stream");
    builder.body(body).expect("a content type that HTTP allows")
}

/// A client in a session.
pub struct McpClient {
    client: Client,
    addr: SocketAddr,
    path: String,
    pub session: Option<String>,
    /// The result of `initialize`.
    pub opened: Value,
    headers: Vec<(String, String)>,
}

impl McpClient {
    /// Opens a session.
    pub async fn open(addr: SocketAddr, path: &str) -> McpClient {
        McpClient::open_with(addr, path, &[]).await
    }

    /// Opens a session, with these headers in every request.
    pub async fn open_with(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> McpClient {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (client, path) = (Client::h1(addr), path.to_owned());
        let mut it = McpClient { client, addr, path, session: None, opened: Value::Null, headers };
        let reply = it.post(&opening("2025-06-18")).await.expect_status(200);
        it.session = reply.header("mcp-session-id").map(str::to_owned);
        it.opened = reply.json()["result"].clone();
        assert!(it.opened.is_object(), "not opened: {}", reply.text());
        it.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await.expect_status(202);
        it
    }

    /// The same session over another connection, maybe to another process.
    #[must_use]
    pub fn over(&self, addr: SocketAddr) -> McpClient {
        let (path, session, opened) = (self.path.clone(), self.session.clone(), self.opened.clone());
        McpClient { client: Client::h1(addr), addr, path, session, opened, headers: self.headers.clone() }
    }

    fn call_of(&self, method: Method) -> Call {
        self.call_over(&self.client, method)
    }

    fn call_over(&self, client: &Client, method: Method) -> Call {
        let mut call = client.call(method, &self.path).header("accept", "application/json, text/event-stream");
        if let Some(session) = &self.session {
            call = call.header("mcp-session-id", session).header("mcp-protocol-version", "2025-06-18");
        }
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        call
    }

    /// Posts a message.
    pub async fn post(&self, message: &Value) -> Reply {
        self.call_of(Method::POST).json(message).await
    }

    /// Asks, and takes an answer of either form: the last message that is one.
    pub async fn ask(&self, method: &str, params: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let reply = self.post(&message).await.expect_status(200);
        let text = reply.text();
        let answer = match reply.header("content-type") {
            Some("text/event-stream") => {
                let data = text.lines().filter_map(|it| it.strip_prefix("data: ")).next_back().expect("an event");
                serde_json::from_str(data).expect("JSON")
            }
            _ => reply.json(),
        };
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }

    /// Calls a tool; its result or error.
    pub async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// The text that a tool answers with.
    pub async fn text(&self, tool: &str, arguments: Value) -> String {
        let answer = self.call(tool, arguments).await;
        answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer}")).to_owned()
    }

    /// What a list says, by this member of its items.
    pub async fn list(&self, method: &str, key: &str, member: &str) -> Vec<String> {
        let answer = self.ask(method, json!({})).await;
        let items = answer["result"][key].as_array().unwrap_or_else(|| panic!("no list: {answer}"));
        items.iter().map(|it| it[member].as_str().expect("a text").to_owned()).collect()
    }

    /// Asks, and reads the events of the answer.
    pub async fn stream(&self, method: &str, params: Value) -> Events {
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        // A stream has a connection of its own.
        let call = self.call_over(&Client::h1(self.addr), Method::POST).json(&message);
        Events::new(call.stream().await)
    }

    /// The stream of what nobody asked for.
    pub async fn listen(&self, last: Option<&str>) -> Events {
        let mut call = self.call_over(&Client::h1(self.addr), Method::GET);
        if let Some(last) = last {
            call = call.header("last-event-id", last);
        }
        Events::new(call.stream().await)
    }

    /// The whole answer to the question for a stream, where that is none.
    pub async fn resume(&self, last: &str) -> Reply {
        self.call_over(&Client::h1(self.addr), Method::GET).header("last-event-id", last).await
    }

    pub async fn end(&self) -> Reply {
        self.call_of(Method::DELETE).await
    }
}

/// A request to open a session.
pub fn opening(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "harness", "version": "1"}}})
}
