//! Generations: this process, and those before it that still drain.
//!
//! A process that drains reports to whoever serves, through a socket pair whose other end goes from successor to
//! successor. Its end is its last word.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::listen::handoff::message::GENERATIONS_MAX;
use crate::telemetry::rfc3339;

/// One report.
const REPORT_BYTES_MAX: usize = 16 << 10;

/// What a generation does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    #[default]
    Starting,
    Serving,
    Draining,
}

/// What a process still carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Load {
    /// All client connections.
    pub connections: usize,
    pub http1: usize,
    pub http2: usize,
    pub tcp: usize,
    pub passthrough: usize,
    /// Of the HTTP connections: event streams under way.
    pub sse: usize,
    /// Of the HTTP connections: WebSockets and other upgrades.
    pub websocket: usize,
    /// Requests with a backend.
    pub requests: usize,
}

/// One generation, as others see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct View {
    pub generation: u64,
    pub pid: u32,
    pub version: String,
    pub binary: String,
    /// RFC 3339.
    pub started: String,
    pub state: Phase,
    /// Since when it drains, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining_since: Option<String>,
    /// The longest it may drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_limit_seconds: Option<u64>,
    pub carries: Load,
    /// Resident memory.
    pub rss_bytes: u64,
}

impl View {
    /// This process, as it begins.
    pub fn born(generation: u64, binary: String) -> Self {
        Self {
            generation,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            binary,
            started: rfc3339(SystemTime::now()),
            ..Self::default()
        }
    }

    /// With what is so at this moment.
    #[must_use]
    pub fn now(mut self, carries: Load) -> Self {
        self.carries = carries;
        self.rss_bytes = rss().unwrap_or_default();
        self
    }
}

fn rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|it| it * 1024)
}

/// The end of the pair that the process keeps which is going to drain.
#[derive(Debug)]
pub struct Mouth(OwnedFd);

/// The end that goes to its successors.
#[derive(Debug)]
pub struct Ear(pub OwnedFd);

/// A pair for a process to report through.
pub fn channel() -> io::Result<(Mouth, Ear)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Whole messages: two readers for a moment do not tear one apart.
    let (mouth, ear) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((Mouth(mouth), Ear(ear)))
}

impl Mouth {
    /// Reports. One that nobody reads is lost; the next one says it all again.
    pub fn report(&self, view: &View) {
        let Ok(text) = serde_json::to_vec(view) else { return };
        let _ = rustix::net::send(&self.0, &text, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }
}

/// The generations before this one that have not ended.
#[derive(Debug, Default)]
pub struct Elders {
    known: Mutex<Vec<Elder>>,
    changed: Notify,
}

#[derive(Debug)]
struct Elder {
    id: u64,
    ear: Arc<Ear>,
    view: View,
}

impl Elders {
    /// Takes note of a process that drains. Those beyond the limit drain unseen.
    pub fn add(&self, ear: Ear, view: View) {
        let mut known = self.known.lock();
        if known.len() >= GENERATIONS_MAX {
            return tracing::warn!(pid = view.pid, "too many generations drain: this one is not watched");
        }
        let id = known.last().map_or(0, |it| it.id + 1);
        known.push(Elder { id, ear: Arc::new(ear), view });
    }

    /// The last reports, oldest generation first.
    pub fn views(&self) -> Vec<View> {
        self.known.lock().iter().map(|it| it.view.clone()).collect()
    }

    /// For a successor: where they report from, and what they said last.
    pub fn duplicates(&self) -> io::Result<Vec<(OwnedFd, View)>> {
        let known = self.known.lock();
        known.iter().map(|it| Ok((it.ear.0.as_fd().try_clone_to_owned()?, it.view.clone()))).collect()
    }

    /// Waits until none is left.
    pub async fn gone(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.known.lock().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Listens to all that are known now, until they end or this future is dropped.
    pub async fn listen(&self) {
        let ears: Vec<_> = self.known.lock().iter().map(|it| (it.id, Arc::clone(&it.ear))).collect();
        futures::future::join_all(ears.into_iter().map(|(id, ear)| self.hear(id, ear))).await;
    }

    async fn hear(&self, id: u64, ear: Arc<Ear>) {
        if let Err(error) = self.heed(id, &ear).await {
            tracing::debug!(%error, "a predecessor's report");
        }
        let mut known = self.known.lock();
        if let Some(at) = known.iter().position(|it| it.id == id) {
            let Elder { view, .. } = known.remove(at);
            tracing::info!(pid = view.pid, generation = view.generation, "a predecessor has ended");
        }
        drop(known);
        self.changed.notify_waiters();
    }

    async fn heed(&self, id: u64, ear: &Ear) -> io::Result<()> {
        // As for datagrams: one call, one message, and nothing at the end.
        let socket = std::os::unix::net::UnixDatagram::from(ear.0.as_fd().try_clone_to_owned()?);
        let socket = tokio::net::UnixDatagram::from_std(socket)?;
        let mut text = vec![0; REPORT_BYTES_MAX];
        loop {
            let got = socket.recv(&mut text).await?;
            if got == 0 {
                return Ok(());
            }
            // What cannot be read is of a version that says more than we know: the last one stands.
            let Ok(view) = serde_json::from_slice(text.get(..got).unwrap_or_default()) else { continue };
            if let Some(elder) = self.known.lock().iter_mut().find(|it| it.id == id) {
                elder.view = view;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reports_are_heard_and_the_end_as_well() {
        let elders = Elders::default();
        let (mouth, ear) = channel().unwrap();
        let first = View { generation: 3, pid: 7, ..View::default() };
        elders.add(ear, first.clone());
        assert_eq!(elders.views(), std::slice::from_ref(&first));
        let last = View { carries: Load { sse: 4, ..Load::default() }, ..first };
        mouth.report(&last);
        let hearing = async {
            // The report is read before the end: the channel keeps the order.
            drop(mouth);
            elders.listen().await;
        };
        tokio::join!(hearing, elders.gone());
        assert!(elders.views().is_empty());
    }

    #[tokio::test]
    async fn a_successor_hears_the_same_predecessors() {
        let (elders, heir) = (Elders::default(), Elders::default());
        let (mouth, ear) = channel().unwrap();
        elders.add(ear, View { pid: 7, ..View::default() });
        for (ear, view) in elders.duplicates().unwrap() {
            heir.add(Ear(ear), view);
        }
        drop(elders);
        let report = View { pid: 7, generation: 2, ..View::default() };
        mouth.report(&report);
        let seen = async {
            while heir.views() != [report.clone()] {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = seen => {}
            () = heir.listen() => panic!("the predecessor has not ended"),
        }
    }
}
