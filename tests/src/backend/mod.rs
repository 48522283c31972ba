//! Real servers in the test's own process: they answer, misbehave on request, count, and remember what they were asked.
//!
//! A TCP backend keeps its port for life: a second socket stays bound but never listens, so that after
//! [`Backend::down`] connections are refused and nobody else can take the port before [`Backend::up`].
//!
//! Read next: `echo.rs` for the paths that misbehave, `grpc.rs` for the gRPC methods.

mod echo;
mod grpc;
mod serve;
mod stats;
mod stream;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, JoinSet};

use crate::io::{self, Place, Stream};
use crate::wait::PATIENCE;
pub use serve::{Answer, answer};
pub use stats::{Asked, Connection, Failure, Stats};
pub use stream::request;

/// A running server. Dropping it closes its socket and its connections.
pub struct Backend {
    place: Place,
    stats: Arc<Stats>,
    core: Arc<Core>,
    /// Holds the port while the backend is down.
    _reservation: Option<Socket>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// A connection handed to a service.
pub struct Accepted {
    pub stream: Stream,
    pub connection: Connection,
    pub stats: Arc<Stats>,
}

type Service = Arc<dyn Fn(Accepted) -> BoxFuture<'static, ()> + Send + Sync>;

struct Core {
    service: Service,
    tls: Option<Arc<rustls::ServerConfig>>,
    stats: Arc<Stats>,
    connections: Mutex<JoinSet<()>>,
}

/// What to know before a backend starts.
pub struct Setup {
    name: String,
    place: Place,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Backend {
    /// Choices beyond the ready-made servers: a name, TLS terms, a Unix socket, another loopback address.
    pub fn setup() -> Setup {
        Setup { name: "backend".into(), place: Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), tls: None }
    }

    /// HTTP/1.1 and HTTP/2 by prior knowledge on one port; tells what it was asked, and misbehaves by path or `?do=`.
    pub fn echo() -> Backend {
        Backend::setup().echo()
    }

    /// An echo whose answers carry `"backend": name`, to see which one was chosen.
    pub fn echo_named(name: &str) -> Backend {
        Backend::setup().named(name).echo()
    }

    /// Answers by a function of the whole request.
    pub fn http<F, Fut>(handler: F) -> Backend
    where
        F: Fn(Asked) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        Backend::setup().http(handler)
    }

    /// The echo behind TLS.
    pub fn tls(config: Arc<rustls::ServerConfig>) -> Backend {
        Backend::setup().tls(config).echo()
    }

    /// A gRPC server over HTTP/2 by prior knowledge.
    pub fn grpc() -> Backend {
        Backend::setup().grpc()
    }

    /// Echoes WebSocket messages.
    pub fn websocket() -> Backend {
        Backend::setup().websocket()
    }

    /// Echoes bytes, and its peer's half-close.
    pub fn tcp_echo() -> Backend {
        Backend::setup().tcp_echo()
    }

