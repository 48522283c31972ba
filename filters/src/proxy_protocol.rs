//! `frontendPolicies.proxyProtocol`: expect a PROXY header before anything else.

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub v1: bool,
    pub v2: bool,
    /// Connections without a header are served too.
    pub optional: bool,
}
