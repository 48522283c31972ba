//! `requestMirror`: send a copy of some requests elsewhere; answers are dropped.

use ir::BackendRef;
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub backend: BackendRef,
    /// Share of requests, 0..1.
    pub fraction: f64,
    /// Largest body copied; a larger request is not mirrored.
    pub body_bytes_max: usize,
}
