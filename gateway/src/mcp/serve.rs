//! An exchange with an MCP backend, from the request to the last byte of its answer.

use std::sync::Arc;

use filters::Reason;
use http::header::{ALLOW, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::http::authority;
use protocols::mcp::answer;
use protocols::mcp::transport::{self, SESSION_ID};

use super::federation::Federation;
use super::shape::Shaping;
use super::talk::Talk;
use super::{guard, own_auth, post, reply, sse, stream, talk};
use crate::proxy::names::Fields;
use crate::proxy::{Ctx, Proxy, forwarded};

/// Answers the request. What fails on the client's side is an error; everything else is an answer.
pub async fn serve(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, federation: &Arc<Federation>) -> Result<()> {
    let head = session.req_header();
    if federation.terms.local_only && !is_local(&head.headers, &ctx.facts.host) {
        let text = answer::error("", answer::INVALID_REQUEST, "forbidden: `Host` or `Origin` is not this machine");
        return reply::write(session, ctx, reply::message(403, Reason::Authorization, text)).await;
    }
    if ctx.facts.whereabouts.backend.is_none() {
        ctx.facts.whereabouts.backend = Some(federation.name.clone());
    }
    let method = head.method.clone();
    let modern = transport::version(&head.headers).ok().flatten().is_some_and(protocols::mcp::Version::is_modern);
    let mut talk = begin(proxy, session, ctx, federation)?;
    let beside = session.req_header().uri.path() == sse::PATH && !federation.terms.stateless;
    if own_auth::is_document(&method, ctx, &talk)
        && let Some(document) = Box::pin(own_auth::document(session, ctx, &talk)).await
    {
        return reply::write(session, ctx, document).await;
    }
    match method {
        Method::GET if beside && !session.req_header().headers.contains_key(SESSION_ID) => {
            Box::pin(sse::listen(proxy, session, ctx, talk)).await
        }
        Method::POST if beside && !modern => Box::pin(sse::message(proxy, session, ctx, talk)).await,
        Method::POST => Box::pin(post::answer(proxy, session, ctx, talk)).await,
        Method::GET | Method::DELETE if federation.terms.stateless || modern => {
            refuse_method(session, ctx, "POST").await
        }
        Method::GET => {
            let checked = transport::check_get(&session.req_header().headers);
            if let Err(fault) = checked {
                let text = answer::error("", fault.code(), &fault.to_string());
                return reply::write(
                    session,
                    ctx,
                    reply::message(fault.status().as_u16(), Reason::InvalidRequest, text),
                )
                .await;
            }
            match find_session(session, &mut talk) {
                Ok(()) => {
                    let _in_use = talk.mcp.live.touch(&talk);
                    Box::pin(stream::answer(proxy, session, ctx, talk)).await
                }
                Err(refused) => reply::write(session, ctx, refused).await,
            }
        }
        Method::DELETE => match find_session(session, &mut talk) {
            Ok(()) => {
                end(talk);
                reply::write(session, ctx, reply::bare(200, Reason::Upstream)).await
            }
            Err(refused) => reply::write(session, ctx, refused).await,
        },
        _ => refuse_method(session, ctx, "GET, POST, DELETE").await,
    }
}

/// The exchange as servers get to see it.
fn begin(proxy: &Proxy, session: &Session, ctx: &Ctx, federation: &Arc<Federation>) -> Result<Talk> {
    let mut headers = talk::passing(&session.req_header().headers);
    forwarded::write(session, &mut Fields::Plain(&mut headers), ctx)?;
    let route = ctx.entry.as_ref().map(|it| it.route.key.clone());
    let route = route.as_ref().map_or("", |it| it.as_str());
    let of_process = (proxy.mcp.clone(), proxy.asking.world().clone());
    let mut talk = Talk::new(of_process, federation.clone(), headers, ctx.facts.clone(), route);
    talk.own_auth = own_auth::holds(ctx, federation);
    talk.shaping = Shaping::of(ctx, &proxy.telemetry);
    talk.guarded = guard::stands(ctx);
    Ok(talk)
}

/// The session that the request shows. 404 tells a client to begin anew (2025-11-25, transports).
pub(super) fn find_session(session: &Session, talk: &mut Talk) -> std::result::Result<(), filters::Reply> {
    let refuse = |status, text| {
        Err(reply::message(status, Reason::InvalidRequest, answer::error("", answer::INVALID_REQUEST, text)))
    };
    let Some(id) = session.req_header().headers.get(SESSION_ID) else {
        return refuse(400, "`Mcp-Session-Id` is missing: begin with `initialize`");
    };
    let opened = id.to_str().ok().and_then(|id| talk.mcp.sessions.open(id, &talk.scope));
    match opened {
        Some(opened) => {
            talk.session = Some(opened);
            Ok(())
        }
        None => refuse(404, "session not found"),
    }
}

/// Tells the servers that the client has ended its session. It does not wait for them.
fn end(talk: Talk) {
    if let Some((name, _)) = &talk.session {
        talk.mcp.sessions.end(*name);
        talk.mcp.kin.ended(*name, talk.mcp.replay.stay());
    }
    forget(&talk);
}

/// Ends what is open with servers, and forgets it.
pub(super) fn forget(talk: &Talk) {
    let Some((name, _)) = &talk.session else { return };
    talk.mcp.live.forget(name);
    talk.mcp.replay.end(name);
    let mut ending = Vec::new();
    for target in &talk.federation.targets {
        talk.mcp.watches.forget(name, &target.name);
        ending.push((target.clone(), talk.mcp.sessions.forget(name, &target.name)));
    }
    let talk = talk.again();
    tokio::spawn(async move {
        let all = ending.iter().map(|(target, slot)| target.end(&talk, slot.as_ref()));
        futures::future::join_all(all).await;
    });
}

async fn refuse_method(session: &mut Session, ctx: &mut Ctx, allowed: &'static str) -> Result<()> {
    let text = answer::error("", answer::INVALID_REQUEST, "method not allowed");
    let mut refused = reply::message(405, Reason::InvalidRequest, text);
    refused.headers.push((ALLOW, HeaderValue::from_static(allowed)));
    reply::write(session, ctx, refused).await
}

/// Whether host and origin are this machine's own names: what a page elsewhere gets by DNS rebinding is not.
fn is_local(headers: &HeaderMap, host: &str) -> bool {
    let local = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "::1");
    let host_is_local = local(host) || (host.is_empty() && !headers.contains_key(HOST));
    let origins_are_local = headers.get_all(ORIGIN).iter().all(|origin| {
        let Ok(text) = origin.to_str() else { return false };
        let Some((_, rest)) = text.split_once("://") else { return false };
        authority::parse(rest).is_ok_and(|it| local(it.host))
    });
    host_is_local && origins_are_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for (host, origin, fine) in [
            ("localhost", "", true),
            ("127.0.0.1", "http://localhost:3000", true),
            ("[::1]", "https://127.0.0.1", true),
            ("localhost", "https://evil.example", false),
            ("localhost", "null", false),
            ("localhost", "http://localhost.evil.example", false),
            ("evil.example", "", false),
            ("127.0.0.1.evil.example", "", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if !origin.is_empty() {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(is_local(&headers, host), fine, "{host} {origin}");
        }
    }
}
