//! Traffic of every kind at once, for as long as a test wants it, and the books of what became of it.
//!
//! Time is counted in eras, which the test advances (an upgrade begins one). A stream lives for [`LIFE`] eras however
//! long they take, is checked to its proper end, and is opened again; so streams of several eras always overlap.
//! The pauses between requests are the shape of the load; nothing is assumed to have happened after one.
//!
//! Read next: `site.rs` (what is talked to), `requests.rs` and `streams.rs` (who talks), `tally.rs` (the books).

mod requests;
mod site;
mod streams;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use site::{Doors, Site};
pub use tally::{Tally, table};

use crate::client::Unsent;

/// How many eras a stream lives through.
pub const LIFE: u64 = 4;

/// The era in which everything comes to its end.
const LAST: u64 = u64::MAX;

/// Before a client that failed tries again.
const AFTER_FAULT: Duration = Duration::from_millis(50);

/// For all traffic to go on, or to end, on a machine that is busy.
const PROGRESS: Duration = Duration::from_secs(120);

/// How many clients of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// HTTP/1.1 keep-alive, a connection per request, HTTP/2 by prior knowledge, HTTP/2 over TLS: clients of each.
    pub requests: usize,
    /// Clients that send 1 MB and compare what comes back: HTTP/1.1, h2c and TLS h2 in turn.
    pub posts: usize,
    pub events: usize,
    pub websockets: usize,
    pub calls: usize,
    pub tcp: usize,
    pub passthrough: usize,
}

impl Sizes {
    /// The mix that an upgrade has to survive.
    pub const FULL: Sizes =
        Sizes { requests: 8, posts: 3, events: 200, websockets: 50, calls: 20, tcp: 20, passthrough: 20 };

    /// A few of each, where the load is not the point.
    pub const SMALL: Sizes =
        Sizes { requests: 1, posts: 1, events: 4, websockets: 2, calls: 2, tcp: 2, passthrough: 2 };
}

/// Clients at work.
pub struct Load {
    era: watch::Sender<u64>,
    tallies: Vec<Arc<Tally>>,
    tasks: JoinSet<()>,
}

/// What one client has to know.
struct Errand {
    tally: Arc<Tally>,
    era: watch::Receiver<u64>,
    index: usize,
    /// Streams opened so far.
    lives: u64,
}

impl Load {
    fn new(era: watch::Sender<u64>) -> Load {
        Load { era, tallies: Vec::new(), tasks: JoinSet::new() }
    }

    /// Starts `count` clients of a kind.
    fn spawn<F, Fut>(&mut self, kind: &'static str, count: usize, client: F)
    where
        F: Fn(Errand) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if count == 0 {
            return;
        }
        let tally = Arc::new(Tally::new(kind, count));
        for index in 0..count {
            let errand = Errand { tally: Arc::clone(&tally), era: self.era.subscribe(), index, lives: 0 };
            self.tasks.spawn(client(errand));
        }
        self.tallies.push(tally);
    }

    /// Further clients, who ask at one address after the other, over a connection each.
    pub fn visit(&mut self, kind: &'static str, clients: usize, addrs: &[SocketAddr]) {
        self.spawn(kind, clients, |it| requests::ask_anew(it, addrs.to_vec()));
    }

    /// Waits until every client of every kind has got answers since this was called, `rounds` of them on average, and
    /// every stream that this era ends has been opened again.
    pub async fn goes_on(&self, rounds: u64) {
        let goals: Vec<_> = self
            .tallies
            .iter()
            .map(|it| (it, it.answers() + rounds * u64::try_from(it.clients()).unwrap_or(1)))
            .collect();
        let era = *self.era.borrow();
        let stuck = || {
            let slow = goals.iter().filter(|(it, goal)| it.answers() < *goal || !it.is_renewed(era));
            slow.map(|(it, goal)| format!("{}: {} of {goal}, faults {:?}", it.kind(), it.answers(), it.faults()))
                .collect::<Vec<_>>()
        };
        let end = tokio::time::Instant::now() + PROGRESS;
        while !stuck().is_empty() {
            assert!(tokio::time::Instant::now() < end, "traffic stands still: {:?}", stuck());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets every stream come to its proper end, and gives the books.
    pub async fn finish(mut self) -> Vec<Arc<Tally>> {
        self.era.send_replace(LAST);
        let tasks = &mut self.tasks;
        let ended = tokio::time::timeout(PROGRESS, async {
            while let Some(task) = tasks.join_next().await {
                task.expect("a client that does not panic");
            }
        });
        assert!(ended.await.is_ok(), "{} clients do not end: {}", self.tasks.len(), table(&self.tallies));
        self.tallies
    }
}

impl Errand {
    fn is_over(&self) -> bool {
        *self.era.borrow() == LAST
    }

    /// A stream is about to be opened: the era in which it ends. The first ones end one after the other.
    fn begin(&mut self) -> u64 {
        let index = u64::try_from(self.index).unwrap_or(0);
        let life = if self.lives == 0 { 1 + index % LIFE } else { LIFE };
        self.lives += 1;
        let until = self.era.borrow().saturating_add(life);
        self.tally.begin(self.index, until);
        until
    }

    fn has_reached(&self, era: u64) -> bool {
        *self.era.borrow() >= era
    }

    /// Waits for the era, but not longer than this.
    async fn pause(&mut self, era: u64, pause: Duration) {
        // Either is a reason to go on; the sender lives as long as the load.
        let _ = tokio::time::timeout(pause, self.era.wait_for(|it| *it >= era)).await;
    }

    /// Books what went wrong; a request that was never sent is only asked again.
    async fn fault(&self, doing: &str, error: &anyhow::Error) {
        if error.is::<Unsent>() {
            return self.tally.unsent();
        }
        self.tally.fault(doing, error);
        sleep(AFTER_FAULT).await;
    }
}
