//! The buckets of a policy: what outlives a configuration, and a process.

use std::sync::Arc;
use std::time::Duration;

use super::bucket::Bucket;
use super::policy::{Rule, Unit};
use crate::keep::{Keep, Kept};
use crate::quota::{Hash, Seed, Table};

/// The buckets of each rule of a policy.
pub struct Ledger {
    pub seed: Arc<Seed>,
    accounts: Vec<Account>,
}

/// The buckets of one rule. It does not know the limit: that may change.
struct Account {
    rule: Rule,
    table: Arc<Table<Bucket>>,
}

/// The buckets of one rule on their way to a successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Which rule of its policy it was.
    pub rule: Vec<u8>,
    /// Hash of the key, tokens used, nanoseconds since the last fill.
    pub buckets: Vec<(Hash, u64, u64)>,
}

/// How much two rules are the same limit: what was used under one counts for the other.
fn likeness(one: &Rule, other: &Rule) -> u8 {
    if one.unit != other.unit || one.key != other.key {
        return 0;
    }
    1 + u8::from(one.terms.interval == other.terms.interval)
}

impl Kept for Ledger {
    type Terms = Vec<Rule>;

    fn renew(rules: &Vec<Rule>, previous: Option<&Arc<Self>>, keep: &Keep) -> Arc<Self> {
        let seed = match previous {
            Some(previous) => previous.seed.clone(),
            None => keep.shared(&Seed::shared_name(), |_| Seed::random()),
        };
        let mut old: Vec<&Account> = previous.map(|it| it.accounts.iter().collect()).unwrap_or_default();
        // The surest matches first, so that a rule that was put before others takes nothing from them.
        let mut found: Vec<Option<&Account>> = vec![None; rules.len()];
        for wanted in [2, 1] {
            for (rule, found) in rules.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
                if let Some(at) = old.iter().position(|it| likeness(&it.rule, rule) == wanted) {
                    *found = Some(old.remove(at));
                }
            }
        }
        let accounts = rules.iter().zip(found).map(|(rule, found)| Account {
            rule: rule.clone(),
            table: match found {
                Some(it) if it.rule.keys_max == rule.keys_max => it.table.clone(),
                _ => Arc::new(Table::new(rule.keys_max)),
            },
        });
        Arc::new(Self { seed, accounts: accounts.collect() })
    }
}

impl Ledger {
    pub(super) fn tables(&self) -> impl Iterator<Item = &Arc<Table<Bucket>>> {
        self.accounts.iter().map(|it| &it.table)
    }

    /// All buckets that are not full.
    pub fn export(&self, now: Duration) -> Vec<Exported> {
        let export = |it: &Account| {
            let at = it.rule.terms.at(now);
            let buckets = it.table.all(at).into_iter().map(|(hash, bucket)| {
                let (used, since) = bucket.export(at);
                (hash, used, since)
            });
            Exported { rule: it.id(), buckets: buckets.collect() }
        };
        self.accounts.iter().map(export).collect()
    }

    /// Buckets of a predecessor, whose seed this has.
    pub fn import(&self, exported: Vec<Exported>, now: Duration) {
        let mut left: Vec<&Account> = self.accounts.iter().collect();
        for Exported { rule, buckets } in exported {
            let Some(at) = left.iter().position(|it| it.id() == rule) else { continue };
            let account = left.remove(at);
            let at = account.rule.terms.at(now);
            for (hash, used, since) in buckets {
                account.table.with(hash, at, |bucket| *bucket = Bucket::import((used, since), now));
            }
        }
    }
}

impl Account {
    /// What tells it from the others of its policy, in every process alike.
    fn id(&self) -> Vec<u8> {
        let unit = match self.rule.unit {
            Unit::Requests => 'r',
            Unit::Tokens => 't',
        };
        let key = self.rule.key.as_ref().map_or("", |it| it.text());
        format!("{unit}{} {key}", self.rule.terms.interval.as_nanos()).into_bytes()
    }
}
