//! `requestMirror`: send a copy of some requests elsewhere; answers are dropped.
//!
//! ```yaml
//! requestMirror:
//!   backend:
//!     host: 127.0.0.1:9090
//!   percentage: 0.1
//!   maxBodyBytes: 65536
//! ```
//!
//! **Share.** `percentage` is a fraction, 0.0 to 1.0 (the reference's name and unit); 1.0 unless
//! written.
//!
//! **Merging.** The most specific policy replaces the others whole, from the instance over gateway, listener and route
//! down to the rule; one with `inheritance: override` stands against all below it.
//!
//! **Limits.** A request with a body over `maxBodyBytes` (1 MiB) is not mirrored. Copies never hold
//! the request up, and are dropped where the mirror cannot keep pace.
//!
//! **Where we differ.** The reference mirrors no bodies.

use ir::BackendRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::lower::SimpleBackend;

/// Send a copy of some requests elsewhere; answers are dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "RequestMirror")]
pub struct Config {
    /// Where copies go.
    pub backend: SimpleBackend,
    /// Share of requests, 0.0 to 1.0.
    #[serde(default = "all")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub percentage: f64,
    /// Largest body copied; a larger request is not mirrored.
    #[serde(default = "one_mebibyte")]
    pub max_body_bytes: usize,
}

fn all() -> f64 {
    1.0
}

fn one_mebibyte() -> usize {
    1 << 20
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { backend, percentage, max_body_bytes } = self;
        let backend = scope.backends.refer(backend);
        let backend = scope.check("backend", backend);
        if !(0.0..=1.0).contains(&percentage) {
            scope.problem_at("percentage", format!("{percentage} is not a share: write 0.0 to 1.0"));
            return None;
        }
        Some(Policy { backend: backend?, fraction: percentage, body_bytes_max: max_body_bytes })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub backend: BackendRef,
    /// Share of requests, 0..1.
    pub fraction: f64,
    /// Largest body copied; a larger request is not mirrored.
    pub body_bytes_max: usize,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn everything_is_mirrored_unless_a_share_is_written() {
        let policy = lower(json!({"backend": {"host": "m:80"}}), Config::lower);
        assert_eq!((policy.fraction, policy.body_bytes_max), (1.0, 1 << 20));
    }

    #[test]
    fn shares_beyond_one_and_unknown_backends_are_refused() {
        refuses(
            [
                (json!({"backend": {"host": "m:80"}, "percentage": 50}), "policy.percentage: 50 is not a share"),
                (json!({"backend": {"backend": "absent"}}), "policy.backend: no backend `absent`"),
            ],
            Config::lower,
        );
    }
}
