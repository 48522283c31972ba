//! Readiness and liveness: whether traffic should come, and whether the process still turns over.
//!
//! Readiness is a set of tasks not yet done; each is a value that is dropped when it is. A drain
//! makes it false for good. Liveness is measured: a task on each watched runtime stores the time
//! once a second, and a runtime whose task has not run for [`STUCK`] is stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

/// How often a runtime shows that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// A runtime silent for this long is stuck.
pub const STUCK: Duration = Duration::from_secs(10);

/// What is still to be done before traffic should come.
#[derive(Debug, Default)]
pub struct Readiness {
    pending: Mutex<Vec<&'static str>>,
    draining: AtomicBool,
}

/// A task that is not done; drop it when it is.
#[derive(Debug)]
pub struct ReadyGuard {
    name: &'static str,
    readiness: Arc<Readiness>,
}

impl Readiness {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Not ready until the guard is dropped.
    pub fn task(self: &Arc<Self>, name: &'static str) -> ReadyGuard {
        self.pending.lock().push(name);
        ReadyGuard { name, readiness: self.clone() }
    }

    /// Not ready any more, for good.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// What is not done; empty when ready.
    pub fn pending(&self) -> Vec<&'static str> {
        let mut pending = self.pending.lock().clone();
        if self.draining.load(Ordering::Acquire) {
            pending.push("draining");
        }
        pending
    }
}

impl Drop for ReadyGuard {
    fn drop(&mut self) {
        let mut pending = self.readiness.pending.lock();
        if let Some(place) = pending.iter().position(|name| *name == self.name) {
            pending.remove(place);
        }
        if pending.is_empty() {
            tracing::info!(last = self.name, "ready");
        }
    }
}

/// The pulse of the runtimes.
#[derive(Debug)]
pub struct Liveness {
    start: Instant,
    hearts: Mutex<Vec<Heart>>,
}

#[derive(Debug)]
struct Heart {
    name: &'static str,
    /// Milliseconds after `start`.
    last: Arc<AtomicU64>,
}

impl Liveness {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), hearts: Mutex::default() })
    }

    /// Watches a runtime from now on; the task ends with the runtime.
    pub fn watch(&self, name: &'static str, runtime: &Handle) {
        let start = self.start;
        let last = Arc::new(AtomicU64::new(millis(start.elapsed())));
        self.hearts.lock().push(Heart { name, last: last.clone() });
        runtime.spawn(async move {
            loop {
                last.store(millis(start.elapsed()), Ordering::Relaxed);
                tokio::time::sleep(BEAT).await;
            }
        });
    }

    /// Runtimes that are stuck, and for how long.
    pub fn stuck(&self) -> Vec<(&'static str, Duration)> {
        self.stuck_at(self.start.elapsed())
    }

    fn stuck_at(&self, now: Duration) -> Vec<(&'static str, Duration)> {
        let hearts = self.hearts.lock();
        let silence = |heart: &Heart| {
            let last = Duration::from_millis(heart.last.load(Ordering::Relaxed));
            (heart.name, now.saturating_sub(last))
        };
        hearts.iter().map(silence).filter(|(_, silence)| *silence > STUCK).collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_all_guards_are_dropped_and_never_after_a_drain() {
        let readiness = Readiness::new();
        let (config, binds) = (readiness.task("config"), readiness.task("binds"));
        assert_eq!(readiness.pending(), ["config", "binds"]);
        drop(config);
        assert_eq!(readiness.pending(), ["binds"]);
        drop(binds);
        assert!(readiness.pending().is_empty());
        readiness.drain();
        assert_eq!(readiness.pending(), ["draining"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_runtime_is_stuck() {
        let liveness = Liveness::new();
        liveness.watch("data", &Handle::current());
        assert!(liveness.stuck().is_empty());
        let stuck = liveness.stuck_at(liveness.start.elapsed() + STUCK + BEAT);
        assert_eq!(stuck.first().map(|(name, _)| *name), Some("data"));
    }
}
