//! `timeout`: deadlines of a whole request and of each attempt at a backend.

use std::time::Duration;

use serde::Serialize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// From the first byte of the request to the last of the response.
    pub request: Option<Duration>,
    /// Each attempt, to the last byte of its response.
    pub backend_request: Option<Duration>,
}
