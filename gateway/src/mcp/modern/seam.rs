//! What is different between a client and a server for one call: ids, tokens, and what may be said unasked.

use std::sync::Arc;

use bytes::Bytes;
use protocols::json::{self, Kind, Raw, quoted};
use protocols::mcp::{Edits, List, Message, Shape, Version, answer, modern, param};

use super::super::Target;
use super::super::fan;
use super::super::fault::Fault;
use super::super::state::ListKey;
use super::super::talk::Talk;
use super::super::target::Sending;
use super::parked;

/// One call.
#[derive(Clone)]
pub(in crate::mcp) struct Seam {
    /// The client's id, and the one that the server gets (JSON both).
    pub(in crate::mcp) id: String,
    pub(in crate::mcp) sent: String,
    pub(in crate::mcp) method: String,
    /// The client is of the era without sessions.
    pub(in crate::mcp) modern: bool,
    /// And the server is not.
    pub(in crate::mcp) crossing: bool,
    /// The client's token of progress (JSON), where the server gets another.
    token: Option<String>,
    /// The level of log messages that the client wants.
    log: Option<String>,
    /// A call that waits for what this request brings.
    pub(in crate::mcp) waiting: Option<String>,
}

/// What becomes of a server's message in the middle of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::mcp) enum Step {
    Pass,
    Drop,
    /// The server wants to know whether we are there.
    Pong,
    /// The server asks the client, which gets to know it in a result.
    Park,
}

impl Seam {
    /// The call and its body as the server gets it.
    pub(in crate::mcp) async fn new(
        talk: &Talk,
        target: &Arc<Target>,
        body: Bytes,
        (id, method): (&str, &str),
    ) -> Result<(Self, Bytes), Fault> {
        let body = traced(talk, body);
        let mut seam = Self {
            id: id.to_owned(),
            sent: id.to_owned(),
            method: method.to_owned(),
            modern: talk.is_modern(),
            crossing: false,
            token: None,
            log: None,
            waiting: None,
        };
        if !seam.modern {
            return Ok((seam, body));
        }
        let message = Message::parse(&body).map_err(|fault| Fault::Message(fault.to_string()))?;
        if method == "tools/call" {
            check_params(talk, target, (&message, id))?;
        }
        if !target.may_be_asked() {
            return Err(Fault::Open);
        }
        if target.session(talk).await?.version.is_modern() {
            drop(message);
            return Ok((seam, body));
        }
        let text = |key: &str| message.meta(key).and_then(Raw::as_str).map(|it| it.into_owned());
        seam.crossing = true;
        seam.log = text(modern::LOG_KEY);
        seam.waiting = message.param("requestState").ok().flatten().and_then(Raw::as_str).and_then(parked::handle);
        seam.sent = fan::own_id();
        let mut edits = Edits::default();
        if let Some(raw) = message.id {
            edits.replace(raw.range(), seam.sent.clone());
        }
        if let Some(token) = message.meta("progressToken") {
            seam.token = Some(token.text().to_owned());
            edits.replace(token.range(), seam.sent.clone());
        }
        let body = message.raw.edited(edits).into();
        Ok((seam, body))
    }

    /// Makes the call another one with the server, as a call that is made again has to be.
    pub(in crate::mcp) fn again(&mut self) {
        self.sent = fan::own_id();
    }

    pub(in crate::mcp) fn step(&self, message: &Message<'_>) -> Step {
        match message.shape() {
            Shape::Response => Step::Pass,
            Shape::Request if !self.modern => Step::Pass,
            Shape::Request if message.method() == "ping" => Step::Pong,
            Shape::Request if self.crossing => Step::Park,
            // Servers of this era do not ask so, and the client must not be asked.
            Shape::Request => Step::Drop,
            Shape::Notification if !self.crossing => Step::Pass,
            Shape::Notification => self.unasked(message),
        }
    }

    /// What an elder server says in the middle of a call: progress and wanted log messages belong to it.
    fn unasked(&self, message: &Message<'_>) -> Step {
        let wanted = match message.method() {
            "notifications/progress" => self.token.is_some(),
            "notifications/message" => {
                let level = message.param("level").ok().flatten().and_then(Raw::as_str);
                level.is_some_and(|it| modern::wants_log(self.log.as_deref(), &it))
            }
            "notifications/tasks/status" => true,
            _ => false,
        };
        if wanted { Step::Pass } else { Step::Drop }
    }

