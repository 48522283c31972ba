//! A state for each key, in bounded memory and at a cost that does not grow with the number of keys.
//!
//! **Keys** are not kept: a 128-bit hash stands for each, made with a secret of this process, so that a key of any
//! length costs the same and nobody can choose two keys that meet.
//!
//! **Shards** are locked one by one for as long as one state is looked at. There is no lock above them.
//!
//! **Room.** A state that says nothing (a bucket that is full again, a counter at 0) is worth nothing, and its place is
//! taken by the next new key: each new key looks at a few places, here and there, so the table follows the number of keys in
//! use. At the bound, what is worth least of some more places gives way. So a flood of new keys drives out its own
//! kind first, those that have used next to nothing; who has used much of a quota keeps that on record until the flood
//! has used as much with every key of a shard. Nobody resets a used-up quota by sending other keys.

use std::hash::Hasher;

use hashbrown::HashTable;
use ir::Text;
use parking_lot::Mutex;
use siphasher::sip128::{Hasher128, SipHasher13};

/// Most shards of a table.
const SHARDS_MAX: usize = 64;

/// Keys for each shard that a table should have at least: fewer, and chance would fill one long before the others.
const SHARD_KEYS_MIN: usize = 256;

/// Places looked at for a new key below the bound.
const LOOK: usize = 2;

/// Places looked at for a new key at the bound.
const LOOK_FULL: usize = 16;

/// What stands for a key.
pub type Hash = u128;

/// The secret that hashes are made with; a successor has to have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

impl Seed {
    /// One that nobody knows.
    pub fn random() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let (one, two) = (RandomState::new().hash_one(1u8), RandomState::new().hash_one(2u8));
        Self((u128::from(one) << 64 | u128::from(two)).to_le_bytes())
    }

    /// The name under which all tables of a process share one.
    pub fn shared_name() -> Text {
        "quota/seed".into()
    }

    /// The hash of a key, in as many parts as it has; the parts cannot run into each other.
    pub fn hash<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Hash {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }
}

/// What a table holds for a key.
pub trait State: Copy + Default {
    /// What is needed to judge one: a moment, a limit.
    type Terms: Copy;

    /// How much would be lost with it: 0 for nothing.
    fn worth(&self, terms: Self::Terms) -> u64;
}

/// States by key.
pub struct Table<S> {
    shards: Box<[Mutex<Shard<S>>]>,
    shard_keys_max: usize,
}

struct Shard<S> {
    index: HashTable<u32>,
    places: Vec<Place<S>>,
    /// Where the last look was, as a state of a generator.
    hand: u64,
    /// States given up that said something.
    lost: u64,
}

#[derive(Clone, Copy)]
struct Place<S> {
    hash: Hash,
    state: S,
}

impl<S: State> Table<S> {
    /// A table for about so many keys, and not more.
    pub fn new(keys_max: usize) -> Self {
        let shards = (keys_max / SHARD_KEYS_MIN).clamp(1, SHARDS_MAX).next_power_of_two().min(SHARDS_MAX);
        let shard = || Mutex::new(Shard { index: HashTable::new(), places: Vec::new(), hand: 0, lost: 0 });
        Self { shards: (0..shards).map(|_| shard()).collect(), shard_keys_max: (keys_max / shards).max(1) }
    }

    /// Looks at the state of a key, which is a new one where there is none.
    pub fn with<R>(&self, hash: Hash, terms: S::Terms, look: impl FnOnce(&mut S) -> R) -> R {
        let mut shard = self.shard(hash).lock();
        let at = shard.place(hash, terms, (self.shard_keys_max, u64::MAX));
        let place = at.and_then(|at| shard.places.get_mut(at)).expect("whatever a place is worth, it is given up");
        look(&mut place.state)
    }

    /// As [`Table::with`], where a new key takes no place of another that is worth something; `None` where it finds
    /// none.
    pub fn with_kept<R>(&self, hash: Hash, terms: S::Terms, look: impl FnOnce(&mut S) -> R) -> Option<R> {
        let mut shard = self.shard(hash).lock();
        let at = shard.place(hash, terms, (self.shard_keys_max, 0))?;
        shard.places.get_mut(at).map(|place| look(&mut place.state))
    }

    /// Looks at the state of a key if there is one.
    pub fn peek<R>(&self, hash: Hash, look: impl FnOnce(&mut S) -> R) -> Option<R> {
        let mut shard = self.shard(hash).lock();
        let at = shard.find(hash)?;
        shard.places.get_mut(at).map(|place| look(&mut place.state))
    }

    fn shard(&self, hash: Hash) -> &Mutex<Shard<S>> {
        // Other bits than the index of a shard goes by.
        let at = (hash >> 64) as usize & (self.shards.len() - 1);
        self.shards.get(at).expect("the mask is below the number of shards")
    }

    /// Keys that have a place.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().places.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory taken.
    pub fn bytes(&self) -> usize {
        let shard = |shard: &Mutex<Shard<S>>| {
            let shard = shard.lock();
            size_of::<Mutex<Shard<S>>>()
                + shard.places.capacity() * size_of::<Place<S>>()
                + shard.index.allocation_size()
        };
        self.shards.iter().map(shard).sum()
    }

    /// States given up at the bound that said something.
    pub fn lost(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().lost).sum()
    }

    /// All that is worth something; each shard is locked in turn.
    pub fn all(&self, terms: S::Terms) -> Vec<(Hash, S)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let said = shard.places.iter().filter(|place| place.state.worth(terms) > 0);
            all.extend(said.map(|place| (place.hash, place.state)));
        }
        all
    }
}

