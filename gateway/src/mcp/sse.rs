//! Clients of revision 2024-11-05: a stream (`GET /sse`) carries everything that is said to them, and its first event
//! names the place that they post messages to.
//!
//! The stream is in this process, and so is the session that its client opens over it; the id in the place says whose it
//! is, as other ids do. A process that has taken over says what it has to say through the one that has the stream; no
//! other goes on with it. A message is taken with 202 at once; what comes of it goes
//! into the stream, for which [`Channel`] stands in wherever an answer is written.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use filters::{Reason, Wanted};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::json::Raw;
use protocols::mcp::session::{Name, Servers, Session as Sealed};
use protocols::mcp::transport::{self, JSON};
use protocols::mcp::{Message, Shape, Version, answer};
use protocols::sse::Event;
use tokio::sync::{Notify, mpsc};

use super::feed::Said;
use super::reply::{self, Stream};
use super::talk::Talk;
use super::{Sessions, post, serve, stream};
use crate::proxy::{Ctx, Proxy, body, request::Stop};

/// Streams at once.
const CHANNELS_MAX: usize = 16 * 1024;
/// Messages that wait for a client.
const WAITING_MAX: usize = 256;
/// The parameter of the place that messages are posted to.
const PARAMETER: &str = "sessionId";

/// The path of this transport; every other is of Streamable HTTP.
pub(super) const PATH: &str = "/sse";

/// What leads to one client.
pub struct Channel {
    out: mpsc::Sender<Event>,
    held: Arc<Held>,
}

/// What is known of its client.
pub(super) struct Held {
    /// Once it has been opened.
    session: Mutex<Option<Arc<Sealed>>>,
    opened: Notify,
}

impl Held {
    pub(super) fn session(&self) -> Option<Arc<Sealed>> {
        self.session.lock().clone()
    }

    /// Ends once when a session is opened.
    pub(super) async fn opened(&self) {
        self.opened.notified().await;
    }
}

impl Channel {
    /// With its session, where there is one already, and what comes out of it.
    pub(super) fn new(session: Option<Arc<Sealed>>) -> (Arc<Self>, mpsc::Receiver<Event>) {
        let (out, said) = mpsc::channel(WAITING_MAX);
        let held = Arc::new(Held { session: Mutex::new(session), opened: Notify::new() });
        (Arc::new(Self { out, held }), said)
    }

    pub(super) fn held(&self) -> Arc<Held> {
        self.held.clone()
    }

    /// Says something to the client, and waits where it is slow. The error says that it has left.
    pub(super) async fn say(&self, event: Event) -> std::result::Result<(), ()> {
        let event = Event { event: Some("message".to_owned()), id: None, ..event };
        self.out.send(event).await.map_err(drop)
    }

    /// Ends when the client has left.
    pub(super) async fn gone(&self) {
        self.out.closed().await;
    }

    pub(super) fn open(&self, session: Arc<Sealed>) {
        *self.held.session.lock() = Some(session);
        self.held.opened.notify_one();
    }
}

/// All of the process.
#[derive(Default)]
pub(super) struct Channels(Mutex<HashMap<Name, Arc<Channel>>>);

impl Channels {
    fn keep(&self, name: Name, channel: &Arc<Channel>) -> bool {
        let mut channels = self.0.lock();
        if channels.len() >= CHANNELS_MAX {
            return false;
        }
        channels.insert(name, channel.clone());
        true
    }

    pub(super) fn get(&self, name: &Name) -> Option<Arc<Channel>> {
        self.0.lock().get(name).cloned()
    }
}

/// Takes a stream out when its exchange has ended, however it did, and with it the session.
struct Ending {
    talk: Talk,
    name: Name,
    channel: Arc<Channel>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.talk.mcp.channels.0.lock().remove(&self.name);
        if let Some(session) = self.channel.held.session.lock().take() {
            self.talk.session = Some((self.name, session));
            serve::forget(&self.talk);
        }
    }
}

/// The stream.
pub(super) async fn listen(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, talk: Talk) -> Result<()> {
    if let Err(fault) = transport::check_get(&session.req_header().headers) {
        return refuse(session, ctx, fault.status().as_u16(), &fault.to_string()).await;
    }
    let name = Sessions::name();
    let began = Sessions::now();
    let (owner, version) = (talk.mcp.replay.owner, Version::V2024_11_05);
    let place = Sealed { began, owner, version, client: String::new(), servers: Servers::default() };
    let Ok(id) = talk.mcp.sessions.seal(&place, name, &talk.scope) else {
        return refuse(session, ctx, 500, "the session cannot be sealed").await;
    };
    let (channel, mut receiver) = Channel::new(None);
    if !talk.mcp.channels.keep(name, &channel) {
        return refuse(session, ctx, 503, "too many streams").await;
    }
    let ending = Ending { talk: talk.again(), name, channel: channel.clone() };
    // The client resolves it against the URL that it knows.
    let path = ctx.original.path.0.as_ref().unwrap_or(&session.req_header().uri).path().to_owned();
    let mut out = Stream::begin(session, ctx, &proxy.carried, Vec::new()).await?;
    let place = Event { event: Some("endpoint".to_owned()), ..Event::message(format!("{path}?{PARAMETER}={id}")) };
    out.event(&place).await?;
    let unasked = tokio::spawn(unasked(talk, name, channel));
    let _ends = Aborts(unasked.abort_handle());
    while let Some(event) = out.next(std::pin::pin!(receiver.recv())).await? {
        out.event(&event).await?;
    }
    drop(ending);
    out.end().await
}