    /// Notes what has to change of the server's message.
    pub(in crate::mcp) fn edit(&self, message: &Message<'_>, edits: &mut Edits) {
        match message.shape() {
            Shape::Response => {
                if self.sent != self.id
                    && let Some(id) = message.id
                {
                    edits.replace(id.range(), self.id.clone());
                }
                if let Some(result) = message.result.filter(|_| self.modern) {
                    modern::complete(result, &self.method, edits);
                }
            }
            Shape::Notification if self.crossing => {
                let token = message.params.and_then(|it| it.get("progressToken"));
                if let Some((raw, token)) = token.zip(self.token.clone()) {
                    edits.replace(raw.range(), token);
                }
            }
            _ => {}
        }
    }

    /// The status of a message that answers a request of this era.
    pub(in crate::mcp) fn status(&self, message: &[u8]) -> u16 {
        if !self.modern {
            return 200;
        }
        let error = Message::parse(message).ok().and_then(|it| it.error);
        error.map_or(200, |it| status_of_error(it).unwrap_or(200))
    }
}

/// The body with the trace that the head tells of (SEP-414), which servers without heads cannot see otherwise.
fn traced(talk: &Talk, body: Bytes) -> Bytes {
    let header = |name: &str| talk.headers().get(name).and_then(|it| it.to_str().ok());
    if header("traceparent").is_none() {
        return body;
    }
    let Ok(message) = Message::parse(&body) else { return body };
    if message.meta("traceparent").is_some() {
        return body;
    }
    let members: Vec<_> = ["traceparent", "tracestate", "baggage"]
        .into_iter()
        .filter(|name| message.meta(name).is_none())
        .filter_map(|name| Some(format!("{}:{}", quoted(name), quoted(header(name)?))))
        .collect();
    let mut edits = Edits::default();
    modern::add_meta(&message, &members.join(","), &mut edits);
    message.raw.edited(edits).into()
}

/// The status that an error has for clients of this era.
pub(in crate::mcp) fn status_of_error(error: Raw<'_>) -> Option<u16> {
    modern::status_of(error.get("code")?.text().parse().ok()?)
}

/// Headers repeat arguments truly, where the tool is known.
fn check_params(talk: &Talk, target: &Target, (message, id): (&Message<'_>, &str)) -> Result<(), Fault> {
    let name = message.param("name").ok().flatten().and_then(Raw::as_str).unwrap_or_default();
    let Some(tool) = known_tool(talk, target, &name) else { return Ok(()) };
    let Ok(tool) = json::parse(tool.as_bytes()) else { return Ok(()) };
    let arguments = message.params.and_then(|it| it.get("arguments")).filter(|it| it.kind() == Kind::Object);
    param::check(tool, arguments, talk.headers()).map_err(|fault| {
        let text = fault.answer(id);
        let error = json::parse(text.as_bytes()).ok().and_then(|it| it.get("error").map(|it| it.text().to_owned()));
        Fault::Refused(fault.status().as_u16(), error.unwrap_or_default())
    })
}

/// A tool's definition, where the list is at hand.
pub(super) fn known_tool(talk: &Talk, target: &Target, name: &str) -> Option<String> {
    let key = ListKey::new(List::Tools, talk.federation.naming, talk.audience());
    let items = target.state.last_list(&key)?;
    items.items.iter().find(|(own, _)| own == name).map(|(_, item)| item.clone())
}

/// Tells an elder server that nobody waits for a call any more, unless it has been answered.
pub(in crate::mcp) struct Abandon(Option<(Talk, Arc<Target>, String)>);

impl Abandon {
    pub(in crate::mcp) fn of(talk: &Talk, target: &Arc<Target>, seam: &Seam) -> Self {
        Self(seam.crossing.then(|| (talk.again(), target.clone(), seam.sent.clone())))
    }

    /// The call has been answered, or waits.
    pub(in crate::mcp) fn answered(&mut self) {
        self.0 = None;
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        let Some((talk, target, sent)) = self.0.take() else { return };
        cancel(talk, target, &sent);
    }
}

/// Tells a server that a call is not waited for.
pub(super) fn cancel(talk: Talk, target: Arc<Target>, sent: &str) {
    let params = format!(r#"{{"requestId":{sent},"reason":"the client has left"}}"#);
    let told = Sending { again: false, ..Sending::ours(answer::notification("notifications/cancelled", &params)) };
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move { drop(Box::pin(target.send(&talk, told)).await) });
    }
}

/// Answers a server's `ping`.
pub(in crate::mcp) fn pong(talk: &Talk, target: &Arc<Target>, id: &str) {
    let (talk, target) = (talk.again(), target.clone());
    let told = Sending { again: false, ..Sending::ours(answer::result(id, "{}")) };
    tokio::spawn(async move { drop(Box::pin(target.send(&talk, told)).await) });
}

/// The version in which the gateway and a client of this era speak.
pub(super) const VERSION: Version = Version::V2026_07_28;
