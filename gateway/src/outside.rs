//! What policies may ask of the process: the clock, and costly work off the traffic threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use filters::callout::{Callout, Nobody};
use filters::outside::{Fetch, Fetched, Later, Outside, Work};
use tokio::sync::Semaphore;

use crate::plan::Plan;
use crate::telemetry::Telemetry;
use crate::upstream::Egress;
use crate::upstream::callout::{Caller, Callouts};

/// Pieces of costly work (password hashes) under way or waiting at once.
const WORK_PENDING_MAX: usize = 64;

/// The world outside a request; one in a process.
pub struct World {
    /// Pieces of work that may run at once: half the processors, so that traffic goes on.
    running: Arc<Semaphore>,
    pending: Arc<Semaphore>,
    /// Who fetches; nobody in tests.
    egress: Option<Egress>,
}

impl World {
    pub fn new(egress: Egress) -> Self {
        Self { egress: Some(egress), ..Self::default() }
    }
}

impl Default for World {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            running: Arc::new(Semaphore::new((processors / 2).max(1))),
            pending: Arc::new(Semaphore::new(WORK_PENDING_MAX)),
            egress: None,
        }
    }
}

/// Through what everything in the process asks, one in a process.
#[derive(Clone)]
pub struct Asking {
    world: Arc<World>,
    callouts: Arc<Callouts>,
}

impl Asking {
    pub fn new(telemetry: &Arc<Telemetry>, egress: Egress) -> Self {
        Self { world: Arc::new(World::new(egress)), callouts: Arc::new(Callouts::new(telemetry.clone())) }
    }

    /// Fetches nothing.
    #[cfg(test)]
    pub fn offline(telemetry: &Arc<Telemetry>) -> Self {
        Self { world: Arc::default(), callouts: Arc::new(Callouts::new(telemetry.clone())) }
    }

    /// The world for what asks nobody.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The world as a request or connection under this plan sees it, which is to end by then.
    pub fn around<'a>(&'a self, plan: &'a Plan, until: Option<Instant>) -> Around<'a> {
        Around { world: &self.world, caller: Caller { callouts: &self.callouts, plan, until } }
    }
}

/// The world as one request sees it: whom it asks is of the plan that it sees.
pub struct Around<'a> {
    world: &'a World,
    caller: Caller<'a>,
}

impl Outside for Around<'_> {
    fn now(&self) -> Duration {
        self.world.now()
    }

    fn callout(&self) -> &dyn Callout {
        &self.caller
    }

    fn fetch<'a>(&'a self, fetch: Fetch<'a>) -> Later<'a, Result<Fetched, String>> {
        self.world.fetch(fetch)
    }

    fn work(&self, work: Work) -> Later<'_, Option<bool>> {
        self.world.work(work)
    }
}

/// For where no server is asked.
impl Outside for World {
    fn now(&self) -> Duration {
        // A clock before 1970 is broken; everything is expired then or nothing is.
        crate::clock::wall()
    }

    fn callout(&self) -> &dyn Callout {
        &Nobody
    }

    fn fetch<'a>(&'a self, fetch: Fetch<'a>) -> Later<'a, Result<Fetched, String>> {
        Box::pin(async move {
            let egress = self.egress.as_ref().ok_or("nothing is fetched here")?;
            egress.exchange(fetch).await.map_err(|fault| fault.to_string())
        })
    }

    fn work(&self, work: Work) -> Later<'_, Option<bool>> {
        Box::pin(async move {
            let pending = self.pending.clone().try_acquire_owned().ok()?;
            let running = self.running.clone().acquire_owned().await.ok()?;
            // The places go with the work: it runs on where the client has gone meanwhile.
            let done = tokio::task::spawn_blocking(move || {
                let _places = (pending, running);
                work()
            });
            done.await.ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_beyond_the_bound_is_turned_away() {
        let world = World::default();
        assert_eq!(world.work(Box::new(|| true)).await, Some(true));
        let all = world.pending.clone().acquire_many_owned(WORK_PENDING_MAX as u32).await.unwrap();
        assert_eq!(world.work(Box::new(|| true)).await, None);
        drop(all);
        assert_eq!(world.work(Box::new(|| false)).await, Some(false));
    }
}
