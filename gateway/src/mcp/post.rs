//! A message from a client: checked, understood, and given to whom it is for.

use std::sync::Arc;

use bytes::Bytes;
use filters::{Reason, Wanted};
use http::HeaderValue;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::json::{Raw, quoted};
use protocols::mcp::capability::{Server, initialized};
use protocols::mcp::session::{CLIENT_BYTES_MAX, Session as Sealed};
use protocols::mcp::transport::{self, SESSION_ID};
use protocols::mcp::{Edits, List, Message, Shape, Version, answer, message};

use super::fault::Fault;
use super::guard::{Guards, Passed};
use super::route::{Bound, Nowhere};
use super::rules::{Noun, Rules, Subject};
use super::talk::Talk;
use super::target::{Opening, Sending, result_of};
use super::{Sessions, Target, fan, limits, own_auth, relay, reply, route, rules, search, serve, step_up};
use crate::proxy::{Ctx, Proxy, body, request::Stop};

/// The id that our own `initialize` has at servers.
const OPENING_ID: &str = "\"agw-open\"";

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

fn unreadable(fault: &message::Fault) -> filters::Reply {
    reply::message(400, Reason::InvalidRequest, answer::error("", fault.code(), &fault.to_string()))
}

/// The body of a message whose head is as it has to be.
async fn take(session: &mut Session, ctx: &mut Ctx) -> std::result::Result<Bytes, Result<filters::Reply>> {
    let checked = transport::check_post(&session.req_header().headers);
    let checked = checked.and_then(|()| transport::version(&session.req_header().headers));
    if let Err(fault) = checked {
        let text = match &fault {
            transport::Fault::Version(asked) => unsupported("", asked),
            _ => answer::error("", fault.code(), &fault.to_string()),
        };
        return Err(Ok(reply::message(fault.status().as_u16(), Reason::InvalidRequest, text)));
    }
    match body::read_ahead(session, ctx, Wanted::Whole).await {
        Ok(()) => Ok(ctx.facts.body.held().map(|it| it.bytes.clone()).unwrap_or_default()),
        Err(Stop::Reply(refused)) => Err(Ok(refused)),
        Err(Stop::Broken(error)) => Err(Err(error)),
    }
}

