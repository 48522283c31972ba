//! Counters and histograms of durations, as plain atomics.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::family::Cells;

/// Slots of a histogram: the bounds of its scale, and one for what exceeds them.
const SLOTS: usize = 20;

/// Upper bounds of buckets, ascending, in microseconds; fewer than [`SLOTS`].
pub(super) trait Scale: Default + Send + Sync + 'static {
    const BOUNDS_US: &'static [u64];
    /// Microseconds in what is shown as one.
    const UNIT_US: f64 = 1e6;
}

macro_rules! scale {
    ($(#[$doc:meta])* $name:ident = $($bound:literal)*) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name;

        impl Scale for $name {
            const BOUNDS_US: &'static [u64] = &[$($bound),*];
        }
    };
}

scale! {
    /// Whole requests: 1 ms to 80 s.
    Request = 1_000 5_000 10_000 25_000 50_000 100_000 250_000 500_000 1_000_000 2_500_000 5_000_000 10_000_000
        30_000_000 80_000_000
}
scale! {
    /// Our own work on a request: 50 µs to 250 ms.
    Processing = 50 100 250 500 1_000 2_500 5_000 10_000 25_000 50_000 100_000 250_000
}
scale! {
    /// To the first token: 1 ms to 10 s.
    FirstToken = 1_000 5_000 10_000 20_000 40_000 60_000 80_000 100_000 250_000 500_000 750_000 1_000_000 2_500_000
        5_000_000 7_500_000 10_000_000
}
scale! {
    /// Between two tokens: 10 ms to 2.5 s.
    OutputToken = 10_000 25_000 50_000 75_000 100_000 150_000 200_000 300_000 400_000 500_000 750_000 1_000_000 2_500_000
}

/// Tokens, each as a microsecond: 1 to 67,108,864.
#[derive(Debug, Default)]
pub(super) struct Tokens;

impl Scale for Tokens {
    const BOUNDS_US: &'static [u64] =
        &[1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864];
    const UNIT_US: f64 = 1.0;
}

scale! {
    /// Connects and handshakes: 0.5 ms to 8 s.
    Connect = 500 1_000 2_500 5_000 10_000 25_000 50_000 100_000 250_000 500_000 1_000_000 2_000_000 4_000_000
        8_000_000
}

/// A counter on its own.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, amount: u64) {
        if amount != 0 {
            self.0.fetch_add(amount, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Cells for Counter {
    fn absorb(&self, other: &Self) {
        self.add(other.get());
    }
}

/// A histogram of durations.
#[derive(Debug)]
pub(super) struct Histogram<S> {
    counts: [AtomicU64; SLOTS],
    sum_ns: AtomicU64,
    scale: PhantomData<S>,
}

impl<S> Default for Histogram<S> {
    fn default() -> Self {
        Self { counts: Default::default(), sum_ns: AtomicU64::new(0), scale: PhantomData }
    }
}

impl<S: Scale> Histogram<S> {
    pub(super) fn observe(&self, value: Duration) {
        let ns = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let us = ns.div_ceil(1_000);
        let slot = S::BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(S::BOUNDS_US.len());
        if let Some(count) = self.counts.get(slot) {
            count.fetch_add(1, Ordering::Relaxed);
            self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        }
    }

    /// Whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.iter().all(|it| it.load(Ordering::Relaxed) == 0)
    }

    /// Cumulative counts by upper bound in seconds, or whatever the unit is; the last one unbounded.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let mut total = 0;
        let bounds = S::BOUNDS_US.iter().map(|us| *us as f64 / S::UNIT_US);
        let cumulate = |(bound, count): (f64, &AtomicU64)| {
            total += count.load(Ordering::Relaxed);
            (bound, total)
        };
        bounds.chain([f64::INFINITY]).zip(&self.counts).map(cumulate).collect()
    }

    pub(super) fn sum_seconds(&self) -> f64 {
        self.sum_ns.load(Ordering::Relaxed) as f64 / 1e3 / S::UNIT_US
    }
}

impl<S: Scale> Cells for Histogram<S> {
    fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.counts.iter().zip(&other.counts) {
            mine.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(other.sum_ns.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_ascending_and_fit() {
        for bounds in [
            Request::BOUNDS_US,
            Processing::BOUNDS_US,
            Connect::BOUNDS_US,
            FirstToken::BOUNDS_US,
            OutputToken::BOUNDS_US,
            Tokens::BOUNDS_US,
        ] {
            assert!(bounds.len() < SLOTS && bounds.is_sorted());
        }
    }

    #[test]
    fn tokens_are_shown_as_such() {
        let histogram = Histogram::<Tokens>::default();
        histogram.observe(Duration::from_micros(1_000_000));
        assert_eq!(histogram.buckets().get(10), Some(&(1_048_576.0, 1)));
        assert!((histogram.sum_seconds() - 1e6).abs() < 1e-6);
    }

    #[test]
    fn a_bucket_includes_its_bound() {
        let histogram = Histogram::<Request>::default();
        for us in [1_000, 1_001, 90_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let buckets = histogram.buckets();
        assert_eq!(buckets.first(), Some(&(0.001, 1)));
        assert_eq!(buckets.get(1), Some(&(0.005, 2)));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 3)));
        assert!((histogram.sum_seconds() - 90.002_001).abs() < 1e-9);
    }
}
