//! One address of a backend and what is known of its fitness.
//!
//! An [`Endpoint`] outlives the sets it is listed in: a new set adopts the endpoints whose address
//! it keeps, so that scores, ejections and counts of work in flight survive a change of
//! configuration. Everything here is an atomic; requests that race lose at most one sample.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use filters::health;
use ir::Text;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;

use super::memory::Record;
use crate::random;

/// Weight of a new sample in the moving averages.
const ALPHA: f64 = 0.3;
/// How much each request in flight adds to an endpoint's expected latency.
const INFLIGHT_WEIGHT: f64 = 0.1;

/// Longest ejection that is believed of a predecessor.
const EJECTION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Where an endpoint is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Names an endpoint for as long as the process lives; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(pub(super) u64);

/// One address and its state.
pub(super) struct Endpoint {
    pub(super) id: EndpointId,
    pub(super) address: Address,
    pub(super) peer_address: PeerAddress,
    pub(super) text: Text,
    /// Where the address falls in rendezvous hashing; the same in every process.
    pub(super) seed: u64,
    inflight: AtomicU32,
    /// `f64` bits, 0..1.
    score: AtomicU64,
    /// `f64` bits, seconds.
    latency: AtomicU64,
    /// [`stamp`] of the end of the current ejection; 0 when not ejected.
    ejected_until: AtomicU64,
    /// `f64` bits of the score to give back, or NaN to leave it.
    restore: AtomicU64,
    ejections: AtomicU32,
    failures: AtomicU32,
    /// What active checks say. Without checks: healthy.
    failing_checks: AtomicBool,
    /// Consecutive checks that contradict `failing_checks`.
    check_streak: AtomicU32,
}

/// How a try at an endpoint ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether the answer was good, by the health policy's predicate or [`Outcome::judge`].
    pub ok: bool,
    /// No connection came about; bad whatever `ok` says.
    pub connect_failed: bool,
    /// To the response head.
    pub latency: Option<Duration>,
    /// The endpoint asked to be left alone for so long.
    pub retry_after: Option<Duration>,
}

impl Outcome {
    /// Judged by the default rule: 5xx is bad.
    pub fn judge(status: u16, latency: Duration) -> Self {
        Self { ok: status < 500, connect_failed: false, latency: Some(latency), retry_after: None }
    }

    /// With how long the answer asks to be left alone: `retry-after-ms`, or `retry-after` in
    /// seconds. Dates are not read: they need a clock that agrees with the backend's.
    #[must_use]
    pub fn asking(self, headers: &http::HeaderMap) -> Self {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u32>().ok().map(u64::from);
        let retry_after = number("retry-after-ms")
            .map(Duration::from_millis)
            .or_else(|| number("retry-after").map(Duration::from_secs));
        Self { retry_after, ..self }
    }

