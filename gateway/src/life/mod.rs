//! The life cycle: signals, drain, and the hand-over to a successor.
//!
//! Pingora asks for a shutdown signal; this does the whole ending inside that question and then
//! answers "now", so that none of Pingora's fixed waits apply.
//!
//! SIGTERM drains and ends, SIGINT ends at once, SIGHUP (and `agentgateway upgrade`, see [`control`]) starts the
//! installed program as a successor. When that accepts connections, this process drains ([`upgrade`] is this side of
//! it, [`heir`] the other). Those that drain are [`generation`]s; what a successor gets besides sockets is a
//! [`transfer`]. Where the process is alone in a container, [`init`] stands above it.
//!
//! ```text
//! heir ──ready, yours──▶ serving ──successor serves──▶ superseded ──drained──▶ end
//!                           └────────SIGTERM, drained──────────────────────────▲
//! ```

pub mod client;
mod control;
mod ending;
pub mod generation;
pub mod heir;
pub mod init;
pub mod place;
pub mod transfer;
pub mod upgrade;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, watch};

use self::generation::{Ear, Elders, Load, Mouth, Phase, View};
use self::heir::{Inheritance, Predecessor};
use self::transfer::Transfers;
use self::upgrade::{Estate, Order, Underway, UpgradeFault};
use crate::admin::Readiness;
use crate::listen::handoff::message::Refusal;
use crate::listen::{Drain, Offer, Reports};
use crate::statics::Statics;
use crate::systemd::Supervisor;
use crate::telemetry::{Telemetry, Upgrade, rfc3339};

pub use self::ending::SharedLife;

/// Conversations on the control socket at once.
const TALKS_MAX: u32 = 16;

/// For the proof that requests are answered.
const PROOF: Duration = Duration::from_secs(10);

/// Whether this process is the one that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reign {
    /// A predecessor still does.
    Heir,
    Serving,
    /// Nobody is to follow, and we are on the way out.
    Ending,
    /// A successor does.
    Superseded,
}

/// How a process begins and ends.
pub struct Life {
    drain: Arc<Drain>,
    readiness: Arc<Readiness>,
    telemetry: Arc<Telemetry>,
    supervisor: Arc<Supervisor>,
    transfers: Transfers,
    deadline_min: Duration,
    deadline: Duration,
    /// For a successor to become ready.
    limit: Duration,
    place: PathBuf,
    program: PathBuf,
    carries: Box<dyn Fn() -> Load + Send + Sync>,
    born: Instant,
    me: Mutex<View>,
    elders: Elders,
    predecessor: Mutex<Option<Predecessor>>,
    predecessor_pid: Option<u32>,
    reports: OnceLock<Arc<Reports>>,
    post: Mutex<Option<place::Post>>,
    /// Sockets of the process's own servers.
    own: Mutex<Vec<Offer>>,
    attempt: Mutex<Attempt>,
    mouth: Mutex<Option<Mouth>>,
    /// Why this process does not come into office.
    unfit: Mutex<Option<String>>,
    reign: watch::Sender<Reign>,
    ending: Notify,
    /// Signals are heard: from now on none kills the process that should not.
    hears: watch::Sender<bool>,
    /// This process serves, and its control socket is open if it could be.
    begun: Notify,
    talks: Arc<Semaphore>,
    /// The process's own servers have answered what they were asked, and left.
    silent: Notify,
}

/// What a life is made of.
pub struct Parts {
    pub drain: Arc<Drain>,
    pub readiness: Arc<Readiness>,
    pub telemetry: Arc<Telemetry>,
    pub supervisor: Arc<Supervisor>,
    pub transfers: Transfers,
    pub place: PathBuf,
    pub carries: Box<dyn Fn() -> Load + Send + Sync>,
    pub predecessor: Option<Predecessor>,
    pub elders: Vec<(Ear, View)>,
}

/// The upgrade under way, and the last one.
#[derive(Default)]
struct Attempt {
    underway: Option<(Arc<Underway>, Option<u32>)>,
    last: Option<Ended>,
}

