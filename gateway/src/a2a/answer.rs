//! The answer of an agent: looked through whole, or prepared to be as it streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filters::{Effective, Outside};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderName, HeaderValue, Method as Verb, StatusCode};
use parking_lot::Mutex;
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use protocols::a2a::answer::{Kind as Why, Refusal};
use protocols::a2a::card::Relocation;
use protocols::a2a::id::Pin;
use protocols::a2a::shape::NEXT_PAGE;
use protocols::a2a::walk::Walk;
use protocols::a2a::{Method, Place, Seen, Version};
use protocols::json::{self, Raw, quoted};
use protocols::mcp::modern::add_members;
use protocols::mcp::{Edits, Message};

use super::cards::{self, Cards, Key};
use super::names::Names;
use super::read::pin_of;
use super::report::{Answered, Outcome};
use super::stream::Stream;
use super::talk::{Kind, Talk, is_json};
use super::{card, refuse};
use crate::plan::BackendTarget;
use crate::proxy::{Ctx, Proxy, forwarded};
use crate::random::affinity_key;
use crate::session::{Finish, RESPONSE_REFUSED};

/// Digests of a body that is another now.
const DIGESTS: [HeaderName; 3] = [
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Looks at the head of an answer. What is to be looked through whole is finished by what this returns.
pub fn begin(proxy: &Proxy, session: &Session, head: &mut ResponseHeader, ctx: &mut Ctx) -> Result<Option<Finish>> {
    let Some(mut talk) = ctx.a2a.take() else { return Ok(None) };
    let finish = begun(proxy, session, head, ctx, &mut talk);
    ctx.a2a = Some(talk);
    finish
}

fn begun(
    proxy: &Proxy,
    session: &Session,
    head: &mut ResponseHeader,
    ctx: &Ctx,
    talk: &mut Talk,
) -> Result<Option<Finish>> {
    talk.names.pin = pin(ctx);
    talk.names.next = if talk.lists_all { next(ctx) } else { None };
    talk.stream = None;
    let has_body = session.req_header().method != Verb::HEAD && !matches!(head.status.as_u16(), 101 | 204 | 205 | 304);
    let coded = head.headers.get(CONTENT_ENCODING).is_some_and(|it| !it.as_bytes().eq_ignore_ascii_case(b"identity"));
    if let Kind::Grpc(method, version) = talk.kind {
        head.remove_header(&CONTENT_LENGTH);
        talk.stream = Some(Stream::frames(method, version, relocation(session, ctx, talk), ctx.body_bytes_max));
        return Ok(None);
    }
    if !talk.is_card() && head.status.is_client_error() || head.status.is_server_error() {
        talk.answered.lock().outcome = Some(Outcome::Error);
    }
    let events = crate::proxy::is_events(head);
    // Of a call that succeeded anything else is no answer; who refuses may do so in its own way.
    let called = talk.kind == Kind::JsonRpc && head.status.is_success();
    let ours = talk.is_card() && head.status == StatusCode::OK || called || events || is_json(&head.headers);
    if !has_body || !ours || (talk.is_card() && head.status != StatusCode::OK) {
        return Ok(None);
    }
    if coded {
        return Err(Error::explain(RESPONSE_REFUSED, "the agent's answer is in a coding that was not asked for"));
    }
    if events {
        head.remove_header(&CONTENT_LENGTH);
        talk.stream = Some(Stream::events(ctx.body_bytes_max));
        return Ok(None);
    }
    let whole = Whole {
        kind: talk.kind,
        method: talk.method,
        version: talk.version,
        id: talk.id.clone(),
        names: talk.names.clone(),
        relocation: relocation(session, ctx, talk),
        terms: talk.terms().clone(),
        now: proxy.asking.world().now(),
        answered: talk.answered.clone(),
        keep: talk.is_card().then(|| (proxy.a2a.cards.clone(), cards::key(session, ctx, talk))),
    };
    Ok(Some(Box::new(move |head, body| whole.finish(head, body))))
}

/// Where the agent is that is asked.
pub(super) fn pin(ctx: &Ctx) -> Pin {
    let backend = ctx.backend().map_or(0, |it| affinity_key(it.target.name().as_bytes()));
    let endpoint = ctx.attempt.lease.as_ref().map_or(0, |it| affinity_key(it.endpoint_text().as_bytes()));
    Pin { backend, endpoint }
}

/// The agent after the one that answers.
fn next(ctx: &Ctx) -> Option<Pin> {
    let backends = &ctx.resolved.as_ref()?.backends;
    let mut after = backends.iter().skip(ctx.backend? + 1);
    after.find(|it| matches!(it.target, BackendTarget::Cluster { .. })).map(pin_of)
}

/// Where the agent is for clients.
fn relocation(session: &Session, ctx: &Ctx, talk: &Talk) -> Relocation {
    let (tls, host) = forwarded::public(session, ctx);
    Relocation::new(tls, &host, &talk.public_path, &talk.own_path)
}

/// What is needed to look through a whole answer, kept until it is there.
struct Whole {
    kind: Kind,
    method: Option<Method>,
    version: Version,
    id: String,
    names: Names,
    relocation: Relocation,
    terms: Arc<Effective>,
    now: Duration,
    answered: Arc<Mutex<Answered>>,
    keep: Option<(Arc<Cards>, Key)>,
}

impl Whole {
    fn finish(mut self, head: &mut ResponseHeader, body: &mut Bytes) -> Result<()> {
        let changed = match self.kind {
            Kind::Card => self.card(body).map(Some),
            Kind::JsonRpc => self.json_rpc(head.status, body),
            Kind::Rest(..) => self.rest(head.status, body),
            Kind::Grpc(..) | Kind::News => Ok(None),
        };
        match changed {
            Ok(None) => return Ok(()),
            Ok(Some(changed)) => *body = changed.into(),
            Err(refusal) => self.refuse(refusal, head, body)?,
        }
        for name in DIGESTS.iter().chain(&[ETAG, LAST_MODIFIED]) {
            head.remove_header(name);
        }
        if head.headers.contains_key(CONTENT_LENGTH) {
            head.insert_header(CONTENT_LENGTH, body.len())?;
        }
        if let Some((cards, key)) = self.keep.take().filter(|_| head.status == StatusCode::OK) {
            cards.keep(key, self.terms.clone(), &head.headers, body);
        }
        Ok(())
    }

    /// An error of the protocol in the place of what the agent said.
    fn refuse(&mut self, refusal: Refusal, head: &mut ResponseHeader, body: &mut Bytes) -> Result<()> {
        let refuse::Said { status, body: text } = refuse::said(self.kind, &self.id, self.version, &refusal);
        // A card that is none is an agent that is not there.
        head.set_status(if self.kind == Kind::Card { 503 } else { status })?;
        head.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/json"))?;
        *body = text.into();
        let mut answered = self.answered.lock();
        answered.outcome = Some(Outcome::Error);
        answered.fault = Some(refusal.text);
        Ok(())
    }

    fn card(&self, body: &Bytes) -> Result<String, Refusal> {
        let card = parsed(body)?;
        let policy = self.terms.a2a().ok_or_else(|| Refusal::new(Why::AgentResponse, "no terms"))?;
        let shown = card::shown(card, policy, &self.relocation, self.now)?;
        self.answered.lock().outcome = Some(Outcome::Success);
        Ok(shown)
    }

    fn json_rpc(&mut self, status: StatusCode, body: &Bytes) -> Result<Option<String>, Refusal> {
        if body.is_empty() || status.as_u16() >= 400 && Message::parse(body).is_err() {
            // What stands before the agent may say it in its own way: who is not let in has to hear why.
            return Ok(None);
        }
        if self.method == Some(Method::GetExtendedAgentCard) {
            return self.extended(body);
        }
        let (changed, seen, outcome) = json_rpc(body, &mut self.names, self.method)?;
        let mut answered = self.answered.lock();
        (answered.seen, answered.outcome) = (seen, Some(outcome));
        Ok(changed)
    }

    /// The extended card in its envelope.
    fn extended(&mut self, body: &Bytes) -> Result<Option<String>, Refusal> {
        let message = Message::parse(body).map_err(unreadable)?;
        let Some(result) = message.result else {
            self.answered.lock().outcome = Some(Outcome::Error);
            return Ok(None);
        };
        let inner = Bytes::copy_from_slice(result.text().as_bytes());
        let mut edits = Edits::default();
        edits.replace(result.range(), self.card(&inner)?);
        Ok(Some(message.raw.edited(edits)))
    }

    fn rest(&mut self, status: StatusCode, body: &Bytes) -> Result<Option<String>, Refusal> {
        if status.as_u16() >= 400 {
            return Ok(None);
        }
        self.answered.lock().outcome = Some(Outcome::Success);
        match self.method {
            _ if body.is_empty() => Ok(None),
            Some(Method::GetExtendedAgentCard) => self.card(body).map(Some),
            Some(method) => {
                let document = parsed(body)?;
                let (changed, seen) = walked(document, document, &mut self.names, method)?;
                self.answered.lock().seen = seen;
                Ok(changed)
            }
            None => Ok(None),
        }
    }
}

fn parsed(body: &[u8]) -> Result<Raw<'_>, Refusal> {
    json::parse(body).map_err(unreadable)
}

