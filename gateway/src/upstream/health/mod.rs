//! Active checks: rounds over the endpoints of those clusters whose policy asks for them.
//!
//! All rounds come from one agenda, spread by jitter, with a bound on rounds and on probes at once.
//! A round ends its series when its cluster is gone or has been given other checks. The verdict is
//! kept in the endpoint, by the thresholds of the policy.

mod probe;

use std::sync::{Arc, Weak};
use std::time::Instant;

use filters::health::Active;
use futures::StreamExt;
use tokio::sync::Semaphore;

use super::agenda::Agenda;
use super::cluster::Cluster;
use super::memory::Memory;
use super::template::Template;
use crate::random;

/// Clusters under check at once.
pub(super) const ROUNDS_MAX: usize = 128;
/// Probes in flight at once, over all clusters.
pub(super) const PROBES_MAX: usize = 256;
/// Give or take of the interval.
const JITTER: f64 = 0.1;

/// What is asked of a cluster's endpoints, and on which terms they are dialled.
pub(super) struct Checks {
    pub(super) active: Active,
    pub(super) template: Arc<Template>,
}

/// Runs all checks of the process.
pub(super) struct Checker {
    agenda: Agenda<Round>,
    probes: Semaphore,
    /// What a predecessor knew.
    pub(super) memory: Memory,
}

/// The next round of one cluster.
struct Round {
    cluster: Weak<Cluster>,
    checks: Weak<Checks>,
}

impl Default for Checker {
    fn default() -> Self {
        Self { agenda: Agenda::default(), probes: Semaphore::new(PROBES_MAX), memory: Memory::default() }
    }
}

impl Checker {
    /// The first round comes soon, but not at one time for all.
    pub(super) fn begin(&self, cluster: Weak<Cluster>, checks: &Arc<Checks>) {
        let soon = checks.active.interval.mul_f64(JITTER * random::unit());
        self.agenda.add(Instant::now() + soon, Round { cluster, checks: Arc::downgrade(checks) });
    }

    /// Checks what is due, for ever.
    pub(super) async fn run(self: &Arc<Self>) -> std::convert::Infallible {
        self.agenda
            .run(ROUNDS_MAX, |round| {
                let checker = self.clone();
                async move { checker.round(round).await }
            })
            .await
    }

    async fn round(&self, round: Round) {
        let begun = Instant::now();
        let Some(checks) = round.live() else { return };
        let Some(cluster) = round.cluster.upgrade() else { return };
        let (set, host) = (cluster.set(), cluster.host());
        drop(cluster);
        let endpoints: Vec<_> = set.usable().map(|member| member.endpoint.clone()).collect();
        futures::stream::iter(endpoints)
            .for_each_concurrent(PROBES_MAX, |endpoint| {
                let (checks, host) = (&checks, host.as_ref());
                async move {
                    let _place = self.probes.acquire().await;
                    let result = probe::run(checks, &endpoint.address, &endpoint.text, host).await;
                    if let Err(reason) = &result {
                        tracing::debug!(endpoint = %endpoint.text, %reason, "health check failed");
                    }
                    endpoint.checked(result.is_ok(), &checks.active);
                }
            })
            .await;
        if round.live().is_none() {
            // The checks were ended meanwhile; the verdicts just given must not outlive them.
            let unchecked = round.cluster.upgrade().is_some_and(|cluster| cluster.checks().is_none());
            set.all().filter(|_| unchecked).for_each(|member| member.endpoint.forget_checks());
            return;
        }
        let next = begun + random::jitter(checks.active.interval, JITTER);
        self.agenda.add(next.max(Instant::now()), round);
    }
}

impl Round {
    /// The checks, if they are still the cluster's.
    fn live(&self) -> Option<Arc<Checks>> {
        let current = self.cluster.upgrade()?.checks()?;
        std::ptr::eq(Arc::as_ptr(&current), self.checks.as_ptr()).then_some(current)
    }
}
