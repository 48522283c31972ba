//! What is known of the control plane: for status pages, readiness and metrics.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{Fault, chain};

/// How a stream, or an attempt at one, ended: the label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Termination {
    ConnectionError,
    Error,
    Reconnect,
    Complete,
}

impl Termination {
    pub fn label(self) -> &'static str {
        match self {
            Self::ConnectionError => "ConnectionError",
            Self::Error => "Error",
            Self::Reconnect => "Reconnect",
            Self::Complete => "Complete",
        }
    }
}

/// Responses, and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    pub count: u64,
    pub bytes: u64,
}

/// The state of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// A stream is open.
    pub connected: bool,
    /// A response was taken since the process began.
    pub synced: bool,
    /// Since when nobody says whether what is held is what it should be: no response was taken on a stream that is
    /// still open.
    pub away_since: Option<SystemTime>,
    /// Why the last stream ended.
    pub last_fault: Option<String>,
    /// Streams opened.
    pub streams: u64,
    /// Streams and attempts that ended.
    pub faults: u64,
    pub terminations: BTreeMap<Termination, u64>,
    /// Responses of our type, and of types that nobody asked for.
    pub messages: Messages,
    pub strange: Messages,
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
        self.away();
    }

    pub(super) fn away(&mut self) {
        self.away_since.get_or_insert_with(SystemTime::now);
    }

    pub(super) fn ended(&mut self, fault: &Fault) {
        self.disconnected();
        self.faults += 1;
        *self.terminations.entry(fault.termination()).or_default() += 1;
        self.last_fault = Some(chain(fault));
    }

    pub(super) fn heard(&mut self, is_ours: bool, bytes: u64) {
        let messages = if is_ours { &mut self.messages } else { &mut self.strange };
        messages.count += 1;
        messages.bytes += bytes;
    }

    pub(super) fn answered(&mut self, refused: bool) {
        self.synced = true;
        self.away_since = None;
        self.responses += 1;
        self.refusals += u64::from(refused);
    }
}
