//! Buckets of rate limits on their way to a successor.
//!
//! The secret that stands behind the hashes of keys goes first, before the successor makes a table; the buckets go
//! last, when it is about to accept. Version 1, all numbers little-endian: for each policy its key (length as 32 bits,
//! then text) and the number of its rules (32 bits); for each rule what it is known by (length, then bytes) and the
//! number of its buckets (32 bits); for each bucket hash (16 bytes), tokens used and nanoseconds since its last fill
//! (8 bytes each). Where that would be too much, those go that have used most.

use std::sync::Arc;

use filters::Keep;
use filters::local_rate_limit::{Exported, Ledger};
use filters::quota::Seed;
use ir::PolicyKey;
use parking_lot::Mutex;

use crate::clock;
use crate::life::transfer::{Moment, Transfer};
use crate::listen::handoff::message::PAYLOAD_BYTES_MAX;

/// Bytes of one bucket.
const BUCKET_BYTES: usize = 32;

/// Most buckets that go along; the rest of the room is for names.
const BUCKETS_MAX: usize = PAYLOAD_BYTES_MAX / BUCKET_BYTES / 10 * 9;

/// The secret of the hashes.
pub struct Seeds {
    keep: Arc<Keep>,
    /// Held until policies hold it.
    held: Mutex<Option<Arc<Seed>>>,
}

impl Seeds {
    pub fn new(keep: &Arc<Keep>) -> Self {
        Self { keep: keep.clone(), held: Mutex::default() }
    }
}

impl Transfer for Seeds {
    fn name(&self) -> &'static str {
        "quota-seed"
    }

    fn export(&self) -> Vec<u8> {
        self.keep.shared(&Seed::shared_name(), |_| Seed::random()).0.to_vec()
    }

    fn import(&self, version: u32, bytes: &[u8]) -> Result<(), String> {
        let seed = bytes.try_into().ok().filter(|_| version == self.version()).ok_or("not a seed")?;
        *self.held.lock() = Some(self.keep.shared(&Seed::shared_name(), |_| Seed(seed)));
        Ok(())
    }
}

/// The buckets.
pub struct Buckets(pub Arc<Keep>);

impl Transfer for Buckets {
    fn name(&self) -> &'static str {
        "rate-limits"
    }

    fn moment(&self) -> Moment {
        Moment::Late
    }

    fn export(&self) -> Vec<u8> {
        let now = clock::now();
        let mut policies: Vec<(PolicyKey, Vec<Exported>)> =
            self.0.all::<Ledger>().into_iter().map(|(key, ledger)| (key, ledger.export(now))).collect();
        cut(&mut policies, BUCKETS_MAX);
        let mut bytes = Vec::new();
        for (key, rules) in policies {
            text(&mut bytes, key.as_str().as_bytes());
            count(&mut bytes, rules.len());
            for Exported { rule, buckets } in rules {
                text(&mut bytes, &rule);
                count(&mut bytes, buckets.len());
                for (hash, used, since) in buckets {
                    bytes.extend(hash.to_le_bytes());
                    bytes.extend(used.to_le_bytes());
                    bytes.extend(since.to_le_bytes());
                }
            }
        }
        bytes
    }

    fn import(&self, version: u32, bytes: &[u8]) -> Result<(), String> {
        if version != self.version() {
            return Err(format!("buckets of version {version} are not known"));
        }
        let policies = read(bytes).ok_or("the bytes end early")?;
        let now = clock::now();
        for (key, ledger) in self.0.all::<Ledger>() {
            if let Some((_, rules)) = policies.iter().find(|(name, _)| name == key.as_str().as_bytes()) {
                ledger.import(rules.clone(), now);
            }
        }
        Ok(())
    }
}

/// Leaves out those that have used least.
fn cut(policies: &mut [(PolicyKey, Vec<Exported>)], most: usize) {
    let all = || policies.iter().flat_map(|(_, rules)| rules).flat_map(|rule| &rule.buckets);
    if all().count() <= most {
        return;
    }
    let mut used: Vec<u64> = all().map(|(_, used, _)| *used).collect();
    let at = used.len().saturating_sub(most);
    let (_, least, _) = used.select_nth_unstable(at);
    let least = *least;
    let mut left = most;
    for rule in policies.iter_mut().flat_map(|(_, rules)| rules) {
        rule.buckets.retain(|(_, used, _)| {
            let keeps = *used >= least && left > 0;
            left -= usize::from(keeps);
            keeps
        });
    }
}

fn count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    count(bytes, text.len());
    bytes.extend(text);
}