fn unreadable(fault: impl std::fmt::Display) -> Refusal {
    Refusal::new(Why::AgentResponse, format!("the agent's answer is no message: {fault}"))
}

/// A JSON-RPC answer with its ids sealed, what it says, and whether it is an error.
fn json_rpc(
    body: &[u8],
    names: &mut Names,
    method: Option<Method>,
) -> Result<(Option<String>, Seen, Outcome), Refusal> {
    of_message(Message::parse(body).map_err(unreadable)?, names, method)
}

/// As [`json_rpc`], for a message that was read.
pub(super) fn of_message(
    message: Message<'_>,
    names: &mut Names,
    method: Option<Method>,
) -> Result<(Option<String>, Seen, Outcome), Refusal> {
    if let Some(error) = message.error {
        let error_code = error.get("code").and_then(|it| it.text().parse().ok());
        return Ok((None, Seen { error_code, ..Seen::default() }, Outcome::Error));
    }
    let (Some(result), Some(method)) = (message.result, method) else {
        return Ok((None, Seen::default(), Outcome::Success));
    };
    let (changed, seen) = walked(message.raw, result, names, method)?;
    Ok((changed, seen, Outcome::Success))
}

/// The whole document with the ids in one of its parts sealed.
pub(super) fn walked(
    whole: Raw<'_>,
    part: Raw<'_>,
    names: &mut Names,
    method: Method,
) -> Result<(Option<String>, Seen), Refusal> {
    let mut place = |place: Place, text: &str| names.show(place, text);
    let mut walk = Walk::new(&mut place);
    walk.value(part, method.answer())?;
    let Walk { seen, mut edits, .. } = walk;
    if method == Method::ListTasks
        && part.kind() == json::Kind::Object
        && let Some(token) = names.next_agent()?
    {
        // An empty one may be there already.
        match NEXT_PAGE.iter().find_map(|it| part.get(it)) {
            Some(held) => edits.replace(held.range(), quoted(&token)),
            None => add_members(part, &format!(r#""nextPageToken":{}"#, quoted(&token)), &mut edits),
        }
    }
    Ok(((!edits.is_empty()).then(|| whole.edited(edits)), seen))
}