struct Aborts(tokio::task::AbortHandle);

impl Drop for Aborts {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What servers say unasked, once there is a session.
async fn unasked(mut talk: Talk, name: Name, channel: Arc<Channel>) {
    channel.held.opened().await;
    let Some(session) = channel.held.session() else { return };
    talk.session = Some((name, session));
    let talk = Arc::new(talk);
    let places = std::collections::BTreeMap::new();
    let (mut listening, _) = stream::listen_from(&talk, stream::From { places: &places, only: None, arrival: None });
    while let Some(said) = listening.coming.recv().await {
        let Said::Server(target, event) = said else { continue };
        if let Some(data) = super::relay::unasked(&talk, &target, &event)
            && channel.say(Event::message(data)).await.is_err()
        {
            return;
        }
    }
}

/// A message for the place that the stream has named.
pub(super) async fn message(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, mut talk: Talk) -> Result<()> {
    let query = session.req_header().uri.query().unwrap_or_default();
    let id = query.split('&').find_map(|it| it.strip_prefix(PARAMETER)?.strip_prefix('='));
    let Some(id) = id else {
        return refuse(session, ctx, 422, "`sessionId` is missing: begin with GET").await;
    };
    let place = talk.mcp.sessions.open(id, &talk.scope).map(|(name, place)| (name, place.owner));
    let Some((name, channel)) = found(&talk, place).await else {
        return refuse(session, ctx, 404, "session not found").await;
    };
    if !session.req_header().headers.get(CONTENT_TYPE).is_some_and(|it| transport::is_type(it.as_bytes(), JSON)) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16();
        return refuse(session, ctx, status, "`Content-Type` has to be application/json").await;
    }
    let body = match body::read_ahead(session, ctx, Wanted::Whole).await {
        Ok(()) => ctx.facts.body.held().map(|it| it.bytes.clone()).unwrap_or_default(),
        Err(Stop::Reply(refused)) => return reply::write(session, ctx, refused).await,
        Err(Stop::Broken(error)) => return Err(error),
    };
    let message = match Message::parse(&body) {
        Ok(message) => message,
        Err(fault) => return reply::write(session, ctx, post::unreadable(&fault)).await,
    };
    accept(session, ctx, &channel).await?;
    let said = taken(proxy, session, ctx, (&mut talk, name), (message, &body, &channel)).await;
    match said {
        // The client of the stream has left; this connection is in order.
        Err(_) if channel.out.is_closed() => Ok(()),
        said => said,
    }
}

/// What leads to the client: here, or in a process that gives way to this one.
async fn found(talk: &Talk, place: Option<(Name, u64)>) -> Option<(Name, Arc<Channel>)> {
    let (name, owner) = place?;
    match talk.mcp.channels.get(&name) {
        Some(channel) => Some((name, channel)),
        None => Some((name, talk.mcp.kin.channel(talk, (name, owner)).await?)),
    }
}

/// Takes the message: what comes of it goes into the stream. The connection ends with the exchange, which may last long.
async fn accept(session: &mut Session, ctx: &mut Ctx, channel: &Arc<Channel>) -> Result<()> {
    let mut accepted = reply::bare(202, Reason::Upstream);
    if session.req_header().version != http::Version::HTTP_2 {
        accepted.headers.push((http::header::CONNECTION, HeaderValue::from_static("close")));
        session.set_keepalive(None);
    }
    reply::write(session, ctx, accepted).await?;
    ctx.channel = Some(channel.clone());
    Ok(())
}

async fn taken(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    (talk, name): (&mut Talk, Name),
    (message, body, channel): (Message<'_>, &Bytes, &Arc<Channel>),
) -> Result<()> {
    let id = message.id.map_or("", Raw::text);
    if message.shape() == Shape::Request && message.method() == "initialize" {
        let (opened, session_of) = post::open(talk, (id, name), &message).await;
        if let Some(session) = session_of {
            channel.open(session);
        }
        return reply::write(session, ctx, opened).await;
    }
    let held = channel.held.session();
    let Some(held) = held else {
        let text = answer::error(id, answer::INVALID_REQUEST, "begin with `initialize`");
        return reply::write(session, ctx, reply::message(400, Reason::InvalidRequest, text)).await;
    };
    talk.session = Some((name, held));
    post::in_session(proxy, session, ctx, talk, (message, body)).await
}

async fn refuse(session: &mut Session, ctx: &mut Ctx, status: u16, text: &str) -> Result<()> {
    let text = answer::error("", answer::INVALID_REQUEST, text);
    reply::write(session, ctx, reply::message(status, Reason::InvalidRequest, text)).await
}
