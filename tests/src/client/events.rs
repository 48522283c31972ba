//! Reading `text/event-stream`, with the time each event arrived.

use std::time::Instant;

use bytes::BytesMut;

use super::http::Streaming;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event` field; empty when there was none.
    pub name: String,
    /// The `data` fields, joined by newlines.
    pub data: String,
    pub id: Option<String>,
    pub at: Instant,
}

impl Event {
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.data) {
            Ok(value) => value,
            Err(error) => panic!("the event's data is not JSON ({error}): {}", self.data),
        }
    }
}

/// An event stream being read.
pub struct Events {
    pub answer: Streaming,
    pending: BytesMut,
}

impl Events {
    #[track_caller]
    pub fn new(answer: Streaming) -> Events {
        let content_type = answer.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with("text/event-stream"), "not an event stream: {} {content_type}", answer.status);
        Events { answer, pending: BytesMut::new() }
    }

    /// The next event; `None` when the stream ended properly, an error when it broke off.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some((end, skip)) = blank_line(&self.pending) {
                let block = self.pending.split_to(end + skip);
                if let Some(event) = parse(&String::from_utf8_lossy(&block[..end])) {
                    return Ok(Some(event));
                }
                continue;
            }
            match self.answer.chunk().await? {
                Some(chunk) => self.pending.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// Every event until the proper end; panics when the stream broke off.
    pub async fn all(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await.expect("an event stream with a proper end") {
            events.push(event);
        }
        events
    }
}

/// Where the first event ends, and how long its blank line is.
fn blank_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let find = |needle: &[u8]| bytes.windows(needle.len()).position(|it| it == needle).map(|at| (at, needle.len()));
    [find(b"\n\n"), find(b"\r\n\r\n"), find(b"\r\r")].into_iter().flatten().min()
}

/// `None` for a block of comments only.
fn parse(block: &str) -> Option<Event> {
    let mut event = Event { name: String::new(), data: String::new(), id: None, at: Instant::now() };
    let mut fields = 0;
    let mut data = Vec::new();
    for line in block.split(['\n', '\r']).filter(|it| !it.is_empty() && !it.starts_with(':')) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        fields += 1;
        match field {
            "event" => event.name = value.to_owned(),
            "data" => data.push(value),
            "id" => event.id = Some(value.to_owned()),
            _ => {}
        }
    }
    event.data = data.join("\n");
    (fields > 0).then_some(event)
}
