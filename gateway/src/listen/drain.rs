//! The end of connections: of all of them when the process leaves, of one bind's when it is removed.
//!
//! Stages, each including the ones before: *accepting*, *draining* (responses say `close` or GOAWAY, new
//! connections still welcome), *closed* (nothing is accepted any more), *cut* (what is left is dropped).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::carried::Carried;

/// How far the end of the process has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    #[default]
    Accepting,
    Draining,
    Closed,
    Cut,
}

/// One per process.
#[derive(Debug, Default)]
pub struct Drain {
    /// Whether connections are accepted yet.
    open: watch::Sender<bool>,
    stage: watch::Sender<Stage>,
    exits: Mutex<Vec<Weak<Exit>>>,
    live: Arc<Live>,
    carried: Arc<Carried>,
}

/// The way out for the connections of one bind.
#[derive(Debug)]
pub struct Exit {
    drain: watch::Sender<bool>,
    cut: watch::Sender<bool>,
    live: Live,
    everywhere: Arc<Live>,
    /// Milliseconds a drain may take here; [`UNLIMITED`] for as long as everywhere.
    limit: AtomicU64,
}

const UNLIMITED: u64 = u64::MAX;

/// One live connection; dropping it leaves the gauges.
#[derive(Debug)]
pub struct Seat(Arc<Exit>);

#[derive(Debug, Default)]
struct Live {
    count: AtomicUsize,
    changed: Notify,
}

impl Drain {
    /// Connections are accepted from the beginning.
    pub fn new() -> Arc<Self> {
        let drain = Self::shut();
        drain.open();
        drain
    }

    /// Sockets are there, and nobody accepts until [`Self::open`] says so.
    pub fn shut() -> Arc<Self> {
        Arc::default()
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// True once connections are accepted.
    pub fn opened(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// What connections turned out to be.
    pub fn carried(&self) -> &Arc<Carried> {
        &self.carried
    }

    /// Live connections of all binds.
    pub fn live(&self) -> usize {
        self.live.count()
    }

    /// The exit of a bind that opens now; it joins the stage the process is in.
    pub fn exit(&self) -> Arc<Exit> {
        let mut exits = self.exits.lock();
        let stage = *self.stage.borrow();
        let exit = Arc::new(Exit {
            drain: watch::Sender::new(stage >= Stage::Draining),
            cut: watch::Sender::new(stage >= Stage::Cut),
            live: Live::default(),
            everywhere: Arc::clone(&self.live),
            limit: AtomicU64::new(UNLIMITED),
        });
        exits.retain(|it| it.strong_count() > 0);
        exits.push(Arc::downgrade(&exit));
        exit
    }

    /// The whole way: new connections are welcome for at least `min` (load balancers need time to look
    /// away), then none; existing ones may finish until `max` from now, or their bind's own limit, then they are
    /// cut. Returns how many were cut.
    pub async fn drain(&self, min: Duration, max: Duration) -> usize {
        let start = Instant::now();
        self.enter(Stage::Draining);
        tokio::time::sleep(min.min(self.longest(max))).await;
        self.enter(Stage::Closed);
        let exits: Vec<_> = self.exits.lock().iter().filter_map(Weak::upgrade).collect();
        let each = exits.iter().map(|exit| exit.emptied(start + exit.limited().unwrap_or(max)));
        let mut left: usize = futures::future::join_all(each).await.into_iter().sum();
        // Those of binds that opened meanwhile.
        if timeout_at(start + self.longest(max), self.live.none()).await.is_err() {
            left = left.max(self.live());
        }
        self.enter(Stage::Cut);
        left
    }

    /// The longest a drain may take, where `max` holds for binds without a limit of their own.
    pub fn longest(&self, max: Duration) -> Duration {
        let exits = self.exits.lock();
        let limits = exits.iter().filter_map(Weak::upgrade).map(|it| it.limited().unwrap_or(max));
        limits.max().unwrap_or(max)
    }

    /// Moves to a stage at once; never backwards.
    pub fn enter(&self, stage: Stage) {
        let exits = self.exits.lock();
        self.stage.send_if_modified(|it| {
            let later = *it < stage;
            *it = stage.max(*it);
            later
        });
        for exit in exits.iter().filter_map(Weak::upgrade) {
            exit.drain.send_if_modified(|it| stage >= Stage::Draining && !std::mem::replace(it, true));
            exit.cut.send_if_modified(|it| stage >= Stage::Cut && !std::mem::replace(it, true));
        }
    }
}

impl Exit {
    /// Takes a seat unless `max` are taken.
    pub fn sit(self: &Arc<Self>, max: Option<u32>) -> Option<Seat> {
        let before = self.live.count.fetch_add(1, Ordering::AcqRel);
        self.everywhere.count.fetch_add(1, Ordering::AcqRel);
        let seat = Seat(Arc::clone(self));
        // Dropping the seat gives back what was taken.
        max.is_none_or(|max| before < max as usize).then_some(seat)
    }

    pub fn live(&self) -> usize {
        self.live.count()
    }

    /// True once responses must say `close`.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.drain.subscribe()
    }

    /// True once connections must end as they are.
    pub fn cutting(&self) -> watch::Receiver<bool> {
        self.cut.subscribe()
    }

    /// Drains the connections of this bind only, and cuts what is left after `max`.
    pub async fn drain_within(&self, max: Duration) -> usize {
        self.drain.send_replace(true);
        let left = self.emptied(Instant::now() + max).await;
        self.cut.send_replace(true);
        left
    }

    /// How long a drain may take here, as the terms in force say.
    pub fn limit(&self, limit: Option<Duration>) {
        let millis = limit.map_or(UNLIMITED, |it| u64::try_from(it.as_millis()).unwrap_or(UNLIMITED));
        self.limit.store(millis, Ordering::Relaxed);
    }

    /// The limit of this bind's own.
    pub fn limited(&self) -> Option<Duration> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|it| *it != UNLIMITED).map(Duration::from_millis)
    }

    /// Waits until nobody is left, or cuts those who are. Returns how many.
    async fn emptied(&self, until: Instant) -> usize {
        match timeout_at(until, self.live.none()).await {
            Ok(()) => 0,
            Err(_) => {
                self.cut.send_replace(true);
                self.live()
            }
        }
    }
}

