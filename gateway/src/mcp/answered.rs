//! A client's answer to what a server has asked, or the gateway for one: given to whoever waits for it, here or in
//! another process of the line.

use bytes::Bytes;
use filters::Reason;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::mcp::{Message, Version, answer};

use super::route::{self, Bound};
use super::talk::Talk;
use super::target::Sending;
use super::{Target, fan, relay, reply};
use crate::proxy::Ctx;

pub(super) async fn answer(
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (message, body): (Message<'_>, &Bytes),
) -> Result<()> {
    let waited_for = talk.session.as_ref().is_some_and(|(name, _)| talk.mcp.inputs.answered(name, &message));
    if waited_for || elsewhere(talk, &message, body).await {
        return reply::write(session, ctx, reply::bare(202, Reason::Upstream)).await;
    }
    let refuse =
        |status, text| reply::message(status, Reason::InvalidRequest, answer::error("", answer::INVALID_REQUEST, text));
    let Some(Bound { target, body, subject: _ }) = route::bind_answer(talk, &message, body) else {
        return reply::write(session, ctx, refuse(400, "an answer to nothing that was asked")).await;
    };
    if is_of_another(talk, &target, &message) {
        let refused = refuse(404, "session not found: another process has asked, and it is not here");
        return reply::write(session, ctx, refused).await;
    }
    let sent = target.send(talk, Sending { again: false, ..Sending::ours(body) });
    let answer = match reply::while_there(session, ctx, Box::pin(sent)).await? {
        Ok(_) => reply::bare(202, Reason::Upstream),
        Err(fault) => {
            relay::note(ctx, &target, &fault);
            reply::message(502, Reason::UpstreamFailure, fault.answer("", &target.name))
        }
    };
    reply::write(session, ctx, answer).await
}

/// Whether an answer was for something that another process of the line has asked, or hears on a line of its own.
async fn elsewhere(talk: &Talk, message: &Message<'_>, body: &Bytes) -> bool {
    let Some((name, _)) = talk.session.as_ref().filter(|_| !talk.mcp.kin.is_empty()) else { return false };
    if message.id.is_some_and(|it| fan::is_own_id(it.text())) {
        return talk.mcp.kin.told(name, None, body).await;
    }
    match route::bind_answer(talk, message, body) {
        // Whoever has the session with the server can tell it.
        Some(bound) if bound.target.http().is_ok_and(|it| it.is_some()) => false,
        Some(bound) if talk.mcp.lines.get(name, &bound.target.name).is_some() => false,
        Some(bound) => talk.mcp.kin.told(name, Some(&bound.target.name), &bound.body).await,
        None => talk.mcp.kin.told(name, None, body).await,
    }
}

/// Whether an answer is to something that only another process can have asked: over a line that is not here, or for a
/// server that asks in results.
fn is_of_another(talk: &Talk, target: &Target, message: &Message<'_>) -> bool {
    let Some((name, held)) = &talk.session else { return false };
    let is_line = target.http().is_ok_and(|it| it.is_none());
    let asks_in_results = held.version_with(&target.name).is_some_and(Version::is_modern);
    let of_another = message.id.is_some_and(|it| fan::is_of_another(it.text()));
    (is_line && talk.mcp.lines.get(name, &target.name).is_none()) || (asks_in_results && of_another)
}
