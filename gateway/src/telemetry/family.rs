//! One metric family: label values to counters, without a lock on the hot path and with a ceiling
//! on the number of series.
//!
//! A thread finds its cells in a small cache of its own; only a label set it has not met lately
//! goes to the locked table. Cells are sharded by thread, so that cores do not fight over a cache
//! line; a scrape adds the shards up.
//!
//! A label admits a fixed number of distinct values, further ones become `_other`; when the family
//! itself is full, all labels but the kept ones do. A series once counted under stays the one
//! counted under, so sums never fall. An absent (empty) value is `unknown`.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Value of a label beyond its distinct values.
pub(super) const OTHER: &str = "_other";
const UNKNOWN: &str = "unknown";
/// Slots of a thread's cache; a power of two.
const CACHE_SLOTS: usize = 2048;
/// Joins label values in keys; never part of UTF-8.
const SEPARATOR: u8 = 0xff;

/// A label and its limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    pub(super) name: &'static str,
    /// Distinct values admitted.
    pub(super) distinct_max: usize,
    /// Keeps its value when the family is full; only for labels with a handful of values.
    pub(super) kept: bool,
}

impl Label {
    pub(super) const fn bounded(name: &'static str, distinct_max: usize) -> Self {
        Self { name, distinct_max, kept: false }
    }

    pub(super) const fn closed(name: &'static str) -> Self {
        Self { name, distinct_max: 64, kept: true }
    }
}

/// The numbers of one series.
pub(super) trait Cells: Default + Send + Sync + 'static {
    /// Adds another shard's numbers to these.
    fn absorb(&self, other: &Self);
}

/// All series that share names of labels.
pub(super) struct Family<C> {
    id: u64,
    labels: Vec<Label>,
    series_max: usize,
    shards: usize,
    table: Mutex<Table<C>>,
}

struct Table<C> {
    distinct: Vec<HashSet<Box<str>>>,
    rows: BTreeMap<Box<[u8]>, Row<C>>,
}

struct Row<C> {
    values: Arc<[Box<str>]>,
    shards: Vec<Option<Arc<C>>>,
}

/// A series as scraped: values in the order of the labels, and the sum of its shards.
pub(super) struct Series<C> {
    pub(super) values: Arc<[Box<str>]>,
    pub(super) cells: C,
}

impl<C: Cells> Family<C> {
    pub(super) fn new(labels: &[Label], series_max: usize, shards: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let distinct = labels.iter().map(|_| HashSet::new()).collect();
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            labels: labels.to_vec(),
            series_max,
            shards: shards.max(1),
            table: Mutex::new(Table { distinct, rows: BTreeMap::new() }),
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.labels.iter().map(|label| label.name)
    }

    /// Lets `act` count in the series of these values, in the order of the labels.
    pub(super) fn record(&self, values: &[&str], act: impl FnOnce(&C)) {
        // A thread in its very last moments has no cache any more, and nothing to count either.
        let _ = CACHE.try_with(|cache| {
            let Ok(mut cache) = cache.try_borrow_mut() else { return };
            if let Some(cells) = cache.find(self, values) {
                act(cells);
            }
        });
    }

    /// The calling thread's cells of a series, for who keeps them beside others; takes the table's lock.
    pub(super) fn cells(&self, values: &[&str]) -> Option<Arc<C>> {
        self.resolve(values)
    }

    /// Every series, sorted by its values.
    pub(super) fn collect(&self) -> Vec<Series<C>> {
        type Kept<C> = (Arc<[Box<str>]>, Vec<Arc<C>>);
        let rows: Vec<Kept<C>> = {
            let table = self.table.lock();
            let kept = |row: &Row<C>| (row.values.clone(), row.shards.iter().flatten().cloned().collect());
            table.rows.values().map(kept).collect()
        };
        let sum = |(values, shards): Kept<C>| {
            let cells = C::default();
            shards.iter().for_each(|shard| cells.absorb(shard));
            Series { values, cells }
        };
        rows.into_iter().map(sum).collect()
    }

    /// The cells of a label set for the calling thread, from the table.
    fn resolve(&self, values: &[&str]) -> Option<Arc<C>> {
        let mut table = self.table.lock();
        let Table { distinct, rows } = &mut *table;
        let admitted = self.labels.iter().zip(values).zip(distinct);
        let mut values: Vec<&str> = admitted.map(|((label, value), known)| admit(label, value, known)).collect();
        let mut key = Vec::new();
        join(&mut key, &values);
        if rows.len() >= self.series_max && !rows.contains_key(key.as_slice()) {
            for (value, label) in values.iter_mut().zip(&self.labels) {
                if !label.kept {
                    *value = OTHER;
                }
            }
            key.clear();
            join(&mut key, &values);
        }
        let row = rows.entry(key.into_boxed_slice()).or_insert_with(|| Row {
            values: values.iter().map(|value| Box::from(*value)).collect(),
            shards: vec![None; self.shards],
        });
        let shard = row.shards.get_mut(shard_of_thread() % self.shards)?;
        Some(shard.get_or_insert_with(Arc::default).clone())
    }
}

