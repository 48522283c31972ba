//! The message of a request: read, judged, and with the agent's own ids.

use bytes::{Bytes, BytesMut};
use filters::a2a::Push;
use filters::exchange::Asked;
use filters::{HeldBody, Outside, Wanted};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_proxy::Session;
use protocols::a2a::answer::{Kind as Why, Refusal};
use protocols::a2a::frames::{self, Frames};
use protocols::a2a::id::{Of, Pin};
use protocols::a2a::shape::PAGE_TOKEN;
use protocols::a2a::walk::Walk;
use protocols::a2a::wire::{Fault, Wire};
use protocols::a2a::{Method, Place, Seen, Version, pages, rest};
use protocols::json::{self, Raw};
use protocols::mcp::Message;

use super::push::{self, Wish};
use super::talk::{Kind, Talk};
use super::{refuse, relay, report};
use crate::mcp::scope;
use crate::proxy::request::Stop;
use crate::proxy::{Ctx, Proxy, body};
use crate::random::affinity_key;

/// Reads the message where that was not done yet. Who asks is known by then.
pub async fn read(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    if !matches!(ctx.facts.a2a, Asked::Unread) {
        return Ok(());
    }
    body::read_ahead(session, ctx, Wanted::Message).await?;
    let Some(mut talk) = ctx.a2a.take() else { return Ok(()) };
    let route = ctx.entry.as_ref().map_or("", |it| it.route.key.as_str());
    talk.names.scope = scope("a2a", route, &ctx.facts.identity);
    let outcome = message(proxy, session, ctx, &mut talk).await;
    let outcome = outcome.map_err(|refusal| refuse::stop(&talk, &refusal));
    pin(ctx, &mut talk);
    ctx.a2a = Some(talk);
    outcome
}

/// What a message says, in whatever binding.
struct Said {
    seen: Seen,
    /// The method as it is written.
    named: String,
    body: Option<Bytes>,
}

async fn message(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, talk: &mut Talk) -> Result<(), Refusal> {
    if session.req_header().headers.contains_key(CONTENT_ENCODING) {
        return Err(Refusal::new(Why::InvalidRequest, "the message is in a coding that is not read here"));
    }
    let held = ctx.facts.body.held().map(|it| it.bytes.clone()).unwrap_or_default();
    let mut wish = Wish::default();
    let said = match talk.kind {
        Kind::Card | Kind::News => return Ok(()),
        Kind::JsonRpc => json_rpc(talk, &held, &mut wish),
        Kind::Rest(method, version) => in_path(session, talk, &held, (method, version), &mut wish),
        Kind::Grpc(method, version) => in_frame(talk, &held, (method, version), &mut wish),
    };
    let Said { seen, named, body } = said.inspect_err(|_| {
        // For the log.
        ctx.facts.a2a = Asked::Read(Box::new(report::object(talk, "", &Seen::default())));
    })?;
    ctx.facts.a2a = Asked::Read(Box::new(report::object(talk, &named, &seen)));
    let body = news(proxy, ctx, talk, (wish, &seen, body, &held)).await?;
    if let Some(body) = body {
        replace(session, ctx, body);
    }
    Ok(())
}

/// Judges where news are to go, and prepares to take them where they come by here. Gives the message that is held then.
async fn news(
    proxy: &Proxy,
    ctx: &Ctx,
    talk: &mut Talk,
    (wish, seen, body, held): (Wish, &Seen, Option<Bytes>, &Bytes),
) -> Result<Option<Bytes>, Refusal> {
    if wish.urls.is_empty() && !talk.method.is_some_and(Method::is_push) {
        return Ok(body);
    }
    let Some((push, origin)) = talk.policy().map(|it| (it.push, it.relay_url.clone())) else { return Ok(body) };
    talk.names.place = relay::place(ctx);
    push::check(&proxy.a2a.egress, push, &wish.urls).await?;
    if talk.method == Some(Method::DeleteTaskPushNotificationConfig) {
        talk.deletes = seen.task.clone().map(|task| (task, wish.id.clone().unwrap_or_default()));
    }
    let Some(origin) = origin.filter(|_| push == Push::Relayed && !wish.urls.is_empty()) else { return Ok(body) };
    let body = body.unwrap_or_else(|| held.clone());
    let now = proxy.asking.world().now();
    relay::begin(talk, wish, (seen, body.clone()), (&origin, now))?;
    Ok(Some(body))
}

