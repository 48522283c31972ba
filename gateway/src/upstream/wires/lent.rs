//! Connections lent to Pingora for one request each: plain ones, over HTTP/1.1.
//!
//! Pingora keeps idle connections in a pool of its own, with a task, a timer and two locks for each request. It has a
//! connection taken from [`Idle`] instead, by [`L4Connect`], and believes it to be a new one. When it has ended an
//! exchange and could use the connection again, it looks whether the other side is silent, by a read of one byte that
//! nobody waits for: nothing else reads so. Then the connection goes back, and Pingora is told that it was closed, so that
//! it lets go of it. Where Pingora does not ask so, the connection is closed with it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use filters::backend_tcp::Keepalives;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream as PeerStream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_error::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::dial::{Socket, open};
use super::super::endpoint::Endpoint;
use super::idle::Idle;
use super::joined::Joined;

/// Connections that may be lent.
pub struct Lender {
    idle: Arc<Idle<Socket>>,
}

impl Lender {
    /// Keeps so many idle ones at most.
    pub fn new(idle_max: usize) -> Arc<Self> {
        Arc::new(Self { idle: Idle::new(idle_max) })
    }

    pub(in crate::upstream) fn loan(&self, key: u64, endpoint: Arc<Endpoint>, terms: &Terms, wanted: Use) -> Arc<Loan> {
        let (idle, terms) = (self.idle.clone(), terms.clone());
        Arc::new(Loan { idle, key, endpoint, terms, wanted, reused: AtomicBool::new(false) })
    }
}

/// How connections are made and kept.
#[derive(Clone)]
pub(in crate::upstream) struct Terms {
    pub(in crate::upstream) keepalives: Keepalives,
    pub(in crate::upstream) idle_timeout: Duration,
}

/// What one attempt wants of its connection.
#[derive(Clone, Copy)]
pub(in crate::upstream) struct Use {
    /// A body is at hand and follows the head at once.
    pub(in crate::upstream) body: bool,
    pub(in crate::upstream) now: Instant,
    /// Longest to open one.
    pub(in crate::upstream) limit: Duration,
}

/// A connection for one attempt.
pub struct Loan {
    idle: Arc<Idle<Socket>>,
    key: u64,
    endpoint: Arc<Endpoint>,
    terms: Terms,
    wanted: Use,
    reused: AtomicBool,
}

impl Loan {
    /// Whether the connection was used before.
    pub fn is_reused(&self) -> bool {
        self.reused.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection to {}", self.endpoint.address)
    }
}

#[async_trait]
impl L4Connect for Loan {
    async fn connect(&self, _: &PeerAddress) -> Result<PeerStream> {
        let mut line = match self.idle.take(self.key, self.wanted.now) {
            Some(line) => {
                self.reused.store(true, Ordering::Relaxed);
                line
            }
            None => {
                let opening = open(&self.endpoint.address, Some(&self.terms.keepalives));
                let opened = Box::pin(tokio::time::timeout(self.wanted.limit, opening)).await;
                let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                Box::new(Joined::new(opened.map_err(|error| self.refused(error))?))
            }
        };
        if self.wanted.body {
            line.hold_head();
        }
        let lent = Lent { line: Some(line), idle: self.idle.clone(), key: self.key, limit: self.terms.idle_timeout };
        Ok(VirtualSocketStream::new(Box::new(lent)).into())
    }
}

impl Loan {
    fn refused(&self, error: io::Error) -> Box<Error> {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
            io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
            _ => ErrorType::ConnectError,
        };
        Error::because(kind, format!("no {self:?}"), error)
    }
}

/// What Pingora holds of a connection.
struct Lent {
    /// Gone once it went back.
    line: Option<Box<Joined<Socket>>>,
    idle: Arc<Idle<Socket>>,
    key: u64,
    limit: Duration,
}

impl Lent {
    fn line(self: Pin<&mut Self>) -> io::Result<Pin<&mut Joined<Socket>>> {
        let line = self.get_mut().line.as_deref_mut();
        line.map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn give_back(&mut self) {
        if let Some(mut line) = self.line.take()
            && line.is_silent()
        {
            Idle::put(&self.idle, self.key, line, Some(self.limit));
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A task's waker knows its task; this one knows nobody.
        if to.capacity() == 1 && context.waker().data().is_null() {
            self.give_back();
            return Poll::Ready(Ok(()));
        }
        self.line()?.poll_read(context, to)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.line()?.poll_write(context, from)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.is_none() {
            return Poll::Ready(Ok(()));
        }
        self.line()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line()?.poll_shutdown(context)
    }
}

impl VirtualSocket for Lent {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        // Set when it was opened.
        Ok(())
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").finish_non_exhaustive()
    }
}
