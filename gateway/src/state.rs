//! The current plan, and how a patch becomes the next one. Two sources deliver patches, the document and the control
//! plane; [`ownership`] says whose an object is that both know.

mod ownership;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use filters::{Change, Keep, Patch, Snapshot};
use ownership::Ownership;
use parking_lot::Mutex;
use tokio::sync::watch;
use xds::Refusal;

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
    turn: Mutex<Ownership>,
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
            turn: Mutex::default(),
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

    /// A patch of the document: compiles and publishes. Requests under way keep the plan they began with.
    pub fn apply(&self, patch: &Patch) -> Applied {
        let mut turn = self.turn.lock();
        let settled = turn.document(&self.plan.load().snapshot, patch);
        self.publish(settled.as_ref().unwrap_or(patch))
    }

    /// A patch of the control plane, and what of it waits because the document has an object of the same key.
    pub fn apply_remote(&self, patch: Patch) -> (Applied, Vec<Refusal>) {
        let mut turn = self.turn.lock();
        let (patch, waiting) = turn.control_plane(&self.plan.load().snapshot, patch);
        if patch.is_empty() {
            let generation = self.plan.load().generation;
            return (Applied { generation, compile: Duration::ZERO, publish: Duration::ZERO }, waiting);
        }
        (self.publish(&patch), waiting)
    }

    /// What the control plane's objects are that wait, and for what.
    pub fn waiting(&self) -> Vec<Refusal> {
        let turn = self.turn.lock();
        turn.waiting(&self.plan.load().snapshot)
    }

    /// Everything the control plane has said, in force or waiting.
    pub fn remote(&self) -> Remote {
        let turn = self.turn.lock();
        Remote { snapshot: self.plan.load().snapshot.clone(), aside: turn.aside().cloned().collect() }
    }

    /// Called in turn.
    fn publish(&self, patch: &Patch) -> Applied {
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

/// The control plane's objects at one moment.
pub struct Remote {
    snapshot: Snapshot,
    aside: Vec<Change>,
}

impl Remote {
    pub fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        ownership::control_plane_of(&self.snapshot).chain(self.aside.iter().cloned())
    }
}
