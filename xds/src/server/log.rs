//! Who is connected, and what they refused.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{Node, Refusal};

/// Refusals remembered.
const NACKS_MAX: usize = 1000;

/// A response that a client did not take as a whole.
#[derive(Clone, Debug)]
pub struct Nack {
    pub node: String,
    pub group: String,
    pub at: SystemTime,
    pub refused: Vec<Refusal>,
}

/// A client with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub node: Node,
    pub group: String,
    /// Generation of the group's set that it was last sent in full, and last acknowledged.
    pub sent: u64,
    pub acknowledged: u64,
    /// Responses and resources sent over this stream.
    pub responses: u64,
    pub resources: u64,
    pub bytes: u64,
}

/// What is known of all clients. `changed` wakes whoever waits for the next event.
#[derive(Debug)]
pub struct Log {
    clients: Mutex<BTreeMap<u64, Client>>,
    nacks: Mutex<VecDeque<Nack>>,
    events: watch::Sender<u64>,
}

impl Default for Log {
    fn default() -> Self {
        Self { clients: Mutex::default(), nacks: Mutex::default(), events: watch::channel(0).0 }
    }
}

impl Log {
    /// Clients with a stream.
    pub fn clients(&self) -> Vec<Client> {
        self.clients.lock().values().cloned().collect()
    }

    /// The latest refusals, oldest first.
    pub fn nacks(&self) -> Vec<Nack> {
        self.nacks.lock().iter().cloned().collect()
    }

    /// Changes with each connection, acknowledgement and refusal.
    pub fn events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    pub(super) fn open(&self, stream: u64, node: Node, group: &str) {
        let group = group.to_owned();
        let client = Client { node, group, sent: 0, acknowledged: 0, responses: 0, resources: 0, bytes: 0 };
        self.clients.lock().insert(stream, client);
        self.wake();
    }

    pub(super) fn edit(&self, stream: u64, edit: impl FnOnce(&mut Client)) {
        if let Some(client) = self.clients.lock().get_mut(&stream) {
            edit(client);
        }
        self.wake();
    }

    pub(super) fn refused(&self, nack: Nack) {
        for it in &nack.refused {
            tracing::warn!(node = %nack.node, resource = %it.name, reason = %it.reason, "client refused a resource");
        }
        let mut nacks = self.nacks.lock();
        while nacks.len() >= NACKS_MAX {
            nacks.pop_front();
        }
        nacks.push_back(nack);
        drop(nacks);
        self.wake();
    }

    pub(super) fn close(&self, stream: u64) {
        self.clients.lock().remove(&stream);
        self.wake();
    }

    fn wake(&self) {
        self.events.send_modify(|it| *it += 1);
    }
}
