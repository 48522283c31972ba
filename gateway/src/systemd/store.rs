//! The descriptor store: every listening socket also lies with the service manager, so that even a crash refuses
//! no connection.
//!
//! The manager keeps what it is given until it is told otherwise, so a socket whose bind has gone must be given up:
//! its port would stay open with nobody behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::activation::stored_name;
use super::notify::Supervisor;
use crate::listen::Offer;

/// Which socket lies under which name, by inode.
pub type Stored = BTreeMap<String, u64>;

/// What lies with the manager, as far as this process knows.
#[derive(Debug)]
pub struct Store {
    supervisor: Arc<Supervisor>,
    stored: Stored,
}

impl Store {
    /// `stored`: what a predecessor left there.
    pub fn new(supervisor: Arc<Supervisor>, stored: Stored) -> Self {
        Self { supervisor, stored }
    }

    /// Stores what is open and not stored, gives up what is stored and not open. Blocking.
    pub fn follow(&mut self, open: &[Offer]) {
        let open: Vec<_> =
            open.iter().map(|it| (stored_name(&it.key, &it.address), inode(&it.socket), &it.socket)).collect();
        let wanted: BTreeSet<(&String, u64)> = open.iter().map(|(name, inode, _)| (name, *inode)).collect();
        let mut gone = Vec::new();
        for (name, inode) in &self.stored {
            if !wanted.contains(&(name, *inode)) {
                gone.push(name.clone());
            }
        }
        for name in gone {
            if self.supervisor.forget(&name) {
                self.stored.remove(&name);
            }
        }
        for (name, inode, socket) in open {
            if !self.stored.contains_key(&name) && self.supervisor.store(&name, socket.as_fd()) {
                self.stored.insert(name, inode);
            }
        }
    }
}

/// The names under which a predecessor that runs has stored what it offers.
pub fn left_by(offers: &[Offer]) -> Stored {
    offers.iter().map(|it| (stored_name(&it.key, &it.address), inode(&it.socket))).collect()
}

/// What tells one socket from another that has its address; 0 where the kernel does not say.
pub(super) fn inode(socket: impl AsFd) -> u64 {
    rustix::fs::fstat(socket).map_or(0, |it| it.st_ino)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