type Policies = Vec<(Vec<u8>, Vec<Exported>)>;

/// What was written; `None` where it ends early. No count is believed before its bytes are there.
fn read(mut bytes: &[u8]) -> Option<Policies> {
    let rest = &mut bytes;
    let mut policies = Policies::new();
    while !rest.is_empty() {
        let key = read_text(rest)?;
        let mut rules = Vec::new();
        for _ in 0..read_count(rest)? {
            let rule = read_text(rest)?;
            let buckets = read_count(rest)?;
            let (records, after) = rest.split_at_checked(buckets.checked_mul(BUCKET_BYTES)?)?;
            *rest = after;
            let bucket = |record: &[u8]| {
                let (hash, numbers) = record.split_first_chunk::<16>()?;
                let (used, since) = numbers.split_first_chunk::<8>()?;
                let since = since.first_chunk::<8>()?;
                Some((u128::from_le_bytes(*hash), u64::from_le_bytes(*used), u64::from_le_bytes(*since)))
            };
            rules.push(Exported { rule, buckets: records.chunks_exact(BUCKET_BYTES).filter_map(bucket).collect() });
        }
        policies.push((key, rules));
    }
    Some(policies)
}

fn read_count(rest: &mut &[u8]) -> Option<usize> {
    let (count, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    usize::try_from(u32::from_le_bytes(*count)).ok()
}

fn read_text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = read_count(rest)?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text.to_vec())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use filters::keep::Slot;
    use filters::local_rate_limit::bucket::Terms;
    use filters::local_rate_limit::{Rule, Unit};

    use super::*;

    fn rules() -> Vec<Rule> {
        let terms = Terms { max: 10, fill: 1, interval: Duration::from_secs(3600) };
        let unit = Unit::Requests;
        vec![Rule { name: "r".into(), terms, unit, key: None, mode: Default::default(), keys_max: 1000 }]
    }

    /// A process with one policy.
    fn process(keep: &Keep) -> Arc<Ledger> {
        let slot = Slot::<Ledger>::default();
        slot.bind(&PolicyKey::new("a"), &rules(), keep);
        slot.bound().expect("bound").clone()
    }

    fn exported(rule: &Ledger, buckets: Vec<(u128, u64, u64)>) -> Vec<Exported> {
        let names = rule.export(Duration::ZERO).into_iter().map(|it| it.rule);
        names.map(|rule| Exported { rule, buckets: buckets.clone() }).collect()
    }

    #[test]
    fn a_successor_has_the_seed_and_the_buckets() {
        let (old, new) = (Arc::new(Keep::default()), Arc::new(Keep::default()));
        let ledger = process(&old);
        ledger.import(exported(&ledger, vec![(7, 3, 5), (8, 1, 0)]), clock::now());
        let seeds = Seeds::new(&new);
        seeds.import(1, &Seeds::new(&old).export()).unwrap();
        let heir = process(&new);
        assert_eq!(*heir.seed, *ledger.seed);
        Buckets(new.clone()).import(1, &Buckets(old).export()).unwrap();
        let mut found: Vec<_> =
            heir.export(clock::now()).remove(0).buckets.into_iter().map(|(hash, used, _)| (hash, used)).collect();
        found.sort_unstable();
        assert_eq!(found, [(7, 3), (8, 1)]);
    }

    #[test]
    fn bytes_that_are_cut_or_mad_are_not_taken() {
        let keep = Arc::new(Keep::default());
        let ledger = process(&keep);
        ledger.import(exported(&ledger, (0..100).map(|n| (n, 1, 0)).collect()), clock::now());
        let bytes = Buckets(keep.clone()).export();
        for length in 1..bytes.len() {
            assert!(read(&bytes[..length]).is_none(), "{length} of {} bytes", bytes.len());
        }
        assert!(Buckets(keep.clone()).import(1, &[0xff; 64]).is_err());
        assert!(Buckets(keep.clone()).import(9, &bytes).is_err());
        assert!(Seeds::new(&keep).import(1, b"short").is_err());
    }

    #[test]
    fn of_too_many_buckets_those_go_that_have_used_most() {
        let buckets = (0..1000u64).map(|n| (n.into(), n, 0)).collect();
        let mut policies = [(PolicyKey::new("a"), vec![Exported { rule: Vec::new(), buckets }])];
        cut(&mut policies, 10);
        let left: Vec<u64> = policies[0].1[0].buckets.iter().map(|(_, used, _)| *used).collect();
        assert_eq!(left, (990..1000).collect::<Vec<_>>());
    }
}
