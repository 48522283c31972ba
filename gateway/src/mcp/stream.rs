//! The stream of what nobody asked for (GET): those of all servers in one, and gone on with after a break.
//!
//! It begins at once where there are several servers, for one that hangs delays nobody. A server whose stream breaks
//! is asked for it again, from where it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filters::Reason;
use http::HeaderValue;
use http::header::ALLOW;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::mcp::answer;
use protocols::mcp::resume::Last;
use protocols::mcp::transport::LAST_EVENT_ID;
use protocols::sse::Event;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::events::Events;
use super::reply::{self, Stream};
use super::talk::Talk;
use super::{Target, relay};
use crate::proxy::{Ctx, Proxy};

/// Events that wait for the client.
const WAITING_MAX: usize = 64;
/// Before a stream that broke is asked for again: doubled each time up to the second.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

pub(super) async fn answer(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, talk: Talk) -> Result<()> {
    let last = session.req_header().headers.get(LAST_EVENT_ID).and_then(|it| it.to_str().ok()).map(str::to_owned);
    // What is wanted of a server without sessions changes, and its stream with it.
    let changes = |target: &Target| {
        let sealed = talk.session.as_ref().and_then(|(_, session)| session.server(&target.name));
        sealed.is_some_and(|it| it.version.is_modern())
    };
    let only = talk.federation.single().filter(|it| !talk.federation.naming.ids && !changes(it));
    match only.cloned() {
        Some(target) => one(proxy, session, ctx, (talk, target, last)).await,
        None => several(proxy, session, ctx, (talk, last)).await,
    }
}

/// The only server's stream, as it is.
async fn one(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    (talk, target, last): (Talk, Arc<Target>, Option<String>),
) -> Result<()> {
    let listening = reply::while_there(session, ctx, Box::pin(target.listen(&talk, last.as_deref()))).await?;
    let mut events = match listening {
        Ok(Some(events)) => events,
        Ok(None) => {
            let text = answer::error("", answer::INVALID_REQUEST, "the server has no such stream");
            let mut refused = reply::message(405, Reason::Upstream, text);
            refused.headers.push((ALLOW, HeaderValue::from_static("POST, DELETE")));
            return reply::write(session, ctx, refused).await;
        }
        Err(fault) => {
            relay::note(ctx, &target, &fault);
            let text = fault.answer("null", &target.name);
            return reply::write(session, ctx, reply::message(502, Reason::UpstreamFailure, text)).await;
        }
    };
    let mut out = Stream::begin(session, ctx, &proxy.carried, Vec::new()).await?;
    // The client asks again when it ends, from where it was.
    while let Ok(Some(event)) = out.next(std::pin::pin!(events.next())).await? {
        if let Some(data) = relay::unasked(&talk, &target, &event) {
            out.event(&Event { data, ..event }).await?;
        }
    }
    out.end().await
}

async fn several(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    (talk, last): (Talk, Option<String>),
) -> Result<()> {
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    let mut only = None;
    match last.as_deref().and_then(Last::parse) {
        Some(Last::Call { target, id }) => {
            places.insert(target.clone(), id);
            only = Some(target);
        }
        Some(Last::Unasked(known)) => places.extend(known),
        None => {}
    }
    let talk = Arc::new(talk);
    // They end with this exchange.
    let (_listeners, mut receiver) = listen_from(&talk, &places, only.as_deref());
    let mut out = Stream::begin(session, ctx, &proxy.carried, Vec::new()).await?;
    loop {
        let Some((target, event)) = out.next(std::pin::pin!(receiver.recv())).await? else {
            if only.is_some() {
                return out.end().await;
            }
            // No server has such a stream: it stays, for what the gateway itself may say.
            let () = out.next(std::pin::pin!(std::future::pending())).await?;
            return Ok(());
        };
        let Some(data) = relay::unasked(&talk, &target, &event) else { continue };
        if let Some(id) = &event.id {
            places.insert(target.name.to_string(), id.clone());
        }
        let id = event.id.as_ref().and_then(|id| match only.is_some() {
            true => Last::Call { target: target.name.to_string(), id: id.clone() }.write(),
            false => Last::Unasked(places.clone().into_iter().collect()).write(),
        });
        out.event(&Event { id, data, ..event }).await?;
    }
}

/// The streams of all servers, for as long as the first is kept.
pub(super) fn listeners(talk: &Arc<Talk>) -> (JoinSet<()>, mpsc::Receiver<(Arc<Target>, Event)>) {
    listen_from(talk, &BTreeMap::new(), None)
}

fn listen_from(
    talk: &Arc<Talk>,
    places: &BTreeMap<String, String>,
    only: Option<&str>,
) -> (JoinSet<()>, mpsc::Receiver<(Arc<Target>, Event)>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let mut listeners = JoinSet::new();
    for target in &talk.federation.targets {
        if only.is_some_and(|it| it != &*target.name) {
            continue;
        }
        let last = places.get(&*target.name).cloned();
        listeners.spawn(listen(talk.clone(), target.clone(), (last, only.is_some()), sender.clone()));
    }
    (listeners, receiver)
}

/// One server's stream, again and again.
async fn listen(
    talk: Arc<Talk>,
    target: Arc<Target>,
    (mut last, once): (Option<String>, bool),
    out: mpsc::Sender<(Arc<Target>, Event)>,
) {
    let mut pause = PAUSE;
    let watch = talk.session.as_ref().map(|(name, _)| talk.mcp.watches.of(name, &target.name));
    loop {
        let changed = async {
            match &watch {
                Some(watch) => watch.changed.notified().await,
                None => std::future::pending().await,
            }
        };
        match Box::pin(target.listen(&talk, last.as_deref())).await {
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
    out: &mpsc::Sender<(Arc<Target>, Event)>,
) -> std::result::Result<(), ()> {
    while let Ok(Some(event)) = events.next().await {
        if let Some(id) = &event.id {
            *last = Some(id.clone());
        }
        let event = Event { data: Bytes::clone(&event.data), ..event };
        out.send((target.clone(), event)).await.map_err(drop)?;
    }
    Ok(())
}
