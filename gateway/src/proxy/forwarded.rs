//! `X-Forwarded-*`, `Forwarded` and `Via` on the way to the backend.
//!
//! Values that a client sent are believed only behind the configured number of trusted hops;
//! otherwise they are replaced by what we saw ourselves.

use std::net::IpAddr;

use http::header::{FORWARDED, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use protocols::http::forwarded::{self, Hop, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO};
use protocols::http::via;

use super::ctx::Ctx;
use super::names::Fields;
use super::request::Stop;
use crate::listen::ConnInfo;

/// Times a request may pass this gateway before it is taken for a loop.
const LOOPS_MAX: usize = 8;

/// Values of `X-Forwarded-Proto`, checked when compiled and not for each request.
static HTTP: HeaderValue = HeaderValue::from_static("http");
static HTTPS: HeaderValue = HeaderValue::from_static("https");

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
pub(super) fn on_request(session: &Session, ctx: &Ctx) -> Result<(), Stop> {
    if !ctx.has_via {
        return Ok(());
    }
    let headers = &session.req_header().headers;
    let seen = via::occurrences(headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok()));
    if seen >= LOOPS_MAX {
        let text = "the request has passed this gateway too often: a loop\n";
        return Err(Stop::Reply(filters::Reply::text(508, filters::Reason::InvalidRequest, text)));
    }
    Ok(())
}

/// How clients reach the gateway: whether by TLS, and under which authority. Trusted proxies may say it better.
pub fn public(session: &Session, ctx: &Ctx) -> (bool, String) {
    let trusted = ctx.listener.as_ref().and_then(|it| ctx.plan.bind(&it.listener.bind));
    let headers = &session.req_header().headers;
    let said = |name: &HeaderName| {
        let value = headers.get(name).filter(|_| trusted.is_some_and(|it| it.terms.http.trusted_hops > 0))?;
        // The first proxy is the nearest to the client.
        value.to_str().ok()?.split(',').next().map(|it| it.trim().to_owned()).filter(|it| !it.is_empty())
    };
    let tls = said(&X_FORWARDED_PROTO).map_or(ctx.facts.tls, |it| it.eq_ignore_ascii_case("https"));
    let host = || ctx.original.host.as_ref().and_then(|it| it.to_str().ok()).map(str::to_owned);
    let named = said(&X_FORWARDED_HOST).filter(|it| protocols::http::authority::parse(it).is_ok());
    (tls, named.or_else(host).unwrap_or_else(|| "localhost".to_owned()))
}

/// Writes the headers onto a copy of the head that the gateway itself sends on.
pub fn for_servers(session: &Session, head: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    super::names::change(head, |fields| write(session, fields, ctx))
}

/// Writes the headers onto the copy that goes to the backend.
pub(crate) fn write(session: &Session, fields: &mut Fields<'_>, ctx: &Ctx) -> Result<()> {
    let Some(listener) = &ctx.listener else { return Ok(()) };
    let Some(conn) = &ctx.conn else { return Ok(()) };
    let terms = ctx.plan.bind(&listener.listener.bind).map(|it| &it.terms.http);
    let keep = terms.is_some_and(|it| it.trusted_hops > 0);
    let proto = ctx.facts.scheme();
    // Most requests have none of them: one look at all names costs less than to look for each.
    let [has_port, has_forwarded, has_via] = held(fields.map(), [&X_FORWARDED_PORT, &FORWARDED, &VIA]);
    let client = client_value(fields.map(), conn, keep);
    fields.insert(&X_FORWARDED_FOR, client)?;
    if !keep || !fields.map().contains_key(X_FORWARDED_PROTO) {
        fields.insert(&X_FORWARDED_PROTO, if ctx.facts.tls { HTTPS.clone() } else { HTTP.clone() })?;
    }
    // As sent: policies may have written another one since.
    let host = ctx.original.host.as_ref();
    if let Some(host) = host.filter(|_| !keep || !fields.map().contains_key(X_FORWARDED_HOST)) {
        fields.insert(&X_FORWARDED_HOST, host.clone())?;
    }
    if !keep && has_port {
        fields.remove(&X_FORWARDED_PORT);
    }
    if terms.is_some_and(|it| it.forwarded) {
        let host = host.and_then(|it| it.to_str().ok()).unwrap_or_default();
        let hop = Hop { client: conn.client.ip(), by: None, proto, host };
        let mut text = String::with_capacity(64);
        forwarded::append_forwarded(joined(fields.map(), &FORWARDED).as_deref(), &hop, keep, &mut text);
        if let Ok(value) = HeaderValue::try_from(text) {
            fields.insert(&FORWARDED, value)?;
        }
    } else if !keep && has_forwarded {
        fields.remove(&FORWARDED);
    }
    let version = session.req_header().version;
    let via = match has_via.then(|| joined(fields.map(), &VIA)).flatten() {
        None => via::alone(version),
        Some(before) => {
            let mut text = String::with_capacity(64);
            via::append(Some(&before), version, &mut text);
            let Ok(value) = HeaderValue::try_from(text) else { return Ok(()) };
            value
        }
    };
    fields.insert(&VIA, via)
}

/// `X-Forwarded-For`: the connection's client alone, or behind those that trusted proxies name.
fn client_value(headers: &HeaderMap, conn: &ConnInfo, keep: bool) -> HeaderValue {
    if keep {
        let mut text = String::with_capacity(64);
        forwarded::append_xff(joined(headers, &X_FORWARDED_FOR).as_deref(), conn.client.ip(), true, &mut text);
        if let Ok(value) = HeaderValue::try_from(text) {
            return value;
        }
    }
    conn.forwarded_for().clone()
}

/// Which of the names are there.
fn held<const N: usize>(headers: &HeaderMap, wanted: [&HeaderName; N]) -> [bool; N] {
    let mut held = [false; N];
    for name in headers.keys() {
        for (wanted, held) in wanted.iter().zip(&mut held) {
            *held |= name == *wanted;
        }
    }
    held
}

/// All values of a header as one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let first = values.next()?.to_owned();
    Some(values.fold(first, |list, value| list + ", " + value))
}
