//! Where traffic enters: sockets opened and closed at run time, TLS, the PROXY protocol, raw connections,
//! and the connections of HTTP up to the request.
//!
//! A connection: [`accept`] → [`arrival`] (PROXY header, network policy, [`handshake`]) → [`tcp`], or
//! [`stream`] and then [`http1`] or [`http2`], which hand each request to Pingora. A change of binds:
//! [`Wanted`] → [`reconcile`] → [`Reports`]. The end: [`drain`], and for a successor [`handoff`].

mod accept;
mod account;
mod arrival;
mod boundary;
pub mod carried;
pub mod drain;
mod flag;
pub mod handoff;
mod handshake;
mod http1;
mod http2;
mod info;
mod probe;
mod proxy_header;
mod reconcile;
mod refused;
mod relay;
mod scarce;
mod sockets;
mod stream;
mod talk;
mod tcp;
pub mod tickets;
pub mod tls;
mod wire;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use ir::{BindAddress, BindKey};
use parking_lot::Mutex;
use pingora_core::apps::HttpServerApp;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use self::drain::{Drain, Stage};
pub use self::handoff::Offer;
pub use self::info::{ConnInfo, Peer, TlsInfo};
pub use self::stream::{conn_info, info_of};
pub use self::tls::server_config;
pub use self::wire::Traffic;
use crate::outside::Asking;
use crate::plan::Plan;
use crate::telemetry::Telemetry;

/// The binds that should be open, as of one plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// 0 stands for the time before the first plan: inherited sockets wait.
    pub generation: u64,
    pub binds: BTreeMap<BindKey, BindAddress>,
}

/// What became of one wanted bind.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundReport {
    pub key: BindKey,
    pub wanted: BindAddress,
    /// Where it listens, with the port the kernel chose.
    pub address: Option<String>,
    /// Why it does not listen; it is tried again every second.
    pub error: Option<String>,
}

/// The plan in force: `State::plan`.
pub type Plans = Arc<dyn Fn() -> Arc<Plan> + Send + Sync>;

/// What listeners are made of.
pub struct Setup<A> {
    /// The `HttpProxy`; the settings of HTTP/2 and keep-alive it carries are not used.
    pub app: Arc<A>,
    pub plans: Plans,
    pub telemetry: Arc<Telemetry>,
    pub drain: Arc<Drain>,
    /// How servers are asked about connections.
    pub asking: Asking,
    pub enable_ipv6: bool,
    /// Longest a removed bind's connections live on.
    pub removed_bind_deadline: Duration,
    /// Sockets of a predecessor: those wanted are taken over, the others closed.
    pub inherited: Vec<Offer>,
}

/// The service that owns all client sockets.
pub struct Listeners<A> {
    shared: Arc<Shared<A>>,
    wanted: watch::Receiver<Arc<Wanted>>,
    reports: Arc<Reports>,
    inherited: Vec<Offer>,
}

/// What tasks of all binds share.
struct Shared<A> {
    app: Arc<A>,
    plans: Plans,
    telemetry: Arc<Telemetry>,
    drain: Arc<Drain>,
    asking: Asking,
    ipv6: bool,
    removed_bind_deadline: Duration,
    connections: AtomicU64,
    /// Makes numbers of connections unforeseeable enough to draw backends by.
    dice: RandomState,
}

/// The state of the sockets, for admin, for the source of configuration and for a successor.
#[derive(Debug, Default)]
pub struct Reports {
    bound: Mutex<Vec<BoundReport>>,
    open: Mutex<Vec<(BindKey, BindAddress, Arc<sockets::Listening>)>>,
    /// The last generation reconciled; 0 before the first.
    done: watch::Sender<u64>,
    /// Where connections are served.
    runtime: OnceLock<Handle>,
    probe: OnceLock<probe::Probe>,
}

