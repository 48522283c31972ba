//! The current plan, and how a patch becomes the next one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use filters::{Change, Keep, Patch};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::listen::Wanted;
use crate::local::source::{Places, cpu};
use crate::plan::{Compiler, Plan};

/// What every part of the process can see: one atomic pointer.
pub struct State {
    plan: ArcSwap<Plan>,
    wanted: watch::Sender<Arc<Wanted>>,
    /// Where the objects of the document stand.
    places: ArcSwap<Places>,
    /// What outlives a plan.
    keep: Arc<Keep>,
    /// Sources take turns; requests never wait here.
    turn: Mutex<()>,
}

/// What applying a patch took, in CPU time.
#[derive(Clone, Copy, Debug)]
pub struct Applied {
    pub generation: u64,
    pub compile: Duration,
    pub publish: Duration,
}

impl State {
    pub fn new(compiler: Arc<Compiler>) -> Arc<Self> {
        let plan = ArcSwap::from_pointee(Plan::empty(compiler));
        Arc::new(Self {
            plan,
            wanted: watch::channel(Arc::default()).0,
            places: ArcSwap::default(),
            keep: Arc::default(),
            turn: Mutex::new(()),
        })
    }

    /// The plan in force; a request calls this once and keeps the result.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// The binds that should be open, as of the plan in force.
    pub fn wanted(&self) -> watch::Receiver<Arc<Wanted>> {
        self.wanted.subscribe()
    }

    /// Where the objects of the document stand, for dumps.
    pub fn places(&self) -> Arc<Places> {
        self.places.load_full()
    }

    /// What outlives a plan: key sets, caches, buckets.
    pub fn keep(&self) -> &Arc<Keep> {
        &self.keep
    }

    /// The document was loaded: objects that did not change may have moved.
    pub fn place(&self, places: Places) {
        self.places.store(Arc::new(places));
    }

    /// Compiles and publishes. Requests under way keep the plan they began with.
    pub fn apply(&self, patch: &Patch) -> Applied {
        let _turn = self.turn.lock();
        let started = cpu();
        self.bind(patch);
        let plan = Arc::new(self.plan.load().with(patch));
        let compiled = cpu();
        let generation = plan.generation;
        let binds = plan.binds().map(|it| (it.bind.key.clone(), it.bind.address.clone())).collect();
        let before = self.plan.swap(plan);
        self.wanted.send_replace(Arc::new(Wanted { generation, binds }));
        drop(before);
        Applied { generation, compile: compiled - started, publish: cpu().saturating_sub(compiled) }
    }

    /// Policies come into force: each gets what was kept under its name.
    fn bind(&self, patch: &Patch) {
        for change in patch.changes() {
            match change {
                Change::Policy(key, Some(attachment)) => attachment.policy.bind(key, &self.keep),
                Change::Policy(key, None) => self.keep.forget(key),
                _ => {}
            }
        }
    }
}