fn unsupported(id: &str, asked: &str) -> String {
    let spoken: Vec<_> = Version::ALL.iter().filter(|it| !it.is_modern()).map(|it| quoted(it.as_str())).collect();
    let data = format!(r#"{{"supported":[{}],"requested":{}}}"#, spoken.join(","), quoted(asked));
    answer::error_with(id, answer::UNSUPPORTED_VERSION, "Unsupported protocol version", &data)
}

async fn understood(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &mut Talk,
    (message, body): (Message<'_>, &Bytes),
) -> Result<()> {
    let id = message.id.map_or("", Raw::text);
    let is_opening = message.shape() == Shape::Request && message.method() == "initialize";
    if is_opening {
        let (opened, headers) = open(talk, id, &message).await;
        let mut opened = opened;
        opened.headers.extend(headers);
        return reply::write(session, ctx, opened).await;
    }
    let modern = transport::version(&session.req_header().headers).ok().flatten().filter(|it| it.is_modern());
    if let Some(asked) = modern {
        let text = unsupported(id, asked.as_str());
        return reply::write(session, ctx, reply::message(400, Reason::InvalidRequest, text)).await;
    }
    if talk.federation.terms.stateless {
        talk.session = Some((Sessions::name(), passing()));
        let done = in_session(proxy, session, ctx, talk, (message, body)).await;
        serve::forget(talk);
        return done;
    }
    match serve::find_session(session, talk) {
        Ok(()) => in_session(proxy, session, ctx, talk, (message, body)).await,
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
    Sealed { began: Sessions::now(), version: Version::LEGACY, client, servers: Vec::new() }
}

async fn in_session(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (message, body): (Message<'_>, &Bytes),
) -> Result<()> {
    match message.shape() {
        Shape::Request => request(proxy, session, ctx, talk, (message, body)).await,
        Shape::Notification => {
            if message.method() != "notifications/initialized" {
                // Servers were told when they were asked to begin.
                tell(talk, body);
            }
            reply::write(session, ctx, reply::bare(202, Reason::Upstream)).await
        }
        Shape::Response => {
            let Some(Bound { target, body, subject: _ }) = route::bind_answer(talk, &message, body) else {
                let text = answer::error("", answer::INVALID_REQUEST, "an answer to nothing that was asked");
                return reply::write(session, ctx, reply::message(400, Reason::InvalidRequest, text)).await;
            };
            let sent = target.send(talk, Sending { again: false, ..Sending::ours(body) });
            let answer = match reply::while_there(session, Box::pin(sent)).await? {
                Ok(_) => reply::bare(202, Reason::Upstream),
                Err(fault) => {
                    relay::note(ctx, &target, &fault);
                    reply::message(502, Reason::UpstreamFailure, fault.answer("", &target.name))
                }
            };
            reply::write(session, ctx, answer).await
        }
    }
}

async fn request(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (message, body): (Message<'_>, &Bytes),
) -> Result<()> {
    let id = message.id.map_or("", Raw::text);
    let method = message.method();
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
    if method == "tools/call"
        && let Some(meta) = talk.shaping.as_ref().and_then(|it| search::Meta::of(it.search()?, &message, body))
    {
        return over_all(proxy, session, ctx, talk, (meta, id, &rules)).await;
    }
    let bound = route::bind(talk, &message, body).await;
    if let Some(refused) = bound.as_ref().ok().and_then(|it| step_up::refusal(session, ctx, &message, it)) {
        return reply::write(session, ctx, refused).await;
    }
    match bound.and_then(|bound| judged(session, ctx, (&message, bound), &rules)) {
        Ok(bound) => match Box::pin(limits::refusal(proxy, session, ctx, id)).await {
            Some(refused) => reply::write(session, ctx, refused).await,
            None => guarded(proxy, session, ctx, talk, (bound, id, &message)).await,
        },
        Err(Nowhere { code, text }) => {
            let text = answer::error(id, code, &text);
            reply::write(session, ctx, reply::message(200, Reason::InvalidRequest, text)).await
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
    let guards = Guards::of(session, ctx, message.method(), ctx.mcp.as_deref(), &[&*bound.target.name]);
    if let Some(guards) = &guards {
        match reply::while_there(session, Box::pin(guards.request(proxy, &bound.body))).await? {
            Ok(Some(body)) => bound.body = body,
            Ok(None) => {}
            Err(error) => {
                let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
                return reply::write(session, ctx, reply::message(200, Reason::Authorization, text)).await;
            }
        }
    }
    relay::request(proxy, session, ctx, talk, (bound, id, guards.as_ref())).await
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
    let lists = reply::while_there(session, Box::pin(fan::lists(talk, List::Tools))).await?;
    let answer = match lists {
        Ok(answers) => {
            let visible = fan::visible(talk, List::Tools, &answers, |target, name| {
                let subject = Subject { noun: Noun::Tool, name: name.to_owned() };
                rules.shows(session, ctx, &rules::object("tools/list", target, &subject, None))
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
    (message, bound): (&Message<'_>, Bound),
    rules: &Rules,
) -> std::result::Result<Bound, Nowhere> {
    let Some(subject) = &bound.subject else { return Ok(bound) };
    let arguments = message.params.and_then(|it| it.get("arguments")).map(Raw::text);
    let mcp = rules::object(message.method(), &bound.target, subject, arguments);
    if !rules.admits(session, ctx, &mcp) {
        ctx.outcome.reason = Reason::Authorization;
        let (noun, key) = (subject.noun, if subject.noun == Noun::Resource { "uri" } else { "name" });
        let shown = message.param(key).ok().flatten().and_then(Raw::as_str);
        return Err(Nowhere::unknown(noun, shown.as_deref().unwrap_or(&subject.name)));
    }
    ctx.mcp = Some(Box::new(mcp));
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
        match reply::while_there(session, Box::pin(fan::lists(talk, list))).await? {
            Ok(answers) => {
                let noun = Noun::of(list);
                let mut result = fan::shown(talk, list, &answers, |target, name| {
                    let subject = || Subject { noun, name: name.to_owned() };
                    rules.is_empty()
                        || rules.shows(session, ctx, &rules::object(message.method(), target, &subject(), None))
                });
                let names: Vec<&str> = talk.federation.targets.iter().map(|it| &*it.name).collect();
                if let Some(guards) = Guards::of(session, ctx, message.method(), None, &names) {
                    let shown = std::str::from_utf8(&result).unwrap_or_default();
                    match reply::while_there(session, Box::pin(guards.ask(proxy, shown, true))).await? {
                        Passed::AsItIs => {}
                        Passed::Changed(other) => result = other.into(),
                        Passed::Refused(error) => {
                            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
                            return reply::write(session, ctx, reply::message(200, Reason::Authorization, text)).await;
                        }
                    }
                }
                let mut text = Vec::with_capacity(result.len() + id.len() + 40);
                text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
                text.extend_from_slice(id.as_bytes());
                text.extend_from_slice(br#","result":"#);
                text.extend_from_slice(&result);
                text.push(b'}');
                reply::message(200, Reason::Upstream, text)
            }
            Err((target, fault)) => {
                relay::note(ctx, &target, &fault);
                reply::message(200, Reason::UpstreamFailure, fault.answer(id, &target.name))
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

/// Opens a session with every server, and one for the client over them.
async fn open(
    talk: &Talk,
    id: &str,
    message: &Message<'_>,
) -> (filters::Reply, Option<(http::HeaderName, HeaderValue)>) {
    let refuse = |reason, text: String| (reply::message(200, reason, text), None);
    let asked = message.params.and_then(|it| it.get("protocolVersion"));
    let version = Version::negotiate(asked.and_then(Raw::as_str).as_deref());
    let Some(params) = message.params else {
        return refuse(Reason::InvalidRequest, answer::error(id, answer::INVALID_PARAMS, "`params` is missing"));
    };
    let client = client_of(params, asked, version);
    let name = Sessions::name();
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
    let session = Sealed { began: Sessions::now(), version, client, servers };
    if talk.federation.terms.stateless {
        let mut passing = talk.again();
        passing.session = Some((name, session));
        serve::forget(&passing);
        return (answer, None);
    }
    let sealed = talk.mcp.sessions.seal(&session, name, &talk.scope);
    match sealed.ok().and_then(|it| HeaderValue::try_from(it).ok()) {
        Some(sealed) => (answer, Some((SESSION_ID, sealed))),
        None => {
            let text = "the sessions of all servers together are too large for an id";
            refuse(Reason::Internal, answer::error(id, answer::INTERNAL_ERROR, text))
        }
    }
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
    if let (Some(_), [(_, result)]) = (talk.federation.single(), results.as_slice()) {
        let version = opened.first().map_or(version, |(_, it)| it.version);
        return Ok((result.text().to_owned(), version));
    }
    let version = opened.iter().map(|(_, it)| it.version).min().unwrap_or(version).min(version);
    let server = Server { name: "agentgateway", version: env!("CARGO_PKG_VERSION") };
    Ok((initialized(version, server, results.iter().copied(), !talk.federation.terms.stateless), version))
}
