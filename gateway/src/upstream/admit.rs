//! How much a cluster is asked to carry at once: places in flight and a queue for them.
//!
//! The fast path of a limited cluster is one atomic; an unlimited one has no gate at all. Those
//! that must wait do so in the order they came. A place is returned before the queue is looked at,
//! and the queue is announced before a last try at a place, so that no wake-up is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Requests that may wait for one cluster where the policy does not say.
pub const PENDING_DEFAULT_MAX: u32 = 1024;

/// A limit was reached; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overflow {
    #[error("too many requests in flight or waiting")]
    Requests,
    #[error("too many connections open")]
    Connections,
    #[error("too many retries in flight")]
    Retries,
}

/// Places of one cluster, with a queue.
#[derive(Default)]
pub(super) struct Gate {
    taken: AtomicU32,
    waiting: AtomicU32,
    queue: Mutex<VecDeque<Waiter>>,
}

struct Waiter {
    max: u32,
    call: oneshot::Sender<Permit>,
}

/// A place; dropping it lets the next one in.
#[must_use]
#[derive(Default)]
pub struct Permit {
    gate: Option<Arc<Gate>>,
}

impl Gate {
    fn try_take(&self, max: u32) -> bool {
        self.taken.fetch_update(SeqCst, SeqCst, |taken| (taken < max).then(|| taken + 1)).is_ok()
    }

    /// Waits for one of `max` places, unless `pending_max` are waiting already. Dropping the
    /// future leaves the queue.
    pub(super) async fn enter(self: &Arc<Self>, max: u32, pending_max: Option<u32>) -> Result<Permit, Overflow> {
        if self.waiting.load(SeqCst) == 0 && self.try_take(max) {
            return Ok(Permit { gate: Some(self.clone()) });
        }
        let called = self.join(max, pending_max.unwrap_or(PENDING_DEFAULT_MAX))?;
        let leave = Leave(self);
        let permit = match called {
            Ok(permit) => permit,
            Err(call) => call.await.map_err(|_| Overflow::Requests)?,
        };
        drop(leave);
        Ok(permit)
    }

    fn join(
        self: &Arc<Self>,
        max: u32,
        pending_max: u32,
    ) -> Result<Result<Permit, oneshot::Receiver<Permit>>, Overflow> {
        let mut queue = self.queue.lock();
        queue.retain(|waiter| !waiter.call.is_closed());
        if queue.len() >= pending_max as usize {
            self.waiting.store(queue.len() as u32, SeqCst);
            // A queue of length 0 still takes whom there is a place for.
            let placed = queue.is_empty() && self.try_take(max);
            return if placed { Ok(Ok(Permit { gate: Some(self.clone()) })) } else { Err(Overflow::Requests) };
        }
        self.waiting.store(queue.len() as u32 + 1, SeqCst);
        if queue.is_empty() && self.try_take(max) {
            self.waiting.store(0, SeqCst);
            return Ok(Ok(Permit { gate: Some(self.clone()) }));
        }
        let (call, called) = oneshot::channel();
        queue.push_back(Waiter { max, call });
        Ok(Err(called))
    }

    fn release(self: &Arc<Self>) {
        self.taken.fetch_sub(1, SeqCst);
        while self.waiting.load(SeqCst) > 0 {
            let Some(waiter) = self.next() else { return };
            let Err(mut unclaimed) = waiter.call.send(Permit { gate: Some(self.clone()) }) else { continue };
            // The waiter left between; its place goes to the one behind it.
            unclaimed.gate = None;
            self.taken.fetch_sub(1, SeqCst);
        }
    }

    /// The first in the queue, with a place taken for it.
    fn next(&self) -> Option<Waiter> {
        let mut queue = self.queue.lock();
        while queue.front().is_some_and(|waiter| waiter.call.is_closed()) {
            queue.pop_front();
        }
        let placed = queue.front().is_some_and(|waiter| self.try_take(waiter.max));
        let next = if placed { queue.pop_front() } else { None };
        self.waiting.store(queue.len() as u32, SeqCst);
        next
    }
}

