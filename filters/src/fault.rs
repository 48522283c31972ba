//! `fault`: answer a share of the requests with an error, to try what clients make of it.
//!
//! ```yaml
//! fault:
//!   abort:
//!     status: 503
//!     percentage: 0.05
//! ```
//!
//! **Abort.** So many of the requests get `status` with the body `fault injected`, and no backend sees them. gRPC
//! clients get the status that the HTTP one maps to.
//!
//! **Share.** `percentage` is a fraction, 0.0 to 1.0, as of `requestMirror`; 1.0 unless written. For slow answers see
//! `delay`: the two are drawn independently.
//!
//! **Order.** After everything that may refuse or change a request, and after `delay`; before `requestRedirect` and
//! `directResponse`.
//!
//! **Merging.** The most specific policy replaces the others whole, from the instance over gateway, listener and route
//! down to the rule; one with `inheritance: override` stands against all below it.
//!
//! **Limits.** `status` is 400 to 599.
//!
//! **Where we differ.** The reference has `delay` alone.
//!
//! **Telemetry.** Reason `FaultInjected`, which no real failure has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Exchange, Reason, Reply, Scope, Verdict};

/// Tells this draw of a request from others.
const DRAW: u64 = 0xab04;

/// Answer a share of the requests with an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Fault")]
pub struct Config {
    /// The error.
    pub abort: AbortConfig,
}

/// An error in place of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "FaultAbort")]
pub struct AbortConfig {
    /// 400 to 599.
    pub status: u16,
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
        let Self { abort: AbortConfig { status, percentage } } = self;
        let before = scope.problems.len();
        scope.at("abort", |scope| {
            if !(400..600).contains(&status) {
                scope.problem_at("status", format!("{status} is no error: write 400 to 599"));
            }
            check_share(scope, percentage);
        });
        (scope.problems.len() == before).then_some(Policy { status, fraction: percentage })
    }
}

/// That `percentage` is a fraction.
pub(crate) fn check_share(scope: &mut Scope<'_>, percentage: f64) {
    if !(0.0..=1.0).contains(&percentage) {
        scope.problem_at("percentage", format!("{percentage} is not a share: write 0.0 to 1.0"));
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// 400 to 599.
    pub status: u16,
    /// Share of requests, 0..1.
    pub fraction: f64,
}

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if exchange.facts.draws(DRAW, self.fraction) {
            return Verdict::Reply(Reply::text(self.status, Reason::FaultInjected, "fault injected\n"));
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{exchange, lower, refuses, request};

    #[test]
    fn all_none_or_a_share_of_the_requests_fail() {
        for (percentage, want) in [(json!(1.0), 10_000..=10_000), (json!(0.0), 0..=0), (json!(0.1), 800..=1200)] {
            let policy = lower(json!({"abort": {"status": 503, "percentage": percentage}}), Config::lower);
            let (mut head, mut facts) = request("GET", "/");
            let mut failed = 0;
            for random in 0..10_000 {
                facts.random = random;
                let mut asked = exchange(&mut head, &mut facts);
                if let Verdict::Reply(reply) = policy.on_request(&mut asked) {
                    assert_eq!((reply.status, reply.reason), (503, Reason::FaultInjected));
                    failed += 1;
                }
            }
            assert!(want.contains(&failed), "{failed} of 10,000");
        }
    }

    #[test]
    fn answers_that_are_no_errors_are_refused() {
        refuses(
            [
                (json!({"abort": {"status": 200}}), "policy.abort.status: 200 is no error"),
                (json!({"abort": {"status": 500, "percentage": -0.1}}), "policy.abort.percentage: -0.1 is not a share"),
            ],
            Config::lower,
        );
    }
}
