//! `health`: which endpoints of a backend are fit: passive ejection and active checks.
//!
//! ```yaml
//! health:
//!   unhealthyExpression: response.code >= 500
//!   eviction:
//!     duration: 10s
//!     consecutiveFailures: 3
//!   active:
//!     http:
//!       path: /healthz
//!       expectedStatuses: [200, 204]
//!     interval: 5s
//! ```
//!
//! **Passive.** A failed connection or a response for which `unhealthyExpression` holds (5xx unless
//! written) is a failure and lowers the endpoint's score. With `eviction` it also ejects: after
//! `consecutiveFailures` in a row, or below `healthThreshold`, whichever comes first; with neither,
//! on the first failure. The time out grows with each ejection in a row, up to `maxDuration`.
//!
//! **Active.** Each endpoint is asked every `interval`; `unhealthyThreshold` failures in a row take
//! it out, `healthyThreshold` successes bring it back. Checks run without requests, so they belong to the
//! backend: one that several routes name is checked once, on one set of terms. What the backend's own
//! `policies` say holds, then detached policies, then what a route says, the first by the route's key.
//! Terms that differ from those do not run, and `/config/status` warns of them. An inline `host` is a
//! backend of its own wherever it has a `health`. Passive terms are each route's own.
//!
//! **When none is left**, ejected endpoints are used anyway: a bad answer beats none.
//!
//! **`unhealthyExpression`** is CEL over the response and the request it answers; one that fails does not
//! hold: the answer counts as good. It is asked of the head: naming a body is refused with the configuration.
//!
//! **Merging.** The nearest to the backend replaces the others whole: the reference to it, the backend itself, then what
//! route, listener and gateway hand down; one with `inheritance: override` stands against all nearer ones. In the
//! reference a policy attached to a backend gives way to one of a route: here it is nearer, and wins.
//!
//! **Where we differ.** The reference's time out grows without bound, and it has no active checks.

use std::time::Duration;

use ir::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::expr::{Expression, Needs, Site, Vocabulary};
use crate::lower::Span;

/// Base time out unless written.
const DURATION: Duration = Duration::from_secs(3);
/// Longest time out unless written.
const DURATION_MAX: Duration = Duration::from_secs(300);

/// Which endpoints of a backend are fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Health")]
pub struct Config {
    /// What counts as a bad answer, such as `response.code >= 500`, which is the default. A failed
    /// connection always counts.
    pub unhealthy_expression: Option<String>,
    /// Take endpoints out for a while; absent means a bad answer only lowers the score.
    pub eviction: Option<EvictionConfig>,
    /// Ask endpoints how they are.
    pub active: Option<ActiveConfig>,
}

/// Taking endpoints out for a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Eviction")]
pub struct EvictionConfig {
    /// Base time out, multiplied by the ejections in a row; absent means 3 s.
    pub duration: Option<Span>,
    /// Longest time out; absent means 5 min.
    pub max_duration: Option<Span>,
    /// Score (0.0 to 1.0) that an endpoint comes back with.
    pub restore_health: Option<f64>,
    /// Failures in a row that eject.
    pub consecutive_failures: Option<u32>,
    /// Eject below this score (0.0 to 1.0).
    pub health_threshold: Option<f64>,
}

/// Asking endpoints how they are: exactly one of `http`, `tcp` and `grpc`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "ActiveHealth")]
pub struct ActiveConfig {
    /// An HTTP request.
    pub http: Option<HttpProbeConfig>,
    /// A TCP connection.
    pub tcp: Option<TcpProbeConfig>,
    /// The gRPC health protocol.
    pub grpc: Option<GrpcProbeConfig>,
    /// Between two checks of one endpoint.
    pub interval: Span,
    /// Longest check.
    pub timeout: Span,
    /// Failures in a row that take an endpoint out.
    pub unhealthy_threshold: u32,
    /// Successes in a row that bring it back.
    pub healthy_threshold: u32,
}

