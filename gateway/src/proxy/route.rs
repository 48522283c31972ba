//! Route selection, delegation, route-phase policies and the draw of a backend.

use std::sync::Arc;

use filters::{Effective, Reason, Reply};
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::request::Stop;
use super::{Proxy, pass};
use crate::plan::{BackendTarget, DELEGATION_DEPTH_MAX, Entry, RequestParts, Resolved, Router};

/// Selects, runs the policies, draws a backend into `ctx`. A reply ends the request.
pub(super) async fn select(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    base: &Arc<Effective>,
) -> Result<Option<Reply>, Stop> {
    let Some(listener) = ctx.listener.clone() else { return Ok(None) };
    let Some((entry, resolved, drawn)) = find(session, ctx, listener.router(), base) else {
        let missing = if ctx.outcome.error.is_some() { 500 } else { 404 };
        let (reason, text) = if missing == 404 {
            (Reason::NotFound, "route not found\n")
        } else {
            (Reason::NoBackend, "no valid backends\n")
        };
        return Ok(Some(Reply::text(missing, reason, text)));
    };
    let effective = resolved.effective.clone();
    if !effective.filters().is_empty() {
        // Only for who may ask: where there are many routes, each is in no cache.
        let whereabouts = &mut ctx.facts.whereabouts;
        whereabouts.listener = Some(listener.listener.clone());
        whereabouts.route = Some(entry.route.clone());
        whereabouts.started.get_or_insert_with(|| super::inputs::started(ctx.started));
    }
    ctx.entry = Some(entry);
    ctx.backend = drawn;
    ctx.resolved = Some(resolved);
    super::seen::prepare(proxy, ctx);
    crate::a2a::begin(proxy, session, ctx);
    if let Some(reply) = crate::a2a::news(proxy, session, ctx).await? {
        return Ok(Some(reply));
    }
    if let Some(reply) = pass::route_filters(proxy, session, ctx, &effective).await? {
        return Ok(Some(reply));
    }
    crate::a2a::read(proxy, session, ctx).await?;
    Ok(match ctx.backend().map(|it| &it.target) {
        _ if crate::a2a::asks_all(ctx) => None,
        Some(BackendTarget::Cluster { .. } | BackendTarget::Mcp(_) | BackendTarget::Ai(_) | BackendTarget::Demo) => {
            pass::admission(proxy, session, ctx).await?
        }
        Some(BackendTarget::Broken(reason)) => {
            let reason = reason.to_string();
            Some(broken(ctx, reason))
        }
        Some(BackendTarget::Group(_)) | None => Some(broken(ctx, "the route has no backend with a weight".to_owned())),
    })
}

fn broken(ctx: &mut Ctx, why: String) -> Reply {
    ctx.outcome.error = Some(why);
    Reply::text(500, Reason::NoBackend, "no valid backends\n")
}

type Selected = (Arc<Entry>, Arc<Resolved>, Option<usize>);

/// Walks from the listener's routes through route groups to a rule with a backend of its own.
fn find(session: &Session, ctx: &mut Ctx, router: &Router, base: &Arc<Effective>) -> Option<Selected> {
    let plan = ctx.plan.clone();
    let head = session.req_header();
    let parts = RequestParts {
        path: head.uri.path(),
        query: head.uri.query(),
        method: &head.method,
        headers: &head.headers,
        authority: head
            .uri
            .authority()
            .map(http::uri::Authority::as_str)
            .or_else(|| head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()))
            .unwrap_or_default(),
        scheme: ctx.facts.scheme(),
    };
    let mut group;
    let mut router = router;
    let mut base = base.clone();
    for _ in 0..DELEGATION_DEPTH_MAX {
        let found = router.find(&ctx.facts.host, &parts)?;
        let resolved = Arc::clone(found.entry.resolved(&plan, &base).as_ref()?);
        ctx.facts.matched_prefix = found.matched_prefix;
        let drawn = resolved.backends.draw(crate::random::next());
        let target = drawn.and_then(|at| resolved.backends.get(at)).map(|it| &it.target);
        let Some(BackendTarget::Group(name)) = target else {
            return Some((found.entry.clone(), resolved, drawn));
        };
        group = match plan.group(name) {
            Some(group) => group,
            None => {
                ctx.outcome.error = Some(format!("route group `{name}` does not exist"));
                return None;
            }
        };
        base = resolved.effective.clone();
        router = &group;
    }
    ctx.outcome.error =
        Some(format!("delegation is deeper than {DELEGATION_DEPTH_MAX} route groups, or goes in a circle"));
    None
}