/// How an upgrade ended, seen from the predecessor.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// RFC 3339.
    pub at: String,
    pub pid: Option<u32>,
    /// Why the successor did not come about; absent where it took over.
    pub error: Option<String>,
    pub seconds: f64,
}

/// Why no upgrade is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    pub why: Refusal,
    pub reason: String,
}

impl Life {
    pub fn new(statics: &Statics, parts: Parts) -> Arc<Self> {
        let Parts { drain, readiness, telemetry, supervisor, transfers, place, carries, predecessor, elders } = parts;
        let program = program();
        let generation = predecessor.as_ref().map_or(1, |it| it.generation.saturating_add(1));
        let known = Elders::default();
        elders.into_iter().for_each(|(ear, view)| known.add(ear, view));
        Arc::new(Self {
            drain,
            readiness,
            telemetry,
            supervisor,
            transfers,
            deadline_min: statics.termination_deadline_min,
            deadline: statics.termination_deadline,
            limit: statics.handoff_timeout,
            place,
            me: Mutex::new(View::born(generation, program.display().to_string())),
            program,
            carries,
            born: Instant::now(),
            elders: known,
            reign: watch::Sender::new(if predecessor.is_some() { Reign::Heir } else { Reign::Serving }),
            predecessor_pid: predecessor.as_ref().map(|it| it.pid),
            predecessor: Mutex::new(predecessor),
            reports: OnceLock::new(),
            post: Mutex::default(),
            own: Mutex::default(),
            attempt: Mutex::default(),
            mouth: Mutex::default(),
            unfit: Mutex::default(),
            ending: Notify::new(),
            hears: watch::Sender::new(false),
            begun: Notify::new(),
            talks: Arc::new(Semaphore::new(TALKS_MAX as usize)),
            silent: Notify::new(),
        })
    }

    /// What a successor gets: the clients' listening sockets, and those of the process's `own` servers.
    pub fn offer(&self, reports: Arc<Reports>, own: Vec<Offer>) {
        let _ = self.reports.set(reports);
        *self.own.lock() = own;
    }

    /// Waits until no predecessor answers any more, and whoever is answered may send signals.
    pub async fn serving(&self) {
        self.hearing().await;
        self.reached(Reign::Serving).await;
    }

    async fn hearing(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.hears.subscribe().wait_for(|it| *it).await;
    }

    /// Waits until a successor answers.
    pub async fn superseded(&self) {
        self.reached(Reign::Superseded).await;
    }

    /// Waits until a successor answers, or this process is on its way out.
    pub async fn leaving(&self) {
        self.reached(Reign::Ending).await;
    }

    /// Whether a successor answers.
    pub fn is_superseded(&self) -> bool {
        *self.reign.borrow() == Reign::Superseded
    }

    async fn reached(&self, reign: Reign) {
        // The sender is ours: it cannot be gone.
        let _ = self.reign.subscribe().wait_for(|it| *it >= reign).await;
    }

    /// The process's own servers have left.
    pub fn silent(&self) {
        self.silent.notify_one();
    }

    /// Starts a graceful end; may be called again.
    pub fn end(&self) {
        self.ending.notify_one();
    }

    /// Why this process never came into office, if so.
    pub fn unfit(&self) -> Option<String> {
        self.unfit.lock().take()
    }

    /// The listeners stand: a predecessor is asked to give way, and clients are let in. False where it does not.
    pub async fn started(self: &Arc<Self>, reports: &Arc<Reports>) -> bool {
        self.hearing().await;
        for bound in reports.bound() {
            match (&bound.address, &bound.error) {
                (_, Some(error)) => tracing::error!(bind = %bound.key, %error, "cannot listen"),
                (address, None) => {
                    tracing::info!(bind = %bound.key, address = address.as_deref().unwrap_or_default(), "listening");
                }
            }
        }
        let predecessor = self.predecessor.lock().take();
        let succeeded = match predecessor {
            Some(predecessor) => self.succeed(predecessor, reports).await,
            None => {
                self.open_post();
                init::announce();
                Ok(())
            }
        };
        if let Err(reason) = succeeded {
            tracing::error!(reason, "not taking over");
            *self.unfit.lock() = Some(reason);
            self.end();
            return false;
        }
        self.me.lock().state = Phase::Serving;
        self.reign.send_replace(Reign::Serving);
        self.begun.notify_one();
        tracing::info!("ready");
        true
    }