impl<S: State> Shard<S> {
    fn find(&self, hash: Hash) -> Option<usize> {
        let same = |at: &u32| self.places.get(*at as usize).is_some_and(|place| place.hash == hash);
        self.index.find(hash as u64, same).map(|at| *at as usize)
    }

    /// The place of a key, made where it has none: at the bound of keys in the place of one that is worth so much at
    /// most.
    fn place(&mut self, hash: Hash, terms: S::Terms, (keys_max, worth_max): (usize, u64)) -> Option<usize> {
        if let Some(at) = self.find(hash) {
            return Some(at);
        }
        let full = self.places.len() >= keys_max;
        let at = match self.least(if full { LOOK_FULL } else { LOOK }, terms) {
            Some((at, worth)) if worth == 0 || full && worth <= worth_max => {
                self.lost += u64::from(worth > 0);
                self.clear(at);
                at
            }
            _ if full => return None,
            _ => self.places.len(),
        };
        let place = Place { hash, state: S::default() };
        match self.places.get_mut(at) {
            Some(old) => *old = place,
            None => self.places.push(place),
        }
        let places = &self.places;
        let hash_of = |at: &u32| places.get(*at as usize).map_or(0, |place| place.hash as u64);
        self.index.insert_unique(hash as u64, at as u32, hash_of);
        Some(at)
    }

    /// Of the next places, the one worth least.
    fn least(&mut self, look: usize, terms: S::Terms) -> Option<(usize, u64)> {
        let mut least = None;
        for _ in 0..look.min(self.places.len()) {
            // Keys that came together lie together, so places are looked at here and there (Knuth's MMIX generator).
            self.hand = self.hand.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (self.hand >> 33) as usize % self.places.len();
            let worth = self.places.get(at)?.state.worth(terms);
            if least.is_none_or(|(_, known)| worth < known) {
                least = Some((at, worth));
            }
            if worth == 0 {
                break;
            }
        }
        least
    }

    /// Takes a place out of the index.
    fn clear(&mut self, at: usize) {
        let Some(hash) = self.places.get(at).map(|place| place.hash) else { return };
        if let Ok(found) = self.index.find_entry(hash as u64, |it| *it as usize == at) {
            found.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Default)]
    struct Used(u64);

    impl State for Used {
        type Terms = ();

        fn worth(&self, (): ()) -> u64 {
            self.0
        }
    }

    fn hash(seed: &Seed, n: u64) -> Hash {
        seed.hash([&n.to_le_bytes()[..]])
    }

    #[test]
    fn each_key_has_its_own_state() {
        let (seed, table) = (Seed::random(), Table::<Used>::new(100_000));
        for n in 0..50_000 {
            table.with(hash(&seed, n), (), |it| it.0 = n + 1);
        }
        assert!((0..50_000).all(|n| table.peek(hash(&seed, n), |it| it.0) == Some(n + 1)));
        assert_eq!((table.len(), table.lost()), (50_000, 0));
        assert!(table.peek(hash(&seed, 50_000), |it| it.0).is_none());
    }

    #[test]
    fn parts_of_keys_do_not_run_into_each_other_and_the_seed_counts() {
        let seed = Seed([7; 16]);
        assert_ne!(seed.hash([&b"ab"[..], b"c"]), seed.hash([&b"a"[..], b"bc"]));
        assert_ne!(seed.hash([&b"a"[..]]), seed.hash([&b"a"[..], b""]));
        assert_eq!(seed.hash([&b"a"[..]]), Seed([7; 16]).hash([&b"a"[..]]));
        assert_ne!(seed.hash([&b"a"[..]]), Seed([8; 16]).hash([&b"a"[..]]));
        assert_ne!(Seed::random(), Seed::random());
    }

    #[test]
    fn what_says_nothing_makes_room_and_the_table_follows_the_keys_in_use() {
        let (seed, table) = (Seed::random(), Table::<Used>::new(100_000));
        for n in 0..1_000_000 {
            table.with(hash(&seed, n), (), |_| {});
        }
        assert!(table.len() < 2 * SHARDS_MAX, "{} places for keys of which none says anything", table.len());
    }

    #[test]
    fn a_flood_of_keys_stays_within_the_bound_and_drives_out_its_own_kind() {
        const VICTIMS: u64 = 1000;
        let (seed, table) = (Seed::random(), Table::<Used>::new(10_000));
        for n in 0..VICTIMS {
            table.with(hash(&seed, n), (), |it| it.0 = 100);
        }
        for n in 0..1_000_000 {
            table.with(hash(&seed, VICTIMS + n), (), |it| it.0 = 1 + n % 3);
        }
        assert!(table.len() <= 10_000, "{}", table.len());
        let kept = (0..VICTIMS).filter(|n| table.peek(hash(&seed, *n), |it| it.0) == Some(100)).count();
        assert_eq!(kept as u64, VICTIMS, "a used-up quota stays on record");
        assert!(table.lost() > 900_000);
    }

    #[test]
    fn a_key_takes_less_than_200_bytes() {
        for keys in [1_000u64, 10_000, 100_000, 1_000_000] {
            let (seed, table) = (Seed::random(), Table::<Used>::new(1_000_000));
            for n in 0..keys {
                table.with(hash(&seed, n), (), |it| it.0 = 1);
            }
            let each = table.bytes() as u64 / table.len() as u64;
            assert!(each < 200, "{each} bytes for each of {keys} keys");
        }
    }

    #[test]
    fn what_is_worth_something_can_be_taken_along() {
        let (seed, table) = (Seed::random(), Table::<Used>::new(100));
        for n in 0..10 {
            table.with(hash(&seed, n), (), |it| it.0 = n);
        }
        let mut all: Vec<u64> = table.all(()).into_iter().map(|(_, it)| it.0).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
