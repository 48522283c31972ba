//! `delay`: make requests wait before they go on.
//!
//! ```yaml
//! delay:
//!   duration: 250ms
//!   percentage: 0.1
//! ```
//!
//! **Duration.** As Go writes it, or a CEL expression over the request that gives a duration or a number of milliseconds:
//! `duration(request.headers["x-delay"])`, `int(request.query.ms)`. `0` and less wait for nothing, and so does an
//! expression that fails or gives anything else.
//!
//! **Share.** `percentage` is a fraction, 0.0 to 1.0, as of `requestMirror`; 1.0 unless written.
//!
//! **Order.** After admission, identity, quotas and changes of the request; before `fault`, `requestRedirect` and
//! `directResponse`, so that those wait too. Refusals do not.
//!
//! **Merging.** The most specific policy replaces the others whole, from the instance over gateway, listener and route
//! down to the rule; one with `inheritance: override` stands against all below it.
//!
//! **Limits.** 5 minutes, whatever an expression gives, and never past `timeout.requestTimeout`: there the request ends with 504. A request that
//! waits holds its connection or stream, and nothing of a backend.
//!
//! **Telemetry.** The wait is part of the duration in the access log.

use std::time::Duration;

use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exchange::Wanted;
use crate::expr::{Expression, Inputs, Vocabulary};
use crate::lower::Span;
use crate::{Facts, Scope};

/// Longest wait.
pub const DELAY_MAX: Duration = Duration::from_secs(300);

/// Tells this draw of a request from others.
const DRAW: u64 = 0xde1a;

/// Make requests wait before they go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Delay")]
pub struct Config {
    /// How long, in Go syntax; or CEL that gives a duration or a number of milliseconds.
    pub duration: String,
    /// Share of requests, 0.0 to 1.0.
    #[serde(default = "all")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub percentage: f64,
}

fn all() -> f64 {
    1.0
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { duration, percentage } = self;
        let before = scope.problems.len();
        let length = Length::parse(&duration, &Vocabulary::of(scope.site));
        let length = scope.check("duration", length);
        super::fault::check_share(scope, percentage);
        let duration = length.filter(|_| scope.problems.len() == before)?;
        Some(Policy { duration, fraction: percentage })
    }
}

/// How long a request waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Length {
    Fixed(Duration),
    /// Gives a duration or a number of milliseconds.
    Computed(Expression),
}

impl Length {
    /// A duration as Go writes it, or an expression.
    fn parse(text: &str, vocabulary: &Vocabulary) -> Result<Self, String> {
        let fault = match Span::parse(text) {
            Ok(Span(duration)) if duration > DELAY_MAX => return Err(format!("longer than {} s", DELAY_MAX.as_secs())),
            Ok(Span(duration)) => return Ok(Self::Fixed(duration)),
            Err(fault) => fault,
        };
        let expression = Expression::parse(text, vocabulary).map_err(|why| format!("{fault}; nor is it CEL: {why}"))?;
        if expression.is_constant() {
            let value = expression.evaluate(&Inputs::default()).ok().and_then(|it| it.to_span());
            value.ok_or_else(|| format!("{fault}; as CEL it gives neither a duration nor a number"))?;
        }
        Ok(Self::Computed(expression))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub duration: Length,
    /// Share of requests, 0..1.
    pub fraction: f64,
}

impl Policy {
    /// How much of the request's body must be there before it is known how long.
    pub fn wants(&self) -> Wanted {
        match &self.duration {
            Length::Fixed(_) => Wanted::Nothing,
            Length::Computed(expression) => Wanted::of(expression.needs()),
        }
    }

    /// How long a request waits.
    pub fn wait(&self, facts: &Facts, request: &RequestHeader) -> Duration {
        if !facts.draws(DRAW, self.fraction) {
            return Duration::ZERO;
        }
        let wait = match &self.duration {
            Length::Fixed(duration) => Some(*duration),
            Length::Computed(it) => it.evaluate(&facts.inputs(request)).ok().and_then(|value| value.to_span()),
        };
        wait.unwrap_or_default().min(DELAY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses, request, try_lower};

    #[test]
    fn a_share_of_the_requests_waits() {
        let policy = lower(json!({"duration": "1s", "percentage": 0.25}), Config::lower);
        let (head, mut facts) = request("GET", "/");
        let mut waited = 0;
        for random in 0..10_000 {
            facts.random = random;
            let wait = policy.wait(&facts, &head);
            assert!(wait.is_zero() || wait == Duration::from_secs(1));
            waited += u32::from(!wait.is_zero());
        }
        assert!((2300..2700).contains(&waited), "{waited} of 10,000");
    }

    #[test]
    fn a_wait_is_computed_and_never_longer_than_the_longest() {
        for (expression, ms) in [
            ("duration(request.headers['x-delay'])", 1500),
            ("int(request.query.ms) * 2", 24),
            ("request.path == '/' ? duration('1h') : duration('0s')", 300_000),
            ("duration('-5s')", 0),
            ("0 - 5", 0),
            ("request.headers['absent']", 0),
            ("request.path", 0),
            ("1e300", 0),
        ] {
            let policy = try_lower(json!({ "duration": expression }), Config::lower).0;
            let Some(policy) = policy else { continue };
            let (mut head, facts) = request("GET", "/?ms=12");
            head.insert_header("x-delay", "1.5s").unwrap();
            assert_eq!(policy.wait(&facts, &head), Duration::from_millis(ms), "{expression}");
        }
    }

    #[test]
    fn waits_without_end_and_impossible_shares_are_refused() {
        refuses(
            [
                (json!({"duration": "6m"}), "policy.duration: longer than 300 s"),
                (
                    json!({"duration": "soon"}),
                    "is not a duration: write `250ms`, `10s`, `1h30m`; nor is it CEL: unknown",
                ),
                (json!({"duration": "'text'"}), "as CEL it gives neither a duration nor a number"),
                (json!({"duration": "response.code"}), "`response.code` does not exist for a request (at 1:9)"),
                (json!({"duration": "1s", "percentage": 1.5}), "policy.percentage: 1.5 is not a share"),
            ],
            Config::lower,
        );
    }
}
