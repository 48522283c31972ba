//! Answers that are remembered: bounded, in shards, and asked for again shortly before they end by
//! one request, while all others go on with what is known.
//!
//! Failures are not remembered, nor are answers over [`ANSWER_BYTES_MAX`].

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::filter::Outcome;
use super::policy::{Cache, Policy};
use crate::expr::{Inputs, Value};
use crate::keep::{Keep, Kept};

const SHARDS: usize = 16;
/// Largest answer that is remembered.
const ANSWER_BYTES_MAX: usize = 8 * 1024;
/// Longest key.
const KEY_BYTES_MAX: usize = 4 * 1024;
/// Longest time for which an answer holds.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest time before its end at which an answer is asked for again; a tenth of its life if that is less.
const AHEAD_MAX: Duration = Duration::from_secs(5);
/// Answers looked at for the one that makes room.
const EVICTION_SAMPLE: usize = 8;

type Key = Box<[u8]>;

/// The answers of one policy.
pub struct Store {
    /// What they are answers to.
    terms: Policy,
    hasher: foldhash::fast::RandomState,
    shards: [Mutex<HashMap<Key, Entry, foldhash::fast::RandomState>>; SHARDS],
    shard_max: usize,
}

struct Entry {
    outcome: Arc<Outcome>,
    /// Asked for again from then on.
    due: Duration,
    until: Duration,
    /// Somebody is asking.
    asked: bool,
}

/// What is known.
pub(super) enum Found {
    Known(Arc<Outcome>),
    /// Known, but it ends soon, and this request is the one to ask.
    Due(Arc<Outcome>),
    Unknown,
}

impl Kept for Store {
    type Terms = Policy;

    fn renew(terms: &Policy, previous: Option<&Arc<Self>>, _: &Keep) -> Arc<Self> {
        match previous.filter(|it| it.terms == *terms) {
            Some(same) => same.clone(),
            None => Arc::new(Self::new(terms.clone())),
        }
    }
}

impl Store {
    fn new(terms: Policy) -> Self {
        let entries_max = terms.cache.as_ref().map_or(1, |it| it.entries_max);
        Self { terms, hasher: Default::default(), shards: Default::default(), shard_max: entries_max.div_ceil(SHARDS) }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<HashMap<Key, Entry, foldhash::fast::RandomState>> {
        let at = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards.get(at).expect("a remainder is below its divisor")
    }

    /// `now`: time since 1970.
    pub(super) fn find(&self, key: &[u8], now: Duration) -> Found {
        let mut shard = self.shard(key).lock();
        match shard.get_mut(key) {
            Some(entry) if now >= entry.until => {
                shard.remove(key);
                Found::Unknown
            }
            Some(entry) if now >= entry.due && !entry.asked => {
                entry.asked = true;
                Found::Due(entry.outcome.clone())
            }
            Some(entry) => Found::Known(entry.outcome.clone()),
            None => Found::Unknown,
        }
    }

    pub(super) fn put(&self, key: Key, outcome: &Arc<Outcome>, now: Duration, ttl: Duration) {
        let ttl = ttl.min(TTL_MAX);
        if ttl.is_zero() || outcome.size() > ANSWER_BYTES_MAX {
            return;
        }
        let until = now + ttl;
        let due = until - AHEAD_MAX.min(ttl / 10);
        let mut shard = self.shard(&key).lock();
        if shard.len() >= self.shard_max && !shard.contains_key(&key) {
            let oldest = shard.iter().take(EVICTION_SAMPLE).min_by_key(|(_, entry)| entry.until);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                shard.remove(&oldest);
            }
        }
        shard.insert(key, Entry { outcome: outcome.clone(), due, until, asked: false });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|it| it.lock().len()).sum()
    }
}

impl Cache {
    /// What requests have to agree on; `None` where a part of it fails: then nothing is shared.
    pub(super) fn key_of(&self, inputs: &Inputs<'_>) -> Option<Key> {
        let parts = self.key.iter().map(|it| it.evaluate(inputs).ok()?.into_json().ok());
        let parts: Vec<serde_json::Value> = parts.collect::<Option<_>>()?;
        let key = serde_json::to_vec(&parts).ok()?;
        (key.len() <= KEY_BYTES_MAX).then(|| key.into())
    }

    /// How long an answer holds from `now` on, the time since 1970.
    pub(super) fn ttl_of(&self, inputs: &Inputs<'_>, now: Duration) -> Option<Duration> {
        let seconds = |until: f64| Duration::try_from_secs_f64(until).ok()?.checked_sub(now);
        match self.ttl.evaluate(inputs).ok()? {
            Value::Duration(span) => span.to_std(),
            Value::Timestamp(until) => Duration::new(u64::try_from(until.seconds).ok()?, until.nanos).checked_sub(now),
            Value::Int(until) => seconds(until as f64),
            Value::Uint(until) => seconds(until as f64),
            Value::Double(until) => seconds(until),
            _ => None,
        }
    }
}