    /// No connection.
    pub fn unreachable() -> Self {
        Self { ok: false, connect_failed: true, latency: None, retry_after: None }
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the process began to count, never 0.
fn stamp(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*EPOCH).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

impl Endpoint {
    /// A healthy endpoint. The error is an address that cannot be dialled.
    pub(super) fn new(address: Address) -> Result<Arc<Self>, String> {
        let peer_address = match &address {
            Address::Inet(address) => PeerAddress::Inet(*address),
            Address::Unix(path) => PeerAddress::Unix(
                std::os::unix::net::SocketAddr::from_pathname(path)
                    .map_err(|error| format!("unix socket {}: {error}", path.display()))?,
            ),
        };
        let text: Text = address.to_string().into();
        Ok(Arc::new(Self {
            id: EndpointId(NEXT_ID.fetch_add(1, Relaxed)),
            seed: random::affinity_key(text.as_bytes()),
            address,
            peer_address,
            text,
            inflight: AtomicU32::new(0),
            score: AtomicU64::new(1.0_f64.to_bits()),
            latency: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            restore: AtomicU64::new(f64::NAN.to_bits()),
            ejections: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            failing_checks: AtomicBool::new(false),
            check_streak: AtomicU32::new(0),
        }))
    }

    /// What balancing maximises: `health / (1 + latency * (1 + 0.1 * inflight))`.
    pub(super) fn worth(&self) -> f64 {
        let load = f64::from(self.inflight.load(Relaxed)).mul_add(INFLIGHT_WEIGHT, 1.0);
        self.score() / self.latency().mul_add(load, 1.0)
    }

    pub(super) fn score(&self) -> f64 {
        f64::from_bits(self.score.load(Relaxed))
    }

    /// Moving average, in seconds.
    pub(super) fn latency(&self) -> f64 {
        f64::from_bits(self.latency.load(Relaxed))
    }

    pub(super) fn inflight(&self) -> u32 {
        self.inflight.load(Relaxed)
    }

    pub(super) fn fails_checks(&self) -> bool {
        self.failing_checks.load(Relaxed)
    }

    /// Time left of the ejection. An ejection that is over ends here, by whoever looks first.
    pub(super) fn ejected_for(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        let until = self.ejected_until.load(Relaxed);
        if until == 0 {
            return None;
        }
        let now = stamp(now());
        if now < until {
            return Some(Duration::from_millis(until - now));
        }
        if self.ejected_until.compare_exchange(until, 0, Relaxed, Relaxed).is_ok() {
            let restore = f64::from_bits(self.restore.load(Relaxed));
            if !restore.is_nan() {
                self.score.store(restore.clamp(0.0, 1.0).to_bits(), Relaxed);
            }
            self.failures.store(0, Relaxed);
        }
        None
    }

    /// Takes one outcome into account; ejects where the policy says so.
    pub(super) fn observe(&self, outcome: Outcome, policy: Option<&health::Policy>, now: impl FnOnce() -> Instant) {
        let ok = outcome.ok && !outcome.connect_failed;
        let score = blend(&self.score, if ok { 1.0 } else { 0.0 });
        if let Some(latency) = outcome.latency {
            blend(&self.latency, latency.as_secs_f64());
        }
        if ok {
            self.failures.store(0, Relaxed);
            self.ejections.store(0, Relaxed);
            return;
        }
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let Some(eviction) = policy.and_then(|policy| policy.eviction.as_ref()) else { return };
        let by_count = eviction.consecutive_failures.map(|limit| failures >= limit.max(1));
        let by_score = eviction.health_threshold.map(|limit| score < limit);
        let eject = match (by_count, by_score) {
            (None, None) => true,
            (count, score) => count.unwrap_or(false) || score.unwrap_or(false),
        };
        if eject {
            self.eject(eviction, outcome.retry_after, now());
        }
    }

    /// Requests already under way when the endpoint was ejected do not prolong the ejection.
    fn eject(&self, eviction: &health::Eviction, retry_after: Option<Duration>, now: Instant) {
        if self.ejected_for(|| now).is_some() {
            return;
        }
        let before = self.ejections.fetch_add(1, Relaxed);
        let base = retry_after.map_or(eviction.duration, |asked| asked.max(eviction.duration));
        let length = base.saturating_mul(before.saturating_add(1)).min(eviction.duration_max.max(eviction.duration));
        self.restore.store(eviction.restore_health.unwrap_or(f64::NAN).to_bits(), Relaxed);
        self.ejected_until.store(stamp(now).saturating_add(length.as_millis() as u64), Relaxed);
        tracing::info!(endpoint = %self.text, seconds = length.as_secs_f64(), "endpoint ejected");
    }

    /// Takes the result of one active check into account.
    pub(super) fn checked(&self, passed: bool, active: &health::Active) {
        let failing = self.fails_checks();
        if passed != failing {
            self.check_streak.store(0, Relaxed);
            return;
        }
        let needed = if passed { active.healthy_threshold } else { active.unhealthy_threshold };
        if self.check_streak.fetch_add(1, Relaxed).saturating_add(1) >= needed.max(1) {
            self.check_streak.store(0, Relaxed);
            self.failing_checks.store(!passed, Relaxed);
            tracing::info!(endpoint = %self.text, healthy = passed, "health check changed its mind");
        }
    }

    /// What a successor should know; absent where there is nothing but the beginning.
    pub(super) fn record(&self, cluster: Text, now: Instant) -> Option<Record> {
        let ejected = self.ejected_for(|| now);
        let restore = Some(f64::from_bits(self.restore.load(Relaxed))).filter(|it| !it.is_nan());
        let record = Record {
            cluster,
            address: self.text.clone(),
            score: self.score(),
            latency: self.latency(),
            failing_checks: self.fails_checks(),
            failures: self.failures.load(Relaxed),
            ejections: self.ejections.load(Relaxed),
            ejected_ms: ejected.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
            restore,
        };
        let blank = record.score >= 1.0 && record.latency == 0.0 && !record.failing_checks && ejected.is_none();
        (!blank).then_some(record)
    }

    /// Takes over what a predecessor knew at `since`.
    pub(super) fn recall(&self, record: &Record, checked: bool, (since, now): (Instant, Instant)) {
        self.score.store(record.score.clamp(0.0, 1.0).to_bits(), Relaxed);
        self.latency.store(record.latency.max(0.0).to_bits(), Relaxed);
        self.failures.store(record.failures, Relaxed);
        self.ejections.store(record.ejections, Relaxed);
        self.failing_checks.store(record.failing_checks && checked, Relaxed);
        let until = since + Duration::from_millis(record.ejected_ms).min(EJECTION_MAX);
        if record.ejected_ms > 0 && until > now {
            self.restore.store(record.restore.unwrap_or(f64::NAN).to_bits(), Relaxed);
            self.ejected_until.store(stamp(until), Relaxed);
        }
    }

    /// Active checks have ended: their verdict no longer counts.
    pub(super) fn forget_checks(&self) {
        self.failing_checks.store(false, Relaxed);
        self.check_streak.store(0, Relaxed);
    }
}

/// Moves an average towards a sample and gives the new value.
fn blend(average: &AtomicU64, sample: f64) -> f64 {
    let old = f64::from_bits(average.load(Relaxed));
    let new = old.mul_add(1.0 - ALPHA, sample * ALPHA);
    average.store(new.to_bits(), Relaxed);
    new
}

/// The right to use an endpoint for one try; counted as in flight until dropped.
#[must_use]
pub struct Lease {
    endpoint: Arc<Endpoint>,
}

impl Lease {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.inflight.fetch_add(1, Relaxed);
        Self { endpoint }
    }

    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }

