//! How the process ends: signals, and the drain.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::generation::Phase;
use super::{Life, Reign, TALKS_MAX};
use crate::telemetry::rfc3339;

/// For the process's own servers to answer what they were asked, and for those who asked for an upgrade to hear of it.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// How often a process that drains says what it still carries.
const REPORT: Duration = Duration::from_secs(1);

/// The same life, seen by Pingora, which wants to own its watch.
pub struct SharedLife(pub Arc<Life>);

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

#[async_trait]
impl ShutdownSignalWatch for SharedLife {
    async fn recv(&self) -> ShutdownSignal {
        let life = &self.0;
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
        life.hears.send_replace(true);
        let (Ok(term), Ok(int), Ok(hup)) = signals else {
            tracing::error!("signals cannot be caught; only an admin call ends this process gracefully");
            life.ending.notified().await;
            life.drained().await;
            return ShutdownSignal::FastShutdown;
        };
        life.live(Signals { term, int, hup }).await;
        ShutdownSignal::FastShutdown
    }
}

impl Life {
    /// Until the end.
    async fn live(self: &Arc<Self>, mut signals: Signals) {
        loop {
            tokio::select! {
                _ = signals.term.recv() => break,
                () = self.ending.notified() => break,
                () = self.superseded() => {
                    tracing::info!("a successor has taken over");
                    break;
                }
                _ = signals.hup.recv() => self.renew(),
                _ = signals.int.recv() => return self.give_up(),
            }
        }
        self.give_up();
        if self.unfit.lock().is_some() {
            return;
        }
        tokio::select! {
            () = self.drained() => {}
            _ = signals.int.recv() => {}
            // Somebody wants a superseded process gone sooner than by itself.
            () = async {
                signals.term.recv().await;
                tokio::time::sleep(self.deadline).await;
            } => tracing::warn!(connections = self.drain.live(), "told to end; closing what is left"),
        }
    }

    /// An upgrade without anybody who waits for it.
    pub fn renew(self: &Arc<Self>) {
        let life = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(declined) = life.upgrade(None, |_| {}).await {
                tracing::warn!(reason = declined.reason, "no upgrade");
            }
        });
    }

    /// No successor is wanted any more: one that is being started must not outlive us, and take over from the dead.
    fn give_up(&self) {
        let attempt = self.attempt.lock();
        self.reign.send_if_modified(|it| {
            *it = (*it).max(Reign::Ending);
            false
        });
        if let Some((underway, _)) = &attempt.underway {
            underway.give_up();
        }
    }

    async fn drained(&self) {
        {
            let mut me = self.me.lock();
            me.state = Phase::Draining;
            me.draining_since = Some(rfc3339(SystemTime::now()));
            me.drain_limit_seconds = Some(self.drain.longest(self.deadline).as_secs());
        }
        tracing::info!(limit = ?self.drain.longest(self.deadline), "draining");
        let superseded = *self.reign.borrow() == Reign::Superseded;
        let left = tokio::select! {
            left = self.wait(superseded) => left,
            () = self.tell() => 0,
        };
        if left > 0 {
            tracing::warn!(connections = left, "drain limit reached; closing what is left");
        }
        self.telemetry.flush(Duration::from_secs(1));
    }

    async fn wait(&self, superseded: bool) -> usize {
        if superseded {
            // For whoever asks at our address the service is ready: the successor is. Nobody need look away.
            let left = self.drain.drain(Duration::ZERO, self.deadline).await;
            let _ = tokio::time::timeout(LAST_ANSWERS, self.silent.notified()).await;
            let _ = tokio::time::timeout(LAST_ANSWERS, self.talks.acquire_many(TALKS_MAX)).await;
            return left;
        }
        self.readiness.drain();
        let predecessors = async {
            self.recall();
            // With the service, what it was before ends as well: a supervisor would kill it.
            let _ = tokio::time::timeout(self.deadline, self.elders.gone()).await;
        };
        let (left, ()) = tokio::join!(self.drain.drain(self.deadline_min, self.deadline), predecessors);
        left
    }

    /// Tells those that still drain to end as we do.
    fn recall(&self) {
        for view in self.elders.views() {
            // Its channel is open, so the number is still its own.
            let pid = i32::try_from(view.pid).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
    }

    /// Says to whoever serves what is still carried, for ever.
    async fn tell(&self) {
        let mut carried = usize::MAX;
        loop {
            let view = self.view();
            if view.carries.connections < carried {
                carried = view.carries.connections;
                if let Some(reports) = self.reports.get() {
                    reports.release();
                }
            }
            if let Some(mouth) = self.mouth.lock().as_ref() {
                mouth.report(&view);
            }
            tokio::time::sleep(REPORT).await;
        }
    }
}
