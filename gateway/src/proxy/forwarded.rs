//! `X-Forwarded-*`, `Forwarded` and `Via` on the way to the backend.
//!
//! Values that a client sent are believed only behind the configured number of trusted hops;
//! otherwise they are replaced by what we saw ourselves.

use std::net::IpAddr;

use http::header::{FORWARDED, HOST, VIA};
use http::{HeaderName, HeaderValue};
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use protocols::http::forwarded::{self, Hop, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO};
use protocols::http::via;

use super::ctx::Ctx;
use super::request::Stop;
use crate::plan::Terms;

/// Times a request may pass this gateway before it is taken for a loop.
const LOOPS_MAX: usize = 8;

/// The client's address behind `trusted` proxies.
pub(super) fn client(head: &RequestHeader, peer: IpAddr, trusted: usize) -> IpAddr {
    if trusted == 0 {
        return peer;
    }
    let values = head.headers.get_all(X_FORWARDED_FOR).iter();
    let list: Vec<&str> = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
    forwarded::client_ip(list.into_iter(), peer, trusted)
}

/// Refuses loops; the headers themselves are written for each attempt.
pub(super) fn on_request(session: &Session, ctx: &Ctx, _terms: &Terms) -> Result<(), Stop> {
    let _ = ctx;
    let headers = &session.req_header().headers;
    if !headers.contains_key(VIA) {
        return Ok(());
    }
    let seen = via::occurrences(headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok()));
    if seen >= LOOPS_MAX {
        let text = "the request has passed this gateway too often: a loop\n";
        return Err(Stop::Reply(filters::Reply::text(508, filters::Reason::InvalidRequest, text)));
    }
    Ok(())
}

/// Writes the headers onto the copy that goes to the backend.
pub(super) fn write(session: &Session, head: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    let Some(listener) = &ctx.listener else { return Ok(()) };
    let Some(conn) = crate::listen::conn_info(session) else { return Ok(()) };
    let terms = ctx.plan.bind(&listener.listener.bind).map(|it| it.terms.clone()).unwrap_or_default();
    let keep = terms.http.trusted_hops > 0;
    let mut text = String::with_capacity(64);
    let proto = ctx.facts.scheme();

    forwarded::append_xff(joined(head, &X_FORWARDED_FOR).as_deref(), conn.client.ip(), keep, &mut text);
    set(head, &X_FORWARDED_FOR, &text)?;
    if !keep || !head.headers.contains_key(X_FORWARDED_PROTO) {
        head.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(proto))?;
    }
    let sent_host = session.req_header();
    let host = sent_host
        .uri
        .authority()
        .map(|it| it.as_str().to_owned())
        .or_else(|| sent_host.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned));
    if let Some(host) = host.as_deref().filter(|_| !keep || !head.headers.contains_key(X_FORWARDED_HOST)) {
        set(head, &X_FORWARDED_HOST, host)?;
    }
    if !keep {
        head.remove_header(&X_FORWARDED_PORT);
    }
    if terms.http.forwarded {
        text.clear();
        let hop = Hop { client: conn.client.ip(), by: None, proto, host: host.as_deref().unwrap_or_default() };
        forwarded::append_forwarded(joined(head, &FORWARDED).as_deref(), &hop, keep, &mut text);
        set(head, &FORWARDED, &text)?;
    } else if !keep {
        head.remove_header(&FORWARDED);
    }
    text.clear();
    via::append(joined(head, &VIA).as_deref(), session.req_header().version, &mut text);
    set(head, &VIA, &text)
}

/// All values of a header as one list.
fn joined(head: &RequestHeader, name: &HeaderName) -> Option<String> {
    let mut values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let first = values.next()?.to_owned();
    Some(values.fold(first, |list, value| list + ", " + value))
}

fn set(head: &mut RequestHeader, name: &HeaderName, value: &str) -> Result<()> {
    if let Ok(value) = HeaderValue::from_str(value) {
        head.insert_header(name.clone(), value)?;
    }
    Ok(())
}
