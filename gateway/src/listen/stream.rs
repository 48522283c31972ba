//! The stream Pingora gets for a client: decrypted, with everything known of the connection attached.
//!
//! It implements Pingora's public I/O traits, so that accepting, TLS and the PROXY protocol are ours.
//! While the connection is idle it holds no buffer of its own. It shows Pingora one HTTP/1 request at a
//! time: see [`boundary`](super::boundary).

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddress;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::boundary::Boundary;
use super::info::{ConnInfo, Peer};
use super::wire::{Ahead, Traffic, Wire};
use crate::coalesce::Coalesce;

/// Bytes of an answer that wait for more at most.
const HELD_BYTES_MAX: usize = 4096;

/// The connection a request came on; `None` for requests that came on no connection of ours.
pub fn conn_info(session: &pingora_proxy::Session) -> Option<&Arc<ConnInfo>> {
    info_of(session.downstream_session.digest()?)
}

/// As [`conn_info`], from the digest every Pingora session carries.
pub fn info_of(digest: &Digest) -> Option<&Arc<ConnInfo>> {
    digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
}

#[derive(Debug)]
pub(super) enum Layer {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

/// See the file.
#[derive(Debug)]
pub(super) struct Downstream {
    layer: Layer,
    /// Decrypted bytes read before anybody asked for them.
    ahead: Ahead,
    boundary: Boundary,
    /// Absent on HTTP/2, which joins its writes itself.
    out: Option<Coalesce>,
    fd: RawFd,
    established: SystemTime,
    socket: Arc<SocketDigest>,
    tls: Option<Arc<SslDigest>>,
    info: Option<Arc<ProxyDigest>>,
    http2: bool,
}

impl Downstream {
    pub(super) fn new(mut layer: Layer) -> Self {
        let (fd, ahead, tls) = match &mut layer {
            Layer::Plain(wire) => (wire.as_raw_fd(), std::mem::take(&mut wire.ahead), None),
            Layer::Tls(stream) => {
                let (wire, session) = stream.get_ref();
                (wire.as_raw_fd(), Ahead::default(), Some(Arc::new(super::handshake::digest(session))))
            }
        };
        Self {
            layer,
            ahead,
            boundary: Boundary::open(),
            out: Some(Coalesce::new(HELD_BYTES_MAX)),
            fd,
            established: SystemTime::now(),
            socket: Arc::new(SocketDigest::from_raw_fd(fd)),
            tls,
            info: None,
            http2: false,
        }
    }

    /// Attaches what is known, once it is.
    pub(super) fn introduce(&mut self, info: ConnInfo) -> io::Result<()> {
        // Presets spare system calls, and make the client of a PROXY header the client everywhere. Our own address is
        // asked for by nobody, and found out when it is.
        let _ = self.socket.peer_addr.set(Some(PingoraAddress::Inet(info.client)));
        if !matches!(info.peer, Peer::Inet(_)) {
            let _ = self.socket.local_addr.set(None);
        }
        self.http2 = info.http2;
        if info.http2 {
            self.out = None;
        }
        // A digest needs some response; nobody reads it.
        let response = pingora_http::ResponseHeader::build(200, Some(0)).map_err(io::Error::other)?;
        self.info = Some(Arc::new(ProxyDigest::new(Box::new(response), Some(Box::new(Arc::new(info))))));
        Ok(())
    }

    pub(super) fn digest(&self) -> Digest {
        Digest {
            ssl_digest: self.get_ssl_digest(),
            timing_digest: self.get_timing_digest(),
            proxy_digest: self.get_proxy_digest(),
            socket_digest: self.get_socket_digest(),
        }
    }

    /// The counters of the socket below.
    pub(super) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(match &self.layer {
            Layer::Plain(wire) => wire.traffic(),
            Layer::Tls(stream) => stream.get_ref().0.traffic(),
        })
    }

