//! `request_filter`: everything that is decided about a request before a backend is dialled.
//!
//! Order: head checks and normalisation → listener (Host against SNI: 421) → gateway-phase
//! policies → route (sees what they changed) → route-phase policies → backend.

use std::time::Instant;

use filters::{Reason, Reply};
use http::HeaderValue;
use http::header::{EXPECT, HOST, UPGRADE};
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::http::framing::{self, Glance};
use protocols::http::{authority, path};

use super::ctx::Ctx;
use super::{Proxy, answer, body, compression, demo, forwarded, inputs, pass, route, seen};
use crate::listen::{ConnInfo, Peer, conn_info};
use crate::plan::{BackendTarget, Terms};

/// Returns whether the request was answered here.
pub(super) async fn filter(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
    match decide(proxy, session, ctx).await {
        Ok(Decision::Forward) => Ok(false),
        Ok(Decision::Answered) => Ok(true),
        Ok(Decision::Reply(reply)) | Err(Stop::Reply(reply)) => {
            if ctx.entry.is_none() {
                before_routing(proxy, ctx);
            }
            answer::write(session, ctx, reply).await?;
            Ok(true)
        }
        Err(Stop::Broken(error)) => Err(error),
    }
}

/// Without a route it is known only now what the log reads of the answer.
fn before_routing(proxy: &Proxy, ctx: &mut Ctx) {
    if ctx.base.is_none() {
        let bind = ctx.conn.as_ref().and_then(|conn| ctx.plan.bind(&conn.bind));
        ctx.terms = bind.map(|it| it.terms.clone());
    }
    seen::prepare(proxy, ctx);
}

enum Decision {
    Forward,
    Reply(Reply),
    /// Written already.
    Answered,
}

/// Why the phase ends early.
pub enum Stop {
    Reply(Reply),
    Broken(Box<pingora_error::Error>),
}

impl From<Box<pingora_error::Error>> for Stop {
    fn from(error: Box<pingora_error::Error>) -> Self {
        Self::Broken(error)
    }
}

async fn decide(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) -> Result<Decision, Stop> {
    ctx.is_h2 = session.is_http2();
    ctx.original.path.0 = Some(session.req_header().uri.clone());
    ctx.original.method = Some(session.req_header().method.clone());
    let Some(conn) = conn_info(session).cloned() else {
        return Err(Stop::Reply(Reply::text(500, Reason::Internal, "no connection terms\n")));
    };
    ctx.conn = Some(conn.clone());
    let plan = ctx.plan.clone();
    let bind = plan.bind(&conn.bind);
    let default_terms;
    let terms = match bind {
        Some(bind) => &*bind.terms,
        None => {
            default_terms = Terms::default();
            &default_terms
        }
    };
    ctx.body_bytes_max = terms.http.max_buffer_size;
    // First, so that the log says whom a refusal was for.
    who(session, ctx, &conn, terms);
    head(session, ctx, terms)?;
    let Some(bind) = bind else {
        session.set_keepalive(None);
        return Err(Stop::Reply(Reply::text(404, Reason::NotFound, "listener not found\n")));
    };
    if conn.peer == Peer::Own {
        return Ok(Decision::Reply(Reply::text(200, Reason::DirectResponse, "self-check\n")));
    }
    listener(ctx, &conn, bind)?;
    let Some(listener) = ctx.listener.clone() else {
        return Err(Stop::Reply(Reply::text(404, Reason::NotFound, "listener not found\n")));
    };
    let scope = listener.scope(&plan);
    let Some(scope) = scope.as_ref() else {
        return Err(Stop::Reply(Reply::text(500, Reason::Internal, "no policies\n")));
    };
    let base = scope.route.clone();
    ctx.base = Some(base.clone());
    if !scope.gateway.filters().is_empty() {
        ctx.facts.whereabouts.listener = Some(listener.listener.clone());
        ctx.facts.whereabouts.started = Some(inputs::started(ctx.started));
        ctx.gateway_effective = Some(scope.gateway.clone());
        let gateway = scope.gateway.clone();
        if let Some(reply) = pass::filters(proxy, session, ctx, &gateway).await? {
            return Ok(Decision::Reply(reply));
        }
    }
    if let Some(reply) = route::select(proxy, session, ctx, &base).await? {
        return Ok(Decision::Reply(reply));
    }
    forward(proxy, session, ctx, terms).await
}

