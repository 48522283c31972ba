//! One token bucket: what was taken out of it, and when it was last filled.
//!
//! What is *used* is kept and not what is left: so a bucket that is full is all zeros and need not be kept at all, and
//! when a limit changes, what was used stays used under the new one. Filling happens when the bucket is looked at.

use std::time::Duration;

use serde::Serialize;

use crate::quota::table;

/// What a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Tokens of a full bucket, 1 or more.
    pub max: u64,
    /// Tokens that come back each time, 1 or more.
    pub fill: u64,
    /// Between two fills.
    pub interval: Duration,
}

/// Tokens taken and not yet come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// More than the bucket holds, where more was settled than had been reserved.
    used: u64,
    /// The last fill, in nanoseconds of the gateway's clock.
    filled: u64,
}

/// A moment, with the terms it is judged by.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub terms: Terms,
    /// Nanoseconds of the gateway's clock.
    now: u64,
}

impl Terms {
    pub fn at(self, now: Duration) -> At {
        At { terms: self, now: nanos(now) }
    }

    /// In which a bucket fills from empty, in seconds.
    pub fn window(&self) -> u64 {
        ceil_seconds(nanos(self.interval).saturating_mul(self.max.div_ceil(self.fill.max(1))))
    }

    fn interval(&self) -> u64 {
        nanos(self.interval).max(1)
    }
}

fn nanos(it: Duration) -> u64 {
    u64::try_from(it.as_nanos()).unwrap_or(u64::MAX)
}

/// Whole seconds, rounded up: who comes back after them does not come too early.
fn ceil_seconds(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000_000)
}

impl Bucket {
    /// Takes tokens, all or none.
    pub fn take(&mut self, tokens: u64, at: At) -> bool {
        self.fill(at);
        let fits = self.used.checked_add(tokens).is_some_and(|used| used <= at.terms.max);
        if fits {
            self.charge(tokens, at);
        }
        fits
    }

    /// Takes tokens that were used already, into debt if need be.
    pub fn charge(&mut self, tokens: u64, at: At) {
        self.fill(at);
        if self.used == 0 {
            self.filled = at.now;
        }
        self.used = self.used.saturating_add(tokens);
    }

    /// Puts tokens back that were taken and not used.
    pub fn put_back(&mut self, tokens: u64, at: At) {
        self.fill(at);
        self.used = self.used.saturating_sub(tokens);
    }

    /// Tokens left.
    pub fn left(&self, at: At) -> u64 {
        at.terms.max.saturating_sub(self.used_at(at).0)
    }

    /// Seconds until the next fill; 0 for a full bucket.
    pub fn reset(&self, at: At) -> u64 {
        let (used, filled) = self.used_at(at);
        if used == 0 { 0 } else { ceil_seconds(filled.saturating_add(at.terms.interval()).saturating_sub(at.now)) }
    }

    /// Seconds until so many tokens are there, 1 or more; those that never will be count as a full bucket.
    pub fn wait(&self, tokens: u64, at: At) -> u64 {
        let (used, filled) = self.used_at(at);
        let missing = used.saturating_add(tokens.min(at.terms.max)).saturating_sub(at.terms.max);
        let fills = missing.div_ceil(at.terms.fill.max(1));
        let due = filled.saturating_add(fills.saturating_mul(at.terms.interval()));
        ceil_seconds(due.saturating_sub(at.now)).max(1)
    }

    fn fill(&mut self, at: At) {
        (self.used, self.filled) = self.used_at(at);
    }

    /// What is used and when the last fill was, at a moment.
    fn used_at(&self, at: At) -> (u64, u64) {
        let fills = at.now.saturating_sub(self.filled) / at.terms.interval();
        if fills == 0 {
            return (self.used, self.filled);
        }
        let used = self.used.saturating_sub(fills.saturating_mul(at.terms.fill));
        (used, self.filled.saturating_add(fills.saturating_mul(at.terms.interval())))
    }