    /// Bytes read ahead.
    pub(super) fn seen(&self) -> &[u8] {
        self.ahead.rest()
    }

    /// Reads more behind [`Self::seen`]; 0 is the end of the stream. Cancel-safe.
    pub(super) async fn more(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.ahead.poll_more(&mut self.layer, cx)).await
    }

    /// The next reads give one request and then nothing.
    pub(super) fn begin(&mut self, boundary: Boundary) {
        self.boundary = boundary;
    }

    /// Whether the last request has been read to its end, as far as we can tell.
    pub(super) fn between_requests(&self) -> bool {
        self.boundary.may_follow()
    }

    /// Behind the end of a request: nothing but the end of the connection is told.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // With a request waiting, a client that has closed its side still wants both answers. Nobody needs
        // waking: the owner of the stream looks at `seen` when the request is done.
        if !self.ahead.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.ahead.poll_more(&mut self.layer, cx))? {
            0 => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

/// `proxy::failure` tells it from a broken connection by its kind.
fn bad_chunk() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed chunked coding")
}

impl AsyncRead for Downstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.boundary.is_lost() {
            return Poll::Ready(Err(bad_chunk()));
        }
        if this.boundary.reached() {
            return this.poll_closed(cx);
        }
        if !this.ahead.is_empty() {
            let most = this.ahead.rest().len().min(buf.remaining());
            let ready = this.ahead.rest().get(..most).unwrap_or_default();
            let count = this.boundary.admit(ready);
            if count == 0 && this.boundary.is_lost() {
                return Poll::Ready(Err(bad_chunk()));
            }
            buf.put_slice(ready.get(..count).unwrap_or_default());
            this.ahead.advance(count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.layer).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let count = this.boundary.admit(fresh);
        if count == 0 && this.boundary.is_lost() {
            return Poll::Ready(Err(bad_chunk()));
        }
        this.ahead.push(fresh.get(count..).unwrap_or_default());
        buf.set_filled(before + count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.out {
            Some(out) => out.poll_write(&mut this.layer, cx, buf),
            None => Pin::new(&mut this.layer).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.out {
            Some(out) => {
                let first = bufs.iter().find(|it| !it.is_empty()).map_or(&[][..], |it| it);
                out.poll_write(&mut this.layer, cx, first)
            }
            None => Pin::new(&mut this.layer).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.out.is_none()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(out) = &mut this.out {
            ready!(out.poll_drain(&mut this.layer, cx))?;
        }
        Pin::new(&mut this.layer).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(out) = &mut this.out {
            ready!(out.poll_drain(&mut this.layer, cx))?;
        }
        Pin::new(&mut this.layer).poll_shutdown(cx)
    }
}

impl AsyncRead for Layer {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_read(cx, buf),
            Self::Tls(it) => Pin::new(it).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Layer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_write(cx, buf),
            Self::Tls(it) => Pin::new(it).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_write_vectored(cx, bufs),
            Self::Tls(it) => Pin::new(it).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_flush(cx),
            Self::Tls(it) => Pin::new(it).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_shutdown(cx),
            Self::Tls(it) => Pin::new(it).poll_shutdown(cx),
        }
    }
}

#[async_trait]
impl Shutdown for Downstream {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            tracing::trace!(%error, "shutdown of a client connection");
        }
    }
}

impl UniqueID for Downstream {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl Ssl for Downstream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(if self.http2 { ALPN::H2 } else { ALPN::H1 })
    }
}

#[async_trait]
impl Peek for Downstream {}

impl GetTimingDigest for Downstream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest { established_ts: self.established, ..TimingDigest::default() })]
    }

    fn get_read_pending_time(&self) -> Duration {
        Duration::ZERO
    }

    fn get_write_pending_time(&self) -> Duration {
        Duration::ZERO
    }
}

impl GetProxyDigest for Downstream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.info.clone()
    }
}

impl GetSocketDigest for Downstream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}
