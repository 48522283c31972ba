//! Connections of our own making: for raw TCP, for health checks, and for TLS that Pingora's
//! connector cannot do.
//!
//! The last goes in by `PeerOptions::custom_l4`. Pingora pools by file descriptor, and a
//! `VirtualSocket` has none (fd -1: never reused, and all under one key), so a TLS connection of
//! ours is handed over as one end of a socket pair, with a task that copies between the other end
//! and TLS. The peer's address is then 0.0.0.0, which is the one Pingora does not compare with the
//! socket's; the real one is in the group key.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use filters::backend_tcp::Keepalives;
use ir::Text;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream as PeerStream;
use pingora_error::{Error, ErrorType};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoint::Address;

/// How long a TLS connection that is no longer wanted may take to say goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// What is copied at once, each way: the largest TLS record.
const RELAY_BYTES: usize = 16 * 1024;

/// A socket of either kind.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to a backend: plain or TLS.
pub(super) enum Flow {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Flow {
    /// Whether HTTP/2 was agreed on, or nothing was: then it takes prior knowledge.
    pub(super) fn may_speak_h2(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => matches!(stream.get_ref().1.alpn_protocol(), None | Some(b"h2")),
        }
    }
}

/// Connects; sets what every socket towards a backend has set.
pub(super) async fn open(address: &Address, keepalives: Option<&Keepalives>) -> io::Result<Socket> {
    match address {
        Address::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
        Address::Inet(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            if let Some(keepalives) = keepalives.filter(|it| it.enabled) {
                let options = socket2::TcpKeepalive::new()
                    .with_time(keepalives.time)
                    .with_interval(keepalives.interval)
                    .with_retries(keepalives.retries);
                socket2::SockRef::from(&stream).set_tcp_keepalive(&options)?;
            }
            Ok(Socket::Tcp(stream))
        }
    }
}

/// Shakes hands.
pub(super) async fn secure(socket: Socket, config: Arc<ClientConfig>, name: &str) -> io::Result<TlsStream<Socket>> {
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no name for TLS")))?;
    TlsConnector::from(config).connect(name, socket).await
}

/// What a dial for Pingora is to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    H1,
    H2,
    /// HTTP/2 if the backend agrees; if not, the template learns, and the try is to be repeated.
    H2OrLearn,
}

/// One dial for Pingora.
pub(super) struct Dial {
    pub(super) to: Address,
    pub(super) name: Text,
    pub(super) config: Arc<ClientConfig>,
    pub(super) need: Need,
    /// Set when the backend turns out not to speak HTTP/2.
    pub(super) h1_learnt: Arc<AtomicBool>,
    pub(super) keepalives: Option<Keepalives>,
}

/// The address Pingora does not compare.
pub(super) fn incomparable() -> PeerAddress {
    PeerAddress::Inet(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tls to {} as {}", self.to, self.name)
    }
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, _: &PeerAddress) -> pingora_error::Result<PeerStream> {
        let refused = |error: io::Error| Error::because(ErrorType::ConnectError, format!("{self:?}"), error);
        let socket = open(&self.to, self.keepalives.as_ref()).await.map_err(refused)?;
        let tls = secure(socket, self.config.clone(), &self.name)
            .await
            .map_err(|error| Error::because(ErrorType::TLSHandshakeFailure, format!("{self:?}"), error))?;
        let agreed = tls.get_ref().1.alpn_protocol();
        if matches!(agreed, None | Some(b"http/1.1")) && self.need != Need::H1 {
            let mut error = Error::explain(ErrorType::TLSHandshakeFailure, format!("{self:?}: no agreement on h2"));
            if self.need == Need::H2OrLearn {
                self.h1_learnt.store(true, Relaxed);
                error.set_retry(true);
            }
            return Err(error);
        }
        let (ours, theirs) = UnixStream::pair().map_err(refused)?;
        tokio::spawn(relay(ours, tls));
        Ok(theirs.into())
    }
}

/// Copies until either side ends. Pingora does not half-close, so neither do we.
async fn relay(mut local: UnixStream, tls: TlsStream<Socket>) {
    let (mut from_local, mut to_local) = local.split();
    let (mut from_tls, mut to_tls) = tokio::io::split(tls);
    tokio::select! {
        _ = pour(&mut from_tls, &mut to_local) => {}
        _ = pour(&mut from_local, &mut to_tls) => {}
    }
    let _ = tokio::time::timeout(GOODBYE_MAX, to_tls.shutdown()).await;
}

/// A copy that hands on what it has at once, in pieces of a TLS record.
async fn pour(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; RELAY_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else { return Ok(()) };
        to.write_all(piece).await?;
        to.flush().await?;
    }
}

macro_rules! delegate {
    ($type:ident { $($variant:ident),* }) => {
        impl AsyncRead for $type {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(it) => Pin::new(it).poll_read(cx, buf),)* }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() { $(Self::$variant(it) => Pin::new(it).poll_write(cx, buf),)* }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(it) => Pin::new(it).poll_flush(cx),)* }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(it) => Pin::new(it).poll_shutdown(cx),)* }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() { $(Self::$variant(it) => Pin::new(it).poll_write_vectored(cx, bufs),)* }
            }

            fn is_write_vectored(&self) -> bool {
                match self { $(Self::$variant(it) => it.is_write_vectored(),)* }
            }
        }
    };
}

delegate!(Socket { Tcp, Unix });
delegate!(Flow { Plain, Tls });
