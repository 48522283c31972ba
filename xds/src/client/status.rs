//! What is known of the control plane: for status pages, readiness and metrics.

use super::{Fault, chain};

/// The state of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// A stream is open.
    pub connected: bool,
    /// A response was taken since the process began.
    pub synced: bool,
    /// Why the last stream ended.
    pub last_fault: Option<String>,
    /// Streams opened.
    pub streams: u64,
    /// Streams and attempts that ended.
    pub faults: u64,
    /// Responses acknowledged, and among them those with a refusal.
    pub responses: u64,
    pub refusals: u64,
}

impl Status {
    pub(super) fn connected(&mut self) {
        self.connected = true;
        self.streams += 1;
    }

    pub(super) fn disconnected(&mut self) {
        self.connected = false;
    }

    pub(super) fn ended(&mut self, fault: &Fault) {
        self.connected = false;
        self.faults += 1;
        self.last_fault = Some(chain(fault));
    }

    pub(super) fn answered(&mut self, refused: bool) {
        self.synced = true;
        self.responses += 1;
        self.refusals += u64::from(refused);
    }
}
