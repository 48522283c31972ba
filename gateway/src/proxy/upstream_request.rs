//! `upstream_request_filter`: the copy of the head that goes to the backend, for each attempt.
//!
//! Hop-by-hop headers, the host, what we say of the client, and the backend's own policies.

use filters::backend_auth::{Outgoing, Payload};
use filters::{Exchange, Reason, Verdict, Wanted, chain};
use http::header::{CONNECTION, COOKIE, HOST, TE, UPGRADE};
use http::{HeaderName, HeaderValue};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use protocols::http::hop;

use super::Proxy;
use super::ctx::Ctx;
use super::names::{self, Fields};
use super::{finish, forwarded};
use crate::upstream::credentials;

/// Tells a backend that this is another try.
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("x-retry-attempt");

/// Headers this phase adds at most, on the usual way.
const ADDED: usize = 5;

pub(super) fn filter(proxy: &Proxy, session: &mut Session, head: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
    let is_h2 = head.version == http::Version::HTTP_2;
    let host = host(head, ctx);
    crate::a2a::requested(head, ctx)?;
    names::change(head, |fields| {
        if let Fields::Plain(map) = fields {
            map.reserve(ADDED);
        }
        if !ctx.attempt.end_to_end_only {
            hop_by_hop(session, fields, ctx, is_h2)?;
        }
        if !is_h2 {
            join_cookies(fields)?;
        }
        forwarded::write(session, fields, ctx)?;
        finish::ask(fields, ctx)?;
        if let Some(host) = host {
            fields.insert(&HOST, host)?;
        }
        if ctx.attempt.count > 1 {
            fields.insert(&RETRY_ATTEMPT, (ctx.attempt.count - 1).into())?;
        }
        Ok(())
    })?;
    if let Some(asked) = &ctx.ai {
        crate::llm::requested(head, asked)?;
    }
    if let Some(effective) = ctx.backend().map(|it| it.effective.clone())
        && !effective.filters().is_empty()
    {
        let around = proxy.around(&ctx.plan, ctx.request_deadline);
        let mut exchange = Exchange { request: head, facts: &mut ctx.facts, outside: &around };
        if let Verdict::Reply(reply) = chain::on_attempt(&effective, &mut exchange) {
            let error = ctx.facts.fault.take().unwrap_or_default();
            ctx.fail(reply.reason, reply.status, error);
            ctx.outcome.reply = Some(Box::new(reply));
            return Err(Error::new(ErrorType::InternalError));
        }
    }
    Ok(())
}

/// The gateway's own credential, last: nothing that runs for a request sees it.
pub(super) async fn sign(proxy: &Proxy, head: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
    let Some(effective) = ctx.backend().map(|it| it.effective.clone()) else { return Ok(()) };
    let Some(policy) = effective.backend_auth() else { return Ok(()) };
    if policy.may_wait() {
        credentials::ready(policy, head, &ctx.facts).await;
    }
    let mut fault = None;
    let signs = policy.wants() == Wanted::Whole;
    let changed = ctx.ai.as_ref().filter(|_| signs).and_then(|it| it.changed_whole());
    let changed = changed.or_else(|| ctx.a2a.as_ref()?.relayed().cloned());
    let mut write = |head: &mut RequestHeader| {
        let body = changed.as_deref().map_or_else(|| Payload::of(&ctx.facts.body), Payload::Whole);
        let outside = proxy.asking.world().as_ref();
        policy.on_attempt(Outgoing { head, body, facts: &ctx.facts, outside }).map_err(|why| {
            fault = Some(format!("backendAuth: {why}"));
            Error::new(ErrorType::InternalError)
        })
    };
    let written = match ctx.ai.as_ref().and_then(|it| it.provider()) {
        Some(provider) => crate::llm::sign(head, provider.key, &mut write),
        None => write(head),
    };
    if let Some(why) = fault {
        ctx.fail(Reason::Internal, 500, why);
    }
    written
}

fn hop_by_hop(session: &Session, fields: &mut Fields<'_>, ctx: &Ctx, is_h2: bool) -> Result<()> {
    // Pingora has taken `TE` out of the copy. An HTTP/1 backend's trailers would get lost.
    let trailers = is_h2 && hop::te_trailers(&session.req_header().headers);
    let upgrade = ctx.is_upgrade.then(|| fields.map().get(UPGRADE).cloned()).flatten();
    let mut gone = Vec::new();
    // Framing is Pingora's business: it is settled after this filter.
    hop::to_remove(fields.map(), ctx.is_upgrade, |name| {
        if name != http::header::TRANSFER_ENCODING {
            gone.push(name);
        }
    });
    for name in gone {
        fields.remove(&name);
    }
    if trailers {
        fields.insert(&TE, HeaderValue::from_static("trailers"))?;
    }
    if let Some(upgrade) = upgrade {
        fields.insert(&UPGRADE, upgrade)?;
        fields.insert(&CONNECTION, HeaderValue::from_static("upgrade"))?;
    }
    Ok(())
}

/// RFC 9113 section 8.2.3: HTTP/2 may send cookies in crumbs, HTTP/1 has one line of them.
fn join_cookies(fields: &mut Fields<'_>) -> Result<()> {
    let mut crumbs = fields.map().get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return Ok(()) };
    let joined = [first, second].into_iter().chain(crumbs).collect::<Vec<_>>().join(&b"; "[..]);
    match HeaderValue::from_bytes(&joined) {
        Ok(joined) => fields.insert(&COOKIE, joined),
        Err(_) => Ok(()),
    }
}

/// The `Host` to write: what a policy set, else the backend's own name, else the client's where it came as an
/// authority.
fn host(head: &mut RequestHeader, ctx: &Ctx) -> Option<HeaderValue> {
    let wanted = match &ctx.facts.upstream_host {
        Some(host) => Some(host.clone()),
        None => ctx.backend().and_then(|it| it.host.clone()),
    };
    if wanted.is_none() && head.version != http::Version::HTTP_2 && names_its_authority(head) {
        // Pingora has written it already, and nothing else is asked for.
        return None;
    }
    // RFC 9112 section 3.2.2: an authority in the target counts, not `Host`.
    let sent = head.uri.authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    if sent.is_some() {
        // One authority only: Pingora makes `:authority` from `Host`.
        let mut parts = head.uri.clone().into_parts();
        parts.scheme = None;
        parts.authority = None;
        if let Ok(uri) = http::Uri::from_parts(parts) {
            head.set_uri(uri);
        }
    }
    wanted.or(sent)
}

/// Whether `Host` and the target's authority are one.
fn names_its_authority(head: &RequestHeader) -> bool {
    let Some(authority) = head.uri.authority() else { return false };
    let mut hosts = head.headers.get_all(HOST).iter();
    hosts.next().is_some_and(|host| authority.as_str() == host) && hosts.next().is_none()
}
