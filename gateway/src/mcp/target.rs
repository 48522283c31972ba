//! One server, spoken to as its client: sessions opened, messages sent, streams listened to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_http::RequestHeader;
use protocols::json::{self, Raw, quoted};
use protocols::mcp::session::{Name, Opened};
use protocols::mcp::transport::{EVENT_STREAM, JSON, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use protocols::mcp::{Message, Shape, Version};
use protocols::sse::Event;

use super::call::{Reply, Terms};
use super::duplex::Line;
use super::events::Events;
use super::fault::Fault;
use super::federation::Target;
use super::federation::{Endpoint, Reach};
use super::sessions::Slot;
use super::state::Era;
use super::talk::{Talk, insert_all};
use super::{MESSAGE_BYTES_MAX, TARGET_DEADLINE, openapi};

/// Stands for a line of its own where others have the id of a session.
pub(super) const LINE: &str = "line";
/// The id of our own `initialize`.
pub(super) const OPENING_ID: &str = "\"agw-open\"";
/// How much of a refusal is looked at.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// What a server answered.
pub(super) enum Answer {
    /// A notification or an answer was taken.
    Accepted,
    Message(Bytes),
    Stream(Events),
}

/// A session that was opened, with what the server said of itself. It is closed again if nobody takes it.
pub(super) struct Opening {
    opened: Option<Opened>,
    pub(super) version: Version,
    /// The whole message.
    pub(super) message: Bytes,
    /// Who closes it.
    closes: (Arc<Target>, Arc<Talk>, Name),
}

impl Opening {
    /// Takes the session, which then stays.
    pub(super) fn take(&mut self) -> Option<Opened> {
        self.opened.take()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let Some(opened) = self.opened.take() else { return };
        let (target, talk, name) = self.closes.clone();
        talk.mcp.lines.end(&name, &target.name);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { target.close(&talk, &opened).await });
        }
    }
}

/// What is sent, and how.
#[derive(Clone)]
pub(super) struct Sending {
    pub(super) body: Bytes,
    /// Until the head of the answer; `None`: as long as it takes.
    pub(super) deadline: Option<Duration>,
    /// It may be sent twice, for it changes nothing.
    pub(super) again: bool,
}

/// Longest wait for the head of an answer to a call that names no deadline.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(3600);

impl Sending {
    /// Something of our own, that may be repeated.
    pub(super) fn ours(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), deadline: Some(TARGET_DEADLINE), again: true }
    }
}

impl Target {
    /// Streamable HTTP; `None` for what has a line.
    pub(super) fn http(&self) -> Result<Option<&Endpoint>, Fault> {
        match &self.reach {
            Reach::Http(endpoint) => Ok(Some(endpoint)),
            Reach::Sse(_) | Reach::Stdio(_) | Reach::OpenApi(..) => Ok(None),
            Reach::Broken(reason) => Err(Fault::Broken(reason.clone())),
        }
    }

    pub(super) fn sse(&self) -> Result<&Endpoint, Fault> {
        match &self.reach {
            Reach::Sse(endpoint) => Ok(endpoint),
            _ => Err(Fault::Unsupported("the transport with a stream beside it")),
        }
    }

    /// Opens a session. `client`: the parameters of `initialize`.
    ///
    /// It goes on where the caller does not wait any longer, so that a session which comes about late is closed.
    pub(super) async fn open(self: &Arc<Self>, talk: &Arc<Talk>, client: &str, name: &Name) -> Result<Opening, Fault> {
        let (target, talk, client, name) = (self.clone(), talk.clone(), client.to_owned(), *name);
        let opening = tokio::spawn(async move {
            let shaken = Box::pin(target.shake(&talk, &client, &name));
            let (opened, message) = target.guarded(&talk, tokio::time::timeout(TARGET_DEADLINE, shaken)).await?;
            let version = opened.version;
            Ok(Opening { opened: Some(opened), version, message, closes: (target.clone(), talk.clone(), name) })
        });
        opening.await.unwrap_or(Err(Fault::Silent))
    }

    /// Counts what comes of it for the server's health; a server that is left alone is not asked.
    async fn guarded<T>(
        self: &Arc<Self>,
        talk: &Talk,
        asking: impl Future<Output = Result<Result<T, Fault>, tokio::time::error::Elapsed>>,
    ) -> Result<T, Fault> {
        if !self.state.admits(Instant::now()) {
            return Err(Fault::Open);
        }
        let done = asking.await.unwrap_or(Err(Fault::Deadline(TARGET_DEADLINE)));
        match &done {
            Err(fault) if fault.is_failure() => {
                tracing::debug!(target_name = &*self.name, error = %fault, "an MCP server failed");
                self.failed(talk);
            }
            _ => self.state.succeeded(),
        }
        done
    }

