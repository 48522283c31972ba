//! The stream of what nobody asked for (GET): those of all servers in one, and gone on with after a break.
//!
//! It begins at once where there are several servers, for one that hangs delays nobody. A server whose stream breaks
//! is asked for it again, from where it was. What was said is kept ([`super::replay`]), and so a client that has lost its
//! connection, or was led to another process, goes on exactly where it was.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filters::Reason;
use http::HeaderValue;
use http::header::ALLOW;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::mcp::resume::{Last, Place};
use protocols::mcp::transport::LAST_EVENT_ID;
use protocols::mcp::{Version, answer};
use protocols::sse::Event;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::events::Events;
use super::fault::Fault;
use super::feed::{Coming, Feed, Said, Several};
use super::handover::{Arrival, Departure, Departures, Farewell};
use super::modern::watch::Watch;
use super::replay::{Claim, raised};
use super::reply::{self, Stream};
use super::talk::Talk;
use super::{Target, relay};
use crate::proxy::{Ctx, Proxy};

/// Events that wait for the client.
pub(super) const WAITING_MAX: usize = 64;
/// Before a stream that broke is asked for again: doubled each time up to the second.
const PAUSE: Duration = Duration::from_millis(500);
/// The first, where another process has listened until now.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(30);

pub(super) async fn answer(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, talk: Talk) -> Result<()> {
    let shown = session.req_header().headers.get(LAST_EVENT_ID).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let place = shown.as_deref().and_then(Place::parse);
    let talk = Arc::new(talk);
    if let Some(claim) = kept(&talk, place.as_ref()).await {
        // Another process counts its own events: what was kept here comes after all that the client has of those.
        let number = place.filter(|it| it.owner == talk.mcp.replay.owner).map_or(0, |it| it.number);
        return go_on(proxy, session, ctx, (claim, number)).await;
    }
    let last = match place {
        Some(Place { is_call: true, last: None, .. }) => {
            // Another process has it, or had. To wait for an answer here would be to wait for ever.
            let text = answer::error("", answer::INVALID_REQUEST, "session not found: the answer is not kept here");
            return reply::write(session, ctx, reply::message(404, Reason::InvalidRequest, text)).await;
        }
        Some(place) => place.last,
        None => shown.as_deref().and_then(Last::parse),
    };
    if let Some(Last::Call { target, id }) = last {
        return of_call(proxy, session, ctx, (talk, target, id)).await;
    }
    let places: BTreeMap<String, String> = match last {
        Some(Last::Unasked(known)) => known.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    // What is wanted of a server without sessions changes, and its stream with it.
    let changes = |target: &Target| {
        let sealed = talk.session.as_ref().and_then(|(_, session)| session.version_with(&target.name));
        sealed.is_some_and(Version::is_modern)
    };
    let only = talk.federation.single().filter(|it| !talk.federation.naming.ids && !changes(it)).cloned();
    let feed = match only {
        Some(target) => {
            let last = places.get(&*target.name).map(String::as_str);
            let listening = reply::while_there(session, ctx, Box::pin(target.listen(&talk, last))).await?;
            match heard(ctx, &target, listening) {
                Ok(events) => Feed::One { talk: talk.clone(), target, events, farewell: Farewell::default() },
                Err(refused) => return reply::write(session, ctx, *refused).await,
            }
        }
        None => {
            let (listening, _) = listen_from(&talk, From { places: &places, only: None, arrival: None });
            let talk = talk.clone();
            Feed::Several(Box::new(Several { talk, listening, places, seen: None, is_call: false }))
        }
    };
    match talk.mcp.replay.begin(&talk, feed, false) {
        Some(claim) => go_on(proxy, session, ctx, (claim, 0)).await,
        None => Ok(()),
    }
}

/// What was kept of the stream that the client wants to go on with.
async fn kept(talk: &Arc<Talk>, place: Option<&Place>) -> Option<Claim> {
    let replay = &talk.mcp.replay;
    let (name, _) = talk.session.as_ref()?;
    let whose = (name, &talk.scope);
    let track = match place {
        Some(place) if place.owner == replay.owner => replay.find(place.track, whose),
        Some(place) => replay.continued(place, whose),
        None => replay.unheard(whose),
    };
    match track {
        Some(track) => replay.claim(&track).await,
        None if place.is_some_and(|it| it.owner == replay.owner) => None,
        None => talk.mcp.kin.follow(talk, place).await,
    }
}

/// The only server's stream, or why there is none.
fn heard(
    ctx: &mut Ctx,
    target: &Target,
    listening: std::result::Result<Option<Events>, Fault>,
) -> std::result::Result<Events, Box<filters::Reply>> {
    match listening {
        Ok(Some(events)) => Ok(events),
        Ok(None) => {
            let text = answer::error("", answer::INVALID_REQUEST, "the server has no such stream");
            let mut refused = reply::message(405, Reason::Upstream, text);
            refused.headers.push((ALLOW, HeaderValue::from_static("POST, DELETE")));
            Err(Box::new(refused))
        }
        Err(fault) => {
            relay::note(ctx, target, &fault);
            let text = fault.answer("null", &target.name);
            Err(Box::new(reply::message(502, Reason::UpstreamFailure, text)))
        }
    }
}

/// Writes what was kept after an event, and then what comes.
async fn go_on(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, (mut claim, number): (Claim, u64)) -> Result<()> {
    let leaving = crate::listen::conn_info(session).map(|it| it.drain.clone());
    let is_followed = !proxy.mcp.kin.is_empty();
    let mut ends = std::pin::pin!(ends(leaving.clone().filter(|_| !claim.is_call()), is_followed));
    let mut out = match Stream::begin(session, ctx, &proxy.carried, Vec::new()).await {
        Ok(out) => out,
        Err(gone) => {
            claim.linger(leaving);
            return Err(gone);
        }
    };
    let mut ready: VecDeque<(Event, bool)> = claim.after(number).into();
    loop {
        let (event, is_last) = match ready.pop_front() {
            Some(ready) => ready,
            None if claim.has_ended() => {
                claim.answered();
                return out.end().await;
            }
            None => {
                let superseded = claim.superseded();
                let next = async {
                    tokio::select! {
                        biased;
                        () = superseded => Next::Claimed,
                        () = &mut ends => Next::Leaves,
                        coming = claim.feed.next() => Next::Comes(coming),
                    }
                };
                let next = out.next(std::pin::pin!(next)).await;
                match next {
                    Ok(Next::Comes(Coming::Event { event, last, .. })) => (claim.keep(event, last), false),
                    Ok(Next::Comes(Coming::Answer { event, last })) => (claim.keep_last(event, last), true),
                    // It is said to a process that has taken over, and here nobody has.
                    Ok(Next::Comes(Coming::Left(_))) => continue,
                    Ok(Next::Comes(Coming::End)) => return out.end().await,
                    Ok(Next::Claimed) => {
                        claim.give_up();
                        return out.end().await;
                    }
                    Ok(Next::Leaves) => {
                        // The client goes on with it where the service is now.
                        claim.led_away();
                        return out.end().await;
                    }
                    Err(gone) => {
                        claim.linger(leaving);
                        return Err(gone);
                    }
                }
            }
        };
        if let Err(gone) = out.event(&event).await {
            claim.linger(leaving);
            return Err(gone);
        }
        claim.wrote();
        if is_last {
            claim.answered();
            return out.end().await;
        }
    }
}

/// Until the client is better served by another process.
async fn ends(leaving: Option<watch::Receiver<bool>>, is_followed: bool) {
    let leaves = leaving.as_ref().is_some_and(|it| *it.borrow());
    let mut leaving = leaving.filter(|_| !leaves);
    match leaves && is_followed {
        // Its client was quicker than the successor, which takes connections by now.
        true => tokio::time::sleep(PAUSE).await,
        // A process that is on its way out already is asked because there is no other.
        false => raised(&mut leaving).await,
    }
}

/// What happens next to a stream.
enum Next {
    Comes(Coming),
    Claimed,
    Leaves,
}

/// The rest of a call's answer, of which nothing is kept here: the server is asked for it.
async fn of_call(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    (talk, target, id): (Arc<Talk>, String, String),
) -> Result<()> {
    let places = BTreeMap::from([(target.clone(), id)]);
    // They end with this exchange.
    let (mut listening, _) = listen_from(&talk, From { places: &places, only: Some(&target), arrival: None });
    let mut out = Stream::begin(session, ctx, &proxy.carried, Vec::new()).await?;
    while let Some(said) = out.next(std::pin::pin!(listening.coming.recv())).await? {
        let Said::Server(target, event) = said else { continue };
        let Some(data) = relay::unasked(&talk, &target, &event) else { continue };
        let id = event.id.as_ref();
        let id = id.and_then(|id| Last::Call { target: target.name.to_string(), id: id.clone() }.write());
        out.event(&Event { id, data, ..event }).await?;
    }
    out.end().await
}

/// How servers are listened to.
pub(super) struct From<'a> {
    /// Where they were.
    pub(super) places: &'a BTreeMap<String, String>,
    /// Only this one, and only once.
    pub(super) only: Option<&'a str>,
    /// Another process has listened until now.
    pub(super) arrival: Option<Arrival>,
}

