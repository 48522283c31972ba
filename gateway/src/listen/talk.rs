//! What a connection that speaks HTTP has at hand, whichever version, and how it waits.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use ir::BindKey;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use super::flag::raised;
use super::stream::Downstream;
use crate::plan::Terms;
use crate::telemetry::Telemetry;

/// A connection older than `max_connection_duration` that stays idle is closed after this: long enough
/// for a request already on its way.
const FAREWELL: Duration = Duration::from_secs(5);

/// One connection's surroundings.
pub(super) struct Talk<A> {
    pub(super) app: Arc<A>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) bind: BindKey,
    /// Those in force when the connection was opened.
    pub(super) terms: Arc<Terms>,
    pub(super) drain: watch::Receiver<bool>,
    pub(super) cut: watch::Receiver<bool>,
    pub(super) opened: Instant,
}

impl<A> Talk<A> {
    /// When the connection has lasted long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.terms.http.max_connection_duration.map(|it| self.opened + it)
    }

    pub(super) fn overdue(&self) -> bool {
        self.due().is_some_and(|it| it <= Instant::now())
    }

    /// Waits for the first byte of all. False: close.
    pub(super) async fn begins(&self, stream: &mut Downstream) -> bool {
        let cut = pin!(raised(self.cut.clone()));
        let alarm = pin!(sleep(self.terms.http.http1_idle_timeout));
        self.first_byte(stream, cut, alarm).await
    }

    /// Waits for the first byte of a request, with nothing allocated meanwhile. False: close.
    ///
    /// `alarm` lives as long as the connection and is moved only when it rings too early: to set a timer for
    /// each request costs more than the rest of the waiting.
    pub(super) async fn first_byte(
        &self,
        stream: &mut Downstream,
        mut cut: Pin<&mut impl Future<Output = ()>>,
        mut alarm: Pin<&mut Sleep>,
    ) -> bool {
        if !stream.seen().is_empty() {
            return true;
        }
        let idle = Instant::now() + self.terms.http.http1_idle_timeout;
        let until = self.due().map_or(idle, |due| idle.min(due + FAREWELL));
        if alarm.deadline() > until {
            alarm.as_mut().reset(until);
        }
        loop {
            tokio::select! {
                biased;
                read = stream.more() => return read.is_ok_and(|count| count > 0),
                () = cut.as_mut() => return false,
                () = alarm.as_mut() => {
                    if alarm.deadline() >= until {
                        return false;
                    }
                    alarm.as_mut().reset(until);
                }
            }
        }
    }
}
