//! What is known of a server: whether it fails, and what it listed last.
//!
//! It belongs to the name of backend and target and outlives configurations, as clusters do. A server that fails
//! [`FAILURES_MAX`] times in a row is left alone for [`REST`]; then one request finds out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ir::{BackendKey, Text};
use parking_lot::Mutex;
use protocols::mcp::{List, Naming, slim};

use super::openapi::Known;
use super::shape::Note;
use super::talk::Talk;

/// Failures in a row after which a server is left alone.
const FAILURES_MAX: u32 = 3;
/// How long.
pub(super) const REST: Duration = Duration::from_secs(5);
/// How long a list is good that nobody said has changed.
const LIST_TTL: Duration = Duration::from_secs(30);
/// Lists kept of one server: one for each set of credentials and revision.
const LISTS_MAX: usize = 64;
/// How long it is believed that a server does not speak the era without sessions.
const LEGACY_TTL: Duration = Duration::from_secs(300);
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

    /// All servers, by backend and name.
    pub fn figures(&self) -> Vec<(BackendKey, Text, Figures)> {
        let now = Instant::now();
        let table = self.0.lock();
        let live = table.iter().filter_map(|((backend, target), it)| Some((backend, target, it.upgrade()?)));
        let mut all: Vec<_> =
            live.map(|(backend, target, it)| (backend.clone(), target.clone(), it.figures(now))).collect();
        all.sort_by(|a, b| (a.0.as_str(), &*a.1).cmp(&(b.0.as_str(), &*b.1)));
        all
    }

    /// The same for the admin page.
    pub fn report(&self) -> serde_json::Value {
        let one = |(backend, target, it): &(BackendKey, Text, Figures)| {
            let lists: serde_json::Map<_, _> = it
                .lists
                .iter()
                .map(|(name, it)| {
                    let Listed { items, bytes, age } = it;
                    let shown = serde_json::json!({"items": items, "bytes": bytes, "tokens": it.tokens(),
                        "ageSeconds": age.as_secs()});
                    ((*name).to_owned(), shown)
                })
                .collect();
            serde_json::json!({"backend": backend.as_str(), "target": &**target, "up": it.up,
                "failuresInARow": it.failures, "era": format!("{:?}", it.era).to_lowercase(), "lists": lists})
        };
        serde_json::json!({"servers": self.figures().iter().map(one).collect::<Vec<_>>()})
    }
}

/// One server.
#[derive(Default)]
pub struct State {
    breaker: Mutex<Breaker>,
    lists: Mutex<HashMap<ListKey, Kept>>,
    /// What it was found to speak, and when.
    era: Mutex<Option<(Era, Instant)>>,
    /// It knows no `initialize`.
    modern_only: AtomicBool,
    /// What it said of itself in `initialize`, by audience.
    about: Mutex<HashMap<u64, Bytes>>,
    /// What an API is described by.
    pub(super) api: tokio::sync::Mutex<Known>,
    /// Digests of findings that were told.
    told: Mutex<HashSet<u64>>,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    Unknown,
    Legacy,
    Modern,
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    /// Left alone until then.
    until: Option<Instant>,
    /// Somebody asks whether it is back.
    probed: bool,
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
        let shaping = talk.shaping.as_ref().filter(|it| it.shapes(list));
        let shape = shaping.map_or(0, |it| it.fingerprint);
        Self { shape, ..Self::new(list, talk.federation.naming, talk.audience()) }
    }
}

/// What operators see of a server.
#[derive(Clone, Debug)]
pub struct Figures {
    /// It is not left alone.
    pub up: bool,
    /// In a row.
    pub failures: u32,
    pub era: Era,
    /// Last good lists.
    pub lists: BTreeMap<&'static str, Listed>,
}

/// A list of a server, as clients see it.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    pub items: usize,
    /// Of all definitions.
    pub bytes: usize,
    pub age: Duration,
}

impl Listed {
    /// About how much of a model's context the definitions take.
    pub fn tokens(&self) -> usize {
        slim::tokens(self.bytes)
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
    bytes: usize,
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

    /// Whether somebody should ask from now on when it is back.
    pub fn failed(&self, now: Instant) -> bool {
        let mut breaker = self.breaker.lock();
        breaker.failures = breaker.failures.saturating_add(1);
        if breaker.failures < FAILURES_MAX {
            return false;
        }
        breaker.until = Some(now + REST);
        !std::mem::replace(&mut breaker.probed, true)
    }

    /// Nobody asks any more.
    pub fn probed(&self) {
        self.breaker.lock().probed = false;
    }

    /// Whether it is not left alone.
    pub fn is_well(&self) -> bool {
        self.breaker.lock().until.is_none()
    }

    /// What is known of it, for operators.
    pub fn figures(&self, now: Instant) -> Figures {
        let failures = self.breaker.lock().failures;
        let mut lists: BTreeMap<&'static str, Listed> = BTreeMap::new();
        for (key, kept) in self.lists.lock().iter() {
            let age = now.saturating_duration_since(kept.since);
            let (items, bytes) = (kept.items.items.len(), kept.bytes);
            let held = lists.entry(key.list.key()).or_insert(Listed { items, bytes, age });
            // Of several audiences the one that was told last.
            if age < held.age {
                *held = Listed { items, bytes, age };
            }
        }
        Figures { up: self.is_well(), failures, era: self.era(now), lists }
    }

    pub fn era(&self, now: Instant) -> Era {
        match *self.era.lock() {
            Some((Era::Legacy, since)) if now.saturating_duration_since(since) > LEGACY_TTL => Era::Unknown,
            Some((era, _)) => era,
            None => Era::Unknown,
        }
    }

    pub fn refuses_handshakes(&self) -> bool {
        self.modern_only.load(Ordering::Relaxed)
    }

    pub fn refuse_handshakes(&self) {
        self.modern_only.store(true, Ordering::Relaxed);
    }

    pub fn set_era(&self, era: Era, now: Instant) {
        if era != Era::Modern {
            self.modern_only.store(false, Ordering::Relaxed);
        }
        *self.era.lock() = Some((era, now));
    }

    /// What the server said of itself to this audience.
    pub fn about(&self, audience: u64) -> Option<Bytes> {
        self.about.lock().get(&audience).cloned()
    }

    pub fn keep_about(&self, audience: u64, message: Bytes) {
        let mut about = self.about.lock();
        if about.len() >= LISTS_MAX && !about.contains_key(&audience) {
            about.clear();
        }
        about.insert(audience, message);
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
        let bytes = items.items.iter().map(|(_, text)| text.len()).sum();
        lists.insert(key, Kept { items, bytes, since: now });
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
