//! Servers of the era without sessions: found out about, asked, and listened to.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use pingora_http::RequestHeader;
use protocols::json::{self, Kind, Raw, quoted};
use protocols::mcp::session::Opened;
use protocols::mcp::transport::{EVENT_STREAM, PROTOCOL_VERSION};
use protocols::mcp::{Edits, Message, Shape, answer, modern, param};

use super::super::TARGET_DEADLINE;
use super::super::Target;
use super::super::call::{Reply, Terms};
use super::super::events::Events;
use super::super::fan;
use super::super::fault::Fault;
use super::super::federation::Endpoint;
use super::super::state::Era;
use super::super::talk::{Talk, insert, insert_all};
use super::super::target::{self, Answer, CALL_DEADLINE, OPENING_ID, Sending};
use super::seam::{VERSION, known_tool};

/// Log messages that elder clients get which have not said what they want.
const LOG_LEVEL: &str = "info";

impl Target {
    /// What a server says of itself; `None` where it is of an elder era.
    pub(in crate::mcp) async fn discover(
        self: &Arc<Self>,
        talk: &Talk,
        endpoint: &Endpoint,
        client: &str,
    ) -> Result<Option<(Opened, Bytes)>, Fault> {
        let meta = modern::meta_of(client, None);
        let body: Bytes = answer::request(OPENING_ID, "server/discover", &format!(r#"{{"_meta":{{{meta}}}}}"#)).into();
        let message = Message::parse(&body).map_err(|fault| Fault::Message(fault.to_string()))?;
        let head = self.head(talk, endpoint, (&message, &body)).await?;
        let affinity = talk.affinity(self);
        let terms = Terms { deadline: TARGET_DEADLINE, again: true, affinity };
        let reply = talk.mcp.caller.send(endpoint, &head, Some(body.clone()), terms).await?;
        let said = match reply.status {
            StatusCode::OK => match target::answer_of(reply).await {
                Ok(Answer::Message(message)) => Some(message),
                Ok(Answer::Stream(mut events)) => Some(target::find_answer(&mut events, OPENING_ID, |_| {}).await?),
                Ok(Answer::Accepted) | Err(Fault::Message(_)) => None,
                Err(fault) => return Err(fault),
            },
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => return Err(Fault::Status(status.as_u16())),
            _ => {
                reply.discard().await;
                None
            }
        };
        let found = said.filter(|it| speaks(it));
        let era = if found.is_some() { Era::Modern } else { Era::Legacy };
        self.state.set_era(era, Instant::now());
        let opened = Opened { target: self.name.to_string(), id: None, version: VERSION };
        Ok(found.map(|it| (opened, it)))
    }

    async fn head(
        &self,
        talk: &Talk,
        endpoint: &Endpoint,
        (message, body): (&Message<'_>, &[u8]),
    ) -> Result<RequestHeader, Fault> {
        let mut head = target::post_head(talk, endpoint, None, body).await?;
        let version = (PROTOCOL_VERSION, HeaderValue::from_static(VERSION.as_str()));
        insert_all(&mut head, [version].into_iter().chain(modern::headers(message)))?;
        Ok(head)
    }

    /// Sends what a client has sent; elder clients' requests get what they lack.
    pub(in crate::mcp) async fn post_modern(
        self: &Arc<Self>,
        talk: &Talk,
        endpoint: &Endpoint,
        sending: Sending,
    ) -> Result<Answer, Fault> {
        let message = Message::parse(&sending.body).map_err(|fault| Fault::Message(fault.to_string()))?;
        if message.shape() != Shape::Request {
            // Nothing of the kind is there to be told.
            return Ok(Answer::Accepted);
        }
        if let Some(own) = self.remembered(talk, &message)? {
            return Ok(Answer::Message(own.into()));
        }
        let body = self.body(talk, &message).unwrap_or_else(|| sending.body.clone());
        let mut head = self.head(talk, endpoint, (&message, &body)).await?;
        self.repeat_arguments(talk, &message, &mut head)?;
        let deadline = sending.deadline.or_else(|| endpoint.effective.timeout()?.backend_request);
        let terms =
            Terms { deadline: deadline.unwrap_or(CALL_DEADLINE), again: sending.again, affinity: talk.affinity(self) };
        let reply = talk.mcp.caller.send(endpoint, &head, Some(body.clone()), terms).await?;
        let reply = match self.mismatch(talk, &message, reply).await? {
            Ok(reply) => reply,
            // The tool is known now, and with it the headers that it wants.
            Err(()) => {
                self.repeat_arguments(talk, &message, &mut head)?;
                talk.mcp.caller.send(endpoint, &head, Some(body), terms).await?
            }
        };
        match reply.status {
            StatusCode::OK => target::answer_of(reply).await,
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                reply.discard().await;
                Ok(Answer::Accepted)
            }
            _ => {
                let fault = target::refusal(reply, false).await;
                if matches!(fault, Fault::Status(400 | 404 | 405)) {
                    // Whatever answers there now is of another era.
                    self.state.set_era(Era::Unknown, Instant::now());
                }
                Err(fault)
            }
        }
    }

    /// The body with what each request says of the client.
    fn body(&self, talk: &Talk, message: &Message<'_>) -> Option<Bytes> {
        let (name, session) = talk.session.as_ref()?;
        if message.meta(modern::VERSION_KEY).is_some() {
            return None;
        }
        // Elder servers tell what they think fit to one who has not said; this era's tell nobody who has not asked.
        let log = talk.mcp.watches.known(name, &self.name).and_then(|it| it.log());
        let log = log.as_deref().unwrap_or(LOG_LEVEL);
        let mut edits = Edits::default();
        modern::add_meta(message, &modern::meta_of(&session.client, Some(log)), &mut edits);
        Some(message.raw.edited(edits).into())
    }

    /// What an elder client asks for once, and this era with each request.
    fn remembered(&self, talk: &Talk, message: &Message<'_>) -> Result<Option<String>, Fault> {
        let Some((name, _)) = talk.session.as_ref().filter(|_| !talk.is_modern()) else { return Ok(None) };
        let id = message.id.map_or("null", Raw::text);
        let param = |key: &str| message.param(key).ok().flatten().and_then(Raw::as_str);
        match message.method() {
            "ping" => {}
            "logging/setLevel" => {
                if let Some(level) = param("level") {
                    talk.mcp.watches.of(name, &self.name).set_log(&level);
                }
            }
            method @ ("resources/subscribe" | "resources/unsubscribe") => {
                let Some(uri) = param("uri") else { return Ok(None) };
                let wanted = method == "resources/subscribe";
                if !talk.mcp.watches.of(name, &self.name).subscribe(&uri, wanted) {
                    let text = quoted("too many resources are watched");
                    return Err(Fault::Error(format!(r#"{{"code":{},"message":{text}}}"#, answer::INVALID_PARAMS)));
                }
            }
            _ => return Ok(None),
        }
        Ok(Some(answer::result(id, "{}")))
    }

    /// Headers that repeat arguments: a client of this era has sent them; for others they are written here.
    fn repeat_arguments(&self, talk: &Talk, message: &Message<'_>, head: &mut RequestHeader) -> Result<(), Fault> {
        if talk.is_modern() || message.method() != "tools/call" {
            return Ok(());
        }
        let name = message.param("name").ok().flatten().and_then(Raw::as_str);
        let Some(tool) = name.and_then(|it| known_tool(talk, self, &it)) else { return Ok(()) };
        let Ok(tool) = json::parse(tool.as_bytes()) else { return Ok(()) };
        let arguments = message.params.and_then(|it| it.get("arguments")).filter(|it| it.kind() == Kind::Object);
        for (name, value) in param::headers(tool, arguments) {
            insert(head, name, value)?;
        }
        Ok(())
    }

    /// Whether a call was refused for headers that could not be written, since the tool was not known: then it is now.
    async fn mismatch(
        self: &Arc<Self>,
        talk: &Talk,
        message: &Message<'_>,
        reply: Reply,
    ) -> Result<Result<Reply, ()>, Fault> {
        let name = message.param("name").ok().flatten().and_then(Raw::as_str).unwrap_or_default();
        let unknown = || known_tool(talk, self, &name).is_none();
        if reply.status != StatusCode::BAD_REQUEST || talk.is_modern() || message.method() != "tools/call" || !unknown()
        {
            return Ok(Ok(reply));
        }
        match target::refusal(reply, false).await {
            Fault::Refused(_, error) if error.contains("-32020") => {}
            fault => return Err(fault),
        }
        Box::pin(fan::items(talk, self, protocols::mcp::List::Tools)).await?;
        Ok(Err(()))
    }

    /// Listens to what nobody asked for; `filter` is the JSON of what is wanted.
    pub(in crate::mcp) async fn listen_modern(
        self: &Arc<Self>,
        talk: &Talk,
        endpoint: &Endpoint,
        filter: &str,
    ) -> Result<Option<Events>, Fault> {
        let client = talk.session.as_ref().map_or("{}", |(_, session)| session.client.as_str());
        let meta = modern::meta_of(client, None);
        let params = format!(r#"{{"_meta":{{{meta}}},"notifications":{filter}}}"#);
        let body: Bytes = answer::request(&fan::own_id(), "subscriptions/listen", &params).into();
        let message = Message::parse(&body).map_err(|fault| Fault::Message(fault.to_string()))?;
        let head = self.head(talk, endpoint, (&message, &body)).await?;
        let terms = Terms { deadline: CALL_DEADLINE, again: true, affinity: talk.affinity(self) };
        let reply = talk.mcp.caller.send(endpoint, &head, Some(body.clone()), terms).await?;
        match reply.status {
            StatusCode::OK if reply.is_type(EVENT_STREAM) => Ok(Some(Events::Http(Box::new(reply.events())))),
            StatusCode::OK | StatusCode::NOT_FOUND => {
                reply.discard().await;
                Ok(None)
            }
            _ => Err(target::refusal(reply, false).await),
        }
    }

    /// What an elder client wants to hear of a server of this era.
    pub(in crate::mcp) fn wanted(&self, talk: &Talk) -> String {
        let watch = talk.session.as_ref().and_then(|(name, _)| talk.mcp.watches.known(name, &self.name));
        let resources: Vec<_> = watch.map(|it| it.resources()).unwrap_or_default();
        let resources: Vec<_> = resources.iter().map(|it| quoted(it)).collect();
        let lists = r#""toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true"#;
        match resources.is_empty() {
            true => format!("{{{lists}}}"),
            false => format!(r#"{{{lists},"resourceSubscriptions":[{}]}}"#, resources.join(",")),
        }
    }
}

/// Whether an answer to `server/discover` says that the server speaks this era's revision.
fn speaks(message: &[u8]) -> bool {
    let Ok(result) = target::result_of(message, OPENING_ID) else { return false };
    let versions = result.get("supportedVersions").map(Raw::elements).into_iter().flatten();
    versions.filter_map(Raw::as_str).any(|it| it == VERSION.as_str())
}
