//! The watchdog: the manager hears that the process lives only when traffic has been seen to flow.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::notify::Supervisor;

/// Resolves when traffic flows; it may take as long as it takes.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Probes in each period in which the manager must hear something: one may fail or be late.
const PROBES: u32 = 3;

/// Runs for ever; without a watchdog it only waits.
pub(super) async fn keep(supervisor: &Supervisor, probe: &Probe) {
    let Some(period) = supervisor.watchdog() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(period / PROBES);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tokio::time::timeout(period / PROBES, probe()).await {
            Ok(Ok(())) => supervisor.alive(),
            Ok(Err(reason)) => tracing::error!(reason, "the data plane does not answer its probe"),
            Err(_) => tracing::error!(limit = ?(period / PROBES), "the data plane is stuck: no answer to its probe"),
        }
    }
}
