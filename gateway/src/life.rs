//! The life cycle: signals, drain, and the hand-over to a successor.
//!
//! Pingora asks for a shutdown signal; this does the whole ending inside that question and then
//! answers "now", so that none of Pingora's fixed waits apply.
//!
//! SIGTERM drains and ends, SIGINT ends at once, SIGHUP starts the program again as a successor
//! (where `handoffSocket` is set). When a successor says it is ready, this process drains.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::admin::Readiness;
use crate::listen::handoff::{self, Post, Predecessor};
use crate::listen::{Drain, Offer, Reports};
use crate::statics::Statics;
use crate::telemetry::Telemetry;

/// Whether this process is the one that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reign {
    /// A predecessor still does.
    Heir,
    Serving,
    /// A successor does.
    Superseded,
}

/// How a process ends.
pub struct Life {
    drain: Arc<Drain>,
    readiness: Arc<Readiness>,
    telemetry: Arc<Telemetry>,
    deadline_min: Duration,
    deadline: Duration,
    handoff: Option<std::path::PathBuf>,
    predecessor: Mutex<Option<Predecessor>>,
    reports: Mutex<Option<Arc<Reports>>>,
    /// Sockets of the process's own servers.
    own: Mutex<Vec<Offer>>,
    reign: watch::Sender<Reign>,
    ending: Notify,
    started: Notify,
    /// The process's own servers have answered what they were asked, and left.
    silent: Notify,
}

/// For the process's own servers to answer what they were asked.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

impl Life {
    pub fn new(
        statics: &Statics,
        drain: Arc<Drain>,
        readiness: Arc<Readiness>,
        telemetry: Arc<Telemetry>,
        predecessor: Option<Predecessor>,
    ) -> Arc<Self> {
        Arc::new(Self {
            drain,
            readiness,
            telemetry,
            deadline_min: statics.termination_deadline_min,
            deadline: statics.termination_deadline,
            handoff: statics.handoff.clone(),
            reign: watch::Sender::new(if predecessor.is_some() { Reign::Heir } else { Reign::Serving }),
            predecessor: Mutex::new(predecessor),
            reports: Mutex::new(None),
            own: Mutex::default(),
            ending: Notify::new(),
            started: Notify::new(),
            silent: Notify::new(),
        })
    }

    /// What a successor gets: the clients' listening sockets, and those of the process's `own` servers.
    pub fn offer(&self, reports: Arc<Reports>, own: Vec<Offer>) {
        *self.reports.lock() = Some(reports);
        *self.own.lock() = own;
    }

    /// Waits until no predecessor answers any more.
    pub async fn serving(&self) {
        self.reached(Reign::Serving).await;
    }

    /// Waits until a successor answers.
    pub async fn superseded(&self) {
        self.reached(Reign::Superseded).await;
    }

    async fn reached(&self, reign: Reign) {
        // The sender is ours: it cannot be gone.
        let _ = self.reign.subscribe().wait_for(|it| *it >= reign).await;
    }

    /// The process's own servers have left.
    pub fn silent(&self) {
        self.silent.notify_one();
    }

    /// Duplicates of all listening sockets.
    pub fn offers(&self) -> std::io::Result<Vec<Offer>> {
        let mut offers = match self.reports.lock().as_ref() {
            Some(reports) => reports.offers()?,
            None => Vec::new(),
        };
        for Offer { key, address, socket } in self.own.lock().iter() {
            offers.push(Offer { key: key.clone(), address: address.clone(), socket: socket.try_clone()? });
        }
        Ok(offers)
    }

    /// Starts a graceful end; may be called again.
    pub fn end(&self) {
        self.ending.notify_one();
    }

    /// The listeners stand: the predecessor may go, and a successor may ask.
    pub fn started(&self, reports: &Reports) {
        for bound in reports.bound() {
            match (&bound.address, &bound.error) {
                (_, Some(error)) => tracing::error!(bind = %bound.key, %error, "cannot listen"),
                (address, None) => {
                    tracing::info!(bind = %bound.key, address = address.as_deref().unwrap_or_default(), "listening");
                }
            }
        }
        if let Some(predecessor) = self.predecessor.lock().take() {
            match predecessor.ready() {
                Ok(()) => tracing::info!("took over"),
                Err(error) => tracing::warn!(%error, "the predecessor did not hear that we are ready"),
            }
        }
        self.reign.send_replace(Reign::Serving);
        tracing::info!("ready");
        self.started.notify_one();
    }

