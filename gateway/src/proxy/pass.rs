//! The filters of one place, with the request's body read ahead where one of them looks at it.

use filters::chain::{self, Passed};
use filters::{Effective, Exchange, Reason, Reply, Verdict};
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::request::Stop;
use super::{Proxy, body};

/// Runs the filters; a reply ends the request.
pub(super) async fn filters(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    effective: &Effective,
) -> Result<Option<Reply>, Stop> {
    loop {
        let mut exchange =
            Exchange { request: session.req_header_mut(), facts: &mut ctx.facts, outside: &*proxy.world };
        match chain::on_request(effective, &mut exchange).await {
            Passed::Through => return Ok(None),
            Passed::Reply(reply) => return Ok(Some(reply)),
            // Only when its turn has come: nobody's body is read before admission.
            Passed::Body(wanted) => body::read_ahead(session, ctx, wanted).await?,
        }
    }
}

/// What policies do with the body once the backend is known, before the first attempt.
pub(super) async fn bodies(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    if ctx.is_grpc && sets_bodies(ctx) {
        ctx.outcome.error = Some("a transformation sets bodies, and those of gRPC stream".to_owned());
        let text = "bodies of gRPC cannot be transformed\n";
        return Err(Stop::Reply(Reply::text(500, Reason::Transformation, text)));
    }
    let Some(effective) = ctx.backend().map(|it| &it.effective).filter(|it| !it.filters().is_empty()) else {
        return Ok(());
    };
    let effective = effective.clone();
    let wanted = chain::wanted_for_backend(&effective);
    if ctx.facts.body.lacks(wanted) {
        body::read_ahead(session, ctx, wanted).await?;
    }
    let mut exchange = Exchange { request: session.req_header_mut(), facts: &mut ctx.facts, outside: &*proxy.world };
    match chain::on_body(&effective, &mut exchange) {
        Verdict::Continue => Ok(()),
        Verdict::Reply(reply) => Err(Stop::Reply(reply)),
    }
}

fn sets_bodies(ctx: &Ctx) -> bool {
    let backend = ctx.backend().map(|it| &it.effective);
    backend.into_iter().chain(ctx.effective()).chain(&ctx.gateway_effective).any(|it| chain::sets_bodies(it))
}
