//! `upstream_request_filter`: the copy of the head that goes to the backend, for each attempt.
//!
//! Hop-by-hop headers, the host, what we say of the client, and the backend's own policies.

use filters::{Exchange, chain};
use http::HeaderValue;
use http::header::{CONNECTION, COOKIE, HOST, TE, UPGRADE};
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use protocols::http::hop;

use super::ctx::Ctx;
use super::forwarded;

/// Tells a backend that this is another try.
const RETRY_ATTEMPT: &str = "x-retry-attempt";

pub(super) fn filter(session: &mut Session, head: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
    // Pingora has taken `TE` out of the copy. An HTTP/1 backend's trailers would get lost.
    let trailers = head.version == http::Version::HTTP_2 && hop::te_trailers(&session.req_header().headers);
    let upgrade = ctx.is_upgrade.then(|| head.headers.get(UPGRADE).cloned()).flatten();
    let mut gone = Vec::new();
    // Framing is Pingora's business: it is settled after this filter.
    hop::to_remove(&head.headers, ctx.is_upgrade, |name| {
        if name != http::header::TRANSFER_ENCODING {
            gone.push(name);
        }
    });
    for name in gone {
        head.remove_header(&name);
    }
    if trailers {
        head.insert_header(TE, HeaderValue::from_static("trailers"))?;
    }
    if let Some(upgrade) = upgrade {
        head.insert_header(UPGRADE, upgrade)?;
        head.insert_header(CONNECTION, HeaderValue::from_static("upgrade"))?;
    }
    if head.version != http::Version::HTTP_2 {
        join_cookies(head)?;
    }
    forwarded::write(session, head, ctx)?;
    host(head, ctx)?;
    if ctx.attempt.count > 1 {
        head.insert_header(RETRY_ATTEMPT, (ctx.attempt.count - 1).to_string())?;
    }
    if let Some(effective) = ctx.backend().map(|it| it.effective.clone())
        && !effective.filters().is_empty()
    {
        let mut exchange = Exchange { request: head, facts: &mut ctx.facts };
        chain::on_attempt(&effective, &mut exchange);
    }
    Ok(())
}

/// RFC 9113 section 8.2.3: HTTP/2 may send cookies in crumbs, HTTP/1 has one line of them.
fn join_cookies(head: &mut RequestHeader) -> Result<()> {
    let mut crumbs = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return Ok(()) };
    let joined = [first, second].into_iter().chain(crumbs).collect::<Vec<_>>().join(&b"; "[..]);
    match HeaderValue::from_bytes(&joined) {
        Ok(joined) => head.insert_header(COOKIE, joined),
        Err(_) => Ok(()),
    }
}

/// What a policy set, else the backend's own name, else the client's.
fn host(head: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    let wanted = match &ctx.facts.upstream_host {
        Some(host) => Some(host.clone()),
        None => ctx.backend().and_then(|it| it.host.clone()),
    };
    // RFC 9112 section 3.2.2: an authority in the target counts, not `Host`.
    let sent = head.uri.authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    let Some(value) = wanted.or_else(|| sent.clone()) else { return Ok(()) };
    if sent.is_some() {
        // One authority only: Pingora makes `:authority` from `Host`.
        let mut parts = head.uri.clone().into_parts();
        parts.scheme = None;
        parts.authority = None;
        if let Ok(uri) = http::Uri::from_parts(parts) {
            head.set_uri(uri);
        }
    }
    head.insert_header(HOST, value)
}
