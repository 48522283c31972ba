//! Who is connected, and what they refused.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{Node, Refusal};

/// Refusals remembered.
const NACKS_MAX: usize = 1000;
/// Resources remembered for each client as refused.
const REFUSED_MAX: usize = 100;

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
    pub peer: SocketAddr,
    pub since: SystemTime,
    /// What it refuses at present, by name, and why: the first hundred. Its last good version serves there, or what
    /// stands in for one that never was good.
    pub refused: BTreeMap<String, String>,
}

/// What is known of all clients. `changed` wakes whoever waits for the next event.
#[derive(Debug)]
pub struct Log {
    clients: Mutex<BTreeMap<u64, Client>>,
    nacks: Mutex<VecDeque<Nack>>,
    events: watch::Sender<u64>,
    /// Streams and refusals since the server began.
    totals: Mutex<Totals>,
}

/// Counts since the server began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub streams: u64,
    /// Responses that were not taken as a whole.
    pub nacks: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            clients: Mutex::default(),
            nacks: Mutex::default(),
            events: watch::channel(0).0,
            totals: Mutex::default(),
        }
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

    pub fn totals(&self) -> Totals {
        *self.totals.lock()
    }

    pub(super) fn open(&self, stream: u64, node: Node, group: &str, peer: SocketAddr) {
        tracing::info!(node = %node.id, group, %peer, version = %node.version, "client connected");
        let client = Client {
            node,
            group: group.to_owned(),
            sent: 0,
            acknowledged: 0,
            responses: 0,
            resources: 0,
            bytes: 0,
            peer,
            since: SystemTime::now(),
            refused: BTreeMap::new(),
        };
        self.clients.lock().insert(stream, client);
        self.totals.lock().streams += 1;
        self.wake();
    }

    pub(super) fn edit(&self, stream: u64, edit: impl FnOnce(&mut Client)) {
        if let Some(client) = self.clients.lock().get_mut(&stream) {
            edit(client);
        }
        self.wake();
    }

    pub(super) fn refused(&self, stream: u64, at: SystemTime, refused: Vec<Refusal>) {
        let mut clients = self.clients.lock();
        let Some(client) = clients.get_mut(&stream) else { return };
        for it in &refused {
            // A peer writes both texts: escaped, one refusal is one line.
            let (resource, reason) = (it.name.escape_debug(), it.reason.escape_debug());
            tracing::warn!(node = %client.node.id, %resource, %reason, "client refused a resource");
            if client.refused.len() < REFUSED_MAX || client.refused.contains_key(&it.name) {
                client.refused.insert(it.name.clone(), it.reason.clone());
            }
        }
        let nack = Nack { node: client.node.id.clone(), group: client.group.clone(), at, refused };
        drop(clients);
        let mut nacks = self.nacks.lock();
        while nacks.len() >= NACKS_MAX {
            nacks.pop_front();
        }
        nacks.push_back(nack);
        drop(nacks);
        self.totals.lock().nacks += 1;
        self.wake();
    }

    pub(super) fn close(&self, stream: u64) {
        let gone = self.clients.lock().remove(&stream);
        if let Some(client) = gone {
            tracing::info!(node = %client.node.id, peer = %client.peer, "client disconnected");
        }
        self.wake();
    }

    fn wake(&self) {
        self.events.send_modify(|it| *it += 1);
    }
}