    async fn drained(&self) {
        tracing::info!(limit = ?self.deadline, "draining");
        let superseded = *self.reign.borrow() == Reign::Superseded;
        let left = if superseded {
            // For whoever asks at our address the service is ready: the successor is. Nobody need look away.
            let left = self.drain.drain(Duration::ZERO, self.deadline).await;
            let _ = tokio::time::timeout(LAST_ANSWERS, self.silent.notified()).await;
            left
        } else {
            self.readiness.drain();
            self.drain.drain(self.deadline_min, self.deadline).await
        };
        if left > 0 {
            tracing::warn!(connections = left, "drain limit reached; closing what is left");
        }
        self.telemetry.flush(Duration::from_secs(1));
    }

    /// Serves successors until one is ready.
    async fn succeeded(&self) {
        self.started.notified().await;
        let Some(path) = &self.handoff else { return std::future::pending().await };
        let post = match Post::open(path) {
            Ok(post) => post,
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "no hand-off: a restart will close connections");
                return std::future::pending().await;
            }
        };
        loop {
            match handoff::serve(&post, || self.offers()).await {
                Ok(()) => {
                    self.reign.send_replace(Reign::Superseded);
                    return;
                }
                Err(error) => tracing::warn!(%error, "the successor did not become ready; carrying on"),
            }
        }
    }

    /// Starts the installed program as successor; it reports itself through the hand-off socket.
    fn succeed(&self) {
        if self.handoff.is_none() {
            tracing::warn!("SIGHUP is ignored: config.handoffSocket is not set");
            return;
        }
        let mut arguments: Vec<_> = std::env::args_os().collect();
        let program = arguments.remove(0);
        arguments.retain(|it| it != "--takeover");
        let started = std::process::Command::new(program).args(arguments).arg("--takeover").spawn();
        match started {
            Ok(child) => {
                tracing::info!(pid = child.id(), "started a successor");
                reap(child);
            }
            Err(error) => tracing::error!(%error, "cannot start a successor"),
        }
    }
}

/// Waits for a child on a thread of its own, so that one that fails leaves no zombie.
fn reap(mut child: std::process::Child) {
    let waiting = std::thread::Builder::new().name("successor".to_owned()).spawn(move || match child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::error!(%status, "the successor ended"),
        Err(error) => tracing::error!(%error, "cannot wait for the successor"),
    });
    if let Err(error) = waiting {
        tracing::warn!(%error, "nobody waits for the successor");
    }
}

#[async_trait]
impl ShutdownSignalWatch for Life {
    async fn recv(&self) -> ShutdownSignal {
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
        let (Ok(mut term), Ok(mut int), Ok(mut hup)) = signals else {
            tracing::error!("signals cannot be caught; only an admin call ends this process gracefully");
            self.ending.notified().await;
            self.drained().await;
            return ShutdownSignal::FastShutdown;
        };
        let succeeded = self.succeeded();
        tokio::pin!(succeeded);
        loop {
            tokio::select! {
                _ = term.recv() => break,
                () = self.ending.notified() => break,
                () = &mut succeeded => {
                    tracing::info!("a successor has taken over");
                    break;
                }
                _ = hup.recv() => self.succeed(),
                _ = int.recv() => return ShutdownSignal::FastShutdown,
            }
        }
        tokio::select! {
            () = self.drained() => {}
            _ = int.recv() => {}
        }
        ShutdownSignal::FastShutdown
    }
}

/// The same life, seen by Pingora and by us.
#[async_trait]
impl ShutdownSignalWatch for SharedLife {
    async fn recv(&self) -> ShutdownSignal {
        self.0.recv().await
    }
}

/// Pingora wants to own its watch.
pub struct SharedLife(pub Arc<Life>);