/// The route is known and has let the request pass.
async fn forward(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, terms: &Terms) -> Result<Decision, Stop> {
    if let Some(BackendTarget::Demo) = ctx.backend().map(|it| &it.target) {
        demo::answer(session, ctx).await?;
        return Ok(Decision::Answered);
    }
    if let Some(federation) = federation(ctx) {
        forwarded::on_request(session, ctx)?;
        ctx.outcome.request_done = Some(Instant::now());
        Box::pin(crate::mcp::serve(proxy, session, ctx, &federation)).await?;
        return Ok(Decision::Answered);
    }
    if let Some(ai) = crate::llm::drawn(ctx)
        && let Some(reply) = crate::llm::prepare(proxy, session, ctx, ai).await?
    {
        return Ok(Decision::Reply(reply));
    }
    if let Some(reply) = crate::llm::reserve(proxy, session, ctx).await? {
        return Ok(Decision::Reply(reply));
    }
    if let Some(reply) = crate::a2a::kept(proxy, session, ctx) {
        return Ok(Decision::Reply(reply));
    }
    if let Some(reply) = crate::a2a::list(proxy, session, ctx).await? {
        return Ok(Decision::Reply(reply));
    }
    if let Some(timeout) = ctx.effective().and_then(|it| it.timeout()).and_then(|it| it.request) {
        ctx.request_deadline = Some(ctx.started + timeout);
    }
    compression::prepare(session, ctx);
    forwarded::on_request(session, ctx)?;
    super::affinity::compute(session, ctx);
    pass::bodies(proxy, session, ctx).await?;
    body::mirror(proxy, session, ctx);
    body::wrap(session, ctx, terms).await?;
    ctx.outcome.request_done = Some(Instant::now());
    Ok(Decision::Forward)
}

/// The MCP servers that the request is for.
fn federation(ctx: &Ctx) -> Option<std::sync::Arc<crate::mcp::Federation>> {
    match &ctx.backend()?.target {
        BackendTarget::Mcp(federation) => Some(federation.clone()),
        _ => None,
    }
}

/// Refuses what is malformed, and puts host and path into their one form.
fn head(session: &mut Session, ctx: &mut Ctx, terms: &Terms) -> Result<(), Stop> {
    let limits =
        framing::HeadLimits { bytes_max: terms.http.max_header_bytes, count_max: terms.http.http1_max_headers };
    let checked = match session.as_downstream().as_http1() {
        // `listen::http1` has judged the head as it came.
        Some(_) => Ok(()),
        None => h2_limits(session, &limits),
    };
    let head = session.req_header();
    let glance = Glance::at(&head.headers);
    if let Err(fault) = checked.and_then(|()| glance.check(head.version, &head.method)) {
        return Err(refuse(session, ctx, fault.status(), &fault.to_string()));
    }
    ctx.is_grpc = glance.content_type().is_some_and(|value| protocols::grpc::is_grpc(value.as_bytes()));
    ctx.is_upgrade = is_websocket(session, &glance);
    (ctx.expects, ctx.has_via) = (glance.expects(), glance.has_via());
    if !ctx.is_h2 && !ctx.is_upgrade && glance.upgrade().is_some() {
        // An offer that is passed over (RFC 9110 section 7.8); `listen::boundary` sees it the same way.
        session.req_header_mut().remove_header(&UPGRADE);
    }
    origin_form(session, ctx)?;
    if !ctx.is_upgrade {
        super::names::plain(session.req_header_mut());
    }
    let head = session.req_header();
    ctx.original.host = match head.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => head.headers.get(HOST).cloned(),
    };
    let host = ctx.original.host.as_ref().map_or("", |host| host.to_str().unwrap_or("\0"));
    if host.is_empty() {
        // HTTP/1.0 may come without; listeners and routes for any host still apply.
        ctx.facts.host.clear();
    } else {
        match authority::parse(host) {
            Ok(it) => {
                ctx.facts.host.push_str(it.host);
                ctx.facts.host.make_ascii_lowercase();
                if ctx.facts.host.ends_with('.') {
                    ctx.facts.host.pop();
                }
            }
            Err(fault) => return Err(refuse(session, ctx, 400, &fault.to_string())),
        }
    }
    normalise(session, ctx)
}

/// RFC 9112 section 3.2.2: a whole URL as target is the same as path and `Host`, and its authority
/// counts. Pingora leaves the authority to us.
fn origin_form(session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    let head = session.req_header();
    let raw = head.raw_path();
    if ctx.is_h2 || raw.starts_with(b"/") || raw == b"*" || head.method == http::Method::CONNECT {
        return Ok(());
    }
    let Some(parts) = http::Uri::try_from(raw).ok().map(http::Uri::into_parts) else {
        return Err(refuse(session, ctx, 400, "the request target is not a valid URI"));
    };
    let (Some(authority), Some(path)) = (parts.authority, parts.path_and_query) else {
        return Err(refuse(session, ctx, 400, "the request target has no host"));
    };
    let Ok(host) = HeaderValue::from_str(authority.as_str()) else {
        return Err(refuse(session, ctx, 400, "the request target has no valid host"));
    };
    let head = session.req_header_mut();
    head.set_uri(path.into());
    head.insert_header(HOST, host)?;
    Ok(())
}

