//! A connection on which short writes wait until they are flushed, and the head of a request for the body that comes at
//! once, so that they leave in one write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::coalesce::Coalesce;

/// Most of several writes that is put together in a copy; what is longer is sent at once, with what waits before it.
const HELD_MAX: usize = 16 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Joined<S = Stream> {
    inner: S,
    held: Coalesce,
    state: State,
}

/// What becomes of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It waits until it is flushed.
    Through,
    /// It is the head and waits for the body: that it be flushed is passed over.
    Head,
    /// It is the body and waits until it is flushed.
    Body,
    /// Somebody wants the answer. The body is written by another part of the same task, which may have its turn first.
    Asked,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Joined<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, held: Coalesce::new(HELD_MAX), state: State::Through }
    }

    /// Has the next head wait for its body. To be called between exchanges.
    pub(super) fn hold_head(&mut self) {
        self.state = State::Head;
    }

    /// Whether all was sent, and the other side has neither closed it nor said anything unasked.
    pub(super) fn is_silent(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut context = Context::from_waker(std::task::Waker::noop());
        // The runtime's budget for one task must not make a closed connection look silent.
        let mut read = std::pin::pin!(tokio::task::unconstrained(std::future::poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut byte);
            Pin::new(&mut self.inner).poll_read(context, &mut buffer)
        })));
        read.as_mut().poll(&mut context).is_pending() && self.held.is_empty()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Joined<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let it = self.get_mut();
        if !it.held.is_empty() {
            if it.state == State::Body {
                it.state = State::Asked;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            // Whoever waits for an answer has said everything.
            it.state = State::Through;
            ready!(it.held.poll_drain(&mut it.inner, context))?;
            ready!(Pin::new(&mut it.inner).poll_flush(context))?;
        }
        Pin::new(&mut it.inner).poll_read(context, to)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Joined<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let it = self.get_mut();
        it.held.poll_write(&mut it.inner, context, from)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let it = self.get_mut();
        if it.state == State::Head {
            it.state = State::Body;
            return Poll::Ready(Ok(()));
        }
        it.state = State::Through;
        ready!(it.held.poll_drain(&mut it.inner, context))?;
        Pin::new(&mut it.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let it = self.get_mut();
        ready!(it.held.poll_drain(&mut it.inner, context))?;
        Pin::new(&mut it.inner).poll_shutdown(context)
    }
}

#[async_trait]
impl Shutdown for Joined {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Joined {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Joined {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

#[async_trait]
impl Peek for Joined {}

impl GetTimingDigest for Joined {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        // Nobody reads it of these.
        Vec::new()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Joined {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Joined {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn pair() -> (Joined<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        (Joined::new(ours), theirs)
    }

    async fn arrived(theirs: &mut tokio::io::DuplexStream) -> Vec<u8> {
        let mut got = vec![0; 1 << 20];
        match tokio::time::timeout(Duration::ZERO, theirs.read(&mut got)).await {
            Ok(read) => got[..read.unwrap()].to_vec(),
            Err(_) => Vec::new(),
        }
    }

    #[tokio::test]
    async fn head_and_body_leave_together() {
        let (mut it, mut theirs) = pair();
        for _ in 0..2 {
            it.hold_head();
            it.write_all(b"head ").await.unwrap();
            it.flush().await.unwrap();
            assert_eq!(arrived(&mut theirs).await, b"");
            it.write_all(b"body").await.unwrap();
            assert_eq!(arrived(&mut theirs).await, b"");
            it.flush().await.unwrap();
            assert_eq!(arrived(&mut theirs).await, b"head body");
        }
        it.write_all(b"al").await.unwrap();
        it.write_all(b"one").await.unwrap();
        assert_eq!(arrived(&mut theirs).await, b"");
        it.flush().await.unwrap();
        assert_eq!(arrived(&mut theirs).await, b"alone", "it holds only what it was told to");
    }

    #[tokio::test]
    async fn what_is_long_is_not_held_and_who_reads_waits_for_nothing() {
        let (mut it, mut theirs) = pair();
        it.hold_head();
        it.write_all(b"head").await.unwrap();
        it.flush().await.unwrap();
        let body = vec![b'x'; HELD_MAX];
        it.write_all(&body).await.unwrap();
        let got = arrived(&mut theirs).await;
        assert_eq!((got.len(), &got[..5]), (HELD_MAX + 4, &b"headx"[..]));
        it.hold_head();
        it.write_all(b"head").await.unwrap();
        it.flush().await.unwrap();
        theirs.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        it.read_exact(&mut answer).await.unwrap();
        assert_eq!((arrived(&mut theirs).await, &answer), (b"head".to_vec(), b"answer"));
    }

    #[tokio::test]
    async fn only_a_silent_connection_is_used_again() {
        let (mut it, mut theirs) = pair();
        assert!(it.is_silent());
        theirs.write_all(b"?").await.unwrap();
        assert!(!it.is_silent(), "it said something unasked");
        let (mut it, theirs) = pair();
        drop(theirs);
        assert!(!it.is_silent(), "it is closed");
    }
}
