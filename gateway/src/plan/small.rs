//! A text-keyed map that is a short list while small and a [`Table`] beyond: most hosts have a handful
//! of paths, and an empty node of a tree weighs more than they do.

use std::sync::Arc;

use ir::Text;

use super::table::{Emptiable, Key, Table};

/// Keys held as a list; beyond, a table.
const LIST_MAX: usize = 8;

#[derive(Clone, Default)]
pub(super) enum SmallMap<T> {
    /// Known without a look at memory elsewhere.
    #[default]
    Empty,
    List(Arc<[(Key, T)]>),
    Table(Table<T>),
}

impl<T: Emptiable> SmallMap<T> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::List(list) => list.is_empty(),
            Self::Table(table) => table.is_empty(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        match self {
            Self::Empty => None,
            Self::List(list) => list.iter().find(|(held, _)| held.as_bytes() == key.as_bytes()).map(|(_, value)| value),
            Self::Table(table) => table.get(key),
        }
    }

    /// Changes the value of a key (copy on write); one left empty goes.
    pub(super) fn alter(&mut self, key: &Text, change: impl FnOnce(&mut T)) {
        let list = match self {
            Self::Table(table) => return table.alter(key, change),
            Self::Empty => &[][..],
            Self::List(list) => list,
        };
        let mut list = list.to_vec();
        match list.iter().position(|(held, _)| held.as_bytes() == key.as_bytes()) {
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
                if !value.is_empty() {
                    list.push((Key::new(key), value));
                }
            }
        }
        *self = match list.len() {
            0 => Self::Empty,
            1..=LIST_MAX => Self::List(list.into()),
            _ => Self::Table(list.into_iter().collect()),
        };
    }
}
