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
use protocols::mcp::answer;
use protocols::mcp::resume::{Last, Place};
use protocols::mcp::transport::LAST_EVENT_ID;
use protocols::sse::Event;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::events::Events;
use super::fault::Fault;
use super::feed::{Coming, Feed, Said, Several};
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
        let number = place.map_or(0, |it| it.number);
        return go_on(proxy, session, ctx, (claim, number)).await;
    }
    let last = match place {
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
        let sealed = talk.session.as_ref().and_then(|(_, session)| session.server(&target.name));
        sealed.is_some_and(|it| it.version.is_modern())
    };
    let only = talk.federation.single().filter(|it| !talk.federation.naming.ids && !changes(it)).cloned();
    let feed = match only {
        Some(target) => {
            let last = places.get(&*target.name).map(String::as_str);
            let listening = reply::while_there(session, ctx, Box::pin(target.listen(&talk, last))).await?;
            match heard(ctx, &target, listening) {
                Ok(events) => Feed::One { talk: talk.clone(), target, events },
                Err(refused) => return reply::write(session, ctx, *refused).await,
            }
        }
        None => {
            let (listeners, coming, _) = listen_from(&talk, From { places: &places, only: None, ready: None });
            let talk = talk.clone();
            Feed::Several(Box::new(Several { talk, _listeners: listeners, coming, places, seen: None, is_call: false }))
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
        Some(_) => None,
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
    // A process that is on its way out already is asked because there is no other.
    let mut ends = leaving.clone().filter(|it| !*it.borrow() && !claim.is_call());
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
                        () = raised(&mut ends) => Next::Leaves,
                        coming = claim.feed.next() => Next::Comes(coming),
                    }
                };
                let next = out.next(std::pin::pin!(next)).await;
                match next {
                    Ok(Next::Comes(Coming::Event { event, last, .. })) => (claim.keep(event, last), false),
                    Ok(Next::Comes(Coming::Answer { event, last })) => (claim.keep_last(event, last), true),
                    Ok(Next::Comes(Coming::End)) => return out.end().await,
                    Ok(Next::Claimed) => {
                        claim.give_up();
                        return out.end().await;
                    }
                    Ok(Next::Leaves) => {
                        // The client goes on with it where the service is now.
                        claim.linger(leaving);
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
    let (_listeners, mut receiver, _) = listen_from(&talk, From { places: &places, only: Some(&target), ready: None });
    let mut out = Stream::begin(session, ctx, &proxy.carried, Vec::new()).await?;
    while let Some(said) = out.next(std::pin::pin!(receiver.recv())).await? {
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
    /// Gets a permit for each that has been asked; until then another process listens as well.
    pub(super) ready: Option<Arc<Semaphore>>,
}

/// The streams of servers, for as long as the first is kept; the last is for others who say something in the same stream.
pub(super) fn listen_from(
    talk: &Arc<Talk>,
    From { places, only, ready }: From<'_>,
) -> (JoinSet<()>, mpsc::Receiver<Said>, mpsc::Sender<Said>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let mut listeners = JoinSet::new();
    for target in &talk.federation.targets {
        if only.is_some_and(|it| it != &*target.name) {
            continue;
        }
        let last = places.get(&*target.name).cloned();
        let asked = Asked { last, once: only.is_some(), ready: ready.clone() };
        listeners.spawn(listen(talk.clone(), target.clone(), asked, sender.clone()));
    }
    (listeners, receiver, sender)
}

struct Asked {
    last: Option<String>,
    once: bool,
    ready: Option<Arc<Semaphore>>,
}

/// One server's stream, again and again.
async fn listen(talk: Arc<Talk>, target: Arc<Target>, asked: Asked, out: mpsc::Sender<Said>) {
    let Asked { mut last, once, mut ready } = asked;
    // A server that has one stream for each session takes another as soon as the first is closed.
    let mut pause = if ready.is_some() { PAUSE_MIN } else { PAUSE };
    let watch = talk.session.as_ref().map(|(name, _)| talk.mcp.watches.of(name, &target.name));
    loop {
        let changed = async {
            match &watch {
                Some(watch) => watch.changed.notified().await,
                None => std::future::pending().await,
            }
        };
        let listening = Box::pin(target.listen(&talk, last.as_deref())).await;
        if let Some(ready) = ready.take() {
            ready.add_permits(1);
        }
        match listening {
            Ok(Some(events)) => {
                pause = PAUSE;
                let passed = tokio::select! {
                    passed = pass(&target, events, &mut last, &out) => passed,
                    // Asked anew at once, for something else.
                    () = changed => continue,
                };
                if passed.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(fault) => tracing::debug!(target_name = &*target.name, error = %fault, "no stream"),
        }
        if once {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The error says that nobody listens any more.
async fn pass(
    target: &Arc<Target>,
    mut events: Events,
    last: &mut Option<String>,
    out: &mpsc::Sender<Said>,
) -> std::result::Result<(), ()> {
    while let Ok(Some(event)) = events.next().await {
        if let Some(id) = &event.id {
            *last = Some(id.clone());
        }
        let event = Event { data: Bytes::clone(&event.data), ..event };
        out.send(Said::Server(target.clone(), event)).await.map_err(drop)?;
    }
    Ok(())
}
