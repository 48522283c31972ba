//! `http` (of a backend): version spoken to it and its per-call deadline.
//!
//! ```yaml
//! http:
//!   version: HTTP/2.0
//!   requestTimeout: 10s
//!   maxConcurrentStreams: 100
//!   poolIdleTimeout: 90s
//! ```
//!
//! **Version.** `HTTP/1.1` (`1.1`) or `HTTP/2.0` (`HTTP/2`, `2`, `h2`). Unless written, what the
//! service's `appProtocol` says; else HTTP/2 for gRPC, HTTP/1.1 behind TLS clients, and the
//! client's own version otherwise.
//!
//! **Deadline.** `requestTimeout` covers each call to this backend, to the last byte of its
//! response; `0` for none.
//!
//! **Merging.** The nearest to the backend replaces the others whole: the reference to it, the backend itself, then what
//! route, listener and gateway hand down; one with `inheritance: override` stands against all nearer ones. In the
//! reference a policy attached to a backend gives way to one of a route: here it is nearer, and wins.
//!
//! **Where we differ.** `maxConcurrentStreams` and `poolIdleTimeout` are ours.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::lower::Span;

/// HTTP towards a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "BackendHttp")]
pub struct Config {
    /// `HTTP/1.1` or `HTTP/2.0`; absent means: as service, client and protocol suggest.
    pub version: Option<String>,
    /// Deadline of each call, to the last byte of its response; `0` for none.
    pub request_timeout: Option<Span>,
    /// Streams at once on one HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
    /// How long an idle pooled connection is kept; absent means `config.backend.poolIdleTimeout`.
    pub pool_idle_timeout: Option<Span>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { version: text, request_timeout, max_concurrent_streams, pool_idle_timeout } = self;
        let before = scope.problems.len();
        let version = text.and_then(|text| scope.check("version", version(&text)));
        if max_concurrent_streams == Some(0) {
            scope.problem_at("maxConcurrentStreams", "0 lets no request through: write 1 or more");
        }
        (scope.problems.len() == before).then(|| Policy {
            version,
            request_timeout: request_timeout.and_then(Span::nonzero),
            max_concurrent_streams,
            pool_idle_timeout: pool_idle_timeout.map(|Span(it)| it),
        })
    }
}

fn version(text: &str) -> Result<HttpVersion, String> {
    match text.to_ascii_lowercase().as_str() {
        "http/1.1" | "1.1" => Ok(HttpVersion::H1),
        "http/2.0" | "http/2" | "2" | "2.0" | "h2" => Ok(HttpVersion::H2),
        _ => Err(format!("`{}` is not spoken to backends: write `HTTP/1.1` or `HTTP/2.0`", text.escape_debug())),
    }
}

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn versions_are_read_in_their_usual_spellings() {
        for (text, want) in [
            ("HTTP/1.1", HttpVersion::H1),
            ("http/1.1", HttpVersion::H1),
            ("1.1", HttpVersion::H1),
            ("HTTP/2.0", HttpVersion::H2),
            ("HTTP/2", HttpVersion::H2),
            ("2", HttpVersion::H2),
            ("H2", HttpVersion::H2),
        ] {
            assert_eq!(lower(json!({"version": text}), Config::lower).version, Some(want), "{text}");
        }
        refuses([(json!({"version": "HTTP/3"}), "policy.version: `HTTP/3` is not spoken")], Config::lower);
    }
}
