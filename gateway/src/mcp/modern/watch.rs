//! What elder clients have asked for in a session and servers of the era without sessions want to hear with each request:
//! resources that are watched, and the level of log messages. This process knows, and no other.

use std::collections::BTreeSet;
use std::sync::Arc;

use ir::Text;
use parking_lot::Mutex;
use protocols::mcp::session::Name;
use tokio::sync::Notify;

use crate::bounded::Bounded;

/// Sessions of which something is remembered.
const WATCHED_MAX: usize = 16 * 1024;
/// Resources that one session watches at one server.
pub(in crate::mcp) const RESOURCES_MAX: usize = 256;

/// One session with one server.
#[derive(Default)]
pub(in crate::mcp) struct Watch {
    wanted: Mutex<Wanted>,
    /// Somebody who listens has to ask anew.
    pub(in crate::mcp) changed: Notify,
}

#[derive(Default)]
struct Wanted {
    resources: BTreeSet<String>,
    log: Option<String>,
}

impl Watch {
    /// Whether there was room.
    pub(super) fn subscribe(&self, uri: &str, wanted: bool) -> bool {
        let mut held = self.wanted.lock();
        if !wanted {
            held.resources.remove(uri);
        } else if held.resources.len() < RESOURCES_MAX {
            held.resources.insert(uri.to_owned());
        } else {
            return false;
        }
        drop(held);
        self.changed.notify_one();
        true
    }

    pub(super) fn resources(&self) -> Vec<String> {
        self.wanted.lock().resources.iter().cloned().collect()
    }

    pub(super) fn set_log(&self, level: &str) {
        self.wanted.lock().log = Some(level.to_owned());
    }

    pub(super) fn log(&self) -> Option<String> {
        self.wanted.lock().log.clone()
    }
}

/// All sessions.
pub(in crate::mcp) struct Watches(Mutex<Bounded<(Name, Text), Arc<Watch>>>);

impl Default for Watches {
    fn default() -> Self {
        Self(Mutex::new(Bounded::new(WATCHED_MAX)))
    }
}

impl Watches {
    pub(in crate::mcp) fn of(&self, name: &Name, target: &Text) -> Arc<Watch> {
        self.0.lock().entry((*name, target.clone()))
    }

    /// What is known, if anything is.
    pub(super) fn known(&self, name: &Name, target: &Text) -> Option<Arc<Watch>> {
        self.0.lock().get(&(*name, target.clone()))
    }

    pub(in crate::mcp) fn forget(&self, name: &Name, target: &Text) {
        self.0.lock().remove(&(*name, target.clone()));
    }
}
