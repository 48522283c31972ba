//! Points in time and spans of it: what CEL's timestamps and durations are, without a clock.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;

/// Seconds of the first and last representable moment (years 1 to 9999).
const SECONDS_MIN: i64 = -62_135_596_800;
const SECONDS_MAX: i64 = 253_402_300_799;
/// Longest span either way, in seconds.
const SPAN_SECONDS_MAX: i64 = 315_576_000_000;
const NANOS: i128 = 1_000_000_000;

/// A moment, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    pub seconds: i64,
    pub nanos: u32,
}

/// A signed span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    pub seconds: i64,
    /// Same sign as the seconds.
    pub nanos: i32,
}

/// A moment on the calendar and clock of a time zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Civil {
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: i64,
    /// 1 to 31.
    pub(super) day: i64,
    /// 0 is Sunday.
    pub(super) weekday: i64,
    /// 0 is 1 January.
    pub(super) year_day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
}

impl Duration {
    pub(super) fn of_nanos(nanos: i128) -> Option<Self> {
        let seconds = i64::try_from(nanos / NANOS).ok().filter(|it| it.abs() <= SPAN_SECONDS_MAX)?;
        Some(Self { seconds, nanos: i32::try_from(nanos % NANOS).ok()? })
    }

    pub(super) fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    /// As the standard library has it; nothing for a span into the past.
    pub fn to_std(self) -> Option<std::time::Duration> {
        Some(std::time::Duration::new(u64::try_from(self.seconds).ok()?, u32::try_from(self.nanos).ok()?))
    }

    pub fn from_std(span: std::time::Duration) -> Self {
        let seconds = i64::try_from(span.as_secs()).unwrap_or(SPAN_SECONDS_MAX).min(SPAN_SECONDS_MAX);
        Self { seconds, nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0) }
    }

    /// `1h30m`, `-1.5s`, `300ms`: units h, m, s, ms, us, ns.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Some(Self { seconds: 0, nanos: 0 });
        }
        if rest.is_empty() {
            return None;
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let end = rest.bytes().position(|b| !b.is_ascii_digit() && b != b'.')?;
            let (number, after) = rest.split_at(end);
            let units = [("ns", 1), ("us", 1_000), ("µs", 1_000), ("μs", 1_000), ("ms", 1_000_000)];
            let units = units.into_iter().chain([("s", NANOS), ("m", 60 * NANOS), ("h", 3600 * NANOS)]);
            let (unit, nanos) = units.into_iter().find(|(unit, _)| after.starts_with(unit))?;
            rest = after.get(unit.len()..)?;
            total = total.checked_add(scaled(number, nanos)?)?;
        }
        Self::of_nanos(if negative { -total } else { total })
    }
}

/// A decimal number of units of so many nanoseconds.
fn scaled(number: &str, nanos: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 18 {
        return None;
    }
    let mut total = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()?.checked_mul(nanos)? };
    let mut unit = nanos;
    for digit in fraction.bytes() {
        unit /= 10;
        total += i128::from(digit.checked_sub(b'0').filter(|it| *it < 10)?) * unit;
    }
    Some(total)
}

/// Seconds, such as `1.5s`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.seconds < 0 || self.nanos < 0 { "-" } else { "" };
        write!(f, "{sign}{}", self.seconds.unsigned_abs())?;
        fraction(f, self.nanos.unsigned_abs())?;
        f.write_str("s")
    }
}

fn fraction(f: &mut fmt::Formatter<'_>, nanos: u32) -> fmt::Result {
    if nanos == 0 {
        return Ok(());
    }
    let digits = format!("{nanos:09}");
    write!(f, ".{}", digits.trim_end_matches('0'))
}

impl Timestamp {
    pub(super) fn of_seconds(seconds: i64) -> Option<Self> {
        (SECONDS_MIN..=SECONDS_MAX).contains(&seconds).then_some(Self { seconds, nanos: 0 })
    }

    pub fn from_system(time: SystemTime) -> Self {
        let span = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(span.as_secs()).unwrap_or(SECONDS_MAX).min(SECONDS_MAX);
        Self { seconds, nanos: span.subsec_nanos() }
    }

    fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    fn of_nanos(nanos: i128) -> Option<Self> {
        let it = Self::of_seconds(i64::try_from(nanos.div_euclid(NANOS)).ok()?)?;
        Some(Self { nanos: u32::try_from(nanos.rem_euclid(NANOS)).ok()?, ..it })
    }

    pub(super) fn plus(self, span: Duration) -> Option<Self> {
        Self::of_nanos(self.as_nanos() + span.as_nanos())
    }

    pub(super) fn minus(self, span: Duration) -> Option<Self> {
        Self::of_nanos(self.as_nanos() - span.as_nanos())
    }

    pub(super) fn since(self, other: Self) -> Option<Duration> {
        // The span has to fit 64 bits of nanoseconds.
        let nanos = i64::try_from(self.as_nanos() - other.as_nanos()).ok()?;
        Duration::of_nanos(i128::from(nanos))
    }

    /// RFC 3339.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let digits = |from: usize, to: usize| -> Option<i64> {
            let part = text.get(from..to)?;
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let sign = |at: usize, signs: &[u8]| bytes.get(at).is_some_and(|b| signs.contains(b));
        if !(sign(4, b"-") && sign(7, b"-") && sign(10, b"Tt ") && sign(13, b":") && sign(16, b":")) {
            return None;
        }
        let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
        let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
        let valid = (1..=12).contains(&month)
            && (1..=days_of_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        let mut rest = text.get(19..).filter(|_| valid)?;
        let mut nanos = 0;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(after.len());
            let fraction = after.get(..end.min(9)).filter(|it| !it.is_empty())?;
            nanos = format!("{fraction:0<9}").parse().ok()?;
            rest = after.get(end..)?;
        }
        let offset = match rest {
            "Z" | "z" => 0,
            _ => fixed_offset(rest)?,
        };
        let days = days_before(year, month, day);
        let seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset;
        Self::of_seconds(seconds).map(|it| Self { nanos, ..it })
    }

    /// Its calendar day and clock time in a zone: a name such as `Europe/Berlin`, or `-07:00`.
    pub(super) fn civil(self, zone: Option<&str>) -> Option<Civil> {
        let offset = match zone {
            None | Some("" | "UTC" | "Z") => 0,
            Some(zone) => match fixed_offset(zone) {
                Some(offset) => offset,
                None => {
                    let zone = TimeZone::get(zone).ok()?;
                    let moment = jiff::Timestamp::from_second(self.seconds).ok()?;
                    i64::from(zone.to_offset(moment).seconds())
                }
            },
        };
        Some(Civil::of(self.seconds + offset))
    }

    pub(super) fn millis(self) -> i64 {
        i64::from(self.nanos / 1_000_000)
    }
}

/// `+02:00`, `-07:00`, `02:00`, as seconds.
fn fixed_offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.bytes().next()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |part: &str| -> Option<i64> {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01; the year is counted from March, so that the leap day is its last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl Civil {
    fn of(seconds: i64) -> Self {
        let (days, clock) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        Self {
            year,
            month,
            day,
            weekday: (days + 4).rem_euclid(7),
            year_day: days - days_before(year, 1, 1),
            hour: clock / 3600,
            minute: clock / 60 % 60,
            second: clock % 60,
        }
    }
}

/// RFC 3339, with as many digits of a second as it needs.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, .. } = Civil::of(self.seconds);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        fraction(f, self.nanos)?;
        f.write_str("Z")
    }
}
