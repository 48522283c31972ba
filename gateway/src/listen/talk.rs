//! What a connection that speaks HTTP has at hand, whichever version, and how it waits.

use std::sync::Arc;
use std::time::Duration;

use ir::BindKey;
use tokio::sync::watch;
use tokio::time::Instant;

use super::drain::raised;
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

    /// Waits for the first byte of a request, with nothing allocated meanwhile. False: close.
    pub(super) async fn first_byte(&mut self, stream: &mut Downstream) -> bool {
        if !stream.seen().is_empty() {
            return true;
        }
        let idle = Instant::now() + self.terms.http.http1_idle_timeout;
        let until = self.due().map_or(idle, |due| idle.min(due + FAREWELL));
        tokio::select! {
            biased;
            read = stream.more() => read.is_ok_and(|count| count > 0),
            () = raised(&mut self.cut) => false,
            () = tokio::time::sleep_until(until) => false,
        }
    }
}
