//! The books of one connection: its seat in the gauges, and the counters told when it ends.

use std::fmt;
use std::sync::Arc;

use ir::{BindKey, ListenerKey};

use super::drain::Seat;
use super::wire::Traffic;
use crate::telemetry::Telemetry;

/// Held by the socket; dropping it tells telemetry and leaves the gauges.
pub(super) struct Account {
    telemetry: Arc<Telemetry>,
    bind: BindKey,
    traffic: Arc<Traffic>,
    opened: Option<Opened>,
    _seat: Seat,
}

struct Opened {
    listener: Option<ListenerKey>,
    protocol: &'static str,
}

impl Account {
    pub(super) fn new(telemetry: Arc<Telemetry>, bind: BindKey, seat: Seat) -> Self {
        Self { telemetry, bind, traffic: Arc::default(), opened: None, _seat: seat }
    }

    pub(super) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// The connection has proved to be of use: from now on it counts.
    pub(super) fn open(&mut self, listener: Option<ListenerKey>, protocol: &'static str) {
        if self.opened.is_none() {
            self.telemetry.connection_opened(&self.bind, listener.as_ref(), protocol);
            self.opened = Some(Opened { listener, protocol });
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(Opened { listener, protocol }) = &self.opened {
            let (received, sent) = (self.traffic.received(), self.traffic.sent());
            self.telemetry.connection_closed(&self.bind, listener.as_ref(), protocol, received, sent);
        }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("bind", &self.bind).finish_non_exhaustive()
    }
}
