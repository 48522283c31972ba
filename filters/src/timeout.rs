//! `timeout`: deadlines of a whole request and of each attempt at a backend.
//!
//! ```yaml
//! timeout:
//!   requestTimeout: 30s
//!   backendRequestTimeout: 10s
//! ```
//!
//! **Values.** `0` means no deadline, as Gateway API has it, and so lifts one set further up.
//! A `backendRequestTimeout` above `requestTimeout` is refused: it could never pass.
//!
//! **Merging.** The most specific policy replaces the others whole, from the instance over gateway, listener and route
//! down to the rule; one with `inheritance: override` stands against all below it.
//!
//! **Outcome.** 504 with reason `Timeout`, as long as no response has begun; after that the
//! connection (HTTP/1.1) or stream (HTTP/2) is reset.
//!
//! **Where we differ.** In the reference `requestTimeout` ends with the response's head; here it
//! covers the last byte of the body.
//!
//! **Telemetry.** Reason `Timeout` in metrics and access log.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::lower::Span;

/// Deadlines of a request and of each attempt at a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Timeout")]
pub struct Config {
    /// From the first byte of the request to the last of the response; `0` for none.
    pub request_timeout: Option<Span>,
    /// Each attempt at a backend, to the last byte of its response; `0` for none.
    pub backend_request_timeout: Option<Span>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { request_timeout, backend_request_timeout } = self;
        if request_timeout.is_none() && backend_request_timeout.is_none() {
            scope.problem("write `requestTimeout`, `backendRequestTimeout` or both");
            return None;
        }
        let request = request_timeout.and_then(Span::nonzero);
        let backend_request = backend_request_timeout.and_then(Span::nonzero);
        if let (Some(request), Some(backend)) = (request, backend_request)
            && backend > request
        {
            scope.problem_at("backendRequestTimeout", "longer than `requestTimeout`, which ends the request first");
            return None;
        }
        Some(Policy { request, backend_request })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// From the first byte of the request to the last of the response.
    pub request: Option<Duration>,
    /// Each attempt, to the last byte of its response.
    pub backend_request: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn zero_is_no_deadline() {
        let policy = lower(json!({"requestTimeout": "0", "backendRequestTimeout": "2s"}), Config::lower);
        assert_eq!(policy, Policy { request: None, backend_request: Some(Duration::from_secs(2)) });
    }

    #[test]
    fn nothing_written_and_deadlines_that_never_pass_are_refused() {
        refuses(
            [
                (json!({}), "policy: write `requestTimeout`"),
                (
                    json!({"requestTimeout": "1s", "backendRequestTimeout": "2s"}),
                    "policy.backendRequestTimeout: longer",
                ),
            ],
            Config::lower,
        );
    }
}
