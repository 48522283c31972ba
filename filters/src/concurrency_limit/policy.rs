//! Limits of what is under way, as understood, and the places that are taken.

use std::sync::Arc;

use ir::PolicyKey;
use serde::Serialize;

use crate::exchange::Mode;
use crate::expr::{Expression, Needs};
use crate::keep::{Keep, Kept, Slot};
use crate::quota::{Hash, Seed, Table, table};

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub in_flight_max: u32,
    /// What tells places apart; absent where all share them.
    pub key: Option<Expression>,
    /// 429 or 503.
    pub status: u16,
    pub mode: Mode,
    /// Most keys with requests under way.
    pub keys_max: usize,
}

/// All must have a place for a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Policy {
    pub rules: Vec<Rule>,
    #[serde(skip)]
    pub(crate) places: Slot<Places>,
}

/// The requests under way, for each rule.
pub(crate) struct Places {
    pub(super) seed: Arc<Seed>,
    pub(super) tables: Vec<(Rule, Arc<Table<Count>>)>,
}

/// Requests under way with one key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count(pub(super) u32);

impl table::State for Count {
    type Terms = ();

    fn worth(&self, (): ()) -> u64 {
        self.0.into()
    }
}

/// A place taken; dropping it gives it back.
pub(super) struct Permit {
    pub(super) table: Arc<Table<Count>>,
    pub(super) hash: Hash,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.table.peek(self.hash, |count| count.0 = count.0.saturating_sub(1));
    }
}

impl Policy {
    /// What its keys read.
    pub fn needs(&self) -> Needs {
        self.rules.iter().filter_map(|it| it.key.as_ref()).fold(Needs::NONE, |needs, it| needs | it.needs())
    }

    /// Finds or makes the places of the policy of this name.
    pub fn bind(&self, key: &PolicyKey, keep: &Keep) {
        self.places.bind(key, &self.rules, keep);
    }
}

impl Kept for Places {
    type Terms = Vec<Rule>;

    fn renew(rules: &Vec<Rule>, previous: Option<&Arc<Self>>, keep: &Keep) -> Arc<Self> {
        let seed = match previous {
            Some(previous) => previous.seed.clone(),
            None => keep.shared(&Seed::shared_name(), |_| Seed::random()),
        };
        let mut old: Vec<&(Rule, Arc<Table<Count>>)> =
            previous.map(|it| it.tables.iter().collect()).unwrap_or_default();
        let tables = rules.iter().map(|rule| {
            let same = old.iter().position(|(it, _)| it.is_like(rule));
            let table = match same.map(|at| old.remove(at)) {
                Some((it, table)) if it.keys_max == rule.keys_max => table.clone(),
                _ => Arc::new(Table::new(rule.keys_max)),
            };
            (rule.clone(), table)
        });
        Arc::new(Self { seed, tables: tables.collect() })
    }
}

impl Rule {
    /// Whether requests under way for one count for the other.
    fn is_like(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
