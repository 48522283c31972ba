//! A flag that is waited for beside something else, and therefore polled far more often than it is raised.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, Waker};

use tokio::sync::watch;

/// Ends when the flag is up; never, when nobody can raise it any more.
///
/// As `drain::raised`, but once it waits, a poll by the same task is a look at a number: to ask the channel
/// each time would take its lock, for each read and write of each connection.
pub(super) async fn raised(mut flag: watch::Receiver<bool>) {
    let glimpse = flag.clone();
    let mut wait = pin!(super::drain::raised(&mut flag));
    let mut waiting: Option<Waker> = None;
    poll_fn(|cx| {
        let known = waiting.as_ref().is_some_and(|it| it.will_wake(cx.waker()));
        if known && matches!(glimpse.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        let polled = wait.as_mut().poll(cx);
        if !known {
            waiting = Some(cx.waker().clone());
        }
        polled
    })
    .await;
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn it_ends_when_the_flag_goes_up_whoever_polled_before() {
        let flag = watch::Sender::new(false);
        let mut raised = Box::pin(raised(flag.subscribe()));
        assert!(raised.as_mut().now_or_never().is_none());
        let waiting = tokio::spawn(raised);
        tokio::task::yield_now().await;
        flag.send_replace(false);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "another value is not the flag");
        flag.send_replace(true);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_flag_that_is_up_is_seen_at_once_and_one_without_owner_never() {
        let flag = watch::Sender::new(true);
        assert!(raised(flag.subscribe()).now_or_never().is_some());
        flag.send_replace(false);
        let mut raised = Box::pin(raised(flag.subscribe()));
        assert!(raised.as_mut().now_or_never().is_none());
        drop(flag);
        assert!(raised.as_mut().now_or_never().is_none());
    }
}