/// What stands in the place of a text on its way to the agent.
fn opened<'t>(
    talk: &'t mut Talk,
    wish: &'t mut Wish,
) -> impl FnMut(Place, &str) -> Result<Option<String>, Refusal> + 't {
    move |place, text| {
        if wish.note(place, text) {
            return Ok(None);
        }
        if place == Place::PageToken && talk.names.are_sealed() {
            talk.pages = pages::open(talk.names.ring(), text, &talk.names.scope).ok();
            if talk.pages.is_some() {
                return Ok(Some(String::new()));
            }
        }
        let Some((own, pin)) = talk.names.open(place, text)? else { return Ok(None) };
        if place == Place::PageToken {
            talk.page = pin;
            return Ok(Some(own));
        }
        // A task is more than its context.
        if talk.pin.is_none() || Of::place(place) == Some(Of::Task) {
            talk.pin = pin.or(talk.pin);
        }
        Ok(Some(own))
    }
}

fn json_rpc(talk: &mut Talk, held: &Bytes, wish: &mut Wish) -> Result<Said, Refusal> {
    let message = Message::parse(held).map_err(|fault| {
        let why = if fault.code() == protocols::mcp::answer::PARSE_ERROR { Why::Parse } else { Why::InvalidRequest };
        Refusal::new(why, fault.to_string())
    })?;
    talk.id = message.id.map_or(String::new(), |it| it.text().to_owned());
    let named: String = message.method().chars().take(protocols::a2a::message::TEXT_BYTES_MAX).collect();
    let Some((method, version)) = Method::of_json_rpc(message.method()) else {
        return Ok(Said { seen: Seen::default(), named, body: None });
    };
    (talk.method, talk.version) = (Some(method), version);
    let Some(params) = message.params else { return Ok(Said { seen: Seen::default(), named, body: None }) };
    let (seen, body) = walked(talk, message.raw, params, (method, version), wish)?;
    Ok(Said { seen, named, body })
}

/// The whole document with the ids in one of its parts opened.
fn walked(
    talk: &mut Talk,
    whole: Raw<'_>,
    part: Raw<'_>,
    (method, version): (Method, Version),
    wish: &mut Wish,
) -> Result<(Seen, Option<Bytes>), Refusal> {
    let mut place = opened(talk, wish);
    let mut walk = Walk::new(&mut place);
    walk.value(part, method.request(version))?;
    let Walk { mut seen, edits, .. } = walk;
    drop(place);
    own_ids(talk, &mut seen);
    Ok((seen, (!edits.is_empty()).then(|| whole.edited(edits).into())))
}

/// Ids as the agent has them: those were noted that the client wrote.
fn own_ids(talk: &Talk, seen: &mut Seen) {
    for (of, slot) in [(Of::Task, &mut seen.task), (Of::Context, &mut seen.context)] {
        if let Some(own) = slot.as_deref().and_then(|shown| talk.names.own(of, shown)) {
            *slot = Some(own.to_owned());
        }
    }
}

fn in_path(
    session: &mut Session,
    talk: &mut Talk,
    held: &Bytes,
    asked: (Method, Version),
    wish: &mut Wish,
) -> Result<Said, Refusal> {
    let head = session.req_header();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().map(str::to_owned));
    let task = rest::read(head.method.as_str(), &path).and_then(|it| it.task);
    let context = query.as_deref().and_then(|it| rest::query_value(it, &["contextId", "context_id"]));
    let lists = asked.0 == Method::ListTasks;
    if matches!(asked.0, Method::DeleteTaskPushNotificationConfig) {
        wish.id = path.rsplit('/').next().map(str::to_owned);
    }
    let (mut seen, body) = match held.is_empty() {
        true => (Seen::default(), None),
        false => {
            let document = json::parse(held).map_err(|fault| Refusal::new(Why::Parse, fault.to_string()))?;
            walked(talk, document, document, asked, wish)?
        }
    };
    let mut place = opened(talk, wish);
    let mut changed = false;
    let mut open =
        |of, whole: &str, range: Option<std::ops::Range<usize>>| -> Result<(String, Option<String>), Refusal> {
            let Some(range) = range.filter(|it| !it.is_empty()) else { return Ok((whole.to_owned(), None)) };
            let shown = whole.get(range.clone()).unwrap_or_default();
            let own = place(of, shown)?;
            changed |= own.is_some();
            let own = own.unwrap_or_else(|| shown.to_owned());
            let (before, after) = (whole.get(..range.start), whole.get(range.end..));
            let written = format!("{}{}{}", before.unwrap_or_default(), escaped(&own), after.unwrap_or_default());
            Ok((written, Some(own)))
        };
    let (path, task) = open(Place::Task, &path, task)?;
    let (query, context) = open(Place::Context, query.as_deref().unwrap_or_default(), context)?;
    let page = if lists { rest::query_value(&query, PAGE_TOKEN) } else { None };
    let (query, _) = open(Place::PageToken, &query, page)?;
    drop(place);
    if changed {
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let mut parts = session.req_header().uri.clone().into_parts();
        parts.path_and_query = target.parse().ok();
        if let Ok(uri) = http::Uri::from_parts(parts) {
            session.req_header_mut().set_uri(uri);
        }
    }
    seen.task = task.or(seen.task);
    seen.context = context.or(seen.context);
    Ok(Said { seen, named: String::new(), body })
}