/// Servers that are listened to, for as long as this is kept.
pub(super) struct Listening {
    pub(super) tasks: JoinSet<()>,
    pub(super) coming: mpsc::Receiver<Said>,
    pub(super) departures: Departures,
}

impl Listening {
    /// What comes from nobody yet.
    pub(super) fn new() -> (Self, mpsc::Sender<Said>) {
        let (sender, coming) = mpsc::channel(WAITING_MAX);
        (Self { tasks: JoinSet::new(), coming, departures: Departures::new() }, sender)
    }
}

/// The streams of servers; the sender is for others who say something in the same stream.
pub(super) fn listen_from(
    talk: &Arc<Talk>,
    From { places, only, arrival }: From<'_>,
) -> (Listening, mpsc::Sender<Said>) {
    let (mut listening, sender) = Listening::new();
    for target in &talk.federation.targets {
        if only.is_some_and(|it| it != &*target.name) {
            continue;
        }
        let last = places.get(&*target.name).cloned();
        let departure = listening.departures.of(&target.name);
        let asked = Asked { last, once: only.is_some(), arrival: arrival.clone(), departure };
        listening.tasks.spawn(listen(talk.clone(), target.clone(), asked, sender.clone()));
    }
    (listening, sender)
}

struct Asked {
    last: Option<String>,
    once: bool,
    arrival: Option<Arrival>,
    departure: Departure,
}

