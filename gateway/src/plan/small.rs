//! A text-keyed map that is a short list while small and a persistent hash map beyond: most hosts
//! have a handful of paths, and an empty hash-trie node weighs more than they do.

use std::sync::Arc;

use ir::{Map, Text};

use super::candidate::Bucket;

/// Keys held as a list; beyond, a hash map.
const LIST_MAX: usize = 8;

/// What a [`SmallMap`] may hold: something that can become empty.
pub(super) trait Emptiable: Clone + Default {
    fn is_empty(&self) -> bool;
}

impl Emptiable for Bucket {
    fn is_empty(&self) -> bool {
        Bucket::is_empty(self)
    }
}

#[derive(Clone, Default)]
pub(super) enum SmallMap<T> {
    /// Known without a look at memory elsewhere.
    #[default]
    Empty,
    List(Arc<Vec<(Text, T)>>),
    Hash(Map<Text, T>),
}

impl<T: Emptiable> SmallMap<T> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::List(list) => list.is_empty(),
            Self::Hash(map) => map.is_empty(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        match self {
            Self::Empty => None,
            Self::List(list) => list.iter().find(|(held, _)| &**held == key).map(|(_, value)| value),
            Self::Hash(map) => map.get(key),
        }
    }

    /// Changes the value of a key in place (copy on write); one left empty goes.
    pub(super) fn alter(&mut self, key: &Text, change: impl FnOnce(&mut T)) {
        if matches!(self, Self::Empty) {
            *self = Self::List(Arc::default());
        }
        match self {
            Self::Empty => {}
            Self::List(list) => {
                let list = Arc::make_mut(list);
                match list.iter().position(|(held, _)| held == key) {
                    Some(at) => {
                        if let Some((_, value)) = list.get_mut(at) {
                            change(value);
                            if value.is_empty() {
                                list.swap_remove(at);
                            }
                        }
                    }
                    None => {
                        let mut value = T::default();
                        change(&mut value);
                        list.push((key.clone(), value));
                    }
                }
                if list.is_empty() {
                    *self = Self::Empty;
                } else if list.len() > LIST_MAX {
                    *self = Self::Hash(list.drain(..).collect());
                }
            }
            Self::Hash(map) => {
                let value = map.entry(key.clone()).or_default();
                change(value);
                if value.is_empty() {
                    map.remove(key);
                }
            }
        }
    }
}