    /// Plays a script on each connection.
    pub fn raw<F, Fut>(script: F) -> Backend
    where
        F: Fn(Accepted) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Backend::setup().raw(script)
    }

    /// Reads one request on each connection, writes these bytes, and closes.
    pub fn canned(bytes: impl Into<bytes::Bytes>) -> Backend {
        Backend::setup().canned(bytes)
    }

    /// The echo on a Unix socket.
    pub fn unix_http(path: impl Into<PathBuf>) -> Backend {
        Backend::setup().unix(path).echo()
    }

    /// An address that refuses connections for as long as this value lives.
    pub async fn dead() -> Backend {
        let backend = Backend::echo();
        backend.down().await;
        backend
    }

    /// The TCP address; panics for a Unix socket.
    pub fn addr(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(addr) => *addr,
            Place::Unix(path) => panic!("the backend listens on {}", path.display()),
        }
    }

    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// What happened so far; counters only grow, gauges are of now.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Refuses new connections; those that are open stay.
    pub async fn stop_accepting(&self) {
        let task = self.accepting.lock().expect("no panic under the lock").take();
        if let Some(task) = task {
            task.abort();
            // An aborted task answers with a cancellation, which is what was asked for.
            let _ = task.await;
        }
        if let Place::Unix(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Refuses new connections and drops the open ones, as a crash would.
    pub async fn down(&self) {
        self.stop_accepting().await;
        let mut connections = std::mem::take(&mut *self.core.connections.lock().expect("no panic under the lock"));
        connections.shutdown().await;
    }

    /// Accepts again, at the same address.
    pub fn up(&self) {
        let mut accepting = self.accepting.lock().expect("no panic under the lock");
        if accepting.is_some() {
            return;
        }
        let core = Arc::clone(&self.core);
        *accepting = Some(match &self.place {
            Place::Tcp(addr) => {
                let listener = listen(*addr);
                tokio::spawn(accept_tcp(listener, core))
            }
            Place::Unix(path) => {
                let listener = UnixListener::bind(path).expect("bind the backend's Unix socket");
                tokio::spawn(accept_unix(listener, core))
            }
        });
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(task) = self.accepting.get_mut().ok().and_then(Option::take) {
            task.abort();
        }
        if let Ok(mut connections) = self.core.connections.lock() {
            connections.abort_all();
        }
    }
}

impl Setup {
    #[must_use]
    pub fn named(mut self, name: &str) -> Setup {
        self.name = name.to_owned();
        self
    }

    #[must_use]
    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Setup {
        self.tls = Some(config);
        self
    }

    #[must_use]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Setup {
        self.place = Place::Unix(path.into());
        self
    }

    /// Another address to bind; port 0 lets the kernel choose.
    #[must_use]
    pub fn on(mut self, addr: SocketAddr) -> Setup {
        self.place = Place::Tcp(addr);
        self
    }

    pub fn echo(self) -> Backend {
        let name = self.name.clone();
        self.start(serve::streaming(move |asked| Box::pin(echo::behave(name.clone(), asked))))
    }

    pub fn http<F, Fut>(self, handler: F) -> Backend
    where
        F: Fn(Asked) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        self.start(serve::whole(handler))
    }

    pub fn grpc(self) -> Backend {
        self.start(serve::streaming(|asked| Box::pin(grpc::call(asked))))
    }

    pub fn websocket(self) -> Backend {
        self.start(Arc::new(|accepted| Box::pin(stream::websocket(accepted))))
    }

    pub fn tcp_echo(self) -> Backend {
        self.start(Arc::new(|accepted| Box::pin(stream::echo(accepted))))
    }

    pub fn raw<F, Fut>(self, script: F) -> Backend
    where
        F: Fn(Accepted) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.start(Arc::new(move |accepted| Box::pin(script(accepted))))
    }

    pub fn canned(self, bytes: impl Into<bytes::Bytes>) -> Backend {
        let bytes = bytes.into();
        self.raw(move |accepted| stream::canned(accepted, bytes.clone()))
    }

    fn start(self, service: Service) -> Backend {
        let stats = Arc::new(Stats::default());
        let core = Core { service, tls: self.tls, stats: Arc::clone(&stats), connections: Mutex::new(JoinSet::new()) };
        let (place, reservation) = match self.place {
            Place::Tcp(addr) => {
                let socket = reserve(addr);
                let addr = socket.local_addr().expect("a bound socket has an address");
                (Place::Tcp(addr.as_socket().expect("an internet address")), Some(socket))
            }
            place @ Place::Unix(_) => (place, None),
        };
        let accepting = Mutex::new(None);
        let backend = Backend { place, stats, core: Arc::new(core), _reservation: reservation, accepting };
        backend.up();
        backend
    }
}

fn reserve(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket for the backend");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        match socket.bind(&addr.into()) {
            Ok(()) => return socket,
            // A child between fork and exec still holds the listener that was closed a moment ago.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && std::time::Instant::now() < end => {
                std::thread::yield_now();
            }
            Err(error) => panic!("bind the backend's address {addr}: {error}"),
        }
    }
}

fn listen(addr: SocketAddr) -> TcpListener {
    let socket = reserve(addr);
    socket.listen(1024).expect("listen on the backend's address");
    socket.set_nonblocking(true).expect("a non-blocking listener");
    TcpListener::from_std(socket.into()).expect("a runtime for the backend")
}

async fn accept_tcp(listener: TcpListener, core: Arc<Core>) {
    loop {
        let (tcp, peer) = listener.accept().await.expect("accept a connection");
        // Both calls fail only when the peer has already gone, which the service will find out.
        let _ = tcp.set_nodelay(true);
        let handle = SockRef::from(&tcp).try_clone().ok();
        core.spawn(Stream::new(tcp), Some(peer), handle);
    }
}

async fn accept_unix(listener: UnixListener, core: Arc<Core>) {
    loop {
        let (unix, _) = listener.accept().await.expect("accept a connection");
        core.spawn(Stream::new(unix), None, None);
    }
}

impl Core {
    fn spawn(&self, stream: Stream, peer: Option<SocketAddr>, handle: Option<Socket>) {
        let (connection, open) = self.stats.connection(peer, handle);
        let (service, tls, stats) = (Arc::clone(&self.service), self.tls.clone(), Arc::clone(&self.stats));
        let mut connections = self.connections.lock().expect("no panic under the lock");
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let cut = connection.clone();
            let serve = async move {
                let mut accepted = Accepted { stream, connection, stats };
                if let Some(config) = tls {
                    match io::tls_accept(accepted.stream, config).await {
                        Ok(stream) => accepted.stream = stream,
                        Err(error) => return accepted.stats.handshake_failed(&error),
                    }
                    accepted.connection.tls = accepted.stream.tls.clone();
                }
                accepted.connection.written = Arc::clone(&accepted.stream.written);
                service(accepted).await;
            };
            tokio::select! {
                () = serve => {}
                () = cut.cut() => {}
            }
            drop(open);
        });
    }
}
