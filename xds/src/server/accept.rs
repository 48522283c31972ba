//! Connections of clients: TCP, TLS, HTTP/2, and whether they may ask.

use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service as _;

use super::identity::Current;
use super::{Line, Service, Shared, Tls};
use crate::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use crate::tls;

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a client whose handshake failed to read why, and the most that is read from it meanwhile.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES_MAX: u64 = 64 << 10;
/// After a fault of the listener itself, such as no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes that may be under way to us.
const WINDOW_BYTES: u32 = 1 << 20;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Tls(#[from] tls::Fault),
}

pub(super) struct Door {
    pub tls: Option<Tls>,
    pub tokens_file: Option<PathBuf>,
    pub shared: Arc<Shared>,
    /// Tells streams and connections to end.
    pub end: watch::Sender<bool>,
}

pub(super) async fn run(listener: TcpListener, door: Door, shutdown: impl Future<Output = ()>) -> Result<(), Fault> {
    let Door { tls, tokens_file, shared, end } = door;
    let mut current = tls.map(Current::read).transpose()?;
    let tokens_file = tokens_file.map(Arc::from);
    let room = Arc::new(Semaphore::new(shared.limits.connections));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let place = room.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (accepted, place) = accepted => match accepted {
                Ok((stream, peer)) => {
                    let line = Arc::new(Line { peer, greeted: Notify::new(), cut: Notify::new() });
                    let connection = Connection { shared: shared.clone(), tokens_file: tokens_file.clone(), line };
                    let acceptor = current.as_mut().map(Current::acceptor);
                    connections.spawn(async move {
                        connection.greet(stream, acceptor).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client");
                    sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    end.send_replace(true);
    let ended = timeout(shared.limits.grace, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(left = connections.len(), "clients did not end in time");
        connections.shutdown().await;
    }
    Ok(())
}

/// Closes a connection so that the client reads the alert: one closed while the client's next bytes are unread is
/// reset, and the reset overtakes the alert.
async fn part(mut stream: TcpStream) {
    let rest = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(PARTING_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whoever goes on sending hears of it by a reset.
    let _ = timeout(PARTING, rest).await;
}

#[derive(Clone)]
struct Connection {
    shared: Arc<Shared>,
    tokens_file: Option<Arc<Path>>,
    line: Arc<Line>,
}

impl Connection {
    async fn greet(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        // Only latency depends on it.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = acceptor else { return self.talk(stream).await };
        match timeout(HANDSHAKE, acceptor.accept(stream).into_fallible()).await {
            Ok(Ok(stream)) => self.talk(stream).await,
            Ok(Err((error, stream))) => {
                tracing::info!(peer = %self.line.peer, %error, "handshake with a client failed");
                part(stream).await;
            }
            Err(_) => tracing::debug!(peer = %self.line.peer, "handshake with a client took too long"),
        }
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let limits = &self.shared.limits;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout)
            .max_concurrent_streams(16)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let (shared, line) = (self.shared.clone(), self.line.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service_fn(move |it| self.clone().ask(it)));
        let mut connection = pin!(connection);
        let unwelcome = async {
            if timeout(shared.limits.greeting, line.greeted.notified()).await.is_ok() {
                line.cut.notified().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = unwelcome => {
                tracing::debug!(peer = %line.peer, "a client that does not ask, or does not listen, is cut off");
                Ok(())
            }
            () = shared.over() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection of a client ended");
        }
    }

    async fn ask(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        if let Some(path) = &self.tokens_file
            && let Err(status) = admit(path, &request)
        {
            tracing::warn!(peer = %self.line.peer, reason = status.message(), "client not let in");
            return Ok(status.into_http());
        }
        self.line.greeted.notify_one();
        let limit = self.shared.limits.request_bytes;
        let service = Service { shared: self.shared, line: self.line };
        let mut service = AggregatedDiscoveryServiceServer::new(service).max_decoding_message_size(limit);
        service.call(request).await
    }
}

/// That a file of tokens can be read and lets somebody in.
///
/// # Errors
/// Why not, with the path.
pub fn check_tokens(path: &Path) -> Result<(), String> {
    let text = tls::token(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    if text.is_empty() {
        return Err(format!("`{}` holds no token: write one on each line", path.display()));
    }
    Ok(())
}

/// That the request shows one of the tokens.
fn admit(path: &Path, request: &Request<Incoming>) -> Result<(), Status> {
    let tokens = tls::token(path).map_err(|error| {
        tracing::error!(path = %path.display(), %error, "cannot read the tokens");
        Status::unavailable("tokens cannot be checked")
    })?;
    let shown =
        request.headers().get(http::header::AUTHORIZATION).and_then(|it| it.as_bytes().strip_prefix(b"Bearer "));
    let shown = shown.ok_or_else(|| Status::unauthenticated("a bearer token is missing"))?;
    let known = tokens.lines().map(str::trim).filter(|it| !it.is_empty());
    // All of them are looked at, so that time says nothing.
    let admitted = known.fold(false, |admitted, token| same(token.as_bytes(), shown) | admitted);
    if admitted { Ok(()) } else { Err(Status::unauthenticated("the bearer token is not known")) }
}

/// Equality in a time that depends on the lengths only.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
