//! Connections that wait for the next exchange, newest first.
//!
//! None has a task. Whether the other side has closed one is seen when it is taken, and by a look at all of them every
//! few seconds, so that no closed one is kept.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::joined::Joined;

/// Tasks that ask for different backends seldom wait for each other.
const SHARDS: usize = 16;
/// How often all are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Idle<S> {
    shards: [Mutex<Lists<S>>; SHARDS],
    count: AtomicUsize,
    max: usize,
    looked_after: AtomicBool,
}

/// Connections by what they lead to, which is spread over all numbers already.
type Lists<S> = HashMap<u64, VecDeque<Waiting<S>>, BuildHasherDefault<AsItIs>>;

#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

struct Waiting<S> {
    stream: Box<Joined<S>>,
    since: Instant,
    until: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Waiting<S> {
    fn is_usable(&mut self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until) && self.stream.is_silent()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Idle<S> {
    /// Keeps so many at most.
    pub(super) fn new(max: usize) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { shards, count: AtomicUsize::new(0), max, looked_after: AtomicBool::new(false) })
    }

    fn shard(&self, key: u64) -> &Mutex<Lists<S>> {
        let [first, ..] = &self.shards;
        // Other bits than the lists of a shard are found by.
        self.shards.get((key >> 32) as usize % SHARDS).unwrap_or(first)
    }

    /// The one that was put here last, if it is still there.
    pub(super) fn take(&self, key: u64, now: Instant) -> Option<Box<Joined<S>>> {
        loop {
            let mut waiting = self.shard(key).lock().get_mut(&key)?.pop_back()?;
            self.count.fetch_sub(1, Ordering::Relaxed);
            if waiting.is_usable(now) {
                return Some(waiting.stream);
            }
        }
    }

    /// Keeps it for so long at most. Where there is no room, the one of its kind that has waited longest gives way, or
    /// one of another.
    pub(super) fn put(this: &Arc<Self>, key: u64, stream: Box<Joined<S>>, limit: Option<Duration>) {
        let since = Instant::now();
        let until = limit.map(|limit| since + limit);
        let full = this.count.load(Ordering::Relaxed) >= this.max;
        let mut lists = this.shard(key).lock();
        let gone = if full {
            let own = lists.get_mut(&key).and_then(VecDeque::pop_front);
            let Some(gone) = own.or_else(|| lists.values_mut().find_map(VecDeque::pop_front)) else { return };
            Some(gone)
        } else {
            this.count.fetch_add(1, Ordering::Relaxed);
            None
        };
        lists.entry(key).or_default().push_back(Waiting { stream, since, until });
        drop(lists);
        // Closed without the lock.
        drop(gone);
        if !this.looked_after.load(Ordering::Relaxed) && !this.looked_after.swap(true, Ordering::Relaxed) {
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

async fn look_after<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(idle: Weak<Idle<S>>) {
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

    fn pair() -> (Box<Joined<DuplexStream>>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(100);
        (Box::new(Joined::new(ours)), theirs)
    }

    async fn said(stream: &mut Joined<DuplexStream>, theirs: &mut DuplexStream) {
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(theirs.read_u8().await.unwrap(), b'!');
    }

    #[tokio::test]
    async fn the_newest_that_lives_is_taken() {
        let idle = Idle::new(4);
        let (first, mut theirs) = pair();
        let (second, closed) = pair();
        Idle::put(&idle, 7, first, None);
        Idle::put(&idle, 7, second, None);
        drop(closed);
        assert!(idle.take(8, Instant::now()).is_none(), "another backend's");
        said(&mut idle.take(7, Instant::now()).unwrap(), &mut theirs).await;
        assert!(idle.take(7, Instant::now()).is_none());
        assert_eq!(idle.count.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn nothing_waits_for_longer_than_it_may() {
        let idle = Idle::new(4);
        let (first, _theirs) = pair();
        Idle::put(&idle, 7, first, Some(Duration::ZERO));
        assert!(idle.take(7, Instant::now()).is_none());
    }

    #[tokio::test]
    async fn a_look_lets_go_of_what_is_closed() {
        let idle = Idle::new(4);
        let (first, closed) = pair();
        let (second, mut theirs) = pair();
        Idle::put(&idle, 7, first, None);
        Idle::put(&idle, 23, second, None);
        drop(closed);
        let later = Instant::now() + LOOK;
        idle.look(later);
        assert_eq!(idle.count.load(Ordering::Relaxed), 1);
        said(&mut idle.take(23, Instant::now()).unwrap(), &mut theirs).await;
    }

    #[tokio::test]
    async fn where_there_is_no_room_the_oldest_gives_way() {
        let idle = Idle::new(2);
        let (first, mut gone) = pair();
        let (second, mut theirs) = pair();
        let (third, mut others) = pair();
        Idle::put(&idle, 7, first, None);
        Idle::put(&idle, 7, second, None);
        Idle::put(&idle, 7, third, None);
        assert_eq!(gone.read(&mut [0]).await.unwrap(), 0, "it is closed");
        said(&mut idle.take(7, Instant::now()).unwrap(), &mut others).await;
        said(&mut idle.take(7, Instant::now()).unwrap(), &mut theirs).await;
        assert_eq!(idle.count.load(Ordering::Relaxed), 0);
    }
}
