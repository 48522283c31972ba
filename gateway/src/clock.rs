//! The clock that filters are given: steady, and far from its beginning, so that what is older than the process can be
//! put on it.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the clock shows when it is first looked at: more than any interval of a policy.
const HEAD_START: Duration = Duration::from_secs(3660 * 86_400);

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What the clock showed at an instant.
pub fn reading(at: Instant) -> Duration {
    HEAD_START + at.saturating_duration_since(*ORIGIN)
}

/// What the wall's clock shows, since 1970.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What the clock shows.
pub fn now() -> Duration {
    reading(Instant::now())
}