/// A check by HTTP request (`GET`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "HttpProbe")]
pub struct HttpProbeConfig {
    /// Path asked for.
    pub path: String,
    /// `Host` sent; absent means the endpoint's own.
    pub host: Option<String>,
    /// Statuses that count as healthy.
    pub expected_statuses: Vec<u16>,
}

/// A check by TCP connection: it has no terms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TcpProbe")]
pub struct TcpProbeConfig {}

/// A check by the gRPC health protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "GrpcProbe")]
pub struct GrpcProbeConfig {
    /// Service asked about; empty means the server as a whole.
    pub service: String,
}

impl Default for ActiveConfig {
    fn default() -> Self {
        Self {
            http: None,
            tcp: None,
            grpc: None,
            interval: Span(Duration::from_secs(10)),
            timeout: Span(Duration::from_secs(1)),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
        }
    }
}

impl Default for HttpProbeConfig {
    fn default() -> Self {
        Self { path: "/".to_owned(), host: None, expected_statuses: vec![200] }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { unhealthy_expression, eviction, active } = self;
        let before = scope.problems.len();
        let unhealthy = unhealthy_expression.and_then(|text| {
            // Asked of the response's head, when nothing of a body has come yet.
            let vocabulary = Vocabulary::rule(Site::Response).without(Needs::ANY_BODY, "it is asked of the head alone");
            scope.check("unhealthyExpression", Expression::parse(&text, &vocabulary))
        });
        let eviction = eviction.and_then(|it| scope.at("eviction", |scope| it.lower(scope)));
        let active = active.and_then(|it| scope.at("active", |scope| it.lower(scope)));
        (scope.problems.len() == before).then_some(Policy { unhealthy, eviction, active })
    }
}

impl EvictionConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Eviction> {
        let Self { duration, max_duration, restore_health, consecutive_failures, health_threshold } = self;
        let before = scope.problems.len();
        let duration = duration.map_or(DURATION, |Span(it)| it);
        let duration_max = max_duration.map_or(DURATION_MAX.max(duration), |Span(it)| it);
        if duration.is_zero() {
            scope.problem_at("duration", "0 ejects nothing: write a duration such as `10s`");
        }
        if duration_max < duration {
            scope.problem_at("maxDuration", "shorter than `duration`");
        }
        for (key, score) in [("restoreHealth", restore_health), ("healthThreshold", health_threshold)] {
            if score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
                scope.problem_at(key, "a score is 0.0 to 1.0");
            }
        }
        if consecutive_failures == Some(0) {
            scope.problem_at("consecutiveFailures", "write 1 or more");
        }
        (scope.problems.len() == before).then_some(Eviction {
            duration,
            duration_max,
            restore_health,
            consecutive_failures,
            health_threshold,
        })
    }
}

impl ActiveConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Active> {
        let Self { http, tcp, grpc, interval, timeout, unhealthy_threshold, healthy_threshold } = self;
        let before = scope.problems.len();
        for (key, Span(value)) in [("interval", interval), ("timeout", timeout)] {
            if value.is_zero() {
                scope.problem_at(key, "0 is no time at all: write a duration such as `1s`");
            }
        }
        for (key, value) in [("unhealthyThreshold", unhealthy_threshold), ("healthyThreshold", healthy_threshold)] {
            if value == 0 {
                scope.problem_at(key, "write 1 or more");
            }
        }
        let probe = match (http, tcp, grpc) {
            (Some(http), None, None) => scope.at("http", |scope| http.lower(scope)),
            (None, Some(TcpProbeConfig {}), None) => Some(Probe::Tcp),
            (None, None, Some(GrpcProbeConfig { service })) => Some(Probe::Grpc { service: service.into() }),
            _ => {
                scope.problem("write exactly one of `http`, `tcp` and `grpc`");
                None
            }
        }?;
        (scope.problems.len() == before).then_some(Active {
            probe,
            interval: interval.0,
            timeout: timeout.0,
            unhealthy_threshold,
            healthy_threshold,
        })
    }
}

