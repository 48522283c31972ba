//! The current plan, and how a patch becomes the next one.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::plan::Plan;

/// What every part of the process can see: one atomic pointer.
pub struct State {
    plan: ArcSwap<Plan>,
}

impl State {
    /// The plan in force; a request calls this once and keeps the result.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }
}
