//! What a client is told of its quota: `x-ratelimit-*` as everybody knows them, and the `RateLimit` and
//! `RateLimit-Policy` fields of draft-ietf-httpapi-ratelimit-headers-11.
//!
//! Of several quotas the client learns of the one that leaves it least.

use bytes::BytesMut;
use http::{HeaderName, HeaderValue};

use crate::Facts;

/// The header names, as written.
pub const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const FIELD: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What structured fields can say: fifteen digits (RFC 9651 section 3.3.1).
const STRUCTURED_MAX: u64 = 999_999_999_999_999;

/// Room for all values but for the name.
const ROOM: usize = 96;

const COUNT: usize = 5;
const ALL: [HeaderName; COUNT] = [LIMIT, REMAINING, RESET, FIELD, POLICY];

/// Where a client stands with one quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Of the quota, as its clients see it. Letters, digits, `-`, `_` and `.` only.
    pub name: &'a str,
    pub limit: u64,
    /// Seconds in which all of `limit` comes back.
    pub window: u64,
    pub remaining: u64,
    /// Seconds until some of it comes back.
    pub reset: u64,
}

impl Standing<'_> {
    /// Whether it leaves less than another does.
    pub fn is_tighter(&self, other: &Standing<'_>) -> bool {
        self.remaining < other.remaining || (self.remaining == other.remaining && self.reset > other.reset)
    }

    /// Owes the client the headers, unless it is told of a tighter quota already.
    pub fn owe(&self, facts: &mut Facts) {
        let known = facts.owed.iter().find(|(name, _)| *name == REMAINING);
        let known = known.and_then(|(_, value)| value.to_str().ok()?.parse::<u64>().ok());
        if known.is_some_and(|known| known <= self.remaining) {
            return;
        }
        if known.is_some() {
            facts.owed.retain(|(name, _)| !ALL.contains(name));
        }
        facts.owed.reserve(COUNT);
        self.write(|name, value| facts.owed.push((name, value)));
    }

    /// Each header. Their values share one piece of memory.
    fn write(&self, mut header: impl FnMut(HeaderName, HeaderValue)) {
        let mut text = BytesMut::with_capacity(ROOM + 2 * self.name.len());
        let mut digits = itoa::Buffer::new();
        let mut number = |text: &mut BytesMut, it: u64| text.extend_from_slice(digits.format(it).as_bytes());
        let mut ends = [0; COUNT];
        let [limit, remaining, reset, field, policy] = &mut ends;
        for (end, value) in [(limit, self.limit), (remaining, self.remaining), (reset, self.reset)] {
            number(&mut text, value);
            *end = text.len();
        }
        let fields = [
            (field, [(&b"\";r="[..], self.remaining), (b";t=", self.reset)]),
            (policy, [(&b"\";q="[..], self.limit), (b";w=", self.window)]),
        ];
        for (end, members) in fields {
            text.extend_from_slice(b"\"");
            text.extend_from_slice(self.name.as_bytes());
            for (key, value) in members {
                text.extend_from_slice(key);
                number(&mut text, value.min(STRUCTURED_MAX));
            }
            *end = text.len();
        }
        let text = text.freeze();
        let mut begin = 0;
        for (name, end) in ALL.into_iter().zip(ends) {
            if let Ok(value) = HeaderValue::from_maybe_shared(text.slice(begin..end)) {
                header(name, value);
            }
            begin = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::request;

    fn shown(facts: &Facts) -> Vec<String> {
        facts.owed.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn the_client_learns_of_the_tightest_quota_in_both_dialects() {
        let (_, mut facts) = request("GET", "/");
        let day = Standing { name: "day", limit: 1000, window: 86_400, remaining: 7, reset: 80 };
        let burst = Standing { name: "burst", limit: 10, window: 1, remaining: 3, reset: 1 };
        day.owe(&mut facts);
        burst.owe(&mut facts);
        day.owe(&mut facts);
        let want = [
            "x-ratelimit-limit: 10",
            "x-ratelimit-remaining: 3",
            "x-ratelimit-reset: 1",
            "ratelimit: \"burst\";r=3;t=1",
            "ratelimit-policy: \"burst\";q=10;w=1",
        ];
        assert_eq!(shown(&facts), want);
    }

    #[test]
    fn numbers_that_no_structured_field_can_say_are_cut() {
        let (_, mut facts) = request("GET", "/");
        Standing { name: "x", limit: u64::MAX, window: u64::MAX, remaining: u64::MAX, reset: 0 }.owe(&mut facts);
        assert!(shown(&facts).contains(&"ratelimit-policy: \"x\";q=999999999999999;w=999999999999999".to_owned()));
    }
}