    /// The line of the client's session; without one the session is forgotten.
    fn line(&self, talk: &Talk) -> Result<Arc<Line>, Fault> {
        let (name, _) = talk.session.as_ref().ok_or(Fault::Forgotten)?;
        talk.mcp.lines.get(name, &self.name).ok_or(Fault::Forgotten)
    }

    async fn post_line(&self, talk: &Talk, sending: Sending) -> Result<Answer, Fault> {
        let line = self.line(talk)?;
        let id = Message::parse(&sending.body).ok().filter(|it| it.shape() == Shape::Request);
        let id = id.and_then(|it| it.id).map(|it| it.text().to_owned());
        let Some(id) = id else {
            line.tell(sending.body).await?;
            return Ok(Answer::Accepted);
        };
        let mut coming = line.ask(&id, sending.body).await?;
        let deadline = sending.deadline.unwrap_or(CALL_DEADLINE);
        let first = tokio::time::timeout(deadline, coming.recv()).await.map_err(|_| Fault::Deadline(deadline))?;
        let first = first.ok_or(Fault::Silent)?;
        if Message::parse(&first.data).is_ok_and(|it| it.answers(&id)) {
            return Ok(Answer::Message(first.data));
        }
        Ok(Answer::Stream(Events::Line { ready: [first].into(), coming, _line: line }))
    }

    /// Sends a message in the client's session; a server that has forgotten it gets another one.
    pub(super) async fn send(self: &Arc<Self>, talk: &Talk, sending: Sending) -> Result<Answer, Fault> {
        if !self.state.admits(Instant::now()) {
            return Err(Fault::Open);
        }
        let sent = Box::pin(self.in_session(talk, sending)).await;
        match &sent {
            Err(fault) if fault.is_failure() => self.failed(talk),
            _ => self.state.succeeded(),
        }
        sent
    }

    async fn in_session(self: &Arc<Self>, talk: &Talk, sending: Sending) -> Result<Answer, Fault> {
        if let Reach::OpenApi(endpoint, document) = &self.reach {
            return openapi::answer(self, talk, (endpoint, document), sending).await;
        }
        let opened = self.session(talk).await?;
        let first = Box::pin(self.post(talk, &opened, sending.clone())).await;
        match first {
            Err(Fault::Forgotten) if talk.session.is_some() => {
                let opened = self.renew(talk, Some(&opened)).await?;
                Box::pin(self.post(talk, &opened, sending)).await
            }
            first => first,
        }
    }

    /// The session with this server: as sealed, as opened anew since, or opened now.
    pub(super) async fn session(self: &Arc<Self>, talk: &Talk) -> Result<Opened, Fault> {
        let Some((name, session)) = &talk.session else {
            return Ok(Opened { target: self.name.to_string(), id: None, version: Version::LEGACY });
        };
        if session.version.is_modern() && self.state.era(Instant::now()) == Era::Modern {
            return Ok(Opened { target: self.name.to_string(), id: None, version: session.version });
        }
        if let Some(slot) = talk.mcp.sessions.renewed(name, &self.name)
            && let Some(opened) = slot.lock().await.clone()
        {
            return Ok(opened);
        }
        match session.server(&self.name) {
            Some(opened) => Ok(opened),
            None => self.renew(talk, None).await,
        }
    }

    /// Opens another session in the place of one that is forgotten there, or was never opened. One opens, others wait.
    pub(super) async fn renew(self: &Arc<Self>, talk: &Talk, forgotten: Option<&Opened>) -> Result<Opened, Fault> {
        let Some((name, session)) = &talk.session else { return Err(Fault::Forgotten) };
        let slot = talk.mcp.sessions.renew(name, &self.name);
        let mut held = slot.lock().await;
        if let Some(opened) = held.as_ref().filter(|it| Some(*it) != forgotten) {
            return Ok(opened.clone());
        }
        let opening = tokio::time::timeout(TARGET_DEADLINE, Box::pin(self.shake(talk, &session.client, name))).await;
        let (opened, _) = opening.unwrap_or(Err(Fault::Deadline(TARGET_DEADLINE)))?;
        *held = Some(opened.clone());
        if forgotten.is_some() {
            // What it listed before may be of another program by now.
            self.state.changed(&protocols::mcp::List::ALL);
        }
        Ok(opened)
    }