impl Seat {
    pub fn exit(&self) -> &Arc<Exit> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.live.leave();
        self.0.everywhere.leave();
    }
}

impl Live {
    fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn leave(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.changed.notify_waiters();
        }
    }

    async fn none(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change in between is not missed.
            changed.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// Waits until the flag is up; for ever if its owner is gone with the flag down.
pub(super) async fn raised(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|it| *it).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_empty_process_still_accepts_for_the_minimum() {
        let drain = Drain::new();
        let start = Instant::now();
        let left = drain.drain(Duration::from_secs(5), Duration::from_secs(60)).await;
        assert_eq!((left, start.elapsed().as_secs()), (0, 5));
        assert_eq!(*drain.stage().borrow(), Stage::Cut);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_outstay_the_maximum_are_cut() {
        let drain = Drain::new();
        let exit = drain.exit();
        let _seat = exit.sit(None);
        let start = Instant::now();
        assert_eq!(drain.drain(Duration::ZERO, Duration::from_secs(60)).await, 1);
        assert_eq!(start.elapsed().as_secs(), 60);
        assert!(*exit.cutting().borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_ends_with_the_last_connection() {
        let drain = Drain::new();
        let exit = drain.exit();
        let seat = exit.sit(None);
        let mut draining = exit.draining();
        let start = Instant::now();
        let (left, ()) = tokio::join!(drain.drain(Duration::ZERO, Duration::from_secs(60)), async {
            raised(&mut draining).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(seat);
        });
        assert_eq!((left, start.elapsed().as_secs(), drain.live()), (0, 3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bind_with_a_limit_of_its_own_keeps_to_it() {
        let drain = Drain::new();
        let (short, long, plain) = (drain.exit(), drain.exit(), drain.exit());
        short.limit(Some(Duration::from_secs(1)));
        long.limit(Some(Duration::from_secs(90)));
        let seats = [&short, &long, &plain].map(|it| it.sit(None));
        let start = Instant::now();
        let cut = |exit: Arc<Exit>| async move {
            raised(&mut exit.cutting()).await;
            start.elapsed().as_secs()
        };
        let ends = async {
            let ends = tokio::join!(cut(short.clone()), cut(plain.clone()), cut(long.clone()));
            drop(seats);
            ends
        };
        let (left, ends) = tokio::join!(drain.drain(Duration::ZERO, Duration::from_secs(10)), ends);
        assert_eq!(ends, (1, 10, 90));
        assert_eq!(left, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn one_bind_drains_alone() {
        let drain = Drain::new();
        let (leaving, staying) = (drain.exit(), drain.exit());
        let (_one, _two) = (leaving.sit(None), staying.sit(None));
        assert_eq!(leaving.drain_within(Duration::from_secs(1)).await, 1);
        assert!(*leaving.cutting().borrow());
        assert!(!*staying.draining().borrow(), "the other bind must not notice");
    }

    #[test]
    fn a_full_bind_gives_no_seat_and_keeps_count() {
        let drain = Drain::new();
        let exit = drain.exit();
        let first = exit.sit(Some(1));
        assert!(first.is_some() && exit.sit(Some(1)).is_none());
        assert_eq!((exit.live(), drain.live()), (1, 1));
    }

    #[test]
    fn a_bind_opened_during_the_drain_joins_it() {
        let drain = Drain::new();
        drain.enter(Stage::Draining);
        assert!(*drain.exit().draining().borrow());
        drain.enter(Stage::Accepting);
        assert_eq!(*drain.stage().borrow(), Stage::Draining, "stages never go back");
    }
}
