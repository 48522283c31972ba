//! A connection that lets everybody who is ready speak before it writes.
//!
//! Whoever sends on a connection wakes the task that drives it, and the runtime runs first what was woken last: each
//! question would go out in a write of its own, and each answer would be read alone. A task that steps back once after
//! it is woken finds all that was said meanwhile, and one system call carries it.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Polls what it holds one turn of the run queue after each wake.
pub(super) struct Gather<F> {
    inner: F,
    stepped_back: bool,
}

impl<F> Gather<F> {
    pub(super) fn new(inner: F) -> Self {
        Self { inner, stepped_back: false }
    }
}

impl<F: Future + Unpin> Future for Gather<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.stepped_back = !self.stepped_back;
        if self.stepped_back {
            // Behind all that can run, and behind what has arrived at sockets.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Waker;

    use super::*;

    #[test]
    fn it_is_polled_every_second_time() {
        let polled = Arc::new(AtomicU32::new(0));
        let count = polled.clone();
        let inner = std::future::poll_fn(move |_| match count.fetch_add(1, Relaxed) {
            0 => Poll::Pending,
            _ => Poll::Ready(7),
        });
        let mut gather = Gather::new(inner);
        let mut poll = || Pin::new(&mut gather).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!([poll(), poll(), poll()], [Poll::Pending; 3]);
        assert_eq!(polled.load(Relaxed), 1, "stepped back, polled, stepped back");
        assert_eq!(poll(), Poll::Ready(7));
    }
}
