//! Messages that need more of a token than the endpoint does (`mcpAuthentication.stepUp`).

use filters::{Policy, Reply};
use pingora_proxy::Session;
use protocols::json::Raw;
use protocols::mcp::Message;

use super::route::Bound;
use super::rules;
use crate::proxy::{Ctx, inputs};

/// The 403 by which a client learns which scopes to ask for.
pub(super) fn refusal(session: &Session, ctx: &Ctx, message: &Message<'_>, bound: &Bound) -> Option<Reply> {
    let policy = ctx.effective()?.filters().iter().find_map(|it| match &it.policy {
        Policy::McpAuthentication(policy) if !policy.step_up.is_empty() => Some(policy),
        _ => None,
    })?;
    let subject = bound.subject.as_ref()?;
    let arguments = message.params.and_then(|it| it.get("arguments")).map(Raw::text);
    let mcp = rules::object(message.method(), &bound.target.name, subject, arguments);
    let mut inputs = inputs::request(session.req_header(), ctx);
    inputs.objects.mcp = Some(&mcp);
    let scopes = policy.step_up(&ctx.facts, &inputs)?;
    Some(policy.insufficient((session.req_header(), &ctx.facts, ctx.original.path.as_str()), &scopes))
}
