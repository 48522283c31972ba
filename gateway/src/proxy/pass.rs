//! The filters of one place, with the request's body read ahead where one of them looks at it.

use std::sync::Arc;
use std::time::Duration;

use filters::chain::{self, Passed};
use filters::{Effective, Exchange, Reason, Reply, Verdict, Wanted};
use pingora_core::protocols::SocketDigest;
use pingora_error::{Error, ErrorType};
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::request::Stop;
use super::{Proxy, body};

/// How often it is looked whether the client still waits while a server is asked.
const LOOK: Duration = Duration::from_millis(100);

/// How far the filters are run.
#[derive(Clone, Copy)]
enum Until {
    /// To those that answer in a backend's place.
    Answers,
    End,
    /// Through those of a backend that decide whether it is asked.
    Admitted,
}

/// Runs the filters; a reply ends the request.
pub(super) async fn filters(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    effective: &Effective,
) -> Result<Option<Reply>, Stop> {
    run(proxy, session, ctx, effective, Until::End).await
}

/// Runs the filters of a route, with the wait of `delay` where it stands: before a policy answers in the backend's
/// place.
pub(super) async fn route_filters(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    effective: &Effective,
) -> Result<Option<Reply>, Stop> {
    if let Some(delay) = effective.delay() {
        let reply = run(proxy, session, ctx, effective, Until::Answers).await?;
        if reply.is_some() {
            return Ok(reply);
        }
        if delay.wants() == Wanted::Message {
            crate::a2a::read(proxy, session, ctx).await?;
        } else if ctx.facts.body.lacks(delay.wants()) {
            body::read_ahead(session, ctx, delay.wants()).await?;
        }
        let wait = delay.wait(&ctx.facts, session.req_header());
        if !wait.is_zero() {
            let limit = effective.timeout().and_then(|it| it.request);
            let left = limit.map_or(wait, |limit| limit.saturating_sub(ctx.started.elapsed()));
            tokio::time::sleep(wait.min(left)).await;
            if left < wait {
                return Ok(Some(Reply::text(504, Reason::Timeout, "request timeout\n")));
            }
        }
    }
    if effective.filters().is_empty() {
        return Ok(None);
    }
    run(proxy, session, ctx, effective, Until::End).await
}

async fn run(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    effective: &Effective,
    until: Until,
) -> Result<Option<Reply>, Stop> {
    let deadline = effective.timeout().and_then(|it| it.request).map(|it| ctx.started + it);
    let asks = chain::asks(effective);
    loop {
        let socket = asks.then(|| session.downstream_session.digest()?.socket_digest.clone()).flatten();
        let around = proxy.around(&ctx.plan, deadline);
        let mut exchange = Exchange { request: session.req_header_mut(), facts: &mut ctx.facts, outside: &around };
        let passing = async {
            match until {
                Until::Answers => chain::on_request_before_answers(effective, &mut exchange).await,
                Until::End => chain::on_request(effective, &mut exchange).await,
                Until::Admitted => chain::on_backend(effective, &mut exchange).await,
            }
        };
        let passed = match socket {
            None => passing.await,
            // Dropping a call ends it.
            Some(socket) => tokio::select! {
                biased;
                passed = passing => passed,
                () = left(&socket) => return Err(Stop::Broken(Error::new(ErrorType::ConnectionClosed).into_down())),
            },
        };
        match passed {
            Passed::Through => return Ok(None),
            Passed::Reply(reply) => return Ok(Some(reply)),
            // Only when its turn has come: nobody's body is read before admission.
            Passed::Body(_) if ctx.is_grpc && chain::sets_bodies(effective, &ctx.facts) => return Err(streams(ctx)),
            Passed::Body(Wanted::Message) => crate::a2a::read(proxy, session, ctx).await?,
            Passed::Body(wanted) => body::read_ahead(session, ctx, wanted).await?,
        }
    }
}

/// Until the client has closed its connection. Nothing reads from it meanwhile that would tell.
async fn left(socket: &Arc<SocketDigest>) {
    const ESTABLISHED: u8 = 1;
    loop {
        tokio::time::sleep(LOOK).await;
        if socket.tcp_info().is_some_and(|it| it.tcpi_state != ESTABLISHED) {
            return;
        }
    }
}

/// Asks the policies of the backend that was drawn.
pub(crate) async fn admission(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) -> Result<Option<Reply>, Stop> {
    let Some(backend) = ctx.backend().filter(|it| !it.effective.filters().is_empty()) else { return Ok(None) };
    let (effective, name) = (backend.effective.clone(), backend.target.name().into());
    admission_of(proxy, session, ctx, &effective, name).await
}

/// As [`admission`], of policies that are not all of the backend's.
pub(crate) async fn admission_of(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    effective: &Effective,
    name: ir::Text,
) -> Result<Option<Reply>, Stop> {
    let whereabouts = &mut ctx.facts.whereabouts;
    whereabouts.backend = Some(name);
    whereabouts.listener = ctx.listener.as_ref().map(|it| it.listener.clone());
    whereabouts.route = ctx.entry.as_ref().map(|it| it.route.clone());
    run(proxy, session, ctx, effective, Until::Admitted).await
}

/// What policies do with the body once the backend is known, before the first attempt.
pub(super) async fn bodies(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    if ctx.is_grpc && sets_bodies(ctx) {
        return Err(streams(ctx));
    }
    let reads = |it: &&Arc<Effective>| !it.filters().is_empty() || it.backend_auth().is_some();
    let Some(effective) = ctx.backend().map(|it| &it.effective).filter(reads) else {
        return Ok(());
    };
    let effective = effective.clone();
    let wanted = chain::wanted_for_backend(&effective);
    if wanted != Wanted::Message && ctx.facts.body.lacks(wanted) {
        body::read_ahead(session, ctx, wanted).await?;
    }
    let around = proxy.around(&ctx.plan, ctx.request_deadline);
    let mut exchange = Exchange { request: session.req_header_mut(), facts: &mut ctx.facts, outside: &around };
    match chain::on_body(&effective, &mut exchange) {
        Verdict::Continue => Ok(()),
        Verdict::Reply(reply) => Err(Stop::Reply(reply)),
    }
}

fn streams(ctx: &mut Ctx) -> Stop {
    ctx.outcome.error = Some("a transformation sets bodies, and those of gRPC stream".to_owned());
    Stop::Reply(Reply::text(500, Reason::Transformation, "bodies of gRPC cannot be transformed\n"))
}

fn sets_bodies(ctx: &Ctx) -> bool {
    let backend = ctx.backend().map(|it| &it.effective);
    backend
        .into_iter()
        .chain(ctx.effective())
        .chain(&ctx.gateway_effective)
        .any(|it| chain::sets_bodies(it, &ctx.facts))
}
