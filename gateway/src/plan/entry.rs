//! One rule as a listener or a group holds it, with its policies and backends resolved lazily.
//!
//! A patch never fans out: it makes new level objects and raises the plan's epoch. An entry that
//! is used under a newer epoch checks whether any of *its* inputs is another object than before,
//! and only then merges again. What comes out is in [`merged`](super::merged).

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use filters::Effective;

use super::Plan;
use super::merged::{Inputs, Merged};

/// A rule, shared by all plans in which it is unchanged.
pub struct Entry {
    pub route: Arc<ir::Route>,
    resolved: ArcSwapOption<Resolved>,
}

/// What holds for requests of one rule, and until when. There is one for each rule: it is kept small, and all
/// that rules can share is elsewhere.
pub struct Resolved {
    /// The last epoch of which it is known.
    epoch: AtomicU64,
    merged: Arc<Merged>,
}

impl Deref for Resolved {
    type Target = Merged;

    fn deref(&self) -> &Merged {
        &self.merged
    }
}

impl Entry {
    pub fn new(route: Arc<ir::Route>) -> Self {
        Self { route, resolved: ArcSwapOption::empty() }
    }

    /// Policies and backends under `plan`, below `base` (the listener's, or the delegating rule's).
    pub fn resolved(&self, plan: &Plan, base: &Arc<Effective>) -> Guard<Option<Arc<Resolved>>> {
        let held = self.resolved.load();
        if let Some(it) = held.as_ref()
            && it.epoch.load(Ordering::Relaxed) == plan.epoch
            && Arc::ptr_eq(&it.inputs.base, base)
        {
            return held;
        }
        self.refresh(plan, base, held)
    }

    #[cold]
    fn refresh(
        &self,
        plan: &Plan,
        base: &Arc<Effective>,
        held: Guard<Option<Arc<Resolved>>>,
    ) -> Guard<Option<Arc<Resolved>>> {
        let inputs = Inputs::of(&self.route, plan, base);
        if let Some(it) = held.as_ref()
            && it.inputs.same(&inputs)
        {
            it.epoch.store(plan.epoch, Ordering::Relaxed);
            return held;
        }
        let merged = plan.merged(inputs);
        let resolved = Arc::new(Resolved { epoch: AtomicU64::new(plan.epoch), merged });
        self.resolved.store(Some(resolved.clone()));
        Guard::from_inner(Some(resolved))
    }
}
