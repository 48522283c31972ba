//! Ids that were opened not long ago: what clients show with each message is not opened each time.
//!
//! A place for each hash and no more: who comes later takes it. Only what has opened is here, and it is given to who
//! shows the same id in the same scope, byte by byte; hashes are keyed, so that nobody can choose a place.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use protocols::mcp::session::{Name, Session};

/// Places, a few kilobytes each at most.
const PLACES: usize = 1024;
/// Longest id that is remembered. Most are far shorter.
const ID_BYTES_MAX: usize = 4 * 1024;

/// See the file.
pub(super) struct Recent {
    places: Box<[Mutex<Option<Arc<Known>>>]>,
    hashes: RandomState,
}

struct Known {
    id: Box<str>,
    scope: Box<[u8]>,
    name: Name,
    session: Arc<Session>,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect(), hashes: RandomState::default() }
    }

    fn place(&self, id: &str, scope: &[u8]) -> Option<&Mutex<Option<Arc<Known>>>> {
        self.places.get(self.hashes.hash_one((id, scope)) as usize % PLACES)
    }

    /// What this id has opened to.
    pub(super) fn get(&self, id: &str, scope: &[u8]) -> Option<(Name, Arc<Session>)> {
        let known = self.place(id, scope)?.lock().clone()?;
        (*known.id == *id && *known.scope == *scope).then(|| (known.name, known.session.clone()))
    }

    /// Remembers what an id has opened to.
    pub(super) fn put(&self, id: &str, scope: &[u8], name: Name, session: Arc<Session>) {
        if id.len() > ID_BYTES_MAX {
            return;
        }
        if let Some(place) = self.place(id, scope) {
            let gone = place.lock().replace(Arc::new(Known { id: id.into(), scope: scope.into(), name, session }));
            // Freed without the lock.
            drop(gone);
        }
    }

    /// Forgets all: the keys are others.
    pub(super) fn clear(&self) {
        self.places.iter().for_each(|it| *it.lock() = None);
    }
}

#[cfg(test)]
mod tests {
    use protocols::mcp::Version;
    use protocols::mcp::session::Servers;

    use super::*;

    fn session(client: &str) -> Arc<Session> {
        let (client, servers) = (client.to_owned(), Servers::default());
        Arc::new(Session { began: 1, owner: 0, version: Version::V2025_11_25, client, servers })
    }

    #[test]
    fn an_id_is_known_in_its_scope_alone_and_until_the_keys_change() {
        let recent = Recent::new();
        recent.put("id", b"alice", [1; 12], session("a"));
        assert_eq!(recent.get("id", b"alice").map(|(name, it)| (name, it.client.clone())), Some(([1; 12], "a".into())));
        for (id, scope) in [("id", "mallory"), ("ie", "alice"), ("ida", "lice"), ("i", "dalice"), ("", "")] {
            assert!(recent.get(id, scope.as_bytes()).is_none(), "{id} {scope}");
        }
        recent.clear();
        assert!(recent.get("id", b"alice").is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let recent = Recent::new();
        for id in 0..4 * PLACES {
            recent.put(&id.to_string(), b"", [0; 12], session(""));
        }
        let known = (0..4 * PLACES).filter(|id| recent.get(&id.to_string(), b"").is_some()).count();
        assert!((PLACES / 2..=PLACES).contains(&known), "{known}");
        let long = "x".repeat(ID_BYTES_MAX + 1);
        recent.put(&long, b"", [0; 12], session(""));
        assert!(recent.get(&long, b"").is_none());
    }
}
