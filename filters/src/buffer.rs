//! `buffer`: hold a body whole before it goes on, up to a limit.
//!
//! ```yaml
//! buffer:
//!   request:
//!     maxBytes: 1048576
//!   response:
//!     failureMode: failOpen
//! ```
//!
//! **Over the limit.** `failClosed` refuses: 413 for a request, 502 for a response. `failOpen` goes
//! on streaming. The limit is `frontendPolicies.http.maxBufferSize` unless `maxBytes` is written.
//!
//! **Merging.** The most specific policy replaces the others whole, from the instance over gateway, listener and route
//! down to the rule; one with `inheritance: override` stands against all below it. In the reference the least specific
//! one wins, for this kind alone.
//!
//! **Limits.** Upgraded connections are not buffered.
//!
//! **Where we differ.** In the reference the least specific `buffer` wins; here the most specific
//! does, as for every other policy.
//!
//! **Telemetry.** Reason `TooLarge`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;

/// Hold bodies whole before they go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Buffer")]
pub struct Config {
    /// Request bodies; absent means they stream.
    pub request: Option<BodyConfig>,
    /// Response bodies; absent means they stream.
    pub response: Option<BodyConfig>,
}

/// How one direction is held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "BufferBody")]
pub struct BodyConfig {
    /// Largest body held; absent means `frontendPolicies.http.maxBufferSize`.
    pub max_bytes: Option<usize>,
    /// What happens over the limit.
    pub failure_mode: FailureMode,
}

/// What happens over the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BufferFailureMode")]
pub enum FailureMode {
    /// Refuse: 413 for a request, 502 for a response.
    #[default]
    FailClosed,
    /// Go on streaming.
    FailOpen,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { request, response } = self;
        if request.is_none() && response.is_none() {
            scope.problem("write `request`, `response` or both");
            return None;
        }
        let before = scope.problems.len();
        let request = request.map(|it| scope.at("request", |scope| it.lower(scope)));
        let response = response.map(|it| scope.at("response", |scope| it.lower(scope)));
        (scope.problems.len() == before).then_some(Policy { request, response })
    }
}

impl BodyConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Body {
        let Self { max_bytes, failure_mode } = self;
        if max_bytes == Some(0) {
            scope.problem_at("maxBytes", "0 holds nothing: leave the direction out to stream it");
        }
        Body { bytes_max: max_bytes, fail_open: failure_mode == FailureMode::FailOpen }
    }
}

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn bodies_fail_closed_unless_said() {
        let policy =
            lower(json!({"request": {}, "response": {"maxBytes": 9, "failureMode": "failOpen"}}), Config::lower);
        assert_eq!(policy.request, Some(Body { bytes_max: None, fail_open: false }));
        assert_eq!(policy.response, Some(Body { bytes_max: Some(9), fail_open: true }));
    }

    #[test]
    fn holding_nothing_is_refused() {
        let cases = [(json!({}), "policy: write"), (json!({"request": {"maxBytes": 0}}), "policy.request.maxBytes: 0")];
        refuses(cases, Config::lower);
    }
}
