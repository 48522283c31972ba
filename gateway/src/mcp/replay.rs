//! Events that clients may ask for again (`Last-Event-ID`): what was said on a stream is kept for a while, and a stream
//! whose client has gone is listened to in its place, so that a client that comes back goes on exactly where it was.
//!
//! Each stream is a [`Track`]: numbered events, and a [`Feed`] that they come from. Whoever reads the feed passes its
//! events on and keeps them; it gives the feed up to whoever claims the track, which is a client that has come back,
//! here or in a process that has taken over ([`super::kin`]). What is kept is bounded by [`EVENTS_MAX`] and
//! [`BYTES_MAX`] for one stream, by [`ALL_BYTES_MAX`] and [`TRACKS_MAX`] for all; a client that asks for more than is
//! kept gets what there is.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use aws_lc_rs::rand;
use parking_lot::Mutex;
use protocols::mcp::resume::{Last, Place};
use protocols::mcp::session::Name;
use protocols::sse::Event;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::feed::{Coming, Feed};
use super::talk::Talk;
use crate::listen::drain::{Exit, Seat};

/// Events kept of one stream.
const EVENTS_MAX: usize = 256;
/// Their bytes. One event may be larger, and is then kept alone.
const BYTES_MAX: usize = 256 << 10;
/// Bytes kept of all streams.
const ALL_BYTES_MAX: usize = 64 << 20;
/// Streams whose client has gone, or whose answer was given.
const TRACKS_MAX: usize = 4096;
/// How long a stream waits for its client to come back.
const ABSENCE: Duration = Duration::from_secs(60);
/// The same in a process that is on its way out.
const ABSENCE_LEAVING: Duration = Duration::from_secs(5);
/// For whoever reads a feed to give it up.
const CLAIM: Duration = Duration::from_secs(5);

/// All streams of this process.
pub(super) struct Replay {
    /// Names this process in ids of events.
    pub(super) owner: u64,
    next: AtomicU64,
    tracks: Mutex<HashMap<u64, Arc<Track>>>,
    bytes: Arc<AtomicUsize>,
    absent: AtomicUsize,
    /// Keeps the process for those whose clients are about to come back.
    exit: Arc<Exit>,
}

/// One stream.
pub(super) struct Track {
    pub(super) number: u64,
    name: Name,
    scope: [u8; 32],
    /// The answer to one call.
    is_call: bool,
    /// The place in another process's stream after which this one begins: until its client has got something of it, that
    /// is what the client asks with.
    continues: OnceLock<(u64, u64, u64)>,
    kept: Mutex<Kept>,
    all_bytes: Arc<AtomicUsize>,
    /// The feed while nobody reads it.
    slot: Mutex<Option<Feed>>,
    freed: Notify,
    claims: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    events: VecDeque<(u64, Event)>,
    bytes: usize,
    /// Events so far.
    said: u64,
    /// Where the servers were with the newest.
    last: Option<Last>,
    /// Whether any was written to a client.
    written: bool,
    /// Its client has gone.
    absent: bool,
    /// The newest event is the answer.
    ended: bool,
}

/// A track that is read, and what it is read from. It is forgotten with this, unless somebody else goes on with it.
pub(super) struct Claim {
    all: Arc<Replay>,
    pub(super) track: Arc<Track>,
    pub(super) feed: Feed,
    number: u64,
    goes_on: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.goes_on {
            self.all.forget(&self.track);
        }
    }
}

impl Claim {
    /// Numbers an event and keeps it; as the client gets it.
    pub(super) fn keep(&self, event: Event, last: Option<Last>) -> Event {
        self.track.keep(self.all.owner, event, last)
    }

    /// The last of a call.
    pub(super) fn keep_last(&mut self, event: Event, last: Option<Last>) -> Event {
        let event = self.keep(event, last);
        self.feed = Feed::Ended;
        self.track.kept.lock().ended = true;
        event
    }

    /// Events after this one, and whether each is the last; those before are not asked for any more.
    pub(super) fn after(&self, number: u64) -> Vec<(Event, bool)> {
        self.track.after(number)
    }

    /// It begins after this place in a stream of another process.
    pub(super) fn continues(&self, at: Option<(u64, u64, u64)>) {
        if let Some(at) = at {
            // It is new, and begins once.
            let _ = self.track.continues.set(at);
        }
    }

    /// The client has got something.
    pub(super) fn wrote(&self) {
        self.track.kept.lock().written = true;
    }

    /// Whether the newest event is the answer.
    pub(super) fn has_ended(&self) -> bool {
        self.track.kept.lock().ended
    }

    /// Where the servers were with the newest.
    pub(super) fn last(&self) -> Option<Last> {
        self.track.kept.lock().last.clone()
    }

    pub(super) fn is_call(&self) -> bool {
        self.track.is_call
    }

    /// Ends when somebody else wants to read.
    pub(super) fn superseded(&self) -> impl Future<Output = ()> + Send + use<> {
        claimed(self.track.claims.subscribe(), self.number)
    }

