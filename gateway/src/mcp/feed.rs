//! Where the events of a client's stream come from: one server, several, a call, or a process that gives way to this one.
//! Whoever holds a feed reads it; it says the events as the client gets them, and where the servers were.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ir::Text;
use protocols::mcp::resume::Last;
use protocols::sse::Event;

use super::Target;
use super::events::Events;
use super::going::Ongoing;
use super::handover::Farewell;
use super::relay;
use super::stream::Listening;
use super::talk::Talk;

/// Ids of servers that are remembered where two processes listen for a moment.
const SEEN_MAX: usize = 256;

pub(super) enum Feed {
    /// What the only server says unasked.
    One { talk: Arc<Talk>, target: Arc<Target>, events: Events, farewell: Farewell },
    /// What several do.
    Several(Box<Several>),
    /// What comes of a call.
    Call(Box<Ongoing>),
    /// Nothing comes any more.
    Ended,
    /// The server has ended it, and what was kept is still to be fetched.
    Over,
}

/// What comes next.
pub(super) enum Coming {
    Event {
        event: Event,
        last: Option<Last>,
        /// Whose it is, and its id there.
        from: Option<(String, String)>,
    },
    /// The last one of a call.
    Answer {
        event: Event,
        last: Option<Last>,
    },
    /// This server's stream has ended, since it is heard elsewhere.
    Left(Text),
    End,
}

/// What is said by one of several.
pub(super) enum Said {
    /// By a server.
    Server(Arc<Target>, Event),
    /// By the process that listened before; it is as the client gets it.
    Elder { event: Event, from: Option<(String, String)>, last: Option<Last>, is_last: bool },
    /// This server's stream has ended, since it is heard elsewhere.
    Left(Arc<Target>),
}

pub(super) struct Several {
    pub(super) talk: Arc<Talk>,
    pub(super) listening: Listening,
    pub(super) places: BTreeMap<String, String>,
    /// Two processes listen for a moment, and what has an id is said once.
    pub(super) seen: Option<VecDeque<(String, String)>>,
    /// It is the answer to a call, which an elder hears.
    pub(super) is_call: bool,
}

impl Feed {
    pub(super) async fn next(&mut self) -> Coming {
        match self {
            Self::One { talk, target, events, farewell } => loop {
                let event = tokio::select! {
                    biased;
                    event = events.next() => event,
                    () = farewell.silence() => {
                        farewell.said();
                        events.leave().await;
                        continue;
                    }
                };
                let Ok(Some(event)) = event else { return Coming::End };
                let Some(data) = relay::unasked(talk, target, &event) else { continue };
                let from = event.id.clone().map(|id| (target.name.to_string(), id));
                let last = from.clone().map(|it| Last::Unasked(vec![it]));
                return Coming::Event { event: Event { data, ..event }, last, from };
            },
            Self::Several(several) => several.next().await,
            Self::Call(call) => Box::pin(call.next()).await,
            // Until the client leaves.
            Self::Ended => std::future::pending().await,
            Self::Over => Coming::End,
        }
    }

    /// The server is listened to elsewhere: its stream is read to its end, and not asked for again.
    pub(super) fn leave(&mut self, name: Text) {
        match self {
            Self::One { target, farewell, .. } if target.name == name => farewell.begin(),
            Self::Several(several) => several.listening.departures.leave(name),
            Self::One { .. } | Self::Call(_) | Self::Ended | Self::Over => {}
        }
    }
}

impl Several {
    async fn next(&mut self) -> Coming {
        loop {
            let (event, from) = match self.listening.coming.recv().await {
                None if self.is_call => return Coming::End,
                // All of them are heard elsewhere.
                None if !self.listening.departures.is_empty() => return Coming::End,
                Some(Said::Left(target)) => return Coming::Left(target.name.clone()),
                // No server has such a stream: it stays, for what the gateway itself may say.
                None => std::future::pending().await,
                Some(Said::Elder { event, last, is_last: true, .. }) => return Coming::Answer { event, last },
                Some(Said::Elder { event, last, .. }) if self.is_call => {
                    return Coming::Event { event, last, from: None };
                }
                Some(Said::Elder { event, from, .. }) => (event, from),
                Some(Said::Server(target, event)) => {
                    let Some(data) = relay::unasked(&self.talk, &target, &event) else { continue };
                    let from = event.id.clone().map(|id| (target.name.to_string(), id));
                    (Event { data, ..event }, from)
                }
            };
            if let Some((target, id)) = &from {
                if !self.is_news(target, id) {
                    continue;
                }
                self.places.insert(target.clone(), id.clone());
            }
            let last = (!self.places.is_empty()).then(|| Last::Unasked(self.places.clone().into_iter().collect()));
            return Coming::Event { event, last, from };
        }
    }

    fn is_news(&mut self, target: &str, id: &str) -> bool {
        let Some(seen) = &mut self.seen else { return true };
        if seen.iter().any(|it| it.0 == target && it.1 == id) {
            return false;
        }
        if seen.len() >= SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back((target.to_owned(), id.to_owned()));
        true
    }
}
