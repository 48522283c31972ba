//! The clock that filters are given: time since the process began, never backwards.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What the clock showed at an instant.
pub fn reading(at: Instant) -> Duration {
    at.saturating_duration_since(*ORIGIN)
}

/// What the clock shows.
pub fn now() -> Duration {
    reading(Instant::now())
}
