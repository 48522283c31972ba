//! From the sockets that are open to those that should be.
//!
//! New ones are opened before old ones are closed; only where an old one is in the way, after. One that
//! cannot be opened harms nobody else, and is tried again every second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ir::{BindAddress, BindKey};
use pingora_core::apps::HttpServerApp;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::accept::Door;
use super::drain::{Exit, Stage, raised};
use super::handoff::Offer;
use super::handshake::Turns;
use super::sockets::Listening;
use super::{BoundReport, Reports, Shared, Wanted};

const RETRY: Duration = Duration::from_secs(1);

/// All binds.
pub(super) struct Doors<A> {
    shared: Arc<Shared<A>>,
    reports: Arc<Reports>,
    tasks: usize,
    open: BTreeMap<BindKey, Opened>,
    failed: BTreeMap<BindKey, String>,
}

/// One open bind and the tasks that accept on it.
struct Opened {
    address: BindAddress,
    listening: Arc<Listening>,
    exit: Arc<Exit>,
    halt: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl<A> Doors<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    pub(super) fn new(shared: Arc<Shared<A>>, reports: Arc<Reports>, tasks: usize) -> Self {
        Self { shared, reports, tasks: tasks.max(1), open: BTreeMap::new(), failed: BTreeMap::new() }
    }

    /// Follows what is wanted until nothing is accepted any more, and returns when connections are cut.
    pub(super) async fn run(
        mut self,
        mut wanted: watch::Receiver<Arc<Wanted>>,
        mut inherited: Vec<Offer>,
        (mut shutdown, mut ready): (ShutdownWatch, Option<ServiceReadyNotifier>),
    ) {
        let (mut stage, mut opened) = (self.shared.drain.stage(), self.shared.drain.opened());
        loop {
            let now = wanted.borrow_and_update().clone();
            self.reconcile(&now, &mut inherited).await;
            if now.generation > 0 && *opened.borrow() {
                // What is not wanted is closed, but not before this process takes over: until then its control plane
                // may name more.
                inherited.clear();
            }
            if let Some(ready) = ready.take() {
                ready.notify_ready();
            }
            tokio::select! {
                // The sender gone means that nothing changes any more.
                Ok(()) = wanted.changed() => {}
                Ok(_) = opened.wait_for(|it| *it), if !inherited.is_empty() => {}
                () = tokio::time::sleep(RETRY), if !self.failed.is_empty() => {}
                _ = stage.wait_for(|it| *it >= Stage::Closed) => break,
                () = raised(&mut shutdown) => break,
            }
        }
        // Pingora's own shutdown knows no stages: it is the end.
        if *shutdown.borrow() {
            self.shared.drain.enter(Stage::Cut);
        }
        self.reports.open.lock().clear();
        for (_, opened) in std::mem::take(&mut self.open) {
            opened.close().await;
        }
        // Nobody need wait for a generation that nobody will try.
        self.reports.done.send_replace(u64::MAX);
        let _ = stage.wait_for(|it| *it == Stage::Cut).await;
    }

    async fn reconcile(&mut self, wanted: &Wanted, inherited: &mut Vec<Offer>) {
        let mut leaving = self.take_unwanted(wanted);
        self.failed.clear();
        let missing: Vec<_> = wanted.binds.iter().filter(|(key, _)| !self.open.contains_key(*key)).collect();
        let mut blocked = Vec::new();
        for (key, address) in missing {
            // The same address under another name: the socket stays, only its bind changes.
            let moved = leaving.iter().position(|(_, it)| it.address == *address && !is_any_port(address));
            if let Some((_, old)) = moved.map(|at| leaving.swap_remove(at)) {
                let listening = Arc::clone(&old.listening);
                self.depart(old, false).await;
                self.begin(key, address, listening);
                continue;
            }
            match claim(inherited, key, address).unwrap_or_else(|| Listening::open(address, self.shared.ipv6)) {
                Ok(listening) => self.begin(key, address, Arc::new(listening)),
                Err(error) => blocked.push((key, address, error)),
            }
        }
        let freed = !leaving.is_empty();
        for (key, old) in leaving {
            tracing::info!(bind = %key, address = %old.address, "bind closed");
            self.depart(old, true).await;
        }
        for (key, address, error) in blocked {
            let second = if freed { Listening::open(address, self.shared.ipv6) } else { Err(error) };
            match second {
                Ok(listening) => self.begin(key, address, Arc::new(listening)),
                Err(error) => self.fail(key, address, &error),
            }
        }
        self.report(wanted);
    }

