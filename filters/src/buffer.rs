//! `buffer`: hold a body whole before it goes on, up to a limit.

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    /// Absent means the frontend's `maxBufferSize`.
    pub bytes_max: Option<usize>,
    /// Over the limit: go on streaming instead of refusing (413, 502).
    pub fail_open: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    pub request: Option<Body>,
    pub response: Option<Body>,
}
