//! Descriptors run short: when an accept loop waits, so that what it has accepted can be served.
//!
//! Accepting until the kernel refuses takes the descriptors that the accepted requests need for their backends, and
//! those that an operator's look at metrics or admin needs. So the last of them are not for clients.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use ir::BindKey;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::time::Instant;

/// Time for connections to end.
pub(super) const BACK_OFF: Duration = Duration::from_millis(50);

/// A shortage that comes and goes is not told of more often.
const SHORTAGE_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Of the process's descriptors one in so many is kept back from clients, ...
const KEPT_BACK: u64 = 8;
/// ... and no more than these.
const MOST_KEPT_BACK: u64 = 64;

/// Whether a descriptor is one of those that are kept back. The kernel gives out the lowest number that is free:
/// with a high one all below are in use.
pub(super) fn is_among_the_last(socket: &impl AsRawFd) -> bool {
    // Asked each time, for it can be changed from outside (`prlimit`). Without a limit there is no last one.
    let Some(limit) = getrlimit(Resource::Nofile).current else { return false };
    u64::try_from(socket.as_raw_fd()).is_ok_and(|it| it >= limit - (limit / KEPT_BACK).min(MOST_KEPT_BACK))
}

/// Whether a connection can be accepted without taking what is kept back. Any socket does to ask with.
pub(super) fn has_room(socket: BorrowedFd<'_>) -> bool {
    rustix::io::fcntl_dupfd_cloexec(socket, 0).is_ok_and(|it| !is_among_the_last(&it.as_fd()))
}

/// Descriptors or memory are short, says the kernel.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// Whether something is short, and when that was last told.
#[derive(Default)]
pub(super) struct Shortage {
    lasts: bool,
    told: Option<Instant>,
}

impl Shortage {
    pub(super) fn met(&mut self, error: &io::Error, bind: &BindKey) {
        if self.told.is_none_or(|at| at.elapsed() >= SHORTAGE_TOLD_EVERY) {
            tracing::warn!(%error, %bind, "cannot accept connections: they wait until others have ended");
            self.told = Some(Instant::now());
            self.lasts = true;
        }
    }

    pub(super) fn ended(&mut self, bind: &BindKey) {
        if std::mem::take(&mut self.lasts) {
            tracing::info!(%bind, "connections are accepted again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for a descriptor of that number; nothing is done with it.
    struct Numbered(i32);

    impl AsRawFd for Numbered {
        fn as_raw_fd(&self) -> i32 {
            self.0
        }
    }

    #[test]
    fn the_last_descriptors_are_kept_back() {
        let limit = getrlimit(Resource::Nofile).current.expect("a limit, as everywhere");
        let kept = (limit / KEPT_BACK).min(MOST_KEPT_BACK);
        let number = |it: u64| Numbered(i32::try_from(it).expect("a descriptor's number"));
        assert!(kept > 0);
        assert!(!is_among_the_last(&number(3)));
        assert!(!is_among_the_last(&number(limit - kept - 1)));
        assert!(is_among_the_last(&number(limit - kept)));
        assert!(has_room(io::stdin().as_fd()));
    }
}