    fn take_unwanted(&mut self, wanted: &Wanted) -> Vec<(BindKey, Opened)> {
        let keys: Vec<_> = self
            .open
            .iter()
            .filter(|(key, it)| wanted.binds.get(*key) != Some(&it.address))
            .map(|(key, _)| key.clone())
            .collect();
        keys.into_iter().filter_map(|key| self.open.remove_entry(&key)).collect()
    }

    fn begin(&mut self, key: &BindKey, address: &BindAddress, listening: Arc<Listening>) {
        let exit = self.shared.drain.exit();
        let halt = watch::Sender::new(false);
        let door = Arc::new(Door {
            shared: Arc::clone(&self.shared),
            key: key.clone(),
            listening: Arc::clone(&listening),
            exit: Arc::clone(&exit),
            turns: Arc::new(Turns::new()),
        });
        let tasks = (0..self.tasks)
            .map(|_| {
                let (door, halted, ajar) = (Arc::clone(&door), halt.subscribe(), self.shared.drain.ajar());
                pingora_runtime::current_handle().spawn(async move {
                    door.run(halted).await;
                    drop(ajar);
                })
            })
            .collect();
        tracing::info!(bind = %key, address = listening.address(), "bind open");
        self.open.insert(key.clone(), Opened { address: address.clone(), listening, exit, halt, tasks });
    }

    /// Stops accepting, and lets the connections of this bind finish in the background.
    async fn depart(&self, old: Opened, gone: bool) {
        let exit = Arc::clone(&old.exit);
        if gone {
            old.listening.sweep();
        }
        // The reports hold the socket for a successor: it must not keep the port.
        self.reports.open.lock().retain(|(_, _, it)| !Arc::ptr_eq(it, &old.listening));
        old.close().await;
        let max = exit.limited().unwrap_or(self.shared.removed_bind_deadline);
        pingora_runtime::current_handle().spawn(async move { exit.drain_within(max).await });
    }

    fn fail(&mut self, key: &BindKey, address: &BindAddress, error: &std::io::Error) {
        let text = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!("{address} is in use by another process or bind"),
            std::io::ErrorKind::PermissionDenied => {
                format!("no permission to listen on {address}: grant CAP_NET_BIND_SERVICE or choose a port from 1024")
            }
            _ => format!("cannot listen on {address}: {error}"),
        };
        // Said once, not every second.
        if !self.reports.bound.lock().iter().any(|it| it.key == *key && it.error.as_ref() == Some(&text)) {
            tracing::error!(bind = %key, error = %text, "bind failed");
        }
        self.failed.insert(key.clone(), text);
    }

    fn report(&self, wanted: &Wanted) {
        let bound = wanted.binds.iter().map(|(key, address)| BoundReport {
            key: key.clone(),
            wanted: address.clone(),
            address: self.open.get(key).and_then(|it| it.listening.address()),
            error: self.failed.get(key).cloned(),
        });
        *self.reports.bound.lock() = bound.collect();
        let open = self.open.iter().map(|(key, it)| (key.clone(), it.address.clone(), Arc::clone(&it.listening)));
        *self.reports.open.lock() = open.collect();
        self.reports.done.send_replace(wanted.generation);
    }
}

impl Opened {
    /// The tasks end at once; with the last of them the socket closes.
    async fn close(self) {
        self.halt.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "accept loop");
            }
        }
    }
}

/// The socket a predecessor left for a bind. With the port left to the kernel, the names must agree too.
fn claim(inherited: &mut Vec<Offer>, key: &BindKey, address: &BindAddress) -> Option<std::io::Result<Listening>> {
    let text = address.to_string();
    let named = inherited.iter().position(|it| it.address == text && it.key == key.as_str());
    let at = named.or_else(|| inherited.iter().position(|it| it.address == text && !is_any_port(address)))?;
    let Offer { socket, .. } = inherited.swap_remove(at);
    tracing::info!(bind = %key, address = %text, "socket taken over");
    Some(Listening::inherit(socket, address))
}

fn is_any_port(address: &BindAddress) -> bool {
    match address {
        BindAddress::Socket(it) => it.port() == 0,
        BindAddress::Wildcard(port) => *port == 0,
        BindAddress::Unix(_) => false,
    }
}
