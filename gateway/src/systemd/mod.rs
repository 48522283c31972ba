//! The service manager: what it is told ([`notify`]), the sockets it brings ([`activation`]) and keeps ([`store`]),
//! and how a successor becomes its child ([`adoption`]).
//!
//! [`Attendance::run`] is the conversation while the process lives: status, watchdog, stored sockets, and the end.
//! Everything is a no-op where no manager listens. Who serves when, and what a hand-over is, is
//! [`crate::life`]'s business; a process that has been succeeded says nothing more, because the unit is not its own
//! any longer.

pub mod activation;
pub mod adoption;
pub mod notify;
pub mod store;
mod watchdog;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use self::activation::Brought;
pub use self::notify::Supervisor;
pub use self::store::Store;
pub use self::watchdog::Probe;
use crate::life::Life;
use crate::listen::{BoundReport, Drain, Offer, Reports, Stage};
use crate::state::State;

/// How often the status line is made; it is sent when it has changed.
const STATUS_PERIOD: Duration = Duration::from_secs(5);
/// While draining, the manager hears this often that the end takes longer,
const EXTEND_PERIOD: Duration = Duration::from_secs(5);
/// by this much each time. What hangs is killed that long after the drain.
const EXTENSION: Duration = Duration::from_secs(20);

/// The sockets that are open now.
pub type Offers = Arc<dyn Fn() -> std::io::Result<Vec<Offer>> + Send + Sync>;
/// One line about the process, as of now.
pub type Line = Arc<dyn Fn() -> String + Send + Sync>;

/// What the manager is told about.
pub struct Attendance {
    pub supervisor: Arc<Supervisor>,
    pub drain: Arc<Drain>,
    /// Changes whenever sockets may have opened or closed.
    pub changes: watch::Receiver<u64>,
    pub offers: Offers,
    pub line: Line,
    /// Whether traffic still flows.
    pub probe: Probe,
}

impl Attendance {
    /// Of the process's parts.
    pub fn of(
        supervisor: Arc<Supervisor>,
        drain: Arc<Drain>,
        (reports, state, life): (&Arc<Reports>, &Arc<State>, &Arc<Life>),
    ) -> Self {
        let (life, state, gauge) = (Arc::clone(life), Arc::clone(state), Arc::clone(&drain));
        let (bound, data) = (Arc::clone(reports), Arc::clone(reports));
        Self {
            supervisor,
            drain,
            changes: reports.changes(),
            offers: Arc::new(move || life.offers()),
            line: Arc::new(move || line(state.plan().generation, gauge.live(), &bound.bound())),
            probe: Arc::new(move || {
                let data = Arc::clone(&data);
                Box::pin(async move { data.prove().await })
            }),
        }
    }

    /// Says that this process is ready, and goes on until `superseded`.
    pub async fn run<F: Future<Output = ()>>(self, store: Store, superseded: impl Fn() -> F) {
        if !self.supervisor.is_there() {
            return;
        }
        self.supervisor.ready();
        tokio::select! {
            biased;
            () = superseded() => return,
            () = self.speak(store) => {}
        }
        tokio::select! {
            biased;
            // Asked anew, for who waits may hear of it later than others, and the drain may come of it: then it is not
            // the end of the unit.
            () = superseded() => {}
            () = self.end() => {}
        }
    }

    /// Until the process drains.
    async fn speak(&self, store: Store) {
        tokio::select! {
            biased;
            () = self.draining() => {}
            () = watchdog::keep(&self.supervisor, &self.probe) => {}
            () = self.keep(store) => {}
            () = self.report() => {}
        }
    }

    async fn draining(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.drain.stage().wait_for(|it| *it >= Stage::Draining).await;
    }

    /// Keeps the stored sockets equal to the open ones. When the process drains they stay: the next one may be a
    /// restart.
    async fn keep(&self, mut store: Store) {
        let mut changes = self.changes.clone();
        loop {
            changes.borrow_and_update();
            let (offers, drain) = (Arc::clone(&self.offers), Arc::clone(&self.drain));
            let work = tokio::task::spawn_blocking(move || {
                match offers() {
                    // Draining sockets leave the list, too; they must not leave the store.
                    Ok(open) if *drain.stage().borrow() < Stage::Closed => store.follow(&open),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "sockets cannot be stored with the service manager"),
                }
                store
            });
            match work.await {
                Ok(back) => store = back,
                Err(error) => {
                    tracing::error!(%error, "sockets are not stored any more");
                    return std::future::pending().await;
                }
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn report(&self) {
        let mut said = String::new();
        loop {
            let now = (self.line)();
            if now != said {
                self.supervisor.status(&now);
                said = now;
            }
            tokio::time::sleep(STATUS_PERIOD).await;
        }
    }

    /// The end, as long as it takes.
    async fn end(&self) {
        self.supervisor.stopping();
        let extending = async {
            loop {
                self.supervisor.extend(EXTENSION);
                self.supervisor.status(&format!("draining, {} connections left", self.drain.live()));
                tokio::time::sleep(EXTEND_PERIOD).await;
            }
        };
        tokio::join!(extending, watchdog::keep(&self.supervisor, &self.probe));
    }
}

/// What `systemctl status` shows.
fn line(generation: u64, connections: usize, binds: &[BoundReport]) -> String {
    let failed = binds.iter().filter(|it| it.error.is_some()).count();
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("generation {generation}, {connections} connections, {} binds{failed}", binds.len())
}