    /// The address as logs show it.
    pub fn endpoint_text(&self) -> &Text {
        &self.endpoint.text
    }

    pub fn id(&self) -> EndpointId {
        self.endpoint.id
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(super) fn peer_address(&self) -> &PeerAddress {
        &self.endpoint.peer_address
    }

    /// Tells how the try ended. Once per try.
    pub fn report(&self, outcome: Outcome, health: Option<&health::Policy>) {
        self.endpoint.observe(outcome, health, Instant::now);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.inflight.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.endpoint.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Arc<Endpoint> {
        Endpoint::new(Address::Inet("127.0.0.1:80".parse().unwrap())).unwrap()
    }

    fn policy(failures: Option<u32>, threshold: Option<f64>) -> health::Policy {
        health::Policy {
            eviction: Some(health::Eviction {
                duration: Duration::from_secs(3),
                duration_max: Duration::from_secs(8),
                restore_health: Some(0.5),
                consecutive_failures: failures,
                health_threshold: threshold,
            }),
            ..health::Policy::default()
        }
    }

    fn bad() -> Outcome {
        Outcome::judge(503, Duration::from_millis(1))
    }

    #[test]
    fn without_a_threshold_the_first_bad_answer_ejects() {
        let (endpoint, now) = (endpoint(), Instant::now());
        endpoint.observe(bad(), Some(&policy(None, None)), || now);
        assert_eq!(endpoint.ejected_for(|| now), Some(Duration::from_secs(3)));
    }

    #[test]
    fn with_both_thresholds_either_ejects() {
        for (failures, threshold, needed) in [(Some(3), None, 3), (Some(9), Some(0.5), 2), (None, Some(0.2), 5)] {
            let (endpoint, now) = (endpoint(), Instant::now());
            let policy = policy(failures, threshold);
            for n in 1..=needed {
                assert_eq!(endpoint.ejected_for(|| now), None, "{failures:?} {threshold:?} before failure {n}");
                endpoint.observe(bad(), Some(&policy), || now);
            }
            assert!(endpoint.ejected_for(|| now).is_some(), "{failures:?} {threshold:?} after {needed}");
        }
    }

    #[test]
    fn each_ejection_in_a_row_is_longer_up_to_the_bound_and_a_success_resets_it() {
        let (endpoint, mut now) = (endpoint(), Instant::now());
        let policy = policy(Some(1), None);
        for seconds in [3, 6, 8, 8] {
            endpoint.observe(bad(), Some(&policy), || now);
            assert_eq!(endpoint.ejected_for(|| now), Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            assert_eq!(endpoint.ejected_for(|| now), None, "over after {seconds} s");
            assert_eq!(endpoint.score(), 0.5, "the policy's score is given back");
        }
        endpoint.observe(Outcome { ok: true, ..Outcome::default() }, Some(&policy), || now);
        endpoint.observe(bad(), Some(&policy), || now);
        assert_eq!(endpoint.ejected_for(|| now), Some(Duration::from_secs(3)), "starts over after a success");
    }

    #[test]
    fn answers_of_requests_already_under_way_do_not_prolong_an_ejection() {
        let (endpoint, now) = (endpoint(), Instant::now());
        for _ in 0..5 {
            endpoint.observe(bad(), Some(&policy(None, None)), || now);
        }
        assert_eq!(endpoint.ejected_for(|| now), Some(Duration::from_secs(3)));
    }

    #[test]
    fn without_eviction_a_bad_answer_lowers_the_score_only() {
        let (endpoint, now) = (endpoint(), Instant::now());
        endpoint.observe(Outcome::unreachable(), Some(&health::Policy::default()), || now);
        assert_eq!(endpoint.ejected_for(|| now), None);
        assert!((endpoint.score() - 0.7).abs() < 1e-9);
    }

    #[test]
    fn retry_after_lengthens_an_ejection_within_the_bound() {
        let (endpoint, now) = (endpoint(), Instant::now());
        let outcome = Outcome { retry_after: Some(Duration::from_secs(60)), ..bad() };
        endpoint.observe(outcome, Some(&policy(None, None)), || now);
        assert_eq!(endpoint.ejected_for(|| now), Some(Duration::from_secs(8)));
    }

    #[test]
    fn an_answer_may_ask_for_a_pause() {
        for (name, value, pause) in [
            ("retry-after", "7", Some(Duration::from_secs(7))),
            ("retry-after-ms", "1500", Some(Duration::from_millis(1500))),
            ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("retry-after", "-1", None),
        ] {
            let mut headers = http::HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(bad().asking(&headers).retry_after, pause, "{name}: {value}");
        }
    }

    #[test]
    fn active_checks_change_their_verdict_at_the_thresholds() {
        let endpoint = endpoint();
        let active = health::Active {
            probe: health::Probe::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_threshold: 2,
            healthy_threshold: 3,
        };
        let verdicts =
            [(false, false), (true, false), (false, false), (false, true), (true, true), (true, true), (true, false)];
        for (n, (passed, failing)) in verdicts.into_iter().enumerate() {
            endpoint.checked(passed, &active);
            assert_eq!(endpoint.fails_checks(), failing, "after check {n}");
        }
    }
}