    /// Proves itself and takes over. The error is for the predecessor, and for whoever asked it.
    async fn succeed(self: &Arc<Self>, predecessor: Predecessor, reports: &Arc<Reports>) -> Result<(), String> {
        let broken = reports.bound().into_iter().find_map(|it| {
            let error = it.error.filter(|_| !predecessor.failing.contains(it.key.as_str()))?;
            Some(format!("{}: {error}", it.key))
        });
        let proved = match broken {
            Some(reason) => Err(reason),
            None => match tokio::time::timeout(PROOF, reports.prove()).await {
                Ok(proved) => proved.map_err(|reason| format!("the self-check failed: {reason}")),
                Err(_) => Err(format!("the self-check was not answered within {}s", PROOF.as_secs())),
            },
        };
        if let Err(reason) = proved {
            let told = reason.clone();
            let _ = tokio::task::spawn_blocking(move || predecessor.failed(&told)).await;
            return Err(reason);
        }
        let (limit, mut predecessor) = (self.limit, predecessor);
        let ready = tokio::task::spawn_blocking(move || {
            let late = predecessor.ready(limit);
            (predecessor, late)
        });
        let Ok((predecessor, late)) = ready.await else { return Err("the hand-over was abandoned".to_owned()) };
        let late: Inheritance = late.map_err(|error| error.to_string())?;
        self.transfers.import(&late.states);
        self.drain.open();
        // Before the predecessor leaves: there is always somebody to ask.
        self.open_post();
        init::announce();
        self.supervisor.take_over().await;
        let pid = predecessor.pid;
        let _ = tokio::task::spawn_blocking(move || predecessor.serving()).await;
        let seconds = self.born.elapsed().as_secs_f64();
        self.telemetry.upgraded(Upgrade::TookOver, seconds);
        tracing::info!(predecessor = pid, seconds, "took over");
        Ok(())
    }

