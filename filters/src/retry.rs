//! `retry`: try again on another endpoint when nothing has been sent to the client yet.
//!
//! ```yaml
//! retry:
//!   attempts: 2
//!   codes: [502, 503, 504]
//!   backoff: 100ms
//!   perTryTimeout: 2s
//! ```
//!
//! **Tries.** `attempts` counts those after the first: `attempts: 2` is at most three requests.
//! Failed connections, resets before a response and passed attempt deadlines are retried, and
//! responses with a status in `codes`. Retries carry `x-retry-attempt`.
//!
//! **Waiting.** `backoff` doubles with each retry, with jitter, up to `backoffMax` (ten times
//! `backoff` unless written, and 25 s at most). Nothing outlives `requestTimeout`.
//!
//! **Merging.** The most specific policy replaces the others whole, from the instance over gateway, listener and route
//! down to the rule; one with `inheritance: override` stands against all below it.
//!
//! **Limits.** A request whose body is larger than what is kept for replay (64 KiB) is not retried.
//! At most 255 attempts, at most 64 codes, each 400 to 599.
//!
//! **Expressions.** `precondition`, CEL over the request, decides whether it is retried at all;
//! `condition`, CEL over the response, retries answers besides those of `codes`. One that fails does not hold.
//!
//! **Where we differ.** The reference's schema calls `attempts` a total; both it and we make
//! `attempts + 1` tries.
//!
//! **Telemetry.** The access log counts the attempts.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::expr::{Expression, Needs, Site, Vocabulary};
use crate::lower::Span;

/// Why expressions name no body.
const BODILESS: &str = "bodies are not read for retries";
/// Longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(25);
/// Most status codes listed.
const CODES_MAX: usize = 64;

/// Try again on another endpoint when nothing has been sent to the client yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Retry")]
pub struct Config {
    /// Tries after the first one, 1 to 255.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub attempts: u8,
    /// Wait before the first retry; it doubles with each further one. Absent means none.
    #[serde(default)]
    pub backoff: Option<Span>,
    /// Longest wait between two tries; absent means ten times `backoff`, at most 25 s.
    #[serde(default)]
    pub backoff_max: Option<Span>,
    /// Response statuses that are retried, 400 to 599; may be absent where there is a `condition`.
    #[serde(default)]
    pub codes: Vec<u16>,
    /// Deadline of each try; absent means `timeout.backendRequestTimeout`.
    #[serde(default)]
    pub per_try_timeout: Option<Span>,
    /// CEL over the request: retry only where it holds.
    #[serde(default)]
    pub precondition: Option<String>,
    /// CEL over the response: retry where it holds, besides `codes`.
    #[serde(default)]
    pub condition: Option<String>,
}

fn one() -> u8 {
    1
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { attempts, backoff, backoff_max, mut codes, per_try_timeout, precondition, condition } = self;
        let before = scope.problems.len();
        if attempts == 0 {
            scope.problem_at("attempts", "write 1 to 255, or leave `retry` out");
        }
        if codes.is_empty() && condition.is_none() {
            scope.problem_at("codes", "no status is retried: write at least one, such as 503");
        }
        if codes.len() > CODES_MAX {
            scope.problem_at("codes", format!("more than {CODES_MAX} statuses"));
        }
        for (position, code) in codes.iter().enumerate().filter(|(_, code)| !(400..600).contains(*code)) {
            let reason = format!("{code} cannot be retried: write 400 to 599");
            scope.at("codes", |scope| scope.problem_at(&format!("[{position}]"), reason));
        }
        let mut rule = |key: &str, text: Option<String>, site| {
            let vocabulary = Vocabulary::rule(site).without(Needs::ANY_BODY, BODILESS);
            text.and_then(|text| scope.check(key, Expression::parse(&text, &vocabulary)))
        };
        let precondition = rule("precondition", precondition, Site::Backend);
        let condition = rule("condition", condition, Site::Response);
        let backoff = backoff.and_then(Span::nonzero);
        let implied = backoff.map_or(BACKOFF_MAX, |backoff| backoff.saturating_mul(10).min(BACKOFF_MAX).max(backoff));
        let backoff_max = backoff_max.and_then(Span::nonzero).unwrap_or(implied);
        if backoff.is_some_and(|backoff| backoff > backoff_max) {
            scope.problem_at("backoffMax", "shorter than `backoff`");
        }
        codes.sort_unstable();
        codes.dedup();
        (scope.problems.len() == before).then(|| Policy {
            attempts: u32::from(attempts),
            backoff,
            backoff_max,
            codes,
            per_try_timeout: per_try_timeout.and_then(Span::nonzero),
            precondition,
            condition,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Tries after the first one.
    pub attempts: u32,
    /// Wait before a retry; doubled each time, with jitter, up to `backoff_max`.
    pub backoff: Option<Duration>,
    pub backoff_max: Duration,
    pub codes: Vec<u16>,
    /// Deadline of each attempt; absent means the timeout policy's.
    pub per_try_timeout: Option<Duration>,
    /// Retry only requests for which it holds.
    pub precondition: Option<Expression>,
    /// Retry responses for which it holds, besides those of `codes`.
    pub condition: Option<Expression>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn one_attempt_and_ten_times_the_backoff_are_implied() {
        let policy = lower(json!({"codes": [503, 502, 503], "backoff": "100ms"}), Config::lower);
        assert_eq!((policy.attempts, policy.codes.as_slice()), (1, [502, 503].as_slice()));
        assert_eq!(policy.backoff_max, Duration::from_secs(1));
        let slow = lower(json!({"codes": [503], "backoff": "20s"}), Config::lower);
        assert_eq!(slow.backoff_max, BACKOFF_MAX);
    }

    #[test]
    fn retries_of_nothing_and_of_successes_are_refused() {
        refuses(
            [
                (json!({"codes": []}), "policy.codes: no status is retried"),
                (json!({"codes": [503, 200]}), "policy.codes[1]: 200 cannot be retried"),
                (json!({"codes": [503], "attempts": 0}), "policy.attempts"),
                (json!({"codes": [503], "condition": "respons.code == 1"}), "policy.condition: unknown variable"),
                (json!({"codes": [503], "precondition": "response.code == 1"}), "policy.precondition: `response.code`"),
                (json!({"condition": "response.body == b''"}), "`response.body` cannot be read here: bodies are not"),
                (json!({"codes": [503], "backoff": "2s", "backoffMax": "1s"}), "policy.backoffMax: shorter"),
            ],
            Config::lower,
        );
    }
}