/// The only upgrade that is passed on: anything else (`h2c` above all) would let a client speak past
/// the gateway. Nor behind a body: there the next request begins.
fn is_websocket(session: &Session, glance: &Glance<'_>) -> bool {
    glance.upgrade().is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && !glance.announces_content()
        && session.is_upgrade_req()
}

fn h2_limits(session: &Session, limits: &framing::HeadLimits) -> Result<(), framing::FramingFault> {
    let headers = &session.req_header().headers;
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.bytes_max || headers.len() > limits.count_max {
        return Err(framing::FramingFault::HeadBytes);
    }
    Ok(())
}

fn normalise(session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    let head = session.req_header();
    let raw = head.uri.path();
    if raw == "*" && head.method == http::Method::OPTIONS {
        return Ok(());
    }
    let normal = match path::normalise(if raw.is_empty() { "/" } else { raw }) {
        Ok(std::borrow::Cow::Borrowed(same)) if same.len() == raw.len() => return Ok(()),
        Ok(normal) => normal,
        Err(fault) => {
            let text = fault.to_string();
            return Err(refuse(session, ctx, 400, &text));
        }
    };
    let target = match head.uri.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal.into_owned(),
    };
    let mut parts = head.uri.clone().into_parts();
    let Ok(path_and_query) = target.parse() else {
        return Err(refuse(session, ctx, 400, "the request path is not a valid URI path"));
    };
    parts.path_and_query = Some(path_and_query);
    match http::Uri::from_parts(parts) {
        Ok(uri) => {
            session.req_header_mut().set_uri(uri);
            Ok(())
        }
        Err(_) => Err(refuse(session, ctx, 400, "the request target is not a valid URI")),
    }
}

/// A refusal of a malformed request: answered, and the connection ends, for its framing cannot be
/// trusted any more.
fn refuse(session: &mut Session, ctx: &mut Ctx, status: u16, text: &str) -> Stop {
    session.set_keepalive(None);
    ctx.outcome.error = Some(text.to_owned());
    let reason = if status == 431 { Reason::TooLarge } else { Reason::InvalidRequest };
    Stop::Reply(Reply::text(status, reason, format!("{text}\n")))
}

/// Who is asking: the connection's client, or the one that trusted proxies name.
fn who(session: &Session, ctx: &mut Ctx, conn: &ConnInfo, terms: &Terms) {
    ctx.facts.client = forwarded::client(session.req_header(), conn.client.ip(), terms.http.trusted_hops);
    ctx.facts.tls = conn.tls.is_some();
    ctx.facts.port = conn.local_port;
    ctx.facts.identity.peer = conn.tls.as_ref().and_then(|it| it.client.clone());
    let whereabouts = &mut ctx.facts.whereabouts;
    whereabouts.peer = match conn.peer {
        Peer::Inet(address) => Some(address),
        Peer::Unix | Peer::Own => None,
    };
    let is_own = ctx.facts.client == conn.client.ip() && conn.client.port() != 0;
    whereabouts.client_port = is_own.then(|| conn.client.port());
    whereabouts.sni = conn.sni.clone();
}

/// The listener that the Host names; on TLS it must be the one that the handshake chose.
fn listener(ctx: &mut Ctx, conn: &ConnInfo, bind: &crate::plan::BindPlan) -> Result<(), Stop> {
    let by_host = bind.listener(Some(&ctx.facts.host));
    let Some(by_sni) = &conn.listener else {
        ctx.listener = by_host.cloned();
        return Ok(());
    };
    match by_host {
        Some(it) if it.listener.key == *by_sni => {
            ctx.listener = Some(it.clone());
            Ok(())
        }
        // RFC 9110 section 15.5.20: this connection is not authoritative for that host.
        Some(_) => Err(Stop::Reply(Reply::text(421, Reason::Misdirected, "misdirected request\n"))),
        None => Ok(()),
    }
}

/// Answers `Expect: 100-continue` before the gateway itself reads the body (Pingora leaves it to
/// whoever reads first).
pub(super) async fn answer_expect(session: &mut Session) -> Result<()> {
    let expects = |session: &Session| {
        session.req_header().headers.get(EXPECT).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    };
    if expects(session) {
        session.write_continue_response().await?;
        session.req_header_mut().remove_header(&EXPECT);
    }
    Ok(())
}
