//! Events of a server, whichever way they come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocols::sse::Event;
use tokio::sync::mpsc;

use super::call::HttpEvents;
use super::duplex::Line;
use super::fault::Fault;

/// For the rest of a stream to end by itself.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) enum Events {
    Http(Box<HttpEvents>),
    Line {
        ready: VecDeque<Event>,
        coming: mpsc::Receiver<Event>,
        /// It lives as long as somebody hears it.
        _line: Arc<Line>,
    },
    /// Of a call in another process, which tells the server as well.
    Elder {
        coming: mpsc::Receiver<Event>,
        out: mpsc::Sender<Bytes>,
    },
}

impl Events {
    /// The next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Fault> {
        match self {
            Self::Http(events) => events.next().await,
            Self::Elder { coming, .. } => Ok(coming.recv().await),
            Self::Line { ready, coming, .. } => match ready.pop_front() {
                Some(event) => Ok(Some(event)),
                None => Ok(coming.recv().await),
            },
        }
    }

    /// Says that nobody listens any more. What was on its way comes still, and then the end.
    pub(super) async fn leave(&mut self) {
        match self {
            Self::Http(events) => events.leave().await,
            Self::Line { coming, .. } | Self::Elder { coming, .. } => coming.close(),
        }
    }

    /// Lets the rest end, if it does at once, so that the connection can be used again.
    pub(super) fn finish(self) {
        if let Self::Http(mut events) = self {
            tokio::spawn(async move {
                let rest = async { while let Ok(Some(_)) = events.next().await {} };
                let _ = tokio::time::timeout(FAREWELL, rest).await;
            });
        }
    }
}
