//! One connection to the control plane: look-up, TCP, TLS, HTTP/2. It carries one stream; when that
//! ends, so does the connection, and the next one reads certificates and token again.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::codegen::Service;

use super::Settings;
use crate::tls;

/// Bytes that may be under way: a large response must not crawl.
const WINDOW_BYTES: u32 = 4 << 20;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("cannot connect to {0}")]
    Connect(String, #[source] io::Error),
    #[error("no connection to {0} in time")]
    Timeout(String),
    #[error("`{0}` cannot be in a certificate")]
    ServerName(String),
    #[error(transparent)]
    Tls(#[from] tls::Fault),
    #[error("handshake with {0} failed")]
    Handshake(String, #[source] io::Error),
    #[error("{0} does not speak HTTP/2")]
    Http(String, #[source] hyper::Error),
}

/// What requests are sent through. Dropping it closes the connection.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Body>,
    _driver: Arc<Driver>,
}

struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    pub(super) async fn open(settings: &Settings) -> Result<Self, Fault> {
        let name = settings.address.authority.to_string();
        let opened = timeout(settings.terms.connect_timeout, Self::dial(settings, &name)).await;
        opened.unwrap_or(Err(Fault::Timeout(name)))
    }

    async fn dial(settings: &Settings, name: &str) -> Result<Self, Fault> {
        let address = &settings.address;
        let fault = |error| Fault::Connect(name.to_owned(), error);
        let stream = TcpStream::connect((address.host(), address.port)).await.map_err(fault)?;
        stream.set_nodelay(true).map_err(fault)?;
        if !address.tls {
            return Self::shake(settings, name, stream).await;
        }
        let config = tls::client(&settings.roots, settings.identity.as_ref())?;
        let server = ServerName::try_from(address.host().to_owned());
        let server = server.map_err(|_| Fault::ServerName(address.host().to_owned()))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
        let stream = stream.map_err(|error| Fault::Handshake(name.to_owned(), error))?;
        Self::shake(settings, name, stream).await
    }

    async fn shake<S>(settings: &Settings, name: &str, stream: S) -> Result<Self, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(settings.terms.ping_interval)
            .keep_alive_timeout(settings.terms.ping_timeout)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| Fault::Http(name.to_owned(), error))?;
        let driver = tokio::spawn(async move {
            // Its end is seen by the stream.
            let _ = connection.await;
        });
        Ok(Self { sender, _driver: Arc::new(Driver(driver)) })
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}
