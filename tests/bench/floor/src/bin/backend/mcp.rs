//! An MCP server that does next to nothing, for `bench-backend`: it looks for what it needs in a message and reads no
//! JSON, so that it is not what is measured.
//!
//! Paths: `/mcp`, and below it `tools/<how many are listed>` and `events/<microseconds between two>[/ids]`: on the stream
//! of a session its events are numbered without a gap, each said to the stream that was opened last; with `ids` they
//! have ids, and a stream goes on after `Last-Event-ID`. `GET /mcp/counts` says how many messages came of each method.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Events of a session that are kept for a stream to come.
const KEPT_MAX: usize = 4096;
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const TAKEN: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

#[derive(Default)]
pub struct Mcp {
    counts: Mutex<BTreeMap<String, u64>>,
    sessions: Mutex<HashMap<String, Arc<Mutex<Session>>>>,
    lists: Mutex<HashMap<usize, Arc<str>>>,
}

#[derive(Default)]
struct Session {
    said: u64,
    /// Numbers that nobody has heard.
    kept: VecDeque<u64>,
    stream: Option<mpsc::UnboundedSender<u64>>,
}

impl Mcp {
    /// Answers a request for a path that begins with `/mcp`.
    pub async fn answer(self: &Arc<Self>, stream: &mut TcpStream, head: &str, body: &[u8]) -> io::Result<()> {
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path: Vec<&str> = path.split('/').skip(2).collect();
        match (method, path.first()) {
            ("GET", Some(&"counts")) => {
                let text = serde_json::to_string(&*self.counts.lock().expect("no panic under it")).expect("JSON");
                stream.write_all(&json("", &text)).await
            }
            ("GET", _) => self.listen(stream, head, path.contains(&"ids")).await,
            ("DELETE", _) => {
                self.sessions.lock().expect("no panic under it").remove(header(head, "mcp-session-id"));
                stream.write_all(&json("", "")).await
            }
            _ => {
                let answer = self.message(&path, &String::from_utf8_lossy(body));
                stream.write_all(&answer).await
            }
        }
    }

    fn message(self: &Arc<Self>, path: &[&str], body: &str) -> Vec<u8> {
        let method = part(body, "\"method\":", ",").trim_end_matches('}').trim().trim_matches('"');
        *self.counts.lock().expect("no panic under it").entry(method.to_owned()).or_default() += 1;
        let id = match part(body, "\"id\":", ",") {
            "" => return TAKEN.to_vec(),
            id => id.trim_end_matches('}').trim(),
        };
        let number = |at: usize| path.get(at).and_then(|it| it.parse().ok());
        let result: Arc<str> = match method {
            "initialize" => {
                let session = self.open(number(1).filter(|_| path.first() == Some(&"events")));
                let result = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"bench","version":"1"}}"#;
                let head = format!("mcp-session-id: {session}\r\n");
                return json(&head, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
            }
            "tools/list" => self.list(number(1).unwrap_or(1) as usize),
            "tools/call" => r#"{"content":[{"type":"text","text":"hello world"}]}"#.into(),
            _ => "{}".into(),
        };
        json("", &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
    }

    /// The result of a list of so many tools.
    fn list(&self, count: usize) -> Arc<str> {
        let mut lists = self.lists.lock().expect("no panic under it");
        let list = lists.entry(count).or_insert_with(|| {
            let one = |at| {
                let name = if at == 0 { "echo".to_owned() } else { format!("tool_{at}") };
                let text = "Looks a record up by its key and says what is written there, as text.";
                let schema = r#"{"type":"object","properties":{"key":{"type":"string","description":"Which record."},"limit":{"type":"integer","minimum":1}},"required":["key"]}"#;
                format!(r#"{{"name":"{name}","description":"{text}","inputSchema":{schema}}}"#)
            };
            let tools: Vec<_> = (0..count).map(one).collect();
            format!(r#"{{"tools":[{}]}}"#, tools.join(",")).into()
        });
        list.clone()
    }

    fn open(&self, pause: Option<u64>) -> String {
        let session = Arc::<Mutex<Session>>::default();
        let mut sessions = self.sessions.lock().expect("no panic under it");
        let name = format!("s{}", sessions.len());
        sessions.insert(name.clone(), session.clone());
        if let Some(pause) = pause {
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_micros(pause));
                loop {
                    ticks.tick().await;
                    session.lock().expect("no panic under it").say();
                }
            });
        }
        name
    }

    async fn listen(&self, stream: &mut TcpStream, head: &str, ids: bool) -> io::Result<()> {
        let name = header(head, "mcp-session-id").to_owned();
        let session = self.sessions.lock().expect("no panic under it").get(&name).cloned();
        let Some(session) = session else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        };
        let last = header(head, "last-event-id").parse().ok().filter(|_| ids);
        let mut events = session.lock().expect("no panic under it").listen(last, ids);
        stream.write_all(STREAM).await?;
        let mut byte = [0];
        loop {
            let number = tokio::select! {
                number = events.recv() => match number {
                    Some(number) => number,
                    // Another stream has taken its place.
                    None => return stream.write_all(b"0\r\n\r\n").await,
                },
                read = stream.read(&mut byte) => match read? {
                    0 => return Ok(()),
                    _ => continue,
                },
            };
            let id = if ids { format!("id: {number}\n") } else { String::new() };
            let event = format!(
                "{id}data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"level\":\"info\",\"data\":\"{name}:{number}\"}}}}\n\n"
            );
            stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        }
    }
}

impl Session {
    fn say(&mut self) {
        self.said += 1;
        let said = self.stream.as_ref().is_some_and(|it| it.send(self.said).is_ok());
        if said {
            return;
        }
        self.kept.push_back(self.said);
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }

    /// A stream with what was not heard; with ids, with what came after the last.
    fn listen(&mut self, last: Option<u64>, ids: bool) -> mpsc::UnboundedReceiver<u64> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let missed = match ids {
            true => (last.unwrap_or(0) + 1..=self.said).collect(),
            false => std::mem::take(&mut self.kept),
        };
        for number in missed {
            // The receiver is here.
            let _ = sender.send(number);
        }
        self.stream = Some(sender);
        receiver
    }
}

fn json(head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}content-length: {length}\r\n\r\n{body}").into()
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|it| it.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
}

/// What stands between the first `from` and the next `to`, or to the end.
fn part<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).map_or("", |(_, rest)| rest);
    rest.split(to).next().unwrap_or_default()
}