impl HttpProbeConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Probe> {
        let Self { path, host, expected_statuses } = self;
        let before = scope.problems.len();
        if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
            scope.problem_at("path", format!("`{}` is not a path: write `/healthz`", path.escape_debug()));
        }
        if let Some(host) = &host
            && host.parse::<http::uri::Authority>().is_err()
        {
            scope.problem_at("host", format!("`{}` is not a host", host.escape_debug()));
        }
        if expected_statuses.is_empty() || expected_statuses.iter().any(|status| !(200..600).contains(status)) {
            scope.problem_at("expectedStatuses", "write one or more statuses, 200 to 599");
        }
        (scope.problems.len() == before).then(|| Probe::Http {
            path: path.into(),
            host: host.map(Into::into),
            expected_statuses,
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// What counts as a bad answer; absent means 5xx. A failed connection always counts.
    pub unhealthy: Option<Expression>,
    /// Absent: a bad answer only lowers the endpoint's score.
    pub eviction: Option<Eviction>,
    pub active: Option<Active>,
}

/// Passive ejection. With neither threshold the first bad answer ejects; with both, either does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Eviction {
    /// Base time out; it grows with each ejection in a row (bounded by `duration_max`).
    pub duration: Duration,
    pub duration_max: Duration,
    /// Score (0..1) given back with the endpoint.
    pub restore_health: Option<f64>,
    pub consecutive_failures: Option<u32>,
    /// Eject below this score (0..1).
    pub health_threshold: Option<f64>,
}

/// Active checks of each endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Active {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    pub unhealthy_threshold: u32,
    pub healthy_threshold: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    Http { path: Text, host: Option<Text>, expected_statuses: Vec<u16> },
    Tcp,
    Grpc { service: Text },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn thresholds_probes_and_defaults_are_understood() {
        let policy = lower(
            json!({"eviction": {"consecutiveFailures": 3}, "active": {"grpc": {}, "interval": "5s"}}),
            Config::lower,
        );
        let eviction = policy.eviction.unwrap();
        assert_eq!((eviction.duration, eviction.duration_max), (DURATION, DURATION_MAX));
        let active = policy.active.unwrap();
        assert_eq!(active.probe, Probe::Grpc { service: "".into() });
        assert_eq!((active.unhealthy_threshold, active.healthy_threshold), (3, 2));
        let tcp = lower(json!({"active": {"tcp": {}}}), Config::lower).active.unwrap();
        assert_eq!(tcp.probe, Probe::Tcp);
    }

    #[test]
    fn scores_beyond_one_and_two_probes_are_refused() {
        refuses(
            [
                (json!({"eviction": {"healthThreshold": 50.0}}), "policy.eviction.healthThreshold: a score is"),
                (json!({"eviction": {"duration": "0"}}), "policy.eviction.duration"),
                (json!({"eviction": {"duration": "10s", "maxDuration": "1s"}}), "policy.eviction.maxDuration: shorter"),
                (json!({"active": {}}), "policy.active: write exactly one"),
                (json!({"active": {"tcp": {}, "grpc": {}}}), "policy.active: write exactly one"),
                (json!({"active": {"http": {"path": "x"}}}), "policy.active.http.path"),
                (json!({"active": {"tcp": {}, "interval": "0"}}), "policy.active.interval"),
                (json!({"unhealthyExpression": "response.code > 1 && response.body == b''"}), "(at 1:30)"),
                (json!({"unhealthyExpression": "string(request).size() > 1"}), "`request.body` cannot be read here"),
                (json!({"unhealthyExpression": "respons.code == 5"}), "policy.unhealthyExpression: unknown variable"),
            ],
            Config::lower,
        );
    }
}