    /// What a limit that was lowered leaves of what was used.
    pub fn cap(&mut self, max: u64) {
        self.used = self.used.min(max);
    }

    /// For a successor, whose clock is another: tokens used, and nanoseconds since the last fill.
    pub fn export(&self, at: At) -> (u64, u64) {
        let (used, filled) = self.used_at(at);
        (used, at.now.saturating_sub(filled))
    }

    pub fn import((used, since): (u64, u64), now: Duration) -> Self {
        Self { used, filled: nanos(now).saturating_sub(since) }
    }
}

impl table::State for Bucket {
    type Terms = At;

    fn worth(&self, at: At) -> u64 {
        self.used_at(at).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { max: 10, fill: 4, interval: Duration::from_secs(1) };

    fn at(ms: u64) -> At {
        TERMS.at(Duration::from_millis(ms))
    }

    #[test]
    fn a_bucket_empties_and_fills_by_the_interval() {
        let mut bucket = Bucket::default();
        assert!((0..10).all(|_| bucket.take(1, at(5_000))));
        assert!(!bucket.take(1, at(5_999)));
        assert_eq!((bucket.left(at(5_999)), bucket.reset(at(5_500)), bucket.wait(1, at(5_500))), (0, 1, 1));
        assert_eq!((bucket.left(at(6_000)), bucket.left(at(7_999)), bucket.left(at(8_000))), (4, 8, 10));
        assert!(!bucket.take(5, at(6_000)), "all or none");
        assert!(bucket.take(4, at(6_000)));
        assert_eq!(bucket.wait(9, at(6_000)), 3);
        assert_eq!(bucket.wait(99, at(6_000)), 3, "as long as until it is full");
        assert_eq!((bucket.left(at(60_000)), bucket.reset(at(60_000))), (10, 0));
    }

    #[test]
    fn the_interval_of_a_full_bucket_begins_with_the_first_token_taken() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(10, at(1_900)));
        assert!(!bucket.take(1, at(2_800)), "not refilled 0.9 s later");
        assert!(bucket.take(1, at(2_900)));
    }

    #[test]
    fn what_was_used_stays_used_under_other_terms() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(8, at(1_000)));
        let more = Terms { max: 20, ..TERMS }.at(Duration::from_millis(1_100));
        assert_eq!(bucket.left(more), 12);
        let less = Terms { max: 5, ..TERMS }.at(Duration::from_millis(1_100));
        assert_eq!(bucket.left(less), 0);
        bucket.cap(5);
        assert_eq!(bucket.left(Terms { max: 5, ..TERMS }.at(Duration::from_millis(2_000))), 4);
    }

    #[test]
    fn usage_beyond_the_bucket_is_a_debt_that_is_paid_first() {
        let mut bucket = Bucket::default();
        bucket.charge(18, at(1_000));
        assert_eq!((bucket.left(at(2_000)), bucket.wait(1, at(1_000))), (0, 3));
        assert_eq!((bucket.left(at(3_000)), bucket.left(at(4_000))), (0, 4));
        bucket.put_back(1, at(4_000));
        assert_eq!(bucket.left(at(4_000)), 5);
    }

    #[test]
    fn clocks_that_go_back_and_numbers_without_bounds_do_no_harm() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(1, at(5_000)));
        assert_eq!((bucket.left(at(1)), bucket.reset(at(1))), (9, 6));
        let huge = Terms { max: u64::MAX, fill: u64::MAX, interval: Duration::MAX };
        let at = huge.at(Duration::MAX);
        bucket.charge(u64::MAX, at);
        assert_eq!((bucket.left(at), bucket.take(1, at)), (0, false));
        assert!(bucket.wait(u64::MAX, at) >= 1 && huge.window() >= 1);
    }

    #[test]
    fn a_successor_goes_on_where_the_predecessor_was() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(10, at(1_000_000)));
        let mut next = Bucket::import(bucket.export(at(1_000_400)), Duration::from_secs(7));
        assert!(!next.take(1, at(7_500)));
        assert!(next.take(4, at(7_600)));
    }
}