/// An id as a path and a query can hold it.
fn escaped(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // What was escaped already stays so: it came from a path.
            b'%' => out.push('%'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn in_frame(
    talk: &mut Talk,
    held: &Bytes,
    (method, version): (Method, Version),
    wish: &mut Wish,
) -> Result<Said, Refusal> {
    if method == Method::GetExtendedAgentCard && talk.policy().is_some_and(|it| it.keys.is_some()) {
        // What is signed is the card's JSON, which nobody sees here.
        return Err(Refusal::new(Why::Unsupported, "cards are judged here, which gRPC does not allow"));
    }
    let mut frames = Frames::new(held.len());
    frames.push(held);
    let wrong = |text: String| Refusal::new(Why::InvalidRequest, text);
    let message = frames.take().map_err(|fault| match fault {
        frames::Fault::Compressed => Refusal::new(Why::Unsupported, "messages are not to be compressed"),
        fault => wrong(fault.to_string()),
    })?;
    let message = message.ok_or_else(|| wrong("there is no message".to_owned()))?;
    frames.end().map_err(|_| wrong("there is more than one message".to_owned()))?;
    let mut place = opened(talk, wish);
    let mut wire = Wire::new(version, &mut place);
    let changed = wire.message(&message, method.request(version)).map_err(|fault| match fault {
        Fault::Malformed => wrong("the message cannot be read".to_owned()),
        Fault::Refused(refusal) => refusal,
    })?;
    let mut seen = std::mem::take(&mut wire.seen);
    drop(place);
    own_ids(talk, &mut seen);
    let body = (changed != message[..]).then(|| {
        let mut out = BytesMut::new();
        frames::write(&changed, &mut out);
        out.freeze()
    });
    Ok(Said { seen, named: String::new(), body })
}

/// The message in the place of the client's.
fn replace(session: &mut Session, ctx: &mut Ctx, bytes: Bytes) {
    let length = bytes.len();
    ctx.facts.body =
        filters::RequestBody::Held(HeldBody { bytes, whole: true, rest: Default::default(), replaced: true });
    let head = session.req_header_mut();
    head.remove_header(&TRANSFER_ENCODING);
    // A number is a header value.
    let _ = head.insert_header(CONTENT_LENGTH, length);
}

/// Goes to the backend where that is which the message is about.
fn pin(ctx: &mut Ctx, talk: &mut Talk) {
    let Some(resolved) = &ctx.resolved else { return };
    if talk.method == Some(Method::ListTasks) && talk.pin.is_none() && talk.names.are_sealed() {
        // No agent knows of the others' tasks.
        let is_grpc = matches!(talk.kind, Kind::Grpc(..));
        talk.asks_all = !is_grpc && talk.page.is_none() && (talk.pages.is_some() || resolved.backends.get(1).is_some());
        if talk.asks_all {
            return;
        }
        // The list begins with the first.
        talk.lists_all = is_grpc;
        let first = resolved.backends.iter().next().filter(|_| resolved.backends.get(1).is_some());
        talk.pin = talk.page.or(first.map(pin_of));
    }
    let Some(pin) = talk.pin else { return };
    let ours = |it: &crate::plan::Backend| affinity_key(it.target.name().as_bytes()) == pin.backend;
    if !ctx.backend().is_some_and(ours) {
        ctx.backend = resolved.backends.position(ours).or(ctx.backend);
    }
}

/// Any endpoint of a backend.
pub(super) fn pin_of(backend: &crate::plan::Backend) -> Pin {
    Pin { backend: affinity_key(backend.target.name().as_bytes()), endpoint: 0 }
}
