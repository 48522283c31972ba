//! A small HTTP/1.1 server for the process's own addresses.
//!
//! Bounded: so many connections, so long for a request head (idle keep-alive included), so long for
//! a connection. Dropping the serving future closes everything; leaving answers what was asked first.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::answer::Body;
use super::guard::Ends;
use crate::statics::ServerAddress;

/// Connections of one server; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
const HEAD_BYTES_MAX: usize = 32 << 10;
/// For an idle connection to be asked its last request when the server leaves.
const IDLE_GRACE: Duration = Duration::from_millis(500);
const BACKLOG: i32 = 128;
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// An address of a server that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the {server} server cannot listen on {address}: {source}")]
pub struct BindFailed {
    server: &'static str,
    address: String,
    source: io::Error,
}

/// The open sockets of one server.
#[derive(Debug)]
pub struct Bound {
    server: &'static str,
    sockets: Vec<Listening>,
}

#[derive(Debug)]
enum Listening {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// Turns true when the process is to leave its own addresses to another.
pub type Leave = watch::Receiver<bool>;

/// Waits for the word; never returns if nobody is left to give it.
async fn told(leave: &mut Leave) {
    if leave.wait_for(|it| *it).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whoever answers the requests of a server.
pub(super) trait Service: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>, ends: Ends) -> impl Future<Output = Response<Body>> + Send;
}

/// Opens the addresses of a server; no runtime is needed before they are served. `Off` gives a server that never
/// serves. An IPv6 address a host does not have is passed over as long as another one opens.
///
/// Where a predecessor `left` a socket for an address, that is taken instead.
pub fn bind(
    server: &'static str,
    address: &ServerAddress,
    left: &mut dyn FnMut(&str) -> Option<OwnedFd>,
) -> Result<Bound, BindFailed> {
    let failed = |address: String| move |source| BindFailed { server, address, source };
    let sockets = match address {
        ServerAddress::Off => Vec::new(),
        ServerAddress::Unix(path) => {
            let text = format!("unix:{}", path.display());
            let listener = match left(&text) {
                Some(socket) => socket.into(),
                None => open_unix(path).map_err(failed(text))?,
            };
            vec![Listening::Unix(listener)]
        }
        ServerAddress::Sockets(addresses) => {
            let mut sockets = Vec::new();
            let mut absent = None;
            for address in addresses {
                let inherited = left(&address.to_string()).map(std::net::TcpListener::from);
                match inherited.map_or_else(|| open_tcp(*address, addresses), Ok) {
                    Ok(listener) => sockets.push(Listening::Tcp(listener)),
                    Err(error) if address.is_ipv6() && is_absent(&error) => absent = Some((address, error)),
                    Err(error) => return Err(failed(address.to_string())(error)),
                }
            }
            match absent {
                Some((address, error)) if sockets.is_empty() => return Err(failed(address.to_string())(error)),
                _ => sockets,
            }
        }
    };
    Ok(Bound { server, sockets })
}

/// Whether the host lacks the address or its family.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn open_tcp(address: SocketAddr, all: &[SocketAddr]) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        let beside = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        socket.set_only_v6(all.iter().any(beside))?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Opens a Unix socket for the process's own user and group; a leftover nobody serves is replaced.
fn open_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let leftover = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    if leftover && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

impl Bound {
    /// Further descriptors of the same sockets, with the addresses they are known by, for a successor.
    pub fn duplicates(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let duplicate = |socket: &Listening| match socket {
            Listening::Tcp(it) => Ok((it.local_addr()?.to_string(), it.as_fd().try_clone_to_owned()?)),
            Listening::Unix(it) => {
                let path = it.local_addr()?.as_pathname().map(|it| it.display().to_string()).unwrap_or_default();
                Ok((format!("unix:{path}"), it.as_fd().try_clone_to_owned()?))
            }
        };
        self.sockets.iter().map(duplicate).collect()
    }

    /// Where it really listens; ports of 0 resolved.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let address = |socket: &Listening| match socket {
            Listening::Tcp(listener) => listener.local_addr().ok(),
            Listening::Unix(_) => None,
        };
        self.sockets.iter().filter_map(address).collect()
    }

    /// Serves until dropped, or until told to leave: then accepts no more, answers what it was asked and returns.
    pub(super) async fn run<S: Service>(self, service: S, mut leave: Leave) {
        let service = Arc::new(service);
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut sockets = JoinSet::new();
        for socket in self.sockets {
            sockets.spawn(accept(socket, service.clone(), permits.clone(), leave.clone(), self.server));
        }
        // A server that is off must not look like one that failed.
        told(&mut leave).await;
        while sockets.join_next().await.is_some() {}
    }
}

/// A socket on the runtime that serves it.
enum Serving {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Serving {
    fn from(socket: Listening) -> io::Result<Self> {
        Ok(match socket {
            Listening::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Listening::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    async fn accept(&self) -> io::Result<(Accepted, Ends)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let ends = Ends { peer: Some(peer), local: stream.local_addr().ok().or(Some(unknown())) };
                Ok((Accepted::Tcp(stream), ends))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Accepted::Unix(stream), Ends { peer: None, local: None }))
            }
        }
    }
}

enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn accept<S: Service>(
    socket: Listening,
    service: Arc<S>,
    permits: Arc<Semaphore>,
    mut leave: Leave,
    server: &'static str,
) {
    let socket = match Serving::from(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(server, %error, "cannot serve"),
    };
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            // Nobody closes the semaphore.
            let permit = permits.clone().acquire_owned().await;
            (permit, socket.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = told(&mut leave) => break,
            next = next => next,
        };
        let (service, leave) = (service.clone(), leave.clone());
        match accepted {
            Ok((Accepted::Tcp(stream), ends)) => connections.spawn(async move {
                converse(stream, service, ends, leave).await;
                drop(permit);
            }),
            Ok((Accepted::Unix(stream), ends)) => connections.spawn(async move {
                converse(stream, service, ends, leave).await;
                drop(permit);
            }),
            Err(error) => {
                tracing::debug!(server, %error, "cannot accept");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

/// A local address that equals no `Host`: where the socket cannot say its own, names must do.
fn unknown() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0)
}

async fn converse<S: Service>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: Arc<S>,
    ends: Ends,
    mut leave: Leave,
) {
    let leaving = leave.clone();
    let service = service_fn(|request| {
        let (service, leaving) = (service.clone(), leaving.clone());
        async move {
            let mut response = service.answer(request, ends).await;
            if *leaving.borrow() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // What a client of these servers does wrong is not worth a line.
    let _ = tokio::time::timeout(CONNECTION_LIFE, async {
        tokio::select! {
            _ = &mut connection => return,
            () = told(&mut leave) => {}
        }
        // The next answer says `close`; hyper would cut a kept connection whose next head is under way.
        if tokio::time::timeout(IDLE_GRACE, &mut connection).await.is_err() {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    })
    .await;
}
