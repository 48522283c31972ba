//! A gateway and the processes that took over from it, one after the other.

use std::time::{Duration, Instant};

use super::{Gateway, Signal, Successor, process};
use crate::wait::{PATIENCE, eventually};

/// For a successor to become ready on a machine that is busy with the load as well.
const READY: Duration = Duration::from_secs(60);

/// The process that serves, and its predecessors that still drain. Dropping it kills them all.
pub struct Lineage {
    gateway: Gateway,
    successors: Vec<Successor>,
}

/// How one upgrade went.
#[derive(Clone, Copy, Debug)]
pub struct Handover {
    pub from: u32,
    pub to: u32,
    /// From the order to the successor's word that it has taken over.
    pub ready: Duration,
    /// The most that the predecessor has had resident by then.
    pub from_peak_kib: u64,
}

impl Lineage {
    pub fn new(gateway: Gateway) -> Lineage {
        Lineage { gateway, successors: Vec::new() }
    }

    /// The first process, and the log and the directory of all of them.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The process that serves.
    pub fn newest(&self) -> u32 {
        self.successors.last().map_or(self.gateway.pid(), Successor::pid)
    }

    /// Asks the process that serves for a successor, by signal and by command in turn, and waits until it is ready.
    pub async fn upgrade(&mut self) -> Handover {
        let (from, lines) = (self.newest(), self.gateway.log().count());
        let start = Instant::now();
        match self.successors.last() {
            None => self.gateway.signal(Signal::HUP),
            Some(it) if self.successors.len().is_multiple_of(2) => it.signal(Signal::HUP),
            Some(_) => {
                let outcome = self.gateway.upgrade(&["--wait"]).await;
                assert_eq!(outcome.code, 0, "{}", outcome.text);
            }
        }
        self.follow(from, lines, start).await
    }

    /// Edits `config:`, which only a successor can put into effect, and waits until it is ready.
    pub async fn renew(&mut self, edit: impl FnOnce(String) -> String) -> Handover {
        let (from, lines) = (self.newest(), self.gateway.log().count());
        let start = Instant::now();
        let text = std::fs::read_to_string(self.gateway.config_path()).expect("the configuration");
        self.gateway.write_raw(&edit(text));
        self.follow(from, lines, start).await
    }

    async fn follow(&mut self, from: u32, lines: usize, start: Instant) -> Handover {
        let log = self.gateway.log();
        let successor = Successor::of(&log.wait_after(lines, |it| it.contains("started a successor")).await);
        // The successor's own word: the predecessor may end before its last lines are written.
        let ready = log.wait_line(lines, READY, |it| it.contains("took over")).await.at;
        let (to, from_peak_kib) = (successor.pid(), self.peak_kib(from));
        self.successors.push(successor);
        Handover { from, to, ready: ready.saturating_duration_since(start), from_peak_kib }
    }

    /// Processes that were succeeded and still live.
    pub fn draining(&self) -> Vec<u32> {
        let newest = self.newest();
        let all = std::iter::once(self.gateway.pid()).chain(self.successors.iter().map(Successor::pid));
        all.filter(|it| *it != newest && !process::is_gone(*it)).collect()
    }

    /// Waits until none of the predecessors lives.
    pub async fn drained(&self, deadline: Duration) {
        eventually(deadline, || async { self.draining().is_empty() }).await;
    }

    /// Resident memory of a process in KiB; 0 when it has ended.
    pub fn rss_kib(&self, pid: u32) -> u64 {
        process::memory_kib(pid, "VmRSS").unwrap_or(0)
    }

    /// The most that a process has had resident so far, in KiB; 0 when it has ended.
    pub fn peak_kib(&self, pid: u32) -> u64 {
        process::memory_kib(pid, "VmHWM").unwrap_or(0)
    }

    /// Ends the process that serves; panics unless it drains in time, and when any of them panicked.
    pub async fn stop(mut self) {
        self.gateway.log().assert_no_panic();
        match self.successors.pop() {
            Some(newest) => {
                self.gateway.part().await;
                newest.stop(PATIENCE).await;
            }
            None => return self.gateway.stop().await,
        }
        self.drained(PATIENCE).await;
        self.gateway.log().assert_no_panic();
    }
}
