//! `delay`: make requests wait before they go on.
//!
//! ```yaml
//! delay:
//!   duration: 250ms
//!   percentage: 0.1
//! ```
//!
//! **Duration.** As Go writes it; `0` waits for nothing.
//!
//! **Share.** `percentage` is a fraction, 0.0 to 1.0, as of `requestMirror`; 1.0 unless written.
//!
//! **Order.** After admission, identity, quotas and changes of the request; before `fault`, `requestRedirect` and
//! `directResponse`, so that those wait too. Refusals do not.
//!
//! **Limits.** 5 minutes, and never past `timeout.requestTimeout`: there the request ends with 504. A request that
//! waits holds its connection or stream, and nothing of a backend.
//!
//! **Telemetry.** The wait is part of the duration in the access log.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// How long, in Go syntax.
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
        let duration = scope.check("duration", duration_of(&duration));
        super::fault::check_share(scope, percentage);
        let duration = duration.filter(|_| scope.problems.len() == before)?;
        Some(Policy { duration, fraction: percentage })
    }
}

fn duration_of(text: &str) -> Result<Duration, String> {
    let Span(duration) = Span::parse(text)?;
    if duration > DELAY_MAX {
        return Err(format!("longer than {} s", DELAY_MAX.as_secs()));
    }
    Ok(duration)
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub duration: Duration,
    /// Share of requests, 0..1.
    pub fraction: f64,
}

impl Policy {
    /// How long a request waits.
    pub fn wait(&self, facts: &Facts) -> Duration {
        if facts.draws(DRAW, self.fraction) { self.duration.min(DELAY_MAX) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses, request};

    #[test]
    fn a_share_of_the_requests_waits() {
        let policy = lower(json!({"duration": "1s", "percentage": 0.25}), Config::lower);
        let (_, mut facts) = request("GET", "/");
        let mut waited = 0;
        for random in 0..10_000 {
            facts.random = random;
            let wait = policy.wait(&facts);
            assert!(wait.is_zero() || wait == Duration::from_secs(1));
            waited += u32::from(!wait.is_zero());
        }
        assert!((2300..2700).contains(&waited), "{waited} of 10,000");
    }

    #[test]
    fn waits_without_end_and_impossible_shares_are_refused() {
        refuses(
            [
                (json!({"duration": "6m"}), "policy.duration: longer than 300 s"),
                (json!({"duration": "soon"}), "is not a duration"),
                (json!({"duration": "1s", "percentage": 1.5}), "policy.percentage: 1.5 is not a share"),
            ],
            Config::lower,
        );
    }
}
