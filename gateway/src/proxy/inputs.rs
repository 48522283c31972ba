//! What expressions may read of a request, from what the gateway has anyway.

use std::time::{Instant, SystemTime};

use filters::backend_auth::aws;
use filters::expr::{Ambient, Backend, Duration, Env, Inputs, Names, Response, Timestamp};
use pingora_http::{RequestHeader, ResponseHeader};

use super::ctx::Ctx;
use super::seen::Noted;
use crate::plan::{BackendTarget, Entry};
use crate::statics::Statics;

/// The randomness of expressions.
struct Random;

impl Ambient for Random {
    fn random(&self) -> u64 {
        crate::random::next()
    }
}

/// Says once, at the start, what the process is.
pub fn install(statics: &Statics) {
    let env = Env {
        pod_name: std::env::var("POD_NAME").unwrap_or_default(),
        namespace: statics.namespace.clone(),
        gateway: statics.gateway.clone(),
    };
    filters::whereabouts::install(env, &Random);
    aws::install(aws::Ambient::of(|name| std::env::var(name).ok()));
}

/// A request with what was chosen for it so far.
pub fn request<'a>(head: &'a RequestHeader, ctx: &'a Ctx) -> Inputs<'a> {
    let mut inputs = ctx.facts.inputs(head);
    inputs.names = Names::of(
        ctx.listener.as_deref().map(|it| &*it.listener),
        ctx.entry.as_deref().map(|Entry { route, .. }| &**route),
    );
    // Of several providers the name is the one's that is asked; what is spoken, the route says.
    let spoken = ctx.route_backend().map(|it| &it.target);
    inputs.backend = ctx.backend().map(|it| Backend {
        name: it.target.name(),
        kind: match spoken.unwrap_or(&it.target) {
            BackendTarget::Cluster { .. } => "static",
            BackendTarget::Mcp(_) => "mcp",
            BackendTarget::Ai(_) => "ai",
            BackendTarget::Demo | BackendTarget::Group(_) | BackendTarget::Broken(_) => "unknown",
        },
        protocol: match spoken {
            Some(BackendTarget::Mcp(_)) => "mcp",
            Some(BackendTarget::Ai(_)) => "llm",
            _ if it.effective.a2a().is_some() => "a2a",
            _ => "http",
        },
    });
    inputs.objects.mcp = ctx.mcp.as_ref().map(|it| it.object());
    inputs.objects.llm = ctx.llm.as_deref();
    inputs.times.start = Some(started(ctx.started));
    inputs
}

/// A backend's answer, with the request it answers.
pub(super) fn response<'a>(asked: &'a RequestHeader, head: &'a ResponseHeader, ctx: &'a Ctx) -> Inputs<'a> {
    let mut inputs = request(asked, ctx);
    inputs.response = Some(Response::from(head));
    durations(&mut inputs, ctx);
    inputs
}

/// The end of a request, as the client sent it.
pub(crate) fn log<'a>(head: &'a RequestHeader, ctx: &'a Ctx, status: u16) -> Inputs<'a> {
    let mut inputs = request(head, ctx);
    if let Some(request) = &mut inputs.request {
        request.method = ctx.original.method.as_ref().unwrap_or(&head.method).as_str();
        request.uri = ctx.original.path.0.as_ref().unwrap_or(&head.uri);
    }
    inputs.response = (status != 0).then_some(Response {
        code: status,
        grpc_status: ctx.outcome.grpc_status,
        headers: ctx.outcome.response_headers.as_deref(),
    });
    if let Some(seen) = &ctx.seen {
        // As it left for the backend, else as far as it was read.
        let passed = seen.request.as_ref().filter(|_| ctx.attempt.count > 0).map(Noted::input);
        inputs.request_body = passed.or(inputs.request_body);
        inputs.response_body = seen.response.as_ref().map(Noted::input);
    }
    durations(&mut inputs, ctx);
    inputs.times.end = Some(Timestamp::from_system(SystemTime::now()));
    inputs
}

fn durations(inputs: &mut Inputs<'_>, ctx: &Ctx) {
    let spent = |from: Instant, to: Instant| Duration::from_std(to.saturating_duration_since(from));
    inputs.times.request_processing = ctx.outcome.request_done.map(|at| spent(ctx.started, at));
    inputs.times.upstream = ctx.attempt.started.map(|at| spent(at, Instant::now()));
}

/// A moment of the steady clock on the wall's.
pub(super) fn started(at: Instant) -> Timestamp {
    Timestamp::from_system(SystemTime::now().checked_sub(at.elapsed()).unwrap_or_else(SystemTime::now))
}