/// Cleans the queue when a waiter gives up.
struct Leave<'a>(&'a Gate);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.0.waiting.load(SeqCst) > 0 {
            let mut queue = self.0.queue.lock();
            queue.retain(|waiter| !waiter.call.is_closed());
            self.0.waiting.store(queue.len() as u32, SeqCst);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.release();
        }
    }
}

/// A count with a limit and no queue.
#[derive(Default)]
pub(super) struct Count(AtomicU32);

/// One of a [`Count`].
#[must_use]
pub struct Counted(Option<Arc<Count>>);

impl Count {
    pub(super) fn enter(self: &Arc<Self>, max: u32) -> Option<Counted> {
        self.0.fetch_update(SeqCst, SeqCst, |count| (count < max).then(|| count + 1)).ok()?;
        Some(Counted(Some(self.clone())))
    }
}

impl Counted {
    /// Where there is no limit, nothing is counted.
    pub(super) fn free() -> Self {
        Self(None)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.0.fetch_sub(1, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;

    fn waiter(gate: &Arc<Gate>, pending: u32) -> BoxFuture<'static, Result<Permit, Overflow>> {
        let gate = gate.clone();
        async move { gate.enter(1, Some(pending)).await }.boxed()
    }

    #[test]
    fn those_who_wait_are_let_in_in_the_order_they_came() {
        let gate = Arc::new(Gate::default());
        let first = waiter(&gate, 2).now_or_never().unwrap().unwrap();
        let (mut second, mut third) = (waiter(&gate, 2), waiter(&gate, 2));
        assert!(futures::poll_now(&mut second).is_none());
        assert!(futures::poll_now(&mut third).is_none());
        assert_eq!(waiter(&gate, 2).now_or_never().unwrap().err(), Some(Overflow::Requests), "the queue is full");
        drop(first);
        assert!(futures::poll_now(&mut third).is_none(), "not before the second");
        let second = futures::poll_now(&mut second).unwrap().unwrap();
        assert!(waiter(&gate, 0).now_or_never().unwrap().is_err(), "no overtaking");
        drop(second);
        assert!(futures::poll_now(&mut third).is_some());
        assert!(waiter(&gate, 0).now_or_never().unwrap().is_ok(), "all places are back");
    }

    #[test]
    fn a_waiter_who_leaves_gives_up_its_turn_and_its_place() {
        let gate = Arc::new(Gate::default());
        let first = waiter(&gate, 9).now_or_never().unwrap().unwrap();
        let (mut second, mut third, mut fourth) = (waiter(&gate, 9), waiter(&gate, 9), waiter(&gate, 9));
        for waiter in [&mut second, &mut third, &mut fourth] {
            assert!(futures::poll_now(waiter).is_none());
        }
        drop(second);
        drop(first);
        drop(third);
        assert!(futures::poll_now(&mut fourth).is_some(), "the place called for the third is passed on");
        assert_eq!(gate.taken.load(SeqCst), 0);
    }

    #[test]
    fn a_count_refuses_over_its_limit_and_forgets_what_is_dropped() {
        let count = Arc::new(Count::default());
        let one = count.enter(1).unwrap();
        assert!(count.enter(1).is_none());
        drop(one);
        assert!(count.enter(1).is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_up_is_lost_under_contention() {
        let gate = Arc::new(Gate::default());
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let gate = gate.clone();
                tokio::spawn(async move {
                    for _ in 0..50 {
                        let permit = gate.enter(2, Some(1000)).await.unwrap();
                        tokio::task::yield_now().await;
                        drop(permit);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(gate.taken.load(SeqCst), 0);
    }

    mod futures {
        pub(super) use ::futures::*;

        use super::*;

        pub(super) fn poll_now<T>(future: &mut BoxFuture<'static, T>) -> Option<T> {
            let waker = ::futures::task::noop_waker();
            match future.poll_unpin(&mut std::task::Context::from_waker(&waker)) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            }
        }
    }
}