    async fn post(self: &Arc<Self>, talk: &Talk, opened: &Opened, sending: Sending) -> Result<Answer, Fault> {
        let Some(endpoint) = self.http()? else { return self.post_line(talk, sending).await };
        if opened.version.is_modern() {
            return Box::pin(self.post_modern(talk, endpoint, sending)).await;
        }
        let Sending { body, deadline, again } = sending;
        let head = post_head(talk, endpoint, Some(opened), &body).await?;
        let deadline = deadline.or_else(|| endpoint.effective.timeout()?.backend_request).unwrap_or(CALL_DEADLINE);
        let (caller, affinity) = (&talk.mcp.caller, talk.affinity(self));
        let reply = match again {
            true => caller.send(endpoint, &head, Some(body), Terms { deadline, again, affinity }).await?,
            false => caller.send_once(endpoint, head, body, (deadline, affinity)).await?,
        };
        match reply.status {
            StatusCode::OK => answer_of(reply).await,
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                reply.discard().await;
                Ok(Answer::Accepted)
            }
            _ => Err(refusal(reply, opened.id.is_some()).await),
        }
    }

    /// Opens the stream of what nobody asked for. `None`: the server has none.
    pub(super) async fn listen(self: &Arc<Self>, talk: &Talk, last: Option<&str>) -> Result<Option<Events>, Fault> {
        if matches!(self.reach, Reach::OpenApi(..)) {
            return Ok(None);
        }
        let mut opened = self.session(talk).await?;
        let Some(endpoint) = self.http()? else {
            if self.line(talk).is_err() {
                self.renew(talk, Some(&opened)).await?;
            }
            let line = self.line(talk)?;
            let (ready, coming) = line.listen()?;
            return Ok(Some(Events::Line { ready, coming, _line: line }));
        };
        if opened.version.is_modern() {
            return self.listen_modern(talk, endpoint, &self.wanted(talk)).await;
        }
        for _ in 0..2 {
            let mut head = talk.head(endpoint, (&Method::GET, &endpoint.path), b"").await?;
            let accepted = (header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
            let last = last.and_then(|it| Some((LAST_EVENT_ID, HeaderValue::from_str(it).ok()?)));
            insert_all(&mut head, name_of(&opened).chain([accepted]).chain(last))?;
            let terms = Terms { deadline: CALL_DEADLINE, again: true, affinity: talk.affinity(self) };
            let reply = talk.mcp.caller.send(endpoint, &head, None, terms).await?;
            match reply.status {
                StatusCode::OK if reply.is_type(EVENT_STREAM) => {
                    return Ok(Some(Events::Http(Box::new(reply.events()))));
                }
                StatusCode::METHOD_NOT_ALLOWED | StatusCode::OK => return Ok(None),
                _ => match refusal(reply, opened.id.is_some()).await {
                    Fault::Forgotten => opened = self.renew(talk, Some(&opened)).await?,
                    fault => return Err(fault),
                },
            }
        }
        Err(Fault::Forgotten)
    }

    /// Ends the session; whether the server minds is its own affair.
    pub(super) async fn close(self: &Arc<Self>, talk: &Talk, opened: &Opened) {
        if opened.id.is_none() {
            return;
        }
        let endpoint = match self.http() {
            Ok(Some(endpoint)) => endpoint,
            _ => return,
        };
        let Ok(mut head) = talk.head(endpoint, (&Method::DELETE, &endpoint.path), b"").await else { return };
        if insert_all(&mut head, name_of(opened)).is_err() {
            return;
        }
        let terms = Terms { deadline: TARGET_DEADLINE, again: true, affinity: talk.affinity(self) };
        if let Ok(reply) = talk.mcp.caller.send(endpoint, &head, None, terms).await {
            reply.discard().await;
        }
    }

    /// Ends what was opened for a client, sealed or anew.
    pub(super) async fn end(self: &Arc<Self>, talk: &Talk, renewed: Option<&Slot>) {
        let Some((name, session)) = &talk.session else { return };
        talk.mcp.lines.end(name, &self.name);
        let renewed = match renewed {
            Some(slot) => slot.lock().await.clone(),
            None => None,
        };
        if let Some(opened) = renewed.or_else(|| session.server(&self.name)) {
            self.close(talk, &opened).await;
        }
    }
}

pub(super) async fn post_head(
    talk: &Talk,
    endpoint: &Endpoint,
    opened: Option<&Opened>,
    body: &[u8],
) -> Result<RequestHeader, Fault> {
    static BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
    let mut head = talk.head(endpoint, (&Method::POST, &endpoint.path), body).await?;
    let terms = [
        (header::ACCEPT, BOTH.clone()),
        (header::CONTENT_TYPE, HeaderValue::from_static(JSON)),
        (header::CONTENT_LENGTH, protocols::http::number(body.len())),
    ];
    insert_all(&mut head, terms.into_iter().chain(opened.into_iter().flat_map(name_of)))?;
    Ok(head)
}

