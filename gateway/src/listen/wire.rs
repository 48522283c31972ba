//! The socket of a client as it comes from the kernel: TCP or Unix, with bytes that were read ahead
//! (PROXY header, ClientHello, preface of HTTP/2) given out again, and with its traffic counted.
//!
//! It holds no buffer unless there are such bytes.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::account::Account;

/// Most bytes one read ahead takes.
const AHEAD_STEP_BYTES: usize = 2048;

/// Bytes on the wire, TLS included. Only the owner of the socket writes it; anybody may read.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// One writer: a plain load and store, no locked instruction.
fn add(counter: &AtomicU64, bytes: usize) {
    counter.store(counter.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
}

/// Bytes read but not yet given out; frees its memory when empty.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    at: usize,
}

impl Ahead {
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn push(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.at += count;
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Reads once from `io` behind what is held. 0 is the end of the stream.
    pub(super) fn poll_more<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; AHEAD_STEP_BYTES];
        let mut fresh = ReadBuf::uninit(&mut space);
        ready!(Pin::new(io).poll_read(cx, &mut fresh))?;
        self.push(fresh.filled());
        Poll::Ready(Ok(fresh.filled().len()))
    }
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(it) => it.as_raw_fd(),
            Self::Unix(it) => it.as_raw_fd(),
        }
    }
}

impl Socket {
    /// For options; absent for a Unix socket.
    pub(super) fn tcp(&self) -> Option<SockRef<'_>> {
        match self {
            Self::Tcp(it) => Some(SockRef::from(it)),
            Self::Unix(_) => None,
        }
    }
}

/// See the file.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    pub(super) ahead: Ahead,
    traffic: Arc<Traffic>,
    /// Closes the books of the connection, whoever holds the socket last.
    account: Account,
}

impl Wire {
    pub(super) fn new(socket: Socket, account: Account) -> Self {
        Self { socket, ahead: Ahead::default(), traffic: account.traffic(), account }
    }

    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    pub(super) fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    /// Reads more into [`Self::ahead`]; 0 is the end of the stream. Cancel-safe.
    pub(super) async fn more(&mut self) -> io::Result<usize> {
        let Self { socket, ahead, traffic, .. } = self;
        let count = poll_fn(|cx| ahead.poll_more(socket, cx)).await?;
        add(&traffic.received, count);
        Ok(count)
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(it) => Pin::new(it).poll_read(cx, buf),
            Self::Unix(it) => Pin::new(it).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let given = this.ahead.rest().len().min(buf.remaining());
            buf.put_slice(this.ahead.rest().get(..given).unwrap_or_default());
            this.ahead.advance(given);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        add(&this.traffic.received, buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(match &mut this.socket {
            Socket::Tcp(it) => Pin::new(it).poll_write(cx, buf),
            Socket::Unix(it) => Pin::new(it).poll_write(cx, buf),
        })?;
        add(&this.traffic.sent, count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Of one buffer, as one record of TLS is, the kernel makes less work by the plain call.
        if let [one] = bufs {
            return self.poll_write(cx, one);
        }
        let this = self.get_mut();
        let count = ready!(match &mut this.socket {
            Socket::Tcp(it) => Pin::new(it).poll_write_vectored(cx, bufs),
            Socket::Unix(it) => Pin::new(it).poll_write_vectored(cx, bufs),
        })?;
        add(&this.traffic.sent, count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(it) => Pin::new(it).poll_flush(cx),
            Socket::Unix(it) => Pin::new(it).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(it) => Pin::new(it).poll_shutdown(cx),
            Socket::Unix(it) => Pin::new(it).poll_shutdown(cx),
        }
    }
}
