//! What generations of the gateway that live at once say to each other of sessions: whatever is bound to one of them is
//! asked for by the other, of its one owner where an id names it.
//!
//! A process listens at an address that nobody guesses and that its successor inherits; only our own user, and root, may
//! ask there. The successor, to which all clients come that begin a request, asks its elders for streams that clients go
//! on with ([`Ask::Follow`]), gives them answers and cancellations that belong to calls under way there
//! ([`Ask::Told`]), goes on with calls that wait there for their clients ([`Ask::Fetch`]), and says to their clients of
//! the first revision what those are to hear ([`Ask::Channel`]). Each tells the others of sessions that have ended
//! ([`Ask::Ended`]). How a stream passes from one to the other without a gap is in [`super::handover`].
//! Elders know who they are for by themselves: one that does not says so, and one that has ended is not asked again.
//! The side that is asked is in [`owner`].

mod fetched;
mod owner;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use protocols::mcp::resume::{Last, Place};
use protocols::mcp::session::Name;
use protocols::sse::Event;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};

use super::Mcp;
use super::events::Events;
use super::feed::{Feed, Said, Several};
use super::handover::{self, Elder};
use super::replay::Claim;
use super::sse::{Channel, Held};
use super::stream::{self, From, Listening};
use super::talk::Talk;
use wire::{Address, Ask, Flow, Reply};

use crate::life::transfer::{Moment, Transfer};
use crate::listen::drain::Seat;

pub(super) use wire::Wanted;

/// A call that has waited in another process. The server knows it by the first of each.
pub(super) enum Fetched {
    /// It goes on.
    Events(String, Events),
    /// Nothing was brought: what its server wants, once more.
    Again(String, Bytes),
}

/// Processes that are asked.
const KIN_MAX: usize = 32;
/// For an answer, of a process that hands everything over at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The others.
#[derive(Default)]
pub(super) struct Kin {
    own: Mutex<Option<Address>>,
    others: Mutex<Vec<Address>>,
    /// A successor has said where it is.
    greeted: Notify,
}

impl Kin {
    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.others.lock().is_empty()
    }

    fn add(&self, address: Address) {
        let mut others = self.others.lock();
        if !others.contains(&address) && *self.own.lock() != Some(address) {
            others.push(address);
            if others.len() > KIN_MAX {
                others.remove(0);
            }
        }
    }

    /// Asks the owner, or where nobody is named one after the other; the first that knows of it, with its answer.
    async fn ask(&self, owner: Option<u64>, ask: &Ask) -> Option<(Flow<UnixStream>, Reply)> {
        // The youngest first: most is bound to it.
        let mut others: Vec<Address> = self.others.lock().iter().rev().copied().collect();
        others.retain(|it| owner.is_none_or(|owner| wire::owner_of(it) == owner));
        for address in others {
            let asked = async {
                let mut flow = Flow::new(wire::connect(&address)?);
                flow.say(ask).await?;
                let reply: Reply = flow.hear().await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
                std::io::Result::Ok((flow, reply))
            };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok((_, Reply::Unknown))) => {}
                Ok(Ok(known)) => return Some(known),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    tracing::debug!("an elder has ended");
                    self.others.lock().retain(|it| *it != address);
                }
                Ok(Err(error)) => tracing::debug!(%error, "an elder does not answer"),
                Err(_) => tracing::debug!("an elder does not answer in time"),
            }
        }
        None
    }

    /// Tells all that a session has ended. The `seat` keeps this process until they have heard it.
    pub(super) fn ended(&self, name: Name, seat: Option<Seat>) {
        let others = self.others.lock().clone();
        if others.is_empty() {
            return;
        }
        tokio::spawn(async move {
            let _seat = seat;
            for address in others {
                let told = async {
                    let mut flow = Flow::new(wire::connect(&address)?);
                    flow.say(&Ask::Ended { name }).await?;
                    flow.hear::<Reply>().await
                };
                // It may be gone itself.
                let _ = tokio::time::timeout(PATIENCE, told).await;
            }
        });
    }

    /// Gives a client's answer or cancellation to the process whose call it belongs to. `target`: to a server on a line
    /// of its own.
    pub(super) async fn told(&self, name: &Name, target: Option<&str>, body: &Bytes) -> bool {
        if self.is_empty() {
            return false;
        }
        let Ok(body) = std::str::from_utf8(body) else { return false };
        let ask = Ask::Told { name: *name, target: target.map(str::to_owned), body: body.to_owned() };
        matches!(self.ask(None, &ask).await, Some((_, Reply::Taken)))
    }

    /// What leads to a client whose stream an elder has.
    pub(super) async fn channel(&self, talk: &Talk, (name, owner): (Name, u64)) -> Option<Arc<Channel>> {
        let (flow, reply) = self.ask(Some(owner), &Ask::Channel { name, scope: talk.scope }).await?;
        let Reply::Channel { session } = reply else { return None };
        let session = session.and_then(|it| talk.mcp.sessions.open(&it, &talk.scope)).map(|(_, it)| it);
        let (channel, said) = Channel::new(session);
        tokio::spawn(say(flow, talk.again(), (channel.held(), said), name));
        Some(channel)
    }

    /// Goes on with a call that waits in the process that is its owner. `None`: it does not wait there.
    pub(super) async fn fetch(&self, owner: u64, wanted: Wanted, brought: Option<String>) -> Option<Fetched> {
        let (flow, reply) = self.ask(Some(owner), &Ask::Fetch { wanted, brought }).await?;
        let Reply::Fetched { sent, again } = reply else { return None };
        Some(match again {
            Some(message) => Fetched::Again(sent, message.into()),
            None => Fetched::Events(sent, fetched::events(flow)),
        })
    }

    /// A stream that an elder has kept, to be gone on with here.
    pub(super) async fn follow(&self, talk: &Arc<Talk>, place: Option<&Place>) -> Option<Claim> {
        if self.is_empty() {
            return None;
        }
        let (name, _) = talk.session.as_ref()?;
        let at = place.map(|it| (it.owner, it.track, it.number));
        let ask = Ask::Follow { at, name: *name, scope: talk.scope };
        let (flow, reply) = self.ask(place.map(|it| it.owner), &ask).await?;
        let Reply::Found { is_call, last } = reply else { return None };
        let places = match last.as_deref().and_then(Last::parse) {
            Some(Last::Unasked(known)) => known.into_iter().collect(),
            _ => std::collections::BTreeMap::new(),
        };
        let (arrival, elder) = handover::pair();
        let (mut listening, sender) = match is_call {
            true => Listening::new(),
            false => stream::listen_from(talk, From { places: &places, only: None, arrival: Some(arrival) }),
        };
        listening.tasks.spawn(hear(flow, sender, elder));
        let several = Several { talk: talk.clone(), listening, places, seen: Some(Default::default()), is_call };
        let claim = talk.mcp.replay.begin(talk, Feed::Several(Box::new(several)), is_call)?;
        claim.continues(at);
        Some(claim)
    }
}