/// The headers that name a session.
fn name_of(opened: &Opened) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let id = opened.id.as_deref().and_then(|it| HeaderValue::from_str(it).ok());
    // Elder revisions know no such header.
    let version = Some(opened.version).filter(|it| *it >= Version::V2025_06_18);
    let version = version.map(|it| (PROTOCOL_VERSION, HeaderValue::from_static(it.as_str())));
    id.map(|it| (SESSION_ID, it)).into_iter().chain(version)
}

/// What an answer of status 200 holds.
pub(super) async fn answer_of(reply: Reply) -> Result<Answer, Fault> {
    if reply.is_type(EVENT_STREAM) {
        return Ok(Answer::Stream(Events::Http(Box::new(reply.events()))));
    }
    if reply.is_type(JSON) {
        return Ok(Answer::Message(reply.collect().await?));
    }
    let kind = reply.headers.get(header::CONTENT_TYPE).map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
    Err(Fault::Message(format!("content type {}", quoted(kind.as_deref().unwrap_or("none")))))
}

/// What another status means. Servers say in more than one way that they do not know a session.
pub(super) async fn refusal(reply: Reply, in_session: bool) -> Fault {
    let status = reply.status;
    if status == StatusCode::NOT_FOUND && in_session {
        reply.discard().await;
        return Fault::Forgotten;
    }
    if let (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(challenge)) =
        (status, reply.headers.get(header::WWW_AUTHENTICATE).cloned())
    {
        reply.discard().await;
        return Fault::Challenge(status.as_u16(), challenge);
    }
    let body = match reply.collect().await {
        Ok(body) if body.len() <= REFUSAL_BYTES_MAX => body,
        _ => return Fault::Status(status.as_u16()),
    };
    let says_session = || {
        let text = String::from_utf8_lossy(&body).to_ascii_lowercase();
        text.contains("session")
    };
    if status == StatusCode::BAD_REQUEST && in_session && says_session() {
        return Fault::Forgotten;
    }
    match Message::parse(&body).ok().and_then(|it| it.error) {
        Some(error) => Fault::Refused(status.as_u16(), error.text().to_owned()),
        None => Fault::Status(status.as_u16()),
    }
}

/// The message of a stream that answers `id`; everything else goes to `other`.
pub(super) async fn find_answer(events: &mut Events, id: &str, mut other: impl FnMut(&Event)) -> Result<Bytes, Fault> {
    while let Some(event) = events.next().await? {
        if Message::parse(&event.data).is_ok_and(|it| it.answers(id)) {
            return Ok(event.data);
        }
        other(&event);
    }
    Err(Fault::Silent)
}

/// The result in a message that answers `id`.
pub(super) fn result_of<'a>(message: &'a [u8], id: &str) -> Result<Raw<'a>, Fault> {
    let parsed = Message::parse(message).map_err(|fault| Fault::Message(fault.to_string()))?;
    if let Some(error) = parsed.error {
        return Err(Fault::Error(error.text().to_owned()));
    }
    match parsed.result {
        Some(result) if parsed.answers(id) && result.kind() == json::Kind::Object => Ok(result),
        _ => Err(Fault::Message("no answer to what was asked".to_owned())),
    }
}

/// What is asked of a server and answered at once: a result.
pub(super) async fn ask(target: &Arc<Target>, talk: &Talk, id: &str, body: String) -> Result<Bytes, Fault> {
    let asked = async {
        match target.send(talk, Sending::ours(body)).await? {
            Answer::Message(message) => Ok(message),
            Answer::Stream(mut events) => {
                let message = find_answer(&mut events, id, |event| note(target, event)).await;
                events.finish();
                message
            }
            Answer::Accepted => Err(Fault::Silent),
        }
    };
    match tokio::time::timeout(TARGET_DEADLINE, Box::pin(asked)).await {
        Ok(answered) => answered,
        Err(_) => {
            target.failed(talk);
            Err(Fault::Deadline(TARGET_DEADLINE))
        }
    }
}

/// Notes what an event says of the server's lists.
pub(super) fn note(target: &Target, event: &Event) {
    if event.data.len() < MESSAGE_BYTES_MAX
        && let Ok(message) = Message::parse(&event.data)
    {
        target.state.changed(protocols::mcp::List::changed(message.method()));
    }
}
