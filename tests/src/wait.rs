//! Waiting for something to become true, with a deadline and without guessing how long it takes.
//!
//! A test never sleeps to let something happen; it asks until it has happened. The panic names the line that waited.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Long enough for anything that does not wait on purpose, on a slow and busy two-core machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `probe` until it answers `true`; panics at the caller's line when `deadline` passes first.
#[track_caller]
pub fn eventually<F, Fut>(deadline: Duration, mut probe: F) -> impl Future<Output = ()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    eventually_some(deadline, move || {
        let answer = probe();
        async move { answer.await.then_some(()) }
    })
}

/// Polls `probe` until it answers `Some`; panics at the caller's line when `deadline` passes first.
#[track_caller]
pub fn eventually_some<T, F, Fut>(deadline: Duration, mut probe: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let caller = Location::caller();
    async move {
        match poll(deadline, &mut probe).await {
            Some(found) => found,
            None => panic!("still not so after {deadline:?}, awaited at {caller}"),
        }
    }
}

/// Polls `probe` until it answers `Some`, or gives `None` when `deadline` passes first.
pub async fn poll<T, F, Fut>(deadline: Duration, mut probe: F) -> Option<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(2);
    loop {
        // A probe that hangs must not outlive the deadline either.
        if let Ok(Some(found)) = timeout(end.saturating_duration_since(Instant::now()), probe()).await {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Awaits `future`, and panics at the caller's line when `deadline` passes first.
#[track_caller]
pub fn within<F: Future>(deadline: Duration, future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        match timeout(deadline, future).await {
            Ok(output) => output,
            Err(_) => panic!("not finished after {deadline:?}, awaited at {caller}"),
        }
    }
}