    /// Leaves it to whoever has claimed it.
    pub(super) fn give_up(mut self) {
        self.goes_on = true;
        let feed = mem::replace(&mut self.feed, Feed::Ended);
        self.track.give_up(feed);
    }

    /// Listens in the place of a client that has gone, for as long as it may take to come back.
    pub(super) fn linger(self, leaving: Option<watch::Receiver<bool>>) {
        self.wait(leaving, None);
    }

    /// The same for a client that has been sent to another process: it does come back, and this one stays for it.
    pub(super) fn led_away(self) {
        let seat = self.all.stay();
        self.wait(None, seat);
    }

    fn wait(mut self, leaving: Option<watch::Receiver<bool>>, seat: Option<Seat>) {
        let Some(absent) = self.all.absence() else { return };
        self.goes_on = true;
        self.track.kept.lock().absent = true;
        let feed = mem::replace(&mut self.feed, Feed::Ended);
        let (all, track, number) = (self.all.clone(), self.track.clone(), self.number);
        tokio::spawn(async move {
            let _absent = absent;
            let there = track.number;
            if !all.listen(track, (feed, number), (leaving, seat)).await {
                all.tracks.lock().remove(&there);
            }
        });
    }

    /// Keeps what was said for a while after the end: an answer that was given may not have arrived.
    pub(super) fn answered(mut self) {
        let Some(absent) = self.all.absence() else { return };
        self.goes_on = true;
        self.track.kept.lock().ended = true;
        self.track.give_up(Feed::Ended);
        let (all, track) = (self.all.clone(), self.track.clone());
        tokio::spawn(async move {
            let _absent = absent;
            tokio::time::sleep(ABSENCE).await;
            all.forget(&track);
        });
    }
}

async fn claimed(mut claims: watch::Receiver<u64>, number: u64) {
    if claims.wait_for(|it| *it > number).await.is_err() {
        std::future::pending().await
    }
}

impl Replay {
    pub(super) fn new(exit: Arc<Exit>) -> Self {
        let mut owner = [0; 8];
        // Without randomness there is no TLS either.
        let _ = rand::fill(&mut owner);
        Self {
            owner: u64::from_be_bytes(owner),
            next: AtomicU64::new(1),
            tracks: Mutex::default(),
            bytes: Arc::default(),
            absent: AtomicUsize::new(0),
            exit,
        }
    }

    /// Keeps a process that is on its way out for as long as it is held.
    pub(super) fn stay(&self) -> Option<Seat> {
        self.exit.sit(None)
    }

    /// A new stream of the client's session, read by the caller.
    pub(super) fn begin(self: &Arc<Self>, talk: &Talk, feed: Feed, is_call: bool) -> Option<Claim> {
        let (name, _) = talk.session.as_ref()?;
        let track = Arc::new(Track {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            name: *name,
            scope: talk.scope,
            is_call,
            continues: OnceLock::new(),
            kept: Mutex::default(),
            all_bytes: self.bytes.clone(),
            slot: Mutex::default(),
            freed: Notify::new(),
            claims: watch::Sender::new(0),
        });
        self.tracks.lock().insert(track.number, track.clone());
        Some(Claim { all: self.clone(), track, feed, number: 0, goes_on: false })
    }

    /// The stream of a place, for whose it is.
    pub(super) fn find(&self, track: u64, (name, scope): (&Name, &[u8; 32])) -> Option<Arc<Track>> {
        self.tracks.lock().get(&track).filter(|it| it.name == *name && it.scope == *scope).cloned()
    }

    /// The stream that goes on from a place in another process's, as far as its client knows.
    pub(super) fn continued(&self, place: &Place, (name, scope): (&Name, &[u8; 32])) -> Option<Arc<Track>> {
        let at = (place.owner, place.track, place.number);
        let tracks = self.tracks.lock();
        let is_it = |it: &&Arc<Track>| it.continues.get() == Some(&at) && it.name == *name && it.scope == *scope;
        tracks.values().find(is_it).cloned()
    }

    /// A stream of the session's that its client has left before it got anything, so that it can name no place in it.
    /// Others that it has left, and does not name, are of no use any more.
    pub(super) fn unheard(&self, (name, scope): (&Name, &[u8; 32])) -> Option<Arc<Track>> {
        let mut tracks = self.tracks.lock();
        let left: Vec<_> = tracks
            .values()
            .filter(|it| !it.is_call && it.name == *name && it.scope == *scope && it.kept.lock().absent)
            .cloned()
            .collect();
        let (unheard, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|it| !it.kept.lock().written);
        for track in others {
            tracks.remove(&track.number);
            track.supersede();
        }
        unheard.into_iter().next()
    }

    pub(super) fn forget(&self, track: &Track) {
        self.tracks.lock().remove(&track.number);
    }

    /// Everything of a session that has ended.
    pub(super) fn end(&self, name: &Name) {
        let mut tracks = self.tracks.lock();
        tracks.retain(|_, track| {
            let stays = track.name != *name;
            if !stays {
                track.supersede();
            }
            stays
        });
    }

