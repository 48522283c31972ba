//! What a small MCP server says unasked, and to which of a session's streams.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde_json::Value;
use tokio::sync::mpsc;

/// What is said in one session, from when it is first listened to.
#[derive(Default)]
pub(crate) struct Listening {
    said: Vec<Value>,
    heard: usize,
    newest: Option<mpsc::UnboundedSender<(usize, Value)>>,
    pub(crate) open: Arc<AtomicUsize>,
}

impl Listening {
    pub(crate) fn say(&mut self, said: Value) {
        self.said.push(said);
        self.tell();
    }

    fn tell(&mut self) {
        let Some(newest) = &self.newest else { return };
        for (at, said) in self.said.iter().enumerate().skip(self.heard) {
            if newest.send((at + 1, said.clone())).is_err() {
                return;
            }
            self.heard = at + 1;
        }
    }

    pub(crate) fn listen(&mut self, last: Option<usize>) -> mpsc::UnboundedReceiver<(usize, Value)> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.newest = Some(sender);
        self.heard = last.unwrap_or(self.heard).min(self.said.len());
        self.tell();
        receiver
    }
}
