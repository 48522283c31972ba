//! Raw connections to a backend: choose, dial, and hold the places taken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use ir::Text;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::admit::Counted;
use super::dial::Flow;
use super::endpoint::{Lease, Outcome};
use super::fault::Fault;
use crate::plan::TcpChoice;

/// Endpoints tried besides the first when connecting fails.
pub(super) const TCP_RETRIES_MAX: usize = 3;

/// An open connection; its places are given back when it is dropped.
pub struct TcpLease {
    flow: Flow,
    lease: Lease,
    _place: Counted,
}

/// Connects to one of the chosen cluster's endpoints.
pub async fn connect_tcp(choice: &TcpChoice) -> Result<TcpLease, Fault> {
    let TcpChoice { cluster, template, effective, .. } = choice;
    let place = cluster.admit_connection(effective.circuit_breaker())?;
    let health = effective.health();
    let alpn = template.raw_alpn();
    let mut tried = Vec::new();
    let mut last = None;
    loop {
        let lease = cluster.draw(&tried, None, health, template.connect_timeout()).await?;
        if tried.contains(&lease.id())
            && let Some(fault) = last
        {
            // All have been tried.
            return Err(fault);
        }
        let begun = Instant::now();
        match template.connect(&lease, &alpn).await {
            Ok(flow) => {
                let latency = Some(begun.elapsed());
                lease.report(Outcome { ok: true, latency, ..Outcome::default() }, health);
                return Ok(TcpLease { flow, lease, _place: place });
            }
            Err(fault) => {
                lease.report(Outcome::unreachable(), health);
                if tried.len() >= TCP_RETRIES_MAX {
                    return Err(fault);
                }
                tracing::debug!(%fault, "trying another endpoint");
                tried.push(lease.id());
                last = Some(fault);
            }
        }
    }
}

impl TcpLease {
    /// The address as logs show it.
    pub fn endpoint(&self) -> &Text {
        self.lease.endpoint_text()
    }
}

impl AsyncRead for TcpLease {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().flow).poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpLease {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().flow).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().flow).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().flow).poll_shutdown(cx)
    }
}
