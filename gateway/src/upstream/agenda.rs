//! What is to be done when: a heap of due times, and one loop over it.
//!
//! Names to resolve and clusters to check each have an agenda; both loops run inside the one
//! background future of [`super::Upstreams::run`]. A job is a short task of its own, and the loop
//! waits for a free place before it starts the next one.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

pub(super) struct Agenda<J> {
    heap: Mutex<BinaryHeap<Entry<J>>>,
    wake: Notify,
}

struct Entry<J> {
    at: Instant,
    job: J,
}

impl<J> Default for Agenda<J> {
    fn default() -> Self {
        Self { heap: Mutex::new(BinaryHeap::new()), wake: Notify::new() }
    }
}

impl<J: Send + 'static> Agenda<J> {
    pub(super) fn add(&self, at: Instant, job: J) {
        self.heap.lock().push(Entry { at, job });
        self.wake.notify_one();
    }

    /// Starts each job when it is due, at most `parallel_max` at once. Never ends.
    pub(super) async fn run<F>(&self, parallel_max: usize, start: impl Fn(J) -> F + Send) -> std::convert::Infallible
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(parallel_max));
        loop {
            match self.due(Instant::now()) {
                Ok(job) => {
                    let place = places.clone().acquire_owned().await.ok();
                    let task = start(job);
                    tokio::spawn(async move {
                        task.await;
                        drop(place);
                    });
                }
                Err(None) => self.wake.notified().await,
                Err(Some(at)) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(at.into()) => {}
                    }
                }
            }
        }
    }

    /// A job that is due, or when the next one is.
    fn due(&self, now: Instant) -> Result<J, Option<Instant>> {
        let mut heap = self.heap.lock();
        match heap.peek() {
            None => Err(None),
            Some(entry) if entry.at > now => Err(Some(entry.at)),
            Some(_) => heap.pop().map(|entry| entry.job).ok_or(None),
        }
    }
}

impl<J> PartialEq for Entry<J> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<J> Eq for Entry<J> {}

impl<J> PartialOrd for Entry<J> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<J> Ord for Entry<J> {
    /// The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}
