//! A process started by the gateway, not by the test: known by its number only.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::process;
use crate::wait::poll;

/// A successor. Dropping it kills the process.
pub struct Successor {
    pid: Pid,
    ended: bool,
}

impl Successor {
    /// From the line of the log that announces it.
    #[track_caller]
    pub fn of(line: &str) -> Successor {
        let digits: String = match line.split_once("\"pid\":") {
            Some((_, rest)) => rest.chars().take_while(char::is_ascii_digit).collect(),
            None => panic!("no pid in {line}"),
        };
        Successor::numbered(digits.parse().expect("a process id"))
    }

    pub fn numbered(pid: u32) -> Successor {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
        Successor { pid, ended: false }
    }

    /// The process that hears of its end.
    pub fn parent(&self) -> u32 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("a process that runs");
        let parent = stat.rsplit(") ").next().and_then(|it| it.split(' ').nth(1)).expect("the number of its parent");
        parent.parse().expect("a process id")
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("signal the successor");
    }

    /// Ends it with SIGTERM; panics unless it drains in time.
    pub async fn stop(mut self, deadline: Duration) {
        self.signal(Signal::TERM);
        let gone = poll(deadline, || async { self.is_gone().then_some(()) }).await;
        assert!(gone.is_some(), "the successor does not end within {deadline:?}");
        self.ended = true;
    }

    /// Gone, or a zombie that nobody waits for: its parent has ended.
    pub fn is_gone(&self) -> bool {
        process::is_gone(self.pid())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.ended && !self.is_gone() {
            // Fails only when it ended this moment.
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}
