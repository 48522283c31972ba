//! Places for news that clients have deleted: what agents send there still is refused by this process and its successors.
//! Other replicas cannot know; there a ticket holds until it ends.

use parking_lot::Mutex;

use crate::bounded::Bounded;
use crate::life::transfer::{Moment, Transfer};

/// Places that are remembered.
const DELETED_MAX: usize = 16 * 1024;

/// A digest of whose, of which task, and what it is called.
pub(super) type Name = [u8; 16];

/// One for the process.
pub struct Deleted(Mutex<Bounded<Name, ()>>);

impl Default for Deleted {
    fn default() -> Self {
        Self(Mutex::new(Bounded::new(DELETED_MAX)))
    }
}

impl Deleted {
    pub(super) fn insert(&self, name: Name) {
        self.0.lock().insert(name, ());
    }

    /// It is there again.
    pub(super) fn remove(&self, name: &Name) {
        self.0.lock().remove(name);
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.0.lock().contains(name)
    }
}

impl Transfer for Deleted {
    fn name(&self) -> &'static str {
        "a2a-news-deleted"
    }

    fn moment(&self) -> Moment {
        Moment::Late
    }

    fn export(&self) -> Vec<u8> {
        self.0.lock().keys().flatten().copied().collect()
    }

    fn import(&self, _: u32, bytes: &[u8]) -> Result<(), String> {
        let (names, rest) = bytes.as_chunks::<{ size_of::<Name>() }>();
        if !rest.is_empty() {
            return Err("names of places for news of another size".to_owned());
        }
        names.iter().for_each(|it| self.insert(*it));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_is_remembered_within_bounds_and_by_successors() {
        let deleted = Deleted::default();
        let name = |it: u32| {
            let mut name = Name::default();
            name[..4].copy_from_slice(&it.to_be_bytes());
            name
        };
        (0..=DELETED_MAX as u32).for_each(|it| deleted.insert(name(it)));
        deleted.insert(name(7));
        deleted.remove(&name(8));
        assert_eq!([0, 7, 8, 9].map(|it| deleted.contains(&name(it))), [false, true, false, true]);
        let heir = Deleted::default();
        heir.import(1, &deleted.export()).unwrap();
        assert_eq!([0, 7, 8, 9].map(|it| heir.contains(&name(it))), [false, true, false, true]);
        assert!(heir.import(1, &[1; 17]).is_err());
    }
}
