//! One stream type for TCP, Unix sockets and TLS over either, so that backends and clients are written once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use anyhow::Context as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// What a connection is made of, whatever it is made of.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> Duplex for T {}

/// A connection of any kind, with what its TLS handshake said.
pub struct Stream {
    inner: Box<dyn Duplex>,
    /// Set on TLS connections.
    pub tls: Option<TlsFacts>,
    /// Bytes accepted by the layer below, for whoever must know that they have left.
    pub written: Arc<AtomicU64>,
    /// A second descriptor of a client's bare TCP connection.
    pub socket: Option<Arc<std::os::fd::OwnedFd>>,
}

/// The outcome of a TLS handshake, seen from this end.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    pub alpn: Option<String>,
    /// The name the client asked for; known on the server side only.
    pub sni: Option<String>,
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: String,
    /// The other side's chain, leaf first.
    pub peer: Vec<CertificateDer<'static>>,
}

impl Stream {
    pub fn new(inner: impl Duplex) -> Stream {
        Stream { inner: Box::new(inner), tls: None, written: Arc::default(), socket: None }
    }
}

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<SocketAddr> for Place {
    fn from(addr: SocketAddr) -> Place {
        Place::Tcp(addr)
    }
}

impl Place {
    pub async fn connect(&self) -> anyhow::Result<Stream> {
        match self {
            Place::Tcp(addr) => {
                let tcp = TcpStream::connect(addr).await.with_context(|| format!("connect to {addr}"))?;
                tcp.set_nodelay(true)?;
                let socket = std::os::fd::AsFd::as_fd(&tcp).try_clone_to_owned()?;
                Ok(Stream { socket: Some(Arc::new(socket)), ..Stream::new(tcp) })
            }
            Place::Unix(path) => {
                let unix = UnixStream::connect(path).await.with_context(|| format!("connect to {}", path.display()))?;
                Ok(Stream::new(unix))
            }
        }
    }
}

/// Shakes hands as a TLS client.
pub async fn tls_connect(stream: Stream, sni: &str, config: Arc<rustls::ClientConfig>) -> anyhow::Result<Stream> {
    let name = ServerName::try_from(sni.to_owned()).with_context(|| format!("server name {sni}"))?;
    let tls = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.context("tls handshake")?;
    let facts = facts(tls.get_ref().1);
    Ok(Stream { tls: Some(facts), ..Stream::new(tls) })
}

/// Shakes hands as a TLS server.
pub async fn tls_accept(stream: Stream, config: Arc<rustls::ServerConfig>) -> anyhow::Result<Stream> {
    let tls = tokio_rustls::TlsAcceptor::from(config).accept(stream).await.context("tls handshake")?;
    let session = tls.get_ref().1;
    let facts = TlsFacts { sni: session.server_name().map(str::to_owned), ..facts(session) };
    Ok(Stream { tls: Some(facts), ..Stream::new(tls) })
}

fn facts<Data>(session: &rustls::ConnectionCommon<Data>) -> TlsFacts {
    TlsFacts {
        alpn: session.alpn_protocol().map(|it| String::from_utf8_lossy(it).into_owned()),
        sni: None,
        version: session.protocol_version().map(|it| format!("{it:?}")).unwrap_or_default(),
        peer: session
            .peer_certificates()
            .map(|it| it.iter().map(|c| c.clone().into_owned()).collect())
            .unwrap_or_default(),
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.written.fetch_add(u64::try_from(written).unwrap_or(u64::MAX), Ordering::SeqCst);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
