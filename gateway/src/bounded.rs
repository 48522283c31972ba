//! What a process remembers of clients, which must not grow with what they do.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map that forgets what came first.
pub(crate) struct Bounded<K, V> {
    max: usize,
    map: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Clone + Eq + Hash, V: Clone> Bounded<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, map: HashMap::new(), order: VecDeque::new() }
    }

    /// The eldest first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.order.iter()
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.map.get(key).cloned()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
            if self.order.len() > self.max
                && let Some(oldest) = self.order.pop_front()
            {
                self.map.remove(&oldest);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let value = self.map.remove(key)?;
        if let Some(at) = self.order.iter().rposition(|it| it == key) {
            self.order.remove(at);
        }
        Some(value)
    }

    pub(crate) fn entry(&mut self, key: K) -> V
    where
        V: Default,
    {
        if let Some(value) = self.get(&key) {
            return value;
        }
        let value = V::default();
        self.insert(key, value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_first_is_forgotten_first() {
        let mut bounded = Bounded::new(2);
        for key in 0..5 {
            bounded.insert(key, key);
        }
        assert_eq!((bounded.map.len(), bounded.order.len(), bounded.get(&4)), (2, 2, Some(4)));
        assert_eq!(bounded.keys().copied().collect::<Vec<_>>(), [3, 4]);
    }
}
