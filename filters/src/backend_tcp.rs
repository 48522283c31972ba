//! `tcp` (backend): connect deadline and keep-alive probes towards a backend.

use std::time::Duration;

use serde::Serialize;

/// TCP keep-alive probes, as socket options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Keepalives {
    pub enabled: bool,
    pub time: Duration,
    pub interval: Duration,
    pub retries: u32,
}

impl Default for Keepalives {
    fn default() -> Self {
        Self { enabled: true, time: Duration::from_secs(180), interval: Duration::from_secs(180), retries: 9 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub keepalives: Option<Keepalives>,
    pub connect_timeout: Option<Duration>,
}