    /// Starts a successor and waits for how that ends. `started` hears its process id.
    ///
    /// # Errors
    /// Why none is started.
    pub async fn upgrade(
        self: &Arc<Self>,
        binary: Option<PathBuf>,
        started: impl FnOnce(u32) + Send + 'static,
    ) -> Result<Ended, Declined> {
        let binary = binary.unwrap_or_else(|| self.program.clone());
        let underway = self.begin(None).inspect_err(|_| self.telemetry.upgraded(Upgrade::Refused, 0.0))?;
        if let Err(reason) = upgrade::suitable(&binary) {
            return Err(self.decline(Refusal::Binary, reason));
        }
        let since = Instant::now();
        self.supervisor.reloading();
        let this = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let (estate, mouth) = this.estate()?;
            let order = Order { binary, limit: this.limit };
            let pid = upgrade::start(&order, estate, &underway, |pid| {
                tracing::info!(pid, "started a successor");
                if let Some((_, known)) = this.attempt.lock().underway.as_mut() {
                    *known = Some(pid);
                }
                started(pid);
            })?;
            Ok((Some(pid), mouth))
        });
        Ok(self.conclude(since, work.await.unwrap_or(Err(UpgradeFault::GivenUp))))
    }

    /// One upgrade at a time, and none on the way in or out.
    fn begin(&self, pid: Option<u32>) -> Result<Arc<Underway>, Declined> {
        let decline = |why, reason: &str| Err(Declined { why, reason: reason.to_owned() });
        let mut attempt = self.attempt.lock();
        match *self.reign.borrow() {
            Reign::Serving => {}
            Reign::Heir => return decline(Refusal::NotServing, "this process is still taking over: ask again"),
            Reign::Ending => return decline(Refusal::NotServing, "this process is shutting down"),
            Reign::Superseded => {
                return decline(Refusal::NotServing, "this process drains: a successor serves, ask that one");
            }
        }
        if let Some((_, pid)) = &attempt.underway {
            let pid = pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
            return decline(Refusal::Busy, &format!("an upgrade is under way{pid}"));
        }
        let underway = Arc::<Underway>::default();
        attempt.underway = Some((Arc::clone(&underway), pid));
        Ok(underway)
    }

    fn decline(&self, why: Refusal, reason: String) -> Declined {
        tracing::warn!(reason, "no upgrade");
        self.telemetry.upgraded(Upgrade::Refused, 0.0);
        let mut attempt = self.attempt.lock();
        attempt.underway = None;
        attempt.last =
            Some(Ended { at: rfc3339(SystemTime::now()), pid: None, error: Some(reason.clone()), seconds: 0.0 });
        Declined { why, reason }
    }

    fn conclude(&self, since: Instant, outcome: Result<(Option<u32>, Mouth), UpgradeFault>) -> Ended {
        let seconds = since.elapsed().as_secs_f64();
        let mut attempt = self.attempt.lock();
        let started = attempt.underway.take().and_then(|(_, pid)| pid);
        let (pid, error) = match outcome {
            Ok((pid, mouth)) => {
                *self.mouth.lock() = Some(mouth);
                tracing::info!(pid, seconds, "successor is ready");
                (pid, None)
            }
            Err(fault) => {
                let error = fault.to_string();
                tracing::error!(error, seconds, "the successor did not become ready; carrying on");
                self.telemetry.upgraded(Upgrade::Failed, seconds);
                self.supervisor.ready();
                (started, Some(error))
            }
        };
        let ended = Ended { at: rfc3339(SystemTime::now()), pid, error, seconds };
        attempt.last = Some(ended.clone());
        drop(attempt);
        if ended.error.is_none() {
            self.reign.send_if_modified(|it| {
                let serving = *it == Reign::Serving;
                *it = if serving { Reign::Superseded } else { *it };
                serving
            });
        }
        ended
    }

    /// Duplicates of all listening sockets.
    pub fn offers(&self) -> std::io::Result<Vec<Offer>> {
        let mut offers = self.reports.get().map_or_else(|| Ok(Vec::new()), |it| it.offers())?;
        for Offer { key, address, socket } in self.own.lock().iter() {
            offers.push(Offer { key: key.clone(), address: address.clone(), socket: socket.try_clone()? });
        }
        Ok(offers)
    }

    /// Everything a successor gets, and what we keep to report through.
    fn estate(&self) -> Result<(Estate, Mouth), UpgradeFault> {
        let io = crate::listen::handoff::HandoffFault::from;
        let offers = self.offers().map_err(io)?;
        let bound = self.reports.get().map(|it| it.bound()).unwrap_or_default();
        let failing = bound.into_iter().filter(|it| it.error.is_some()).map(|it| it.key.to_string()).collect();
        let (mouth, ear) = generation::channel().map_err(io)?;
        let mut elders = self.elders.duplicates().map_err(io)?;
        elders.push((ear.0, View { state: Phase::Draining, ..self.view() }));
        Ok((Estate { view: self.view(), offers, failing, elders, transfers: self.transfers.clone() }, mouth))
    }

    fn view(&self) -> View {
        self.me.lock().clone().now((self.carries)())
    }

    /// This process and those that drain, the newest first; and how upgrades went.
    pub fn report(&self) -> serde_json::Value {
        let mut generations = vec![self.view()];
        generations.extend(self.elders.views().into_iter().rev());
        let attempt = self.attempt.lock();
        serde_json::json!({
            "generations": generations,
            "controlSocket": self.place,
            "upgrade": {
                "underway": attempt.underway.as_ref().map(|(_, pid)| serde_json::json!({ "pid": pid })),
                "last": attempt.last,
            },
        })
    }
}

/// What a successor is started from: the program as it was called, where it is then. Not what the kernel says runs
/// now: an upgrade has replaced that file.
fn program() -> PathBuf {
    let called = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    let found = match called.components().count() {
        0 => None,
        1 if !called.is_absolute() => std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path).map(|it| it.join(&called)).find(|it| upgrade::suitable(it).is_ok())
        }),
        _ => std::path::absolute(&called).ok(),
    };
    found.or_else(|| std::env::current_exe().ok()).unwrap_or(called)
}
