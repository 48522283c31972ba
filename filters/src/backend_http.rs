//! `http` (backend): version spoken to a backend and its per-call deadline.

use std::time::Duration;

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum HttpVersion {
    #[serde(rename = "HTTP/1.1")]
    H1,
    #[serde(rename = "HTTP/2.0")]
    H2,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub version: Option<HttpVersion>,
    pub request_timeout: Option<Duration>,
    /// Streams at once on one HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
    /// How long an idle pooled connection is kept.
    pub pool_idle_timeout: Option<Duration>,
}
