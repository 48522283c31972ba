//! A bounded cache of answers that were costly to find: verified tokens, verified passwords.
//!
//! Sharded, so that no two requests wait for each other but by chance; a shard is locked for one
//! look-up. The bound is in bytes. Each shard has two generations: entries are written into the
//! young one; when it is half the shard's budget it becomes the old one, and the old one is
//! dropped. What is used moves back into the young one, so that what is not used goes first: near
//! to least-recently-used, with no list to mend and no work in proportion to the size.
//!
//! An entry is found by its whole key, compared byte by byte after a hash with a random seed of
//! this process: no two keys can be taken for one another. Whether an entry still holds (expiry,
//! rotation) is for its owner to check.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

const SHARDS: usize = 16;

/// What an entry costs beside its key and what its owner says of the value.
const ENTRY_BYTES: usize = 96;

/// A cache with a bound in bytes.
pub struct Cache<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    /// Bytes of one generation of one shard.
    share_bytes_max: usize,
}

struct Shard<V> {
    young: Generation<V>,
    old: Generation<V>,
}

struct Generation<V> {
    entries: HashTable<Entry<V>>,
    bytes: usize,
}

struct Entry<V> {
    owner: u64,
    key: Box<[u8]>,
    value: V,
    bytes: usize,
}

impl<V: Clone> Cache<V> {
    /// Holds at most `bytes_max`, keys and entries included.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect(),
            hasher: RandomState::default(),
            share_bytes_max: bytes_max / SHARDS / 2,
        }
    }

    /// The value under a key of an owner.
    pub fn get(&self, owner: u64, key: &[u8]) -> Option<V> {
        let hash = self.hash(owner, key);
        let mut shard = self.shard(hash).lock();
        let same = |entry: &Entry<V>| entry.owner == owner && *entry.key == *key;
        if let Some(entry) = shard.young.entries.find(hash, same) {
            return Some(entry.value.clone());
        }
        let entry = shard.old.take(hash, same)?;
        let value = entry.value.clone();
        self.put(&mut shard, hash, entry);
        Some(value)
    }

    /// Notes a value; `bytes` is what it holds in memory beside the key.
    pub fn insert(&self, owner: u64, key: &[u8], value: V, bytes: usize) {
        let bytes = bytes + key.len() + ENTRY_BYTES;
        if bytes > self.share_bytes_max {
            return;
        }
        let hash = self.hash(owner, key);
        let mut shard = self.shard(hash).lock();
        let same = |entry: &Entry<V>| entry.owner == owner && *entry.key == *key;
        shard.young.take(hash, same);
        shard.old.take(hash, same);
        self.put(&mut shard, hash, Entry { owner, key: key.into(), value, bytes });
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock()).map(|shard| shard.young.bytes + shard.old.bytes).sum()
    }

    fn put(&self, shard: &mut Shard<V>, hash: u64, entry: Entry<V>) {
        if shard.young.bytes + entry.bytes > self.share_bytes_max {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.bytes += entry.bytes;
        shard.young.entries.insert_unique(hash, entry, |entry| self.hash(entry.owner, &entry.key));
    }

    fn hash(&self, owner: u64, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(owner);
        hasher.write(key);
        hasher.finish()
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<V>> {
        // The table below uses the high bits and the lowest ones.
        let at = (hash >> 32) as usize % SHARDS;
        self.shards.get(at).expect("there are as many shards as the modulus")
    }
}

impl<V> Generation<V> {
    fn take(&mut self, hash: u64, same: impl FnMut(&Entry<V>) -> bool) -> Option<Entry<V>> {
        let (entry, _) = self.entries.find_entry(hash, same).ok()?.remove();
        self.bytes -= entry.bytes;
        Some(entry)
    }
}

impl<V> Default for Generation<V> {
    fn default() -> Self {
        Self { entries: HashTable::new(), bytes: 0 }
    }
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self { young: Generation::default(), old: Generation::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_bound_and_keeps_what_is_used() {
        let cache = Cache::new(64 * 1024);
        for number in 0..10_000u32 {
            cache.insert(1, &number.to_be_bytes(), number, 100);
            assert_eq!(cache.get(1, &0u32.to_be_bytes()), Some(0), "used all the time, after {number}");
        }
        assert!(cache.bytes() <= 64 * 1024, "{}", cache.bytes());
        let held = (0..10_000u32).filter(|it| cache.get(1, &it.to_be_bytes()).is_some()).count();
        assert!((100..400).contains(&held), "{held}");
    }

    #[test]
    fn owners_do_not_see_each_others_entries_and_a_new_value_replaces_the_old() {
        let cache = Cache::new(64 * 1024);
        cache.insert(1, b"token", "a", 10);
        cache.insert(2, b"token", "b", 10);
        cache.insert(1, b"token", "c", 10);
        assert_eq!(
            (cache.get(1, b"token"), cache.get(2, b"token"), cache.get(3, b"token")),
            (Some("c"), Some("b"), None)
        );
        cache.insert(1, &vec![0; 64 * 1024], "too large", 10);
        assert_eq!(cache.get(1, &vec![0; 64 * 1024]), None);
    }
}
