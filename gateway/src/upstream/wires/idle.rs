//! Connections that wait for the next exchange, newest first.
//!
//! None has a task. Whether the other side has closed one is seen when it is taken, and by a look at all of them every
//! few seconds, so that no closed one is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::POOL_MAX;
use super::joined::Joined;

/// Tasks that ask for different backends seldom wait for each other.
const SHARDS: usize = 16;
/// How often all are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Default)]
pub(super) struct Idle {
    shards: [Mutex<HashMap<u64, VecDeque<Waiting>>>; SHARDS],
    count: AtomicUsize,
    looked_after: AtomicBool,
}

struct Waiting {
    stream: Box<Joined>,
    since: Instant,
    until: Option<Instant>,
}

impl Waiting {
    fn is_usable(&mut self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until) && self.stream.is_silent()
    }
}

impl Idle {
    fn shard(&self, key: u64) -> &Mutex<HashMap<u64, VecDeque<Waiting>>> {
        let [first, ..] = &self.shards;
        self.shards.get(key as usize % SHARDS).unwrap_or(first)
    }

    /// The one that was put here last, if it is still there.
    pub(super) fn take(&self, key: u64) -> Option<Box<Joined>> {
        let now = Instant::now();
        loop {
            let mut waiting = self.shard(key).lock().get_mut(&key)?.pop_back()?;
            self.count.fetch_sub(1, Ordering::Relaxed);
            if waiting.is_usable(now) {
                return Some(waiting.stream);
            }
        }
    }

    /// Keeps it for so long at most.
    pub(super) fn put(this: &Arc<Self>, key: u64, stream: Box<Joined>, limit: Option<Duration>) {
        if this.count.load(Ordering::Relaxed) >= POOL_MAX {
            return;
        }
        let since = Instant::now();
        let until = limit.map(|limit| since + limit);
        this.count.fetch_add(1, Ordering::Relaxed);
        this.shard(key).lock().entry(key).or_default().push_back(Waiting { stream, since, until });
        if !this.looked_after.swap(true, Ordering::Relaxed) {
            tokio::spawn(look_after(Arc::downgrade(this)));
        }
    }

    /// Lets go of those that are closed or have waited too long. Those that came within the last moments are in use.
    fn look(&self, now: Instant) {
        for shard in &self.shards {
            let mut gone = Vec::new();
            shard.lock().retain(|_, list| {
                let mut at = 0;
                while let Some(waiting) = list.get_mut(at).filter(|it| now >= it.since + LOOK) {
                    if waiting.is_usable(now) {
                        at += 1;
                    } else {
                        gone.extend(list.remove(at));
                    }
                }
                !list.is_empty()
            });
            // Closed without the lock.
            self.count.fetch_sub(gone.len(), Ordering::Relaxed);
        }
    }
}

async fn look_after(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(idle) = idle.upgrade() else { return };
        idle.look(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn pair() -> (Box<Joined>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(100);
        (Box::new(Joined::new(Box::new(ours))), theirs)
    }

    async fn said(stream: &mut Joined, theirs: &mut DuplexStream) {
        stream.write_all(b"!").await.unwrap();
        assert_eq!(theirs.read_u8().await.unwrap(), b'!');
    }

    #[tokio::test]
    async fn the_newest_that_lives_is_taken() {
        let idle = Arc::new(Idle::default());
        let (first, mut theirs) = pair();
        let (second, closed) = pair();
        Idle::put(&idle, 7, first, None);
        Idle::put(&idle, 7, second, None);
        drop(closed);
        assert!(idle.take(8).is_none(), "another backend's");
        said(&mut idle.take(7).unwrap(), &mut theirs).await;
        assert!(idle.take(7).is_none());
        assert_eq!(idle.count.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn nothing_waits_for_longer_than_it_may() {
        let idle = Arc::new(Idle::default());
        let (first, _theirs) = pair();
        Idle::put(&idle, 7, first, Some(Duration::ZERO));
        assert!(idle.take(7).is_none());
    }

    #[tokio::test]
    async fn a_look_lets_go_of_what_is_closed() {
        let idle = Arc::new(Idle::default());
        let (first, closed) = pair();
        let (second, mut theirs) = pair();
        Idle::put(&idle, 7, first, None);
        Idle::put(&idle, 23, second, None);
        drop(closed);
        let later = Instant::now() + LOOK;
        idle.look(later);
        assert_eq!(idle.count.load(Ordering::Relaxed), 1);
        said(&mut idle.take(23).unwrap(), &mut theirs).await;
    }
}
