//! `frontendPolicies.proxyProtocol`: expect a PROXY header before anything else.
//!
//! ```yaml
//! proxyProtocol:
//!   version: all
//!   mode: optional
//! ```
//!
//! **Effect.** The address in the header becomes the client's, for logs, `ipAccess` and
//! `X-Forwarded-For`. A header must arrive within 5 s. TLVs of version 2 are passed over.
//!
//! **Mode.** `strict` closes connections without a header; `optional` serves them. Do not use
//! `optional` where strangers connect directly: they could write a header of their own.
//!
//! **Merging.** The most specific policy replaces the others whole: of the listener, its gateway, the instance.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;

/// Expect a PROXY header (HAProxy's protocol) at the start of each connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "ProxyProtocol")]
pub struct Config {
    /// Versions understood.
    pub version: Version,
    /// What becomes of connections without a header.
    pub mode: Mode,
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ProxyVersion")]
pub enum Version {
    /// The text form.
    V1,
    /// The binary form.
    #[default]
    V2,
    /// Both.
    All,
}

/// What becomes of connections without a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ProxyMode")]
pub enum Mode {
    /// They are closed.
    #[default]
    Strict,
    /// They are served, with the socket's own address.
    Optional,
}

impl Config {
    pub fn lower(self, _: &mut Scope<'_>) -> Option<Policy> {
        let Self { version, mode } = self;
        Some(Policy { v1: version != Version::V2, v2: version != Version::V1, optional: mode == Mode::Optional })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub v1: bool,
    pub v2: bool,
    /// Connections without a header are served too.
    pub optional: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::lower;

    #[test]
    fn version_2_is_expected_strictly_unless_said() {
        assert_eq!(lower(json!({}), Config::lower), Policy { v1: false, v2: true, optional: false });
        let all = lower(json!({"version": "all", "mode": "optional"}), Config::lower);
        assert_eq!(all, Policy { v1: true, v2: true, optional: true });
        assert!(lower(json!({"version": "v1"}), Config::lower).v1);
    }
}