/// What a client of the first revision is to hear, said where its stream is.
async fn say(mut flow: Flow<UnixStream>, talk: Talk, (held, mut said): (Arc<Held>, mpsc::Receiver<Event>), name: Name) {
    loop {
        let saying = tokio::select! {
            biased;
            () = held.opened() => {
                let sealed = held.session().and_then(|it| talk.mcp.sessions.seal(&it, name, &talk.scope).ok());
                let Some(session) = sealed else { continue };
                Ask::Opened { session }
            }
            event = said.recv() => {
                let Some(event) = event else { return };
                let data = String::from_utf8_lossy(&event.data).into_owned();
                Ask::Say { event: wire::Said { kind: None, retry: None, data } }
            }
            // It says nothing: it is the client that has left, or the elder.
            _ = flow.hear::<Reply>() => return,
        };
        if flow.say(&saying).await.is_err() {
            return;
        }
    }
}

/// What the elder has kept and still hears. It is told which servers are listened to from here, and says when it has heard
/// the last of each.
async fn hear(mut flow: Flow<UnixStream>, out: mpsc::Sender<Said>, mut elder: Elder) {
    loop {
        let heard = tokio::select! {
            biased;
            heard = flow.hear::<Reply>() => heard,
            target = elder.heard() => {
                // An elder that has gone already may have left something to be read.
                let _ = flow.say(&Ask::Heard { target: target.to_string() }).await;
                continue;
            }
        };
        let said = match heard {
            Ok(Some(Reply::Event { event, from, last, is_last })) => {
                let event = Event { event: event.kind, id: None, retry: event.retry, data: event.data.into() };
                Said::Elder { event, from, last: last.as_deref().and_then(Last::parse), is_last }
            }
            Ok(Some(Reply::Left { target })) => {
                elder.left(target.into());
                continue;
            }
            _ => return,
        };
        if out.send(said).await.is_err() {
            return;
        }
    }
}

/// Where the processes of one line find each other.
pub struct Kinship(pub Arc<Mcp>);

impl Transfer for Kinship {
    fn name(&self) -> &'static str {
        "mcp-kin"
    }

    fn moment(&self) -> Moment {
        Moment::Late
    }

    fn export(&self) -> Vec<u8> {
        let kin = &self.0.kin;
        let own = owner::listen(&self.0);
        // Calls that wait here are asked for here.
        self.0.parked.stay(|| self.0.replay.stay());
        // And what ends here from now on is told to who greets: until then somebody has to be here.
        let (mcp, seat) = (self.0.clone(), self.0.replay.stay());
        tokio::spawn(async move {
            let _seat = seat;
            let _ = tokio::time::timeout(PATIENCE, mcp.kin.greeted.notified()).await;
        });
        let mut all = kin.others.lock().clone();
        all.extend(own);
        all.concat()
    }

    fn import(&self, _: u32, bytes: &[u8]) -> Result<(), String> {
        let (others, rest) = bytes.as_chunks::<{ size_of::<Address>() }>();
        if !rest.is_empty() {
            return Err("addresses of another size".to_owned());
        }
        others.iter().for_each(|it| self.0.kin.add(*it));
        let Some(own) = owner::listen(&self.0) else { return Err("no address for elders".to_owned()) };
        let mcp = self.0.clone();
        tokio::spawn(async move {
            let others = mcp.kin.others.lock().clone();
            for address in others {
                let greeted = async {
                    let mut flow = Flow::new(wire::connect(&address)?);
                    flow.say(&Ask::Hello { address: own }).await?;
                    flow.hear::<Reply>().await
                };
                if let Ok(Ok(Some(Reply::Greeted { ended }))) = tokio::time::timeout(PATIENCE, greeted).await {
                    ended.iter().for_each(|it| mcp.end_here(it));
                }
            }
        });
        Ok(())
    }
}
