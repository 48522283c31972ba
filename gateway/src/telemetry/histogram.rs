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

    /// Cumulative counts by upper bound in seconds, the last one unbounded.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let mut total = 0;
        let bounds = S::BOUNDS_US.iter().map(|us| Duration::from_micros(*us).as_secs_f64());
        let cumulate = |(bound, count): (f64, &AtomicU64)| {
            total += count.load(Ordering::Relaxed);
            (bound, total)
        };
        bounds.chain([f64::INFINITY]).zip(&self.counts).map(cumulate).collect()
    }

    pub(super) fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)).as_secs_f64()
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
        for bounds in [Request::BOUNDS_US, Processing::BOUNDS_US, Connect::BOUNDS_US] {
            assert!(bounds.len() < SLOTS && bounds.is_sorted());
        }
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
