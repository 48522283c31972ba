//! What is known of endpoints, as a predecessor leaves it: an endpoint that was ejected stays ejected over a
//! hand-over, and one that fails its checks is not tried until they pass.
//!
//! Balancing itself needs nothing: session affinity hashes to the same endpoint in every process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ir::Text;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Upstreams;
use super::endpoint::Endpoint;
use crate::life::transfer::Transfer;

/// Endpoints handed over; what is not known of the others is learnt anew.
const ENDPOINTS_MAX: usize = 20_000;

/// For the endpoints of the first configuration to be there. Later ones are news.
const RECALL: Duration = Duration::from_secs(60);

/// What is known of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Record {
    pub(super) cluster: Text,
    pub(super) address: Text,
    pub(super) score: f64,
    /// Seconds.
    pub(super) latency: f64,
    pub(super) failing_checks: bool,
    pub(super) failures: u32,
    pub(super) ejections: u32,
    /// Left of an ejection; 0 without one.
    pub(super) ejected_ms: u64,
    /// The score to be given back after it.
    pub(super) restore: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct Records {
    /// Unix time in milliseconds.
    at: u64,
    endpoints: Vec<Record>,
}

/// What a predecessor knew.
#[derive(Default)]
pub(super) struct Memory(Mutex<Option<Known>>);

struct Known {
    since: Instant,
    records: HashMap<(Text, Text), Record>,
}

impl Memory {
    /// Tells a new endpoint what was known of it. What checks said is only told where there are checks.
    pub(super) fn recall(&self, cluster: &Text, endpoint: &Endpoint, checked: bool) {
        let mut known = self.0.lock();
        if known.as_ref().is_some_and(|it| it.since.elapsed() > RECALL) {
            *known = None;
        }
        let Some(known) = known.as_ref() else { return };
        if let Some(record) = known.records.get(&(cluster.clone(), endpoint.text.clone())) {
            endpoint.recall(record, checked, (known.since, Instant::now()));
        }
    }

    fn fill(&self, records: impl Iterator<Item = Record>) {
        let records = records.take(ENDPOINTS_MAX).map(|it| ((it.cluster.clone(), it.address.clone()), it)).collect();
        *self.0.lock() = Some(Known { since: Instant::now(), records });
    }
}

/// The knowledge of all endpoints on its way to a successor.
pub struct Endpoints(pub Arc<Upstreams>);

impl Transfer for Endpoints {
    fn name(&self) -> &'static str {
        "endpoints"
    }

    fn export(&self) -> Vec<u8> {
        let endpoints = self.0.records(ENDPOINTS_MAX);
        serde_json::to_vec(&Records { at: now(), endpoints }).unwrap_or_default()
    }

    fn import(&self, version: u32, bytes: &[u8]) -> Result<(), String> {
        if version != self.version() {
            return Err(format!("endpoints of version {version} are not known"));
        }
        let Records { at, endpoints } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let spent = now().saturating_sub(at);
        let sound = |it: &Record| it.score.is_finite() && it.latency.is_finite();
        let aged = |it: Record| Record { ejected_ms: it.ejected_ms.saturating_sub(spent), ..it };
        self.0.memory().fill(endpoints.into_iter().filter(sound).map(aged));
        Ok(())
    }
}

fn now() -> u64 {
    let since = crate::clock::wall();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use filters::health::{Eviction, Policy};

    use super::super::endpoint::{Address, Outcome};
    use super::*;

    fn endpoint() -> Arc<Endpoint> {
        Endpoint::new(Address::Inet("127.0.0.1:80".parse().unwrap())).unwrap()
    }

    fn ejected() -> Record {
        let eviction = Eviction {
            duration: Duration::from_secs(30),
            duration_max: Duration::from_secs(90),
            restore_health: Some(0.5),
            consecutive_failures: Some(1),
            health_threshold: None,
        };
        let policy = Policy { eviction: Some(eviction), ..Policy::default() };
        let endpoint = endpoint();
        endpoint.observe(Outcome::unreachable(), Some(&policy), Instant::now);
        endpoint.record("shop".into(), Instant::now()).expect("something to remember")
    }

    #[test]
    fn an_ejection_goes_on_in_the_successor_for_what_is_left_of_it() {
        let memory = Memory::default();
        memory.fill([ejected()].into_iter());
        let heir = endpoint();
        memory.recall(&"other".into(), &heir, true);
        assert_eq!(heir.ejected_for(Instant::now), None, "an endpoint of another backend");
        memory.recall(&"shop".into(), &heir, true);
        let left = heir.ejected_for(Instant::now).expect("still ejected");
        assert!(left <= Duration::from_secs(30) && left > Duration::from_secs(20), "{left:?}");
        assert!(heir.score() < 1.0);
        let over = Instant::now() + Duration::from_secs(31);
        assert_eq!((heir.ejected_for(|| over), heir.score()), (None, 0.5));
    }

    #[test]
    fn what_checks_said_counts_only_where_there_are_checks() {
        let memory = Memory::default();
        memory.fill([Record { failing_checks: true, score: 1.0, ..ejected() }].into_iter());
        for checked in [true, false] {
            let heir = endpoint();
            memory.recall(&"shop".into(), &heir, checked);
            assert_eq!(heir.fails_checks(), checked);
        }
    }

    #[test]
    fn a_healthy_endpoint_of_which_nothing_is_known_is_not_worth_a_record() {
        assert_eq!(endpoint().record("shop".into(), Instant::now()), None);
    }

    #[test]
    fn records_that_make_no_sense_are_harmless() {
        let memory = Memory::default();
        memory.fill(
            [Record { score: 7e300, latency: -3.0, ejected_ms: u64::MAX, restore: Some(9.0), ..ejected() }].into_iter(),
        );
        let heir = endpoint();
        memory.recall(&"shop".into(), &heir, true);
        assert!((0.0..=1.0).contains(&heir.score()) && heir.latency() >= 0.0);
        assert!(heir.ejected_for(Instant::now).is_some_and(|it| it <= Duration::from_secs(24 * 3600)));
    }
}