fn admit<'a>(label: &Label, value: &'a str, known: &mut HashSet<Box<str>>) -> &'a str {
    if value.is_empty() {
        return UNKNOWN;
    }
    if !known.contains(value) {
        if known.len() >= label.distinct_max {
            return OTHER;
        }
        known.insert(value.into());
    }
    value
}

fn join(key: &mut Vec<u8>, values: &[&str]) {
    for value in values {
        key.extend_from_slice(value.as_bytes());
        key.push(SEPARATOR);
    }
}

/// A small number that is the calling thread's, for spreading threads over shards.
pub(super) fn shard_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    SHARD.try_with(|shard| *shard).unwrap_or(0)
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// A direct-mapped cache from label values to cells; bounded whatever is counted.
#[derive(Default)]
struct Cache {
    slots: Vec<Option<Slot>>,
    key: Vec<u8>,
}

struct Slot {
    family: u64,
    key: Box<[u8]>,
    cells: Arc<dyn Any + Send + Sync>,
}

impl Cache {
    fn find<C: Cells>(&mut self, family: &Family<C>, values: &[&str]) -> Option<&C> {
        if self.slots.is_empty() {
            self.slots.resize_with(CACHE_SLOTS, || None);
        }
        self.key.clear();
        join(&mut self.key, values);
        let hash = foldhash::fast::FixedState::with_seed(family.id).hash_one(self.key.as_slice());
        let index = usize::try_from(hash & (CACHE_SLOTS as u64 - 1)).unwrap_or(0);
        let slot = self.slots.get_mut(index)?;
        let hit = slot.as_ref().is_some_and(|slot| slot.family == family.id && *slot.key == *self.key);
        if !hit {
            let cells = family.resolve(values)?;
            *slot = Some(Slot { family: family.id, key: self.key.as_slice().into(), cells });
        }
        slot.as_ref()?.cells.downcast_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Count(AtomicU64);

    impl Cells for Count {
        fn absorb(&self, other: &Self) {
            self.0.fetch_add(other.0.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn count(family: &Family<Count>, values: &[&str]) {
        family.record(values, |cells| {
            cells.0.fetch_add(1, Ordering::Relaxed);
        });
    }

    fn shown(family: &Family<Count>) -> Vec<(String, u64)> {
        let rows = family.collect().into_iter();
        rows.map(|row| (row.values.join("|"), row.cells.0.load(Ordering::Relaxed))).collect()
    }

    #[test]
    fn values_beyond_the_limit_are_counted_as_other() {
        let family = Family::new(&[Label::bounded("backend", 2), Label::closed("reason")], 100, 2);
        for backend in ["a", "b", "c", "d", "a", ""] {
            count(&family, &[backend, "ok"]);
        }
        let expected = [("_other|ok", 2), ("a|ok", 2), ("b|ok", 1), ("unknown|ok", 1)];
        assert_eq!(shown(&family), expected.map(|(name, n)| (name.to_owned(), n)));
    }

    #[test]
    fn a_full_family_keeps_only_its_closed_labels() {
        let family = Family::new(&[Label::bounded("backend", 100), Label::closed("reason")], 2, 1);
        for backend in ["a", "b", "c", "d", "a"] {
            count(&family, &[backend, "ok"]);
        }
        let expected = [("_other|ok", 2), ("a|ok", 2), ("b|ok", 1)];
        assert_eq!(shown(&family), expected.map(|(name, n)| (name.to_owned(), n)));
    }

    #[test]
    fn threads_and_evictions_lose_no_count() {
        let family = Family::new(&[Label::bounded("backend", 10_000)], 10_000, 4);
        let names: Vec<String> = (0..5_000).map(|n| format!("b{n}")).collect();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| names.iter().for_each(|name| count(&family, &[name])));
            }
        });
        let rows = shown(&family);
        assert_eq!(rows.len(), 5_000);
        assert!(rows.iter().all(|(_, n)| *n == 6));
    }

    #[test]
    fn families_do_not_share_cells() {
        let (one, two) = (Family::new(&[Label::closed("x")], 9, 1), Family::new(&[Label::closed("x")], 9, 1));
        count(&one, &["a"]);
        assert_eq!((shown(&one).len(), shown(&two).len()), (1, 0));
    }
}
