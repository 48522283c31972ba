//! The control plane as a source of patches, beside the document.
//!
//! ```text
//! predecessor's estate, or the state on disk ──▶ in force (stale until confirmed)
//! xds::client ── Update ──▶ State::apply_remote ──▶ answer (ACK, NACK) ──▶ report, disk
//! ```
//!
//! Both sources may be active; whose an object is that both know, `state::ownership` says. A process without a
//! predecessor asks at once, and is ready when the first response is in force, or the state on disk. A successor that
//! inherits everything asks when it has taken over, and its predecessor stops then; one that does not asks before.
//!
//! Nothing here is on the way of a request: patches are compiled on a thread of their own and published by one store.
//! Not here: the protocol (`xds::client`), what a patch does (`plan`).

mod heir;
mod record;
mod report;
mod store;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use xds::client::{Session, Settings, Status as Word, Update, Versions};

use crate::admin::{Readiness, ReadyGuard};
use crate::life::Life;
use crate::local::statics::identity;
use crate::state::{Remote, State};
use crate::statics::Statics;
use crate::status::Status;
use crate::telemetry::{Telemetry, rfc3339};
pub use heir::Estate;
use heir::Legacy;
use record::Held;
use store::{Saved, Store};

/// After a change, before the state is written: more changes often follow.
const SETTLE: Duration = Duration::from_secs(1);
/// Writing takes at most this share of the time.
const WRITING_SHARE: u32 = 20;

/// Where what serves came from.
enum Provenance {
    Nothing,
    /// Written then.
    Disk(SystemTime),
    Predecessor,
    ControlPlane,
}

/// What became of the state on disk.
#[derive(Clone, Default)]
struct Stored {
    saved: Option<Saved>,
    error: Option<String>,
    failures: u64,
}

/// One control plane, and what it has said.
pub struct XdsSource {
    settings: Settings,
    session: Arc<Session>,
    state: Arc<State>,
    status: Arc<Status>,
    telemetry: Arc<Telemetry>,
    word: watch::Sender<Word>,
    provenance: Mutex<Provenance>,
    /// A predecessor had heard its control plane, and what it had is not here.
    owes: bool,
    ready: Mutex<Option<ReadyGuard>>,
    /// Held while a patch is put into force and the session hears of it: whoever holds it sees both agree.
    turn: Mutex<()>,
    store: Option<Store>,
    stored: Mutex<Stored>,
    changed: Notify,
}

/// Whom the source tells.
pub type Told = (Arc<State>, Arc<Status>, Arc<Telemetry>, Arc<Readiness>);

impl XdsSource {
    /// The source that the settings name, with what a predecessor or the disk has in force.
    pub fn begin(statics: &Statics, estate: &Estate, is_heir: bool, told: Told) -> Option<Arc<Self>> {
        let settings = statics.xds.clone()?;
        let (state, status, telemetry, readiness) = told;
        let store = Store::of(statics, identity(&settings));
        if store.is_none() {
            tracing::warn!("the control plane's word is not kept: name a directory with config.stateDirectory");
        }
        let legacy = estate.take(&identity(&settings));
        let synced = legacy.as_ref().is_none_or(|it| it.synced);
        let (held, provenance) = match legacy {
            Some(Legacy { held: Some(held), synced: true }) => (held, Provenance::Predecessor),
            _ => store.as_ref().and_then(restore).unwrap_or((Held::default(), Provenance::Nothing)),
        };
        let Held { patch, known } = held;
        let is_held = !matches!(provenance, Provenance::Nothing);
        let this = Arc::new(Self {
            session: Arc::new(Session::resume(known)),
            settings,
            state,
            status,
            telemetry: telemetry.clone(),
            word: watch::Sender::default(),
            provenance: Mutex::new(provenance),
            owes: is_heir && synced && !is_held,
            ready: Mutex::new((!is_held).then(|| readiness.task("xds"))),
            turn: Mutex::default(),
            store,
            stored: Mutex::default(),
            changed: Notify::new(),
        });
        if is_held {
            this.put(patch);
        }
        estate.belongs_to(&this);
        let told = Arc::downgrade(&this);
        telemetry.control_plane(Arc::new(move || told.upgrade().map(|it| it.figures()).unwrap_or_default()));
        Some(this)
    }

    /// Waits until what the predecessor had is here as well.
    pub async fn settled(&self) {
        if self.owes {
            // The sender is ours: it cannot be gone.
            let _ = self.word.subscribe().wait_for(|it| it.synced).await;
        }
    }

    /// Asks until a successor does.
    pub async fn run(self: &Arc<Self>, life: &Life) {
        if !matches!(*self.provenance.lock(), Provenance::Nothing) {
            life.serving().await;
        }
        let (updates, received) = mpsc::channel(1);
        let client = xds::client::run(
            self.settings.clone(),
            self.session.clone(),
            updates,
            self.word.clone(),
            life.superseded(),
        );
        tokio::join!(client, self.take(received), self.keep(life));
    }

