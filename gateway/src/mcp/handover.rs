//! How the stream of a server passes from one process to the next.
//!
//! **Every event is said to the client exactly once**, whether it has an id or not: by the process that has read it, or by
//! the one that this process has given it to. Signals decide it:
//!
//! 1. The successor asks for a stream of its own ([`Arrival`]). Until the server has answered, the elder listens on and
//!    gives everything it hears to the successor ([`super::kin`]).
//! 2. When the server has answered, so that it has somewhere else to say what it says from then on, the successor says so,
//!    and the elder closes its side of the connection ([`Departures`]). It reads on: what was on its way arrives still, and
//!    the server's own end of the stream is the proof that nothing comes after it. Before that it leaves the server a moment
//!    of silence ([`QUIET`]) to write what it had queued for the old stream: no server writes more once it sees the close.
//! 3. The elder says that it has read that end. Only then the successor reads its stream, so that nothing overtakes; a
//!    server that does not close the old stream is waited for no longer than [`ORDER_MAX`], and both are read after that.
//!
//! A server that refuses a second stream (409) is asked anew as soon as it has closed the first. What it says in between,
//! it says to nobody. A server that never answers the successor, or never closes the elder's stream (HTTP/2 has no such
//! half), is listened to by the elder until its drain ends: `connectionTerminationDeadline` is the bound of all of this.

use std::collections::BTreeSet;
use std::time::Duration;

use ir::Text;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::fault::Fault;

/// How long what is said on the new stream waits for the end of the old one.
const ORDER_MAX: Duration = Duration::from_secs(5);

/// Silence after which a stream that is heard elsewhere is closed.
const QUIET: Duration = Duration::from_millis(300);
/// The same where there is no silence: a server that goes on with the old stream has to be told.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// How far the end of one stream has come.
#[derive(Default)]
pub(super) struct Farewell {
    since: Option<Instant>,
    said: bool,
}

impl Farewell {
    /// The stream is heard elsewhere.
    pub(super) fn begin(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.since.is_some()
    }

    /// Our side of the stream is closed.
    pub(super) fn said(&mut self) {
        self.said = true;
    }

    /// Ends when it is time to close it, if nothing comes until then.
    pub(super) async fn silence(&self) {
        match self.since.filter(|_| !self.said) {
            Some(since) => tokio::time::sleep_until((Instant::now() + QUIET).min(since + QUIET_MAX)).await,
            None => std::future::pending().await,
        }
    }
}

/// In the process that gives way: whose streams are to end, since they are heard elsewhere.
pub(super) struct Departures(watch::Sender<BTreeSet<Text>>);

/// The same, for one stream.
pub(super) struct Departure {
    all: watch::Receiver<BTreeSet<Text>>,
    name: Text,
}

impl Departures {
    pub(super) fn new() -> Self {
        Self(watch::Sender::default())
    }

    pub(super) fn of(&self, name: &Text) -> Departure {
        Departure { all: self.0.subscribe(), name: name.clone() }
    }

