//! A request of the era without sessions, from the check of its head on.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use filters::Reason;
use http::HeaderMap;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::json::Raw;
use protocols::mcp::capability::{Server, discovered};
use protocols::mcp::session::{Name, Servers, Session as Sealed};
use protocols::mcp::{Edits, Message, Shape, Version, answer, modern};

use super::super::fault::Fault;
use super::super::talk::Talk;
use super::super::target::{ask, result_of};
use super::super::{Target, fan, post, relay, reply, told};
use super::listen;
use super::seam::VERSION;
use crate::proxy::{Ctx, Proxy};

/// The id under which servers are asked about themselves.
const ABOUT_ID: &str = "\"agw-about\"";

pub(in crate::mcp) async fn answer(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &mut Talk,
    (message, body, version): (Message<'_>, &Bytes, Version),
) -> Result<()> {
    let id = message.id.map_or("", Raw::text);
    let refused = match message.shape() {
        // None is defined, and none is needed: who does not wait any longer closes the connection.
        Shape::Notification => Some(reply::bare(202, Reason::Upstream)),
        Shape::Response => {
            let text = answer::error("", answer::INVALID_REQUEST, "nothing was asked that this could answer");
            Some(reply::message(400, Reason::InvalidRequest, text))
        }
        Shape::Request => check(&session.req_header().headers, &message, version, id),
    };
    if let Some(refused) = refused {
        return reply::write(session, ctx, refused).await;
    }
    talk.session = Some(as_session(talk, modern::client(&message)));
    let _in_use = talk.mcp.live.touch(talk);
    if matches!(message.method(), "server/discover" | "subscriptions/listen") {
        told::begun(ctx, talk, message.method());
    }
    match message.method() {
        "server/discover" => discover(session, ctx, talk, id).await,
        "subscriptions/listen" => Box::pin(listen::answer(proxy, session, ctx, talk, (&message, id))).await,
        _ => post::request(proxy, session, ctx, talk, (message, body)).await,
    }
}

fn check(headers: &HeaderMap, message: &Message<'_>, version: Version, id: &str) -> Option<filters::Reply> {
    let fault = modern::check(headers, message, version).err()?;
    Some(reply::message(fault.status().as_u16(), Reason::InvalidRequest, fault.answer(id)))
}

/// What elder servers know the client by: one session for all its requests, whichever process they come to.
fn as_session(talk: &Talk, client: String) -> (Name, Arc<Sealed>) {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&talk.scope);
    context.update(&talk.audience().to_be_bytes());
    context.update(client.as_bytes());
    let mut name = Name::default();
    for (to, from) in name.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    (name, Arc::new(Sealed { began: 0, owner: 0, version: VERSION, client, servers: Servers::default() }))
}

/// What the servers are and can do together.
async fn discover(session: &mut Session, ctx: &mut Ctx, talk: &Talk, id: &str) -> Result<()> {
    let asked =
        reply::while_there(session, ctx, Box::pin(fan::all(talk, |target| async move { about(talk, &target).await })));
    let answers = asked.await?;
    if let Some((target, fault)) = fan::verdict(talk, &answers) {
        relay::note(ctx, &target, &fault);
        let text = fault.answer(id, &target.name);
        return reply::write(session, ctx, reply::message(200, Reason::UpstreamFailure, text)).await;
    }
    let said: Vec<_> = answers.iter().filter_map(|(target, it)| Some((&*target.name, it.as_ref().ok()?))).collect();
    let results: Vec<_> =
        said.iter().filter_map(|(target, (message, asked))| Some((*target, result_of(message, asked).ok()?))).collect();
    let text = match (talk.federation.single(), results.as_slice()) {
        (Some(_), [(_, result)]) if result.get("supportedVersions").is_some() => own_versions(*result),
        _ => {
            let server = Server { name: "agentgateway", version: env!("CARGO_PKG_VERSION") };
            discovered(server, results.iter().copied(), talk.federation.single().is_some())
        }
    };
    reply::write(session, ctx, reply::message(200, Reason::Upstream, answer::result(id, &text))).await
}

/// The only server's word, but for the versions: those are the gateway's.
fn own_versions(result: Raw<'_>) -> String {
    let mut edits = Edits::default();
    if let Some(versions) = result.get("supportedVersions") {
        edits.replace(versions.range(), modern::spoken());
    }
    modern::complete(result, "server/discover", &mut edits);
    result.edited(edits)
}

/// What a server says of itself, with the id that it was asked under.
pub(super) async fn about(talk: &Talk, target: &Arc<Target>) -> std::result::Result<(Bytes, &'static str), Fault> {
    let opened = target.session(talk).await?;
    if opened.version.is_modern() {
        let body = answer::request(ABOUT_ID, "server/discover", "");
        return Ok((ask(target, talk, ABOUT_ID, body).await?, ABOUT_ID));
    }
    let held = match target.state.about(talk.audience()) {
        Some(held) => held,
        None => {
            // It was opened before, and what was said then is forgotten.
            target.renew(talk, Some(&opened)).await?;
            target.state.about(talk.audience()).ok_or(Fault::Silent)?
        }
    };
    Ok((held, super::super::target::OPENING_ID))
}
