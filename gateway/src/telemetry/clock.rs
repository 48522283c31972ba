//! Time as telemetry shows it: RFC 3339 in UTC, and what a piece of work cost in CPU.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::line::push_padded;

/// What a phase of work took: time on the wall, and time on the CPU by the calling thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub wall: Duration,
    pub cpu: Duration,
}

/// Measures consecutive phases of one thread's work. Must not cross an `.await`: the CPU clock is
/// the thread's.
#[derive(Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: thread_cpu() }
    }

    /// What was spent since the start or the last lap.
    pub fn lap(&mut self) -> Spent {
        let next = Self::start();
        let spent = Spent { wall: next.wall - self.wall, cpu: next.cpu.saturating_sub(self.cpu) };
        *self = next;
        spent
    }
}

/// CPU time the calling thread has used.
fn thread_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// `2026-01-31T23:59:59.000123Z`.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut text = Vec::with_capacity(27);
    Stamp::default().push(&mut text, since);
    String::from_utf8(text).unwrap_or_default()
}

/// Writes timestamps, remembering the text of the current second.
#[derive(Debug)]
pub(super) struct Stamp {
    second: u64,
    prefix: Vec<u8>,
}

impl Default for Stamp {
    fn default() -> Self {
        Self { second: u64::MAX, prefix: Vec::with_capacity(20) }
    }
}

impl Stamp {
    /// Appends a time since the epoch as RFC 3339 with microseconds.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, since: Duration) {
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            self.prefix.clear();
            push_second(&mut self.prefix, self.second);
        }
        out.extend_from_slice(&self.prefix);
        out.push(b'.');
        push_padded(out, u64::from(since.subsec_micros()), 6);
        out.push(b'Z');
    }
}

/// `2026-01-31T23:59:59`, by Hinnant's algorithm for days to civil dates.
fn push_second(out: &mut Vec<u8>, second: u64) {
    let (days, clock) = (second / 86_400, second % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    for (value, width, after) in
        [(year, 4, b'-'), (month, 2, b'-'), (day, 2, b'T'), (clock / 3_600, 2, b':'), (clock / 60 % 60, 2, b':')]
    {
        push_padded(out, value, width);
        out.push(after);
    }
    push_padded(out, clock % 60, 2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (second, micros, expected) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, 1, "2000-02-28T23:59:59.000001Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, 999_999, "2024-02-29T23:59:59.999999Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(second) + Duration::from_micros(micros);
            assert_eq!(rfc3339(time), expected, "{second}.{micros}");
        }
    }

    #[test]
    fn a_stamp_follows_the_second() {
        let mut stamp = Stamp::default();
        let mut out = Vec::new();
        stamp.push(&mut out, Duration::from_millis(59_999));
        stamp.push(&mut out, Duration::from_secs(60));
        assert_eq!(String::from_utf8(out).unwrap(), "1970-01-01T00:00:59.999000Z1970-01-01T00:01:00.000000Z");
    }
}
