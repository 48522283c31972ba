//! `retry`: try again on another endpoint when nothing has been sent to the client yet.

use std::time::Duration;

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Tries after the first one.
    pub attempts: u32,
    /// Wait before a retry; doubled each time, with jitter, up to `backoff_max`.
    pub backoff: Option<Duration>,
    pub backoff_max: Duration,
    pub codes: Vec<u16>,
    /// Deadline of each attempt; absent means the timeout policy's.
    pub per_try_timeout: Option<Duration>,
}
