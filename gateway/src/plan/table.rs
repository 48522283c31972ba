//! A persistent map by text for many entries, of which each request needs another one.
//!
//! With thousands of entries, steps to memory are what a lookup costs. Here the nodes of the tree hold
//! pointers and hashes only, so that few lines of memory serve all; then one step leads to the entry,
//! where key and value lie side by side. A change copies O(log n) small nodes and one entry.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ir::{Map, Text};

/// Longer keys lie at the end of a pointer. Most paths and host names are shorter.
const SHORT_BYTES_MAX: usize = 30;

/// What a table may hold in place: something that can become empty.
pub(super) trait Emptiable: Clone + Default {
    fn is_empty(&self) -> bool;
}

#[derive(Clone)]
pub(super) struct Table<T>(Map<Held<T>, ()>);

struct Held<T>(Arc<Entry<T>>);

#[derive(Clone)]
struct Entry<T> {
    key: Key,
    value: T,
}

/// A text as a key.
#[derive(Clone)]
pub(super) enum Key {
    Short { length: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Text),
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Map::default())
    }
}

impl<T> Table<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.0.get_key_value(key.as_bytes()).map(|(held, ())| &held.0.value)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.keys().map(|held| &held.0.value)
    }

    pub(super) fn insert(&mut self, key: &Text, value: T) {
        // The key of a map is not replaced by an equal one, and here it holds the value.
        self.remove(key);
        self.add(Arc::new(Entry { key: Key::new(key), value }));
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.remove(key.as_bytes());
    }

    fn add(&mut self, entry: Arc<Entry<T>>) {
        self.0.insert(Held(entry), ());
    }
}

impl<T> FromIterator<(Key, T)> for Table<T> {
    fn from_iter<I: IntoIterator<Item = (Key, T)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (Held(Arc::new(Entry { key, value })), ())).collect())
    }
}

impl<T: Emptiable> Table<T> {
    /// Changes the value of a key in place (copy on write); one left empty goes.
    pub(super) fn alter(&mut self, key: &Text, change: impl FnOnce(&mut T)) {
        let mut entry = match self.0.remove_with_key(key.as_bytes()) {
            Some((held, ())) => held.0,
            None => Arc::new(Entry { key: Key::new(key), value: T::default() }),
        };
        change(&mut Arc::make_mut(&mut entry).value);
        if !entry.value.is_empty() {
            self.add(entry);
        }
    }
}

impl Key {
    pub(super) fn new(text: &Text) -> Self {
        let mut bytes = [0; SHORT_BYTES_MAX];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(length)) => {
                room.copy_from_slice(text.as_bytes());
                Self::Short { length, bytes }
            }
            _ => Self::Long(text.clone()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Borrow<[u8]> for Held<T> {
    fn borrow(&self) -> &[u8] {
        self.0.key.as_bytes()
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key.as_bytes() == other.0.key.as_bytes()
    }
}

impl<T> Eq for Held<T> {}

impl<T> Hash for Held<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.as_bytes().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Emptiable for Vec<u32> {
        fn is_empty(&self) -> bool {
            Vec::is_empty(self)
        }
    }

    fn key(n: u32) -> Text {
        // Short and long ones, and those of the longest that is short.
        match n % 3 {
            0 => format!("{n}"),
            1 => format!("{n:0>30}"),
            _ => format!("{n:0>31}"),
        }
        .into()
    }

    #[test]
    fn a_table_is_a_map_and_a_copy_of_it_keeps_what_it_had() {
        let mut table: Table<Vec<u32>> = Table::default();
        for n in 0..1000 {
            table.alter(&key(n), |list| list.push(n));
        }
        let before = table.clone();
        for n in 0..1000 {
            table.alter(&key(n), |list| list.push(n + 1));
            if n % 2 == 0 {
                table.alter(&key(n), |list| list.clear());
            }
        }
        table.insert(&key(1), vec![7]);
        for n in 2..1000 {
            assert_eq!(before.get(&key(n)), Some(&vec![n]), "{n}");
            let want = (n % 2 == 1).then(|| vec![n, n + 1]);
            assert_eq!(table.get(&key(n)), want.as_ref(), "{n}");
        }
        assert_eq!((table.get(&key(0)), table.get(&key(1))), (None, Some(&vec![7])));
        assert_eq!((before.values().count(), table.values().count()), (1000, 500));
        table.remove(&key(1));
        assert_eq!((table.get(&key(1)), table.get("")), (None, None));
    }

    #[test]
    fn short_keys_need_no_memory_of_their_own() {
        assert_eq!(size_of::<Key>(), 32);
        for length in [0, SHORT_BYTES_MAX, SHORT_BYTES_MAX + 1] {
            let text: Text = "x".repeat(length).into();
            let key = Key::new(&text);
            assert_eq!(matches!(key, Key::Short { .. }), length <= SHORT_BYTES_MAX);
            assert_eq!(key.as_bytes(), text.as_bytes());
        }
    }
}