impl<A> Listeners<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    /// The service, and the view others have of it.
    pub fn new(setup: Setup<A>, wanted: watch::Receiver<Arc<Wanted>>) -> (Self, Arc<Reports>) {
        let Setup { app, plans, telemetry, drain, asking, enable_ipv6, removed_bind_deadline, inherited } = setup;
        let connections = AtomicU64::new(0);
        let shared = Shared {
            app,
            plans,
            telemetry,
            drain,
            asking,
            ipv6: enable_ipv6,
            removed_bind_deadline,
            connections,
            dice: RandomState::new(),
        };
        let shared = Arc::new(shared);
        let reports = Arc::new(Reports::default());
        let _ = reports.probe.set(probe::of(Arc::clone(&shared)));
        (Self { shared, wanted, reports: Arc::clone(&reports), inherited }, reports)
    }
}

impl<A> Shared<A> {
    fn next_id(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A number for a connection's draw.
    fn throw(&self, id: u64) -> u64 {
        self.dice.hash_one(id)
    }
}

impl Reports {
    /// Every wanted bind, in order of keys.
    pub fn bound(&self) -> Vec<BoundReport> {
        self.bound.lock().clone()
    }

    /// Waits until this generation, or a later one, has been tried. Not every bind need be open then: see
    /// [`Self::bound`].
    pub async fn reconciled(&self, generation: u64) {
        // The sender is ours: it cannot be gone.
        let _ = self.done.subscribe().wait_for(|it| *it >= generation).await;
    }

    /// Lets the threads that serve give back what they hold and do not use. They are asked more often than there are
    /// of them, for which of them answers is not ours to say.
    pub fn release(&self) {
        let Some(runtime) = self.runtime.get() else { return };
        let asked = runtime.metrics().num_workers().saturating_mul(2);
        (0..asked).for_each(|_| drop(runtime.spawn(async { crate::memory::release() })));
    }

    /// Changes with every generation reconciled, and when a bind that failed is tried again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.done.subscribe()
    }

    /// Sends a request through the data plane of this process, as a client's would come, and waits for its answer.
    /// It goes to no backend and appears in no log. The error says what did not answer.
    pub async fn prove(&self) -> Result<(), String> {
        let open: Vec<_> = self.open.lock().iter().map(|(key, ..)| key.clone()).collect();
        match (self.probe.get(), self.runtime.get()) {
            (Some(probe), Some(runtime)) => probe.run(runtime, open).await,
            _ => Err("the listeners have not begun".to_owned()),
        }
    }

    /// Waits until nothing is accepted any more.
    pub async fn closed(&self) {
        self.reconciled(u64::MAX).await;
    }

    /// The open sockets, for a successor.
    pub fn offers(&self) -> std::io::Result<Vec<Offer>> {
        let open = self.open.lock();
        open.iter()
            .map(|(key, address, listening)| {
                let socket = listening.duplicate()?;
                Ok(Offer { key: key.to_string(), address: address.to_string(), socket })
            })
            .collect()
    }
}

/// How often [`pulse`] rings: earlier than the timers of connections.
const PULSE: Duration = Duration::from_secs(1);

/// A timer that is always the runtime's next: for each new connection whose timer would be the earliest of all, the
/// runtime would write to itself, one system call.
async fn pulse() {
    loop {
        tokio::time::sleep(PULSE).await;
    }
}

#[async_trait]
impl<A> ServiceWithDependents for Listeners<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let inherited = std::mem::take(&mut self.inherited);
        let runtime = pingora_runtime::current_handle();
        runtime.spawn(pulse());
        let _ = self.reports.runtime.set(runtime);
        let doors = reconcile::Doors::new(Arc::clone(&self.shared), Arc::clone(&self.reports), listeners_per_fd);
        doors.run(self.wanted.clone(), inherited, (shutdown, Some(ready))).await;
        self.shared.app.http_cleanup().await;
    }

    fn name(&self) -> &str {
        "listeners"
    }

    /// Unknown until the first plan: Pingora must not tidy up after us.
    fn listen_addresses(&self) -> Option<Vec<String>> {
        None
    }
}

#[cfg(test)]
mod tests;
