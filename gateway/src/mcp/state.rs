//! What is known of a server: whether it fails, and what it listed last.
//!
//! It belongs to the name of backend and target and outlives configurations, as clusters do. A server that fails
//! [`FAILURES_MAX`] times in a row is left alone for [`REST`]; then one request finds out.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use ir::{BackendKey, Text};
use parking_lot::Mutex;
use protocols::mcp::{List, Naming};

use super::openapi::Known;
use super::shape::Note;
use super::talk::Talk;

/// Failures in a row after which a server is left alone.
const FAILURES_MAX: u32 = 3;
/// How long.
const REST: Duration = Duration::from_secs(5);
/// How long a list is good that nobody said has changed.
const LIST_TTL: Duration = Duration::from_secs(30);
/// Lists kept of one server: one for each set of credentials and revision.
const LISTS_MAX: usize = 64;
/// Findings remembered of one server; after more they are told again.
const TOLD_MAX: usize = 10_000;
/// Servers remembered before dead ones are swept.
const SWEEP: usize = 256;

/// All servers.
#[derive(Default)]
pub struct Register(Mutex<HashMap<(BackendKey, Text), Weak<State>>>);

impl Register {
    pub fn state(&self, backend: &BackendKey, target: &Text) -> Arc<State> {
        let mut table = self.0.lock();
        if table.len() >= SWEEP && table.len().is_power_of_two() {
            table.retain(|_, it| it.strong_count() > 0);
        }
        let slot = table.entry((backend.clone(), target.clone())).or_default();
        if let Some(state) = slot.upgrade() {
            return state;
        }
        let state = Arc::<State>::default();
        *slot = Arc::downgrade(&state);
        state
    }
}

/// One server.
#[derive(Default)]
pub struct State {
    breaker: Mutex<Breaker>,
    lists: Mutex<HashMap<ListKey, Kept>>,
    /// What an API is described by.
    pub(super) api: tokio::sync::Mutex<Known>,
    /// Digests of findings that were told.
    told: Mutex<HashSet<u64>>,
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    /// Left alone until then.
    until: Option<Instant>,
}

/// Whose list: what is listed, as which names, and for whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListKey {
    pub list: List,
    pub naming: (bool, bool),
    /// Of the policies that shape it; 0 where none do.
    pub shape: u64,
    /// A digest of what the server could tell clients apart by.
    pub audience: u64,
}

impl ListKey {
    pub fn new(list: List, naming: Naming, audience: u64) -> Self {
        Self { list, naming: (naming.names, naming.uris), shape: 0, audience }
    }

    /// As it is for an exchange.
    pub(super) fn shaped(list: List, talk: &Talk) -> Self {
        let shaping = talk.shaping.as_ref().filter(|_| list == List::Tools);
        let shape = shaping.map_or(0, |it| it.fingerprint);
        Self { shape, ..Self::new(list, talk.federation.naming, talk.audience) }
    }
}

/// Items of a server, ready to be sent.
#[derive(Default)]
pub struct Items {
    /// What each is called at the server, and the item as clients see it.
    pub items: Vec<(String, String)>,
    /// Of each, where tools are compared with those of other servers.
    pub(super) notes: Vec<Note>,
}

struct Kept {
    items: Arc<Items>,
    since: Instant,
}

impl State {
    /// Whether the server may be asked now.
    pub fn admits(&self, now: Instant) -> bool {
        let mut breaker = self.breaker.lock();
        match breaker.until {
            Some(until) if now < until => false,
            Some(_) => {
                // One finds out; the others wait for what it says.
                breaker.until = Some(now + REST);
                true
            }
            None => true,
        }
    }

    pub fn succeeded(&self) {
        let mut breaker = self.breaker.lock();
        *breaker = Breaker::default();
    }

    pub fn failed(&self, now: Instant) {
        let mut breaker = self.breaker.lock();
        breaker.failures = breaker.failures.saturating_add(1);
        if breaker.failures >= FAILURES_MAX {
            breaker.until = Some(now + REST);
        }
    }

    /// Whether a finding about a definition was not told yet.
    pub fn is_news(&self, finding: &str, tool: &str, hash: &[u8; 32]) -> bool {
        static HASHER: OnceLock<RandomState> = OnceLock::new();
        let digest = HASHER.get_or_init(RandomState::new).hash_one((finding, tool, hash));
        let mut told = self.told.lock();
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(digest)
    }

    /// A list that is still good.
    pub fn list(&self, key: &ListKey, now: Instant) -> Option<Arc<Items>> {
        let lists = self.lists.lock();
        let kept = lists.get(key)?;
        (now.saturating_duration_since(kept.since) < LIST_TTL).then(|| kept.items.clone())
    }

    /// A list however old, for want of a better one.
    pub fn last_list(&self, key: &ListKey) -> Option<Arc<Items>> {
        self.lists.lock().get(key).map(|it| it.items.clone())
    }

    pub fn keep_list(&self, key: ListKey, items: Arc<Items>, now: Instant) {
        let mut lists = self.lists.lock();
        if lists.len() >= LISTS_MAX && !lists.contains_key(&key) {
            let oldest = lists.iter().min_by_key(|(_, it)| it.since).map(|(key, _)| *key);
            oldest.map(|it| lists.remove(&it));
        }
        lists.insert(key, Kept { items, since: now });
    }

    /// The server says that these lists are others now.
    pub fn changed(&self, changed: &[List]) {
        if !changed.is_empty() {
            self.lists.lock().retain(|key, _| !changed.contains(&key.list));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_fails_is_left_alone_and_then_tried_by_one() {
        let state = State::default();
        let start = Instant::now();
        for _ in 0..FAILURES_MAX {
            assert!(state.admits(start));
            state.failed(start);
        }
        assert!(!state.admits(start));
        let later = start + REST;
        assert!(state.admits(later), "one finds out");
        assert!(!state.admits(later), "and only one");
        state.succeeded();
        assert!(state.admits(later) && state.admits(later));
    }

    #[test]
    fn lists_are_good_until_they_are_old_or_said_to_have_changed() {
        let state = State::default();
        let start = Instant::now();
        let key = |list, audience| ListKey::new(list, Naming::PLAIN, audience);
        let items = || Arc::new(Items { items: vec![("a".into(), "{}".into())], ..Items::default() });
        state.keep_list(key(List::Tools, 1), items(), start);
        state.keep_list(key(List::Prompts, 1), items(), start);
        assert!(state.list(&key(List::Tools, 1), start).is_some());
        assert!(state.list(&key(List::Tools, 2), start).is_none(), "another's list is not shown");
        assert!(state.list(&key(List::Tools, 1), start + LIST_TTL).is_none());
        assert!(state.last_list(&key(List::Tools, 1)).is_some());
        state.changed(&[List::Tools]);
        assert!(state.last_list(&key(List::Tools, 1)).is_none());
        assert!(state.list(&key(List::Prompts, 1), start).is_some());
        for audience in 0..2 * LISTS_MAX as u64 {
            state.keep_list(key(List::Tools, audience), items(), start);
        }
        assert!(state.lists.lock().len() <= LISTS_MAX);
    }
}
