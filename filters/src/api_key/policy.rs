//! Keys as understood: hashes, and what is known of their owners.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest};
use hashbrown::HashTable;
use ir::Text;
use serde::{Serialize, Serializer};

use crate::credential::{Location, Mode};

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub mode: Mode,
    pub location: Location,
    pub forward: bool,
    pub known: Arc<Known>,
}

/// The SHA-256 of a key. Not shown: a weak key could be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

/// A key that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub hash: Hash,
    /// JSON of an object.
    pub metadata: Option<Arc<str>>,
    /// Models that its owner may ask for, by patterns; any where absent.
    pub models: Option<Arc<[Text]>>,
}

/// Keys by their hash.
pub struct Known(HashTable<Entry>);

impl Hash {
    pub fn of(key: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
        Self(hash)
    }

    /// 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|it| it.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }

    /// A hash is its own hash: it is evenly spread, and nobody can aim.
    fn spread(&self) -> u64 {
        self.0.first_chunk().map_or(0, |it| u64::from_le_bytes(*it))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Known {
    /// Each hash once.
    pub fn new(entries: Vec<Entry>) -> Self {
        let mut table = HashTable::with_capacity(entries.len());
        for entry in entries {
            table.insert_unique(entry.hash.spread(), entry, |it: &Entry| it.hash.spread());
        }
        Self(table)
    }

    /// The entry of a key.
    pub fn find(&self, hash: &Hash) -> Option<&Entry> {
        self.0.find(hash.spread(), |it| constant_time::verify_slices_are_equal(&it.hash.0, &hash.0).is_ok())
    }

    /// All entries, by hash.
    pub fn sorted(&self) -> Vec<&Entry> {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by_key(|it| it.hash.0);
        entries
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        // Two counters and a fat pointer for each metadata text, a control byte for each slot.
        let texts: usize = self.0.iter().filter_map(|it| it.metadata.as_ref()).map(|it| it.len() + 16).sum();
        self.0.capacity() * 8 / 7 * (size_of::<Entry>() + 1) + texts
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|it| other.find(&it.hash) == Some(it))
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl Serialize for Known {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}