    async fn take(self: &Arc<Self>, mut received: mpsc::Receiver<Update>) {
        while let Some(update) = received.recv().await {
            let this = self.clone();
            let work = tokio::task::spawn_blocking(move || this.apply(update));
            if let Err(error) = work.await {
                // The update was dropped with it: the control plane hears that it was refused.
                tracing::error!(%error, "an update ended unexpectedly; what was in force stays");
            }
        }
    }

    fn apply(&self, mut update: Update) {
        let turn = self.turn.lock();
        let patch = std::mem::take(&mut update.patch);
        let (changes, refused) = (patch.len(), update.refused.len());
        let waiting = self.put(patch);
        // Before the control plane hears that its word is in force: then everybody is told so.
        let first = !matches!(
            std::mem::replace(&mut *self.provenance.lock(), Provenance::ControlPlane),
            Provenance::ControlPlane
        );
        update.answer(Vec::new(), waiting);
        drop(turn);
        if changes > 0 {
            self.changed.notify_one();
        }
        drop(self.ready.lock().take());
        if first {
            tracing::info!(changes, refused, address = %self.settings.address, "the control plane has spoken");
        } else {
            tracing::debug!(changes, refused, "an update of the control plane is in force");
        }
    }

    /// Puts a patch into force, and tells so. What of it waits is returned.
    fn put(&self, patch: filters::Patch) -> Vec<xds::Refusal> {
        let changes = patch.len();
        let (applied, waiting) = self.state.apply_remote(patch);
        if changes > 0 {
            self.status.advanced(applied.generation);
            self.telemetry.config_advanced(applied.generation);
            let failed = self.state.plan();
            self.status.stale("listener", failed.failed().map(|(key, reason)| (key.to_string(), reason.to_string())));
        }
        waiting
    }

    /// Writes the state whenever it has changed, until a successor does.
    async fn keep(self: &Arc<Self>, life: &Life) {
        if self.store.is_none() {
            return;
        }
        let mut pause = SETTLE;
        loop {
            let ending = tokio::select! {
                () = self.changed.notified() => tokio::select! {
                    () = tokio::time::sleep(pause) => false,
                    () = life.leaving() => true,
                },
                () = life.leaving() => return,
            };
            if ending && life.is_superseded() {
                return;
            }
            let this = self.clone();
            let started = Instant::now();
            let _ = tokio::task::spawn_blocking(move || this.save_now()).await;
            pause = SETTLE.max(started.elapsed() * WRITING_SHARE);
            if ending {
                return;
            }
        }
    }

    /// Writes the state; a failure is told, once for each kind.
    fn save_now(&self) {
        let Some(store) = &self.store else { return };
        let (remote, known) = self.held();
        let saved = store.save(&remote, &known);
        let mut stored = self.stored.lock();
        match saved {
            Ok(saved) => {
                if saved.left_out > 0 && stored.saved.is_none_or(|it| it.left_out == 0) {
                    tracing::info!(
                        resources = saved.left_out,
                        "the state on disk is without secrets: what needs them is closed after a start without \
                         control plane; name a key with config.stateKey"
                    );
                }
                *stored = Stored { saved: Some(saved), error: None, failures: stored.failures };
            }
            Err(fault) => {
                let error = fault.to_string();
                if stored.error.as_ref() != Some(&error) {
                    tracing::warn!(path = %store.path().display(), error, "the control plane's word is not kept");
                }
                stored.error = Some(error);
                stored.failures += 1;
            }
        }
    }

    /// What the control plane has said, and its versions, of the same moment.
    fn held(&self) -> (Remote, Versions) {
        let _turn = self.turn.lock();
        (self.state.remote(), self.session.known())
    }

    fn identity(&self) -> String {
        identity(&self.settings)
    }

    /// Whether the control plane has spoken, to this process or a predecessor.
    fn is_synced(&self) -> bool {
        matches!(*self.provenance.lock(), Provenance::Predecessor | Provenance::ControlPlane)
    }
}

/// What the disk has.
fn restore(store: &Store) -> Option<(Held, Provenance)> {
    match store.load() {
        Ok(None) => None,
        Ok(Some((held, at))) => {
            let (resources, path) = (held.patch.len(), store.path().display());
            tracing::warn!(resources, %path, saved_at = rfc3339(at), "serving the control plane's last word from disk");
            Some((held, Provenance::Disk(at)))
        }
        Err(fault) => {
            tracing::warn!(path = %store.path().display(), error = %fault, "the state on disk is ignored");
            None
        }
    }
}
