//! A control plane on loopback: the real server library, over a real socket.
//!
//! It keeps its port while nobody serves it, so that one that was stopped comes back at the same address.
//!
//! Read next: `objects.rs` (what it serves), `plane.rs` (the one that comes with the gateway, as a process).

pub mod objects;
mod plane;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use filters::{Change, Patch, Snapshot};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use xds::codec::Name;
use xds::server::{self, Cache, Client, Log};

use crate::wait::{PATIENCE, eventually, eventually_some, within};
pub use plane::Plane;

/// The group that a gateway of [`Control::config`] belongs to.
const GROUP: &str = "default~edge";

/// A control plane that serves. Dropping it ends every stream.
pub struct Control {
    cache: Arc<Cache>,
    log: Arc<Log>,
    settings: server::Settings,
    /// Bound and silent: the port stays ours, and whoever connects while nobody serves is refused.
    held: Arc<socket2::Socket>,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

/// A control plane that has gone away. It can still be told what to serve when it is back.
pub struct Away {
    cache: Arc<Cache>,
    settings: server::Settings,
    held: Arc<socket2::Socket>,
}

impl Control {
    /// Serves nothing yet, to anybody.
    pub async fn start() -> Control {
        Control::with(server::Settings::default()).await
    }

    /// On these terms. Clients are grouped by their role.
    pub async fn with(settings: server::Settings) -> Control {
        let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        held.set_reuse_address(true).expect("an address to be shared");
        held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        let settings = server::Settings { grouping: server::Grouping::Metadata("role".to_owned()), ..settings };
        let cache = Arc::new(Cache::default());
        cache.set(GROUP, &Snapshot::default()).expect("room for a group");
        Away { cache, settings, held: Arc::new(held) }.back()
    }

    /// Ends it in good order.
    pub async fn stop(mut self) -> Away {
        drop(self.end.take());
        let serving = std::mem::replace(&mut self.serving, tokio::spawn(async {}));
        within(PATIENCE, serving).await.expect("a control plane that ends well");
        Away { cache: self.cache.clone(), settings: self.settings.clone(), held: self.held.clone() }
    }

    pub fn addr(&self) -> SocketAddr {
        address(&self.held)
    }

    /// The `config:` block of a gateway that asks it, with further lines of it.
    pub fn config(&self, more: &[&str]) -> String {
        self.config_at(&format!("http://{}", self.addr()), more)
    }

    /// As [`Control::config`], by another name.
    pub fn config_at(&self, address: &str, more: &[&str]) -> String {
        let more: String = more.iter().map(|line| format!("  {line}\n")).collect();
        format!("config:\n  xdsAddress: '{address}'\n  namespace: default\n  gateway: edge\n{more}")
    }

    /// Changes what it serves. Takes effect together.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        apply(&self.cache, changes);
    }

    /// Serves these bytes under this name, whatever they are; `None` removes it.
    pub fn put(&self, name: &str, bytes: Option<Bytes>) {
        put(&self.cache, name, bytes);
    }

    /// As [`Control::apply`], and waits until a client has answered. Then what is not refused is in force.
    pub async fn applied(&self, changes: impl IntoIterator<Item = Change>) {
        self.apply(changes);
        self.answered().await;
    }

    /// Waits until there is a client, and all of them have answered everything.
    pub async fn answered(&self) {
        let quiet = || {
            let (clients, generation) = (self.log.clients(), self.cache.generation(GROUP).unwrap_or_default());
            !clients.is_empty() && clients.iter().all(|it| it.acknowledged >= generation)
        };
        eventually(PATIENCE, || std::future::ready(quiet())).await;
    }

    /// Waits until a resource was refused, and gives the latest reason.
    pub async fn refused(&self, name: &str) -> String {
        eventually_some(PATIENCE, || {
            let nacks = self.log.nacks();
            let all = nacks.iter().rev().flat_map(|it| &it.refused);
            std::future::ready(all.filter(|it| it.name == name).map(|it| it.reason.clone()).next())
        })
        .await
    }

    /// Gateways with a stream.
    pub fn clients(&self) -> Vec<Client> {
        self.log.clients()
    }

    /// Waits until these hold of the gateways with a stream, and gives them.
    pub async fn until(&self, hold: impl Fn(&[Client]) -> bool) -> Vec<Client> {
        eventually_some(PATIENCE, || std::future::ready(Some(self.clients()).filter(|it| hold(it)))).await
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Away {
    /// Changes what it serves when it is back.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        apply(&self.cache, changes);
    }

    /// Serves again, at the same address.
    pub fn back(self) -> Control {
        let Away { cache, settings, held } = self;
        let listener = std::net::TcpListener::bind(address(&held)).expect("its address");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let log = Arc::new(Log::default());
        let (end, ended) = oneshot::channel::<()>();
        let serve = server::serve(listener, settings.clone(), cache.clone(), log.clone(), async {
            let _ = ended.await;
        });
        let serving = tokio::spawn(async { serve.await.expect("a control plane that serves") });
        Control { cache, log, settings, held, end: Some(end), serving }
    }
}

fn address(held: &socket2::Socket) -> SocketAddr {
    held.local_addr().ok().and_then(|it| it.as_socket()).expect("an address")
}

fn apply(cache: &Cache, changes: impl IntoIterator<Item = Change>) {
    let patch: Patch = changes.into_iter().collect();
    cache.apply(GROUP, &patch).expect("room for a group");
}

fn put(cache: &Cache, name: &str, bytes: Option<Bytes>) {
    cache.put(GROUP, Name::parse(name).expect("the name of a resource"), bytes).expect("room for a group");
}