    /// Takes the stream over from whoever reads it. `None`: it is not given up.
    pub(super) async fn claim(self: &Arc<Self>, track: &Arc<Track>) -> Option<Claim> {
        let number = track.supersede();
        let taken = async {
            loop {
                if let Some(feed) = track.slot.lock().take() {
                    return feed;
                }
                track.freed.notified().await;
            }
        };
        let feed = tokio::time::timeout(CLAIM, taken).await.ok()?;
        track.kept.lock().absent = false;
        Some(Claim { all: self.clone(), track: track.clone(), feed, number, goes_on: false })
    }

    /// Room for one more whose client has gone.
    fn absence(self: &Arc<Self>) -> Option<Absent> {
        let before = self.absent.fetch_add(1, Ordering::Relaxed);
        // Dropping it gives back what was taken.
        let absent = Absent(Arc::downgrade(self));
        (before < TRACKS_MAX).then_some(absent)
    }

    /// Until somebody claims the stream, or nobody is waited for any more. Whether somebody has taken it.
    async fn listen(
        &self,
        track: Arc<Track>,
        (mut feed, number): (Feed, u64),
        (mut leaving, mut seat): (Option<watch::Receiver<bool>>, Option<Seat>),
    ) -> bool {
        let mut until = Instant::now() + ABSENCE;
        let mut claims = std::pin::pin!(claimed(track.claims.subscribe(), number));
        loop {
            let coming = tokio::select! {
                biased;
                () = &mut claims => {
                    drop(seat);
                    track.give_up(feed);
                    let track = Arc::downgrade(&track);
                    // Whoever wanted it may have gone as well.
                    tokio::time::sleep(CLAIM).await;
                    return track.upgrade().is_none_or(|it| it.slot.lock().is_none());
                }
                () = raised(&mut leaving) => {
                    // The process stays for it as it does for a connection.
                    seat = self.stay();
                    until = until.min(Instant::now() + ABSENCE_LEAVING);
                    leaving = None;
                    continue;
                }
                () = tokio::time::sleep_until(until) => return false,
                coming = feed.next(), if !matches!(feed, Feed::Over) => coming,
            };
            match coming {
                Coming::Left(_) => {}
                Coming::Event { event, last, .. } => drop(track.keep(self.owner, event, last)),
                Coming::Answer { event, last } => {
                    track.keep(self.owner, event, last);
                    track.kept.lock().ended = true;
                    feed = Feed::Ended;
                }
                Coming::End if track.is_call => return false,
                // What was said before is still to be fetched.
                Coming::End => feed = Feed::Over,
            }
        }
    }
}

/// Ends when the flag is up; never where there is none.
pub(super) async fn raised(flag: &mut Option<watch::Receiver<bool>>) {
    if let Some(flag) = flag
        && flag.wait_for(|it| *it).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// One of those that are counted.
struct Absent(Weak<Replay>);

impl Drop for Absent {
    fn drop(&mut self) {
        if let Some(all) = self.0.upgrade() {
            all.absent.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Track {
    fn keep(&self, owner: u64, event: Event, last: Option<Last>) -> Event {
        let mut kept = self.kept.lock();
        kept.said += 1;
        let number = kept.said;
        kept.last = last.clone().or_else(|| kept.last.take());
        let place = Place { owner, track: self.number, number, is_call: self.is_call, last };
        let event = Event { id: Some(place.write()), ..event };
        kept.bytes += event.data.len();
        self.all_bytes.fetch_add(event.data.len(), Ordering::Relaxed);
        kept.events.push_back((number, event.clone()));
        while kept.events.len() > 1
            && (kept.events.len() > EVENTS_MAX
                || kept.bytes > BYTES_MAX
                || self.all_bytes.load(Ordering::Relaxed) > ALL_BYTES_MAX)
        {
            kept.drop_first(&self.all_bytes);
        }
        event
    }

    fn after(&self, number: u64) -> Vec<(Event, bool)> {
        let mut kept = self.kept.lock();
        while kept.events.front().is_some_and(|(it, _)| *it <= number) {
            kept.drop_first(&self.all_bytes);
        }
        let newest = kept.said;
        kept.events.iter().map(|(number, event)| (event.clone(), kept.ended && *number == newest)).collect()
    }

    fn supersede(&self) -> u64 {
        let mut number = 0;
        self.claims.send_modify(|it| {
            *it += 1;
            number = *it;
        });
        number
    }

    fn give_up(&self, feed: Feed) {
        *self.slot.lock() = Some(feed);
        self.freed.notify_one();
    }
}

impl Kept {
    fn drop_first(&mut self, all: &AtomicUsize) {
        if let Some((_, event)) = self.events.pop_front() {
            self.bytes -= event.data.len();
            all.fetch_sub(event.data.len(), Ordering::Relaxed);
        }
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        self.all_bytes.fetch_sub(self.kept.get_mut().bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