    pub(super) fn leave(&self, name: Text) {
        self.0.send_modify(|it| {
            it.insert(name);
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl Departure {
    pub(super) fn is_due(&self) -> bool {
        self.all.borrow().contains(&self.name)
    }

    /// Ends when the stream is to end.
    pub(super) async fn due(&mut self) {
        let Self { all, name } = self;
        if all.wait_for(|it| it.contains(name)).await.is_err() {
            std::future::pending().await
        }
    }
}

/// In the process that takes over.
#[derive(Clone)]
pub(super) struct Arrival {
    /// Servers that have answered, for the elder. There is one word for each.
    heard: mpsc::UnboundedSender<Text>,
    left: watch::Receiver<Left>,
}

/// Whose streams have ended in the elder.
#[derive(Default)]
struct Left {
    names: BTreeSet<Text>,
    /// The elder says nothing any more.
    all: bool,
}

/// The elder's side of it; dropping it says that the elder has nothing more to say.
pub(super) struct Elder {
    heard: mpsc::UnboundedReceiver<Text>,
    left: watch::Sender<Left>,
}

pub(super) fn pair() -> (Arrival, Elder) {
    let (to_elder, heard) = mpsc::unbounded_channel();
    let left = watch::Sender::default();
    (Arrival { heard: to_elder, left: left.subscribe() }, Elder { heard, left })
}

impl Arrival {
    /// What became of asking the server for a stream. Whether it is to be asked again as soon as the elder's has ended.
    pub(super) fn asked<T>(&self, name: &Text, asked: &Result<T, Fault>) -> bool {
        let refused = matches!(asked, Err(Fault::Status(_) | Fault::Refused(..)));
        if refused || asked.is_ok() {
            // An elder that has gone needs no word.
            let _ = self.heard.send(name.clone());
        }
        refused
    }

    /// Until the elder's stream has ended.
    pub(super) async fn left(&mut self, name: &Text) {
        // Whoever is gone has nothing more to say.
        let _ = self.left.wait_for(|it| it.all || it.names.contains(name)).await;
    }

    /// The same, with patience.
    pub(super) async fn in_order(&mut self, name: &Text) {
        let _ = tokio::time::timeout(ORDER_MAX, self.left(name)).await;
    }
}

impl Elder {
    /// The next server that has answered here.
    pub(super) async fn heard(&mut self) -> Text {
        match self.heard.recv().await {
            Some(name) => name,
            // Nobody listens any more.
            None => std::future::pending().await,
        }
    }

    pub(super) fn left(&self, name: Text) {
        self.left.send_modify(|it| {
            it.names.insert(name);
        });
    }
}

impl Drop for Elder {
    fn drop(&mut self) {
        self.left.send_modify(|it| it.all = true);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_new_waits_for_the_end_of_what_was_there() {
        let (one, two): (Text, Text) = ("one".into(), "two".into());
        let (mut arrival, mut elder) = pair();
        assert!(!arrival.asked(&one, &Ok(())));
        assert_eq!(elder.heard().await, one);
        assert!(arrival.left(&one).now_or_never().is_none(), "the elder hears something still");
        elder.left(one.clone());
        arrival.left(&one).await;
        assert!(arrival.left(&two).now_or_never().is_none());
        let begun = Instant::now();
        arrival.in_order(&two).await;
        assert_eq!(begun.elapsed().as_secs(), ORDER_MAX.as_secs());
        drop(elder);
        arrival.left(&two).await;
        assert!(arrival.heard.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_closed_after_a_silence_and_never_twice() {
        let mut farewell = Farewell::default();
        assert!(farewell.silence().now_or_never().is_none() && !farewell.has_begun());
        farewell.begin();
        let begun = Instant::now();
        // Something comes all the time.
        while begun.elapsed() + QUIET < QUIET_MAX {
            let silent = tokio::time::timeout(QUIET / 2, farewell.silence()).await;
            assert!(silent.is_err());
            farewell.begin();
        }
        farewell.silence().await;
        assert_eq!(begun.elapsed().as_secs(), QUIET_MAX.as_secs());
        farewell.said();
        assert!(tokio::time::timeout(QUIET_MAX, farewell.silence()).await.is_err());
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_given_up_and_one_that_fails_is_not() {
        let name: Text = "one".into();
        let (arrival, mut elder) = pair();
        assert!(!arrival.asked::<()>(&name, &Err(Fault::Silent)));
        assert!(elder.heard().now_or_never().is_none(), "the elder's stream may be all there is");
        assert!(arrival.asked::<()>(&name, &Err(Fault::Status(409))));
        assert_eq!(elder.heard().await, name);
    }

    #[tokio::test]
    async fn one_stream_ends_and_the_others_do_not() {
        let (one, two): (Text, Text) = ("one".into(), "two".into());
        let departures = Departures::new();
        let (mut first, mut second) = (departures.of(&one), departures.of(&two));
        assert!(departures.is_empty() && first.due().now_or_never().is_none());
        departures.leave(one);
        first.due().await;
        assert!(first.is_due() && second.due().now_or_never().is_none());
        drop(departures);
        assert!(second.due().now_or_never().is_none(), "a stream does not end because nobody can say so any more");
    }
}
