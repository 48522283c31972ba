//! A message from a client: checked, understood, and given to whom it is for.

use std::sync::Arc;

use bytes::Bytes;
use filters::{Reason, Wanted};
use http::HeaderValue;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::json::{Raw, quoted};
use protocols::mcp::capability::{Server, initialized, introduced};
use protocols::mcp::modern::{self, Era};
use protocols::mcp::session::{CLIENT_BYTES_MAX, Name, Servers, Session as Sealed};
use protocols::mcp::transport::{self, SESSION_ID};
use protocols::mcp::{Edits, List, Message, Shape, Version, answer, message, task};

use super::about::About;
use super::fault::Fault;
use super::guard::Guards;
use super::modern::door;
use super::route::{Bound, Nowhere};
use super::rules::{Noun, Rules, Subject};
use super::talk::Talk;
use super::target::{Opening, Sending, result_of};
use super::told::{self, Ended};
use super::{Sessions, Target, answered, fan, limits, own_auth, relay, reply, route, rules, search, serve, step_up};
use crate::proxy::{Ctx, Proxy, body, request::Stop};

/// The id that our own `initialize` has at servers.
const OPENING_ID: &str = "\"agw-open\"";
const TOO_LARGE: &str = "the sessions of all servers together are too large for an id";

pub(super) async fn answer(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, mut talk: Talk) -> Result<()> {
    let refused = match take(session, ctx).await {
        Ok(body) => match Message::parse(&body) {
            Ok(message) => return understood(proxy, session, ctx, &mut talk, (message, &body)).await,
            Err(fault) => Ok(unreadable(&fault)),
        },
        Err(refused) => refused,
    };
    reply::write(session, ctx, refused?).await
}

pub(super) fn unreadable(fault: &message::Fault) -> filters::Reply {
    reply::message(400, Reason::InvalidRequest, answer::error("", fault.code(), &fault.to_string()))
}

/// The body of a message whose head is as it has to be.
async fn take(session: &mut Session, ctx: &mut Ctx) -> std::result::Result<Bytes, Result<filters::Reply>> {
    let checked = transport::check_post(&session.req_header().headers);
    if let Err(fault) = checked {
        let text = answer::error("", fault.code(), &fault.to_string());
        return Err(Ok(reply::message(fault.status().as_u16(), Reason::InvalidRequest, text)));
    }
    match body::read_ahead(session, ctx, Wanted::Whole).await {
        Ok(()) => Ok(ctx.facts.body.held().map(|it| it.bytes.clone()).unwrap_or_default()),
        Err(Stop::Reply(refused)) => Err(Ok(refused)),
        Err(Stop::Broken(error)) => Err(Err(error)),
    }
}

