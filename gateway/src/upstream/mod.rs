//! Stub of upstream on branch `listen`: what `listen/` calls. The real one replaces this file.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub struct Cluster {}
pub struct Template {}

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("no endpoint")]
    NoEndpoint,
}

impl Fault {
    pub fn reason(&self) -> filters::Reason {
        filters::Reason::NoHealthyBackend
    }
}

/// A connection to an endpoint, counted as in flight until dropped.
pub struct TcpLease {
    stream: TcpStream,
    endpoint: ir::Text,
}

impl TcpLease {
    pub fn endpoint(&self) -> &ir::Text {
        &self.endpoint
    }
}

impl AsyncRead for TcpLease {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpLease {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

pub async fn connect_tcp(_choice: &crate::plan::TcpChoice) -> Result<TcpLease, Fault> {
    Err(Fault::NoEndpoint)
}