/// One server's stream, again and again, until it is heard elsewhere.
async fn listen(talk: Arc<Talk>, target: Arc<Target>, asked: Asked, out: mpsc::Sender<Said>) {
    let Asked { mut last, once, mut arrival, mut departure } = asked;
    // A server that has one stream for each session takes another soon after the first is closed.
    let mut pause = if arrival.is_some() { PAUSE_MIN } else { PAUSE };
    let watch = talk.session.as_ref().map(|(name, _)| talk.mcp.watches.of(name, &target.name));
    while !departure.is_due() {
        let listening = Box::pin(target.listen(&talk, last.as_deref())).await;
        let refused = arrival.as_ref().is_some_and(|it| it.asked(&target.name, &listening));
        match listening {
            Ok(Some(events)) => {
                pause = PAUSE;
                if let Some(mut arrival) = arrival.take() {
                    arrival.in_order(&target.name).await;
                }
                let mut passing = Passing { target: &target, last: &mut last, out: &out, departure: &mut departure };
                match passing.pass(events, watch.as_deref()).await {
                    Passed::Ended => {}
                    // Asked anew at once, for something else.
                    Passed::Changed => continue,
                    Passed::Unheard => return,
                }
            }
            Ok(None) => break,
            Err(fault) => {
                tracing::debug!(target_name = &*target.name, error = %fault, "no stream");
                if let Some(mut arrival) = arrival.take_if(|_| refused) {
                    arrival.left(&target.name).await;
                    continue;
                }
            }
        }
        if once {
            return;
        }
        tokio::select! {
            () = departure.due() => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    if departure.is_due() {
        // Nobody may be there to hear it.
        let _ = out.send(Said::Left(target)).await;
    }
}

/// One stream on its way to who hears it.
struct Passing<'a> {
    target: &'a Arc<Target>,
    last: &'a mut Option<String>,
    out: &'a mpsc::Sender<Said>,
    departure: &'a mut Departure,
}

/// Why no more of a stream is passed on.
enum Passed {
    Ended,
    /// Something else is wanted of the server.
    Changed,
    /// Nobody listens any more.
    Unheard,
}

impl Passing<'_> {
    /// An event that has been read is passed on, whatever happens meanwhile.
    async fn pass(&mut self, mut events: Events, watch: Option<&Watch>) -> Passed {
        let mut farewell = Farewell::default();
        let mut changed = std::pin::pin!(async {
            match watch {
                Some(watch) => watch.changed.notified().await,
                None => std::future::pending().await,
            }
        });
        loop {
            let event = tokio::select! {
                biased;
                () = self.departure.due(), if !farewell.has_begun() => {
                    farewell.begin();
                    continue;
                }
                event = events.next() => event,
                () = farewell.silence() => {
                    farewell.said();
                    events.leave().await;
                    continue;
                }
                () = &mut changed => return Passed::Changed,
            };
            let Ok(Some(event)) = event else { return Passed::Ended };
            if let Some(id) = &event.id {
                *self.last = Some(id.clone());
            }
            let event = Event { data: Bytes::clone(&event.data), ..event };
            if self.out.send(Said::Server(self.target.clone(), event)).await.is_err() {
                return Passed::Unheard;
            }
        }
    }
}