async fn understood(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &mut Talk,
    (message, body): (Message<'_>, &Bytes),
) -> Result<()> {
    let id = message.id.map_or("", Raw::text);
    match modern::era(&session.req_header().headers, &message) {
        Ok(Era::Legacy) => {}
        Ok(Era::Modern(version)) => {
            return Box::pin(door::answer(proxy, session, ctx, talk, (message, body, version))).await;
        }
        Err(fault) => {
            let refused = reply::message(fault.status().as_u16(), Reason::InvalidRequest, fault.answer(id));
            return reply::write(session, ctx, refused).await;
        }
    }
    let is_opening = message.shape() == Shape::Request && message.method() == "initialize";
    if is_opening {
        told::begun(ctx, talk, "initialize");
        let opened = sealed(talk, id, &message).await;
        return reply::write(session, ctx, opened).await;
    }
    if talk.federation.terms.stateless {
        talk.session = Some((Sessions::name(), Arc::new(passing())));
        let done = in_session(proxy, session, ctx, talk, (message, body)).await;
        serve::forget(talk);
        return done;
    }
    match serve::find_session(session, talk) {
        Ok(()) => {
            let _in_use = talk.mcp.live.touch(talk);
            in_session(proxy, session, ctx, talk, (message, body)).await
        }
        Err(refused) => reply::write(session, ctx, refused).await,
    }
}

/// What servers are told of a client that says nothing of itself.
fn passing() -> Sealed {
    let client = format!(
        r#"{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"agentgateway","version":"{}"}}}}"#,
        Version::LEGACY,
        env!("CARGO_PKG_VERSION")
    );
    Sealed { began: Sessions::now(), owner: 0, version: Version::LEGACY, client, servers: Servers::default() }
}

pub(super) async fn in_session(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (message, body): (Message<'_>, &Bytes),
) -> Result<()> {
    match message.shape() {
        Shape::Request => request(proxy, session, ctx, talk, (message, body)).await,
        Shape::Notification => {
            told::begun(ctx, talk, message.method());
            if message.method() == "notifications/cancelled"
                && let Some((name, _)) = &talk.session
            {
                cancel(talk, *name, &message, body);
            }
            if message.method() != "notifications/initialized" {
                // Servers were told when they were asked to begin.
                tell(talk, body);
            }
            reply::write(session, ctx, reply::bare(202, Reason::Upstream)).await
        }
        Shape::Response => answered::answer(session, ctx, talk, (message, body)).await,
    }
}

pub(super) async fn request(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (message, body): (Message<'_>, &Bytes),
) -> Result<()> {
    let id = message.id.map_or("", Raw::text);
    let method = message.method();
    told::begun(ctx, talk, method);
    let own = match method {
        "ping" => Some(answer::result(id, "{}")),
        "logging/setLevel" if talk.federation.single().is_none() => {
            tell_request(talk, body);
            Some(answer::result(id, "{}"))
        }
        _ => None,
    };
    if let Some(own) = own {
        return reply::write(session, ctx, reply::message(200, Reason::Upstream, own)).await;
    }
    let rules = Rules::of(ctx);
    if let Some(list) = List::of(method)
        && (talk.federation.single().is_none()
            || talk.federation.naming.names
            || !rules.is_empty()
            || talk.shaping.is_some())
    {
        return listed(proxy, session, ctx, talk, (list, &message, id, &rules)).await;
    }
    if method == "tasks/list" && talk.federation.single().is_none() {
        let result = reply::while_there(session, ctx, Box::pin(fan::tasks(talk))).await?;
        return reply::write(session, ctx, reply::message(200, Reason::Upstream, answer::result(id, &result))).await;
    }
    if method == "tools/call"
        && let Some(meta) = talk.shaping.as_ref().and_then(|it| search::Meta::of(it.search()?, &message, body))
    {
        return over_all(proxy, session, ctx, talk, (meta, id, &rules)).await;
    }
    let bound = route::bind(talk, &message, body).await;
    if let Some(refused) = bound.as_ref().ok().and_then(|it| step_up::refusal(session, ctx, &message, it)) {
        return reply::write(session, ctx, refused).await;
    }
    match bound.and_then(|bound| judged(session, ctx, (&message, body, bound), &rules)) {
        Ok(bound) => {
            if let Some(limits) = limits::of(ctx)
                && let Some(refused) = Box::pin(limits::refusal(proxy, session, ctx, id, &limits)).await
            {
                return reply::write(session, ctx, refused).await;
            }
            Box::pin(guarded(proxy, session, ctx, talk, (bound, id, &message))).await
        }
        Err(Nowhere { code, text }) => {
            let is_modern = talk.is_modern();
            let code = if is_modern && code == answer::RESOURCE_NOT_FOUND { answer::INVALID_PARAMS } else { code };
            let status = modern::status_of(code).filter(|_| is_modern).unwrap_or(200);
            let text = answer::error(id, code, &text);
            told::ended(ctx, Ended::of_bytes(text.as_bytes()));
            reply::write(session, ctx, reply::message(status, Reason::InvalidRequest, text)).await
        }
    }
}

/// Has guardrails look at a message that may go on.
async fn guarded(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (mut bound, id, message): (Bound, &str, &Message<'_>),
) -> Result<()> {
    let method = message.method();
    let guards = Guards::of(proxy, session, ctx, (method, ctx.mcp.as_deref()), &[&*bound.target.name]);
    if let Some(guards) = &guards {
        match reply::while_there(session, ctx, Box::pin(guards.request(&bound.body))).await? {
            Ok(Some(body)) => bound.body = body,
            Ok(None) => {}
            Err(error) => return refused_by_guard(session, ctx, id, &error).await,
        }
    }
    Box::pin(relay::request(proxy, session, ctx, talk, relay::Asked { bound, id, method, guards })).await
}

async fn refused_by_guard(session: &mut Session, ctx: &mut Ctx, id: &str, error: &str) -> Result<()> {
    let text = answer::error_object(id, error);
    told::ended(ctx, Ended::of_bytes(text.as_bytes()));
    reply::write(session, ctx, reply::message(200, Reason::Authorization, text)).await
}

/// A call of one of the three tools that stand for all.
async fn over_all(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (meta, id, rules): (search::Meta, &str, &Rules),
) -> Result<()> {
    if let search::Meta::Call(body) = &meta {
        return match Message::parse(body) {
            Ok(message) => Box::pin(request(proxy, session, ctx, talk, (message, body))).await,
            Err(fault) => reply::write(session, ctx, unreadable(&fault)).await,
        };
    }
    let lists = reply::while_there(session, ctx, Box::pin(fan::lists(talk, List::Tools))).await?;
    let answer = match lists {
        Ok(answers) => {
            let visible = fan::visible(talk, List::Tools, &answers, |target, name| {
                let subject = Subject { noun: Noun::Tool, name: name.to_owned() };
                rules.shows(session, ctx, &rules::object("tools/list", &target.name, &subject, None))
            });
            reply::message(200, Reason::Upstream, search::answered(&meta, id, &visible))
        }
        Err((target, fault)) => {
            relay::note(ctx, &target, &fault);
            reply::message(200, Reason::UpstreamFailure, fault.answer(id, &target.name))
        }
    };
    reply::write(session, ctx, answer).await
}

/// Whether the call may be made. What may not be used is not there.
fn judged(
    session: &Session,
    ctx: &mut Ctx,
    (message, body, bound): (&Message<'_>, &Bytes, Bound),
    rules: &Rules,
) -> std::result::Result<Bound, Nowhere> {
    let Some(subject) = &bound.subject else { return Ok(bound) };
    let arguments = message.params.and_then(|it| it.get("arguments")).and_then(|it| body.get(it.range()));
    let arguments = arguments.map(|it| body.slice_ref(it));
    let mut about = ctx.mcp.take().unwrap_or_else(|| Box::new(About::of(told::named(message.method()), None)));
    about.of_subject(&bound.target, subject, arguments);
    let admitted = rules.admits(session, ctx, &about);
    ctx.mcp = Some(about);
    if !admitted {
        ctx.outcome.reason = Reason::Authorization;
        told::whose(ctx, &bound.target, Some(subject));
        let noun = subject.noun;
        let key = match noun {
            Noun::Tool | Noun::Prompt => "name",
            Noun::Resource => "uri",
            Noun::Task => task::KEY,
        };
        let shown = message.param(key).ok().flatten().and_then(Raw::as_str);
        return Err(Nowhere::unknown(noun, shown.as_deref().unwrap_or(&subject.name)));
    }
    Ok(bound)
}

async fn listed(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (list, message, id, rules): (List, &Message<'_>, &str, &Rules),
) -> Result<()> {
    let answer = if message.params.is_some_and(|it| it.get("cursor").is_some_and(|it| !it.is_null())) {
        // All is given at once, so that no cursor is ours.
        reply::message(200, Reason::InvalidRequest, answer::error(id, answer::INVALID_PARAMS, "unknown cursor"))
    } else {
        match reply::while_there(session, ctx, Box::pin(fan::lists(talk, list))).await? {
            Ok(answers) => {
                let noun = Noun::of(list);
                let mut result = fan::shown(talk, list, &answers, |target, name| {
                    let subject = || Subject { noun, name: name.to_owned() };
                    rules.is_empty()
                        || rules.shows(session, ctx, &rules::object(message.method(), &target.name, &subject(), None))
                });
                if let Some(guards) = Guards::of_list(proxy, session, ctx, talk, message.method()) {
                    match reply::while_there(session, ctx, Box::pin(guards.list(&mut result))).await? {
                        Ok(()) => {}
                        Err(error) => return refused_by_guard(session, ctx, id, &error).await,
                    }
                }
                let mut text = Vec::with_capacity(result.len() + id.len() + 100);
                text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
                text.extend_from_slice(id.as_bytes());
                text.extend_from_slice(br#","result":"#);
                if talk.is_modern() {
                    // What several servers say together may be another's tomorrow.
                    text.extend_from_slice(br#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","#);
                    text.extend_from_slice(result.get(1..).unwrap_or_default());
                } else {
                    text.extend_from_slice(&result);
                }
                text.push(b'}');
                reply::message(200, Reason::Upstream, text)
            }
            Err((target, fault)) => {
                relay::note(ctx, &target, &fault);
                let text = fault.answer(id, &target.name);
                told::ended(ctx, Ended::of_bytes(text.as_bytes()));
                reply::message(200, Reason::UpstreamFailure, text)
            }
        }
    };
    reply::write(session, ctx, answer).await
}

/// Tells all servers, and waits for none.
fn tell(talk: &Talk, body: &Bytes) {
    for target in talk.federation.targets.clone() {
        let (talk, body) = (talk.again(), body.clone());
        tokio::spawn(async move {
            let told = Box::pin(target.send(&talk, Sending { again: false, ..Sending::ours(body) })).await;
            if let Err(fault) = told {
                tracing::debug!(target_name = &*target.name, error = %fault, "a notification was not taken");
            }
        });
    }
}

/// As [`tell`], for a request whose answers say nothing.
fn tell_request(talk: &Talk, body: &Bytes) {
    tell(talk, body);
}

/// Cancels what only this process can cancel, or another one of its line.
fn cancel(talk: &Talk, name: Name, message: &Message<'_>, body: &Bytes) {
    if talk.mcp.running.cancel(&name, message) || talk.mcp.kin.is_empty() {
        return;
    }
    let (mcp, body) = (talk.mcp.clone(), body.clone());
    tokio::spawn(async move { mcp.kin.told(&name, None, &body).await });
}

/// Opens a session, which is from then on in the id that the client holds.
async fn sealed(talk: &Talk, id: &str, message: &Message<'_>) -> filters::Reply {
    let name = Sessions::name();
    let (mut opened, session) = open(talk, (id, name), message).await;
    let Some(session) = session else { return opened };
    if talk.federation.terms.stateless {
        let mut passing = talk.again();
        passing.session = Some((name, session));
        serve::forget(&passing);
        return opened;
    }
    let sealed = talk.mcp.sessions.seal(&session, name, &talk.scope);
    match sealed.ok().and_then(|it| HeaderValue::try_from(it).ok()) {
        Some(sealed) => {
            let mut own = talk.again();
            own.session = Some((name, session));
            drop(talk.mcp.live.touch(&own));
            opened.headers.push((SESSION_ID, sealed));
            opened
        }
        None => reply::message(200, Reason::Internal, answer::error(id, answer::INTERNAL_ERROR, TOO_LARGE)),
    }
}

/// Opens a session with every server, and one for the client over them.
pub(super) async fn open(
    talk: &Talk,
    (id, name): (&str, Name),
    message: &Message<'_>,
) -> (filters::Reply, Option<Arc<Sealed>>) {
    let refuse = |reason, text: String| (reply::message(200, reason, text), None);
    let asked = message.params.and_then(|it| it.get("protocolVersion"));
    let version = Version::negotiate(asked.and_then(Raw::as_str).as_deref());
    let Some(params) = message.params else {
        return refuse(Reason::InvalidRequest, answer::error(id, answer::INVALID_PARAMS, "`params` is missing"));
    };
    let client = client_of(params, asked, version);
    let (shared, said, owned) = (&client, &name, &Arc::new(talk.again()));
    let answers = fan::all(talk, |target| async move { target.open(owned, shared, said).await }).await;
    if let Some((target, fault)) = fan::verdict(talk, &answers) {
        tracing::info!(target_name = &*target.name, error = %fault, "a session cannot be opened");
        if let Some(challenge) = own_auth::challenge(talk, id, &fault) {
            return (challenge, None);
        }
        return refuse(Reason::UpstreamFailure, fault.answer(id, &target.name));
    }
    let mut opened: Vec<(Arc<Target>, Opening)> =
        answers.into_iter().filter_map(|(target, opening)| Some((target, opening.ok()?))).collect();
    let (result, version) = match result(talk, version, &opened) {
        Ok(result) => result,
        Err((target, fault)) => return refuse(Reason::UpstreamFailure, fault.answer(id, &target)),
    };
    let answer = reply::message(200, Reason::Upstream, answer::result(id, &result));
    let servers: Vec<_> = opened.iter_mut().filter_map(|(_, it)| it.take()).collect();
    let Ok(servers) = Servers::new(&servers) else {
        return refuse(Reason::Internal, answer::error(id, answer::INTERNAL_ERROR, TOO_LARGE));
    };
    (answer, Some(Arc::new(Sealed { began: Sessions::now(), owner: 0, version, client, servers })))
}

/// Parameters of `initialize` as servers get them: in a version that begins so, and in a size that an id can carry.
fn client_of(params: Raw<'_>, asked: Option<Raw<'_>>, version: Version) -> String {
    let mut edits = Edits::default();
    if let Some(asked) = asked.filter(|it| it.as_str().as_deref() != Some(version.as_str())) {
        // Ranges are of the whole document; the parameters are a part of it.
        edits.replace(asked.range(), quoted(version.as_str()));
    }
    let text = params.edited(edits);
    if asked.is_some() && text.len() <= CLIENT_BYTES_MAX {
        return text;
    }
    let name = params.get("clientInfo").and_then(|it| it.get("name")).and_then(Raw::as_str).unwrap_or_default();
    let name: String = name.chars().take(100).collect();
    let has = |capability: &str| params.get("capabilities").is_some_and(|it| it.get(capability).is_some());
    let capabilities: Vec<_> = ["roots", "sampling", "elicitation"]
        .into_iter()
        .filter(|it| has(it))
        .map(|it| format!(r#""{it}":{{}}"#))
        .collect();
    format!(
        r#"{{"protocolVersion":"{version}","capabilities":{{{}}},"clientInfo":{{"name":{},"version":"0"}}}}"#,
        capabilities.join(","),
        quoted(&name)
    )
}

/// The result of `initialize`, the one server's own or one over all, and the version that clients speak then.
fn result(
    talk: &Talk,
    version: Version,
    opened: &[(Arc<Target>, Opening)],
) -> std::result::Result<(String, Version), (ir::Text, Fault)> {
    let mut results = Vec::with_capacity(opened.len());
    for (target, opening) in opened {
        let result = result_of(&opening.message, OPENING_ID).map_err(|fault| (target.name.clone(), fault))?;
        results.push((&*target.name, result));
    }
    let version = version.min(Version::LEGACY);
    if let (Some(_), [(_, result)]) = (talk.federation.single(), results.as_slice()) {
        let spoken = opened.first().map_or(version, |(_, it)| it.version);
        return Ok(match spoken.is_modern() {
            true => (introduced(version, *result), version),
            false => (result.text().to_owned(), spoken),
        });
    }
    let version = opened.iter().map(|(_, it)| it.version).min().unwrap_or(version).min(version);
    let server = Server { name: "agentgateway", version: env!("CARGO_PKG_VERSION") };
    Ok((initialized(version, server, results.iter().copied(), !talk.federation.terms.stateless), version))
}
