//! `tcp` (of a backend): connect deadline and keep-alive probes.
//!
//! ```yaml
//! tcp:
//!   connectTimeout: 3s
//!   keepalives:
//!     time: 60s
//!     interval: 20s
//!     retries: 3
//! ```
//!
//! **Merging.** The nearest to the backend replaces the others whole: the reference to it, the backend itself, then what
//! route, listener and gateway hand down; one with `inheritance: override` stands against all nearer ones. In the
//! reference a policy attached to a backend gives way to one of a route: here it is nearer, and wins.
//!
//! **Where we differ.** The reference asks for both keys; here each is optional, and what is absent
//! is taken from `config.backend`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::lower::Span;

/// TCP towards a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "BackendTcp")]
pub struct Config {
    /// Keep-alive probes; absent means those of `config.backend`.
    pub keepalives: Option<KeepalivesConfig>,
    /// From the first SYN to the connection; absent means that of `config.backend`.
    pub connect_timeout: Option<Span>,
}

/// TCP keep-alive probes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "KeepaliveConfig")]
pub struct KeepalivesConfig {
    /// Whether probes are sent at all.
    pub enabled: bool,
    /// Silence before the first probe.
    pub time: Span,
    /// Between two probes.
    pub interval: Span,
    /// Unanswered probes before the connection is given up, 1 to 127.
    pub retries: u32,
}

impl Default for KeepalivesConfig {
    fn default() -> Self {
        let Keepalives { enabled, time, interval, retries } = Keepalives::default();
        Self { enabled, time: Span(time), interval: Span(interval), retries }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { keepalives, connect_timeout } = self;
        let before = scope.problems.len();
        let keepalives = keepalives.and_then(|it| scope.at("keepalives", |scope| it.lower(scope)));
        if connect_timeout == Some(Span(Duration::ZERO)) {
            scope.problem_at("connectTimeout", "0 connects nowhere: write a duration such as `10s`");
        }
        (scope.problems.len() == before)
            .then(|| Policy { keepalives, connect_timeout: connect_timeout.and_then(Span::nonzero) })
    }
}

impl KeepalivesConfig {
    /// Also for client sockets and `config.backend`.
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Keepalives> {
        let Self { enabled, time: Span(time), interval: Span(interval), retries } = self;
        let before = scope.problems.len();
        // The kernel counts in seconds, up to 32767, and refuses 0.
        let seconds = Duration::from_secs(1)..=Duration::from_secs(32_767);
        for (key, value) in [("time", time), ("interval", interval)] {
            if !seconds.contains(&value) {
                scope.problem_at(key, "the kernel takes 1s to 32767s");
            }
        }
        if !(1..=127).contains(&retries) {
            scope.problem_at("retries", "the kernel takes 1 to 127");
        }
        (scope.problems.len() == before).then_some(Keepalives { enabled, time, interval, retries })
    }
}

/// TCP keep-alive probes, as socket options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Keepalives {
    pub enabled: bool,
    pub time: Duration,
    pub interval: Duration,
    pub retries: u32,
}

impl Default for Keepalives {
    fn default() -> Self {
        Self { enabled: true, time: Duration::from_secs(180), interval: Duration::from_secs(180), retries: 9 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub keepalives: Option<Keepalives>,
    pub connect_timeout: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn both_keys_are_optional_and_probes_have_defaults() {
        assert_eq!(lower(json!({}), Config::lower), Policy::default());
        let probes = lower(json!({"keepalives": {"retries": 3}}), Config::lower).keepalives.unwrap();
        assert_eq!(probes, Keepalives { retries: 3, ..Keepalives::default() });
    }

    #[test]
    fn what_the_kernel_does_not_take_is_refused() {
        refuses(
            [
                (json!({"connectTimeout": "0"}), "policy.connectTimeout"),
                (json!({"keepalives": {"time": "10ms"}}), "policy.keepalives.time: the kernel takes"),
                (json!({"keepalives": {"retries": 0}}), "policy.keepalives.retries"),
            ],
            Config::lower,
        );
    }
}
