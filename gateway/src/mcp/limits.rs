//! Rate limits that go by what a message is about (`mcp` in their expressions): asked once it is read.

use std::sync::Arc;

use filters::chain;
use filters::{Effective, Exchange, Reply, Verdict};
use http::HeaderValue;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use pingora_proxy::Session;
use protocols::mcp::answer;
use protocols::mcp::transport::JSON;

use crate::proxy::{Ctx, Proxy};

/// The policies that have such limits, where there are some.
pub(super) fn of(ctx: &Ctx) -> Option<Arc<Effective>> {
    ctx.effective().filter(|it| chain::limits_messages(it)).cloned()
}

/// What a call that is one too many gets. An error of JSON-RPC with status 200: clients take other statuses for the end of
/// their connection.
pub(super) async fn refusal(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    id: &str,
    effective: &Effective,
) -> Option<Reply> {
    ctx.facts.mcp = ctx.mcp.as_ref().map(|it| Box::new(it.object().clone()));
    let around = proxy.around(&ctx.plan, None);
    let mut exchange = Exchange { request: session.req_header_mut(), facts: &mut ctx.facts, outside: &around };
    let Verdict::Reply(refused) = chain::on_message(effective, &mut exchange).await else { return None };
    ctx.outcome.reason = refused.reason;
    let wait = refused.headers.iter().find(|(name, _)| *name == RETRY_AFTER).map(|(_, value)| value.clone());
    let seconds = wait.as_ref().and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
    let text = match seconds {
        Some(seconds) => {
            let data = format!(r#"{{"retryAfter":{seconds}}}"#);
            answer::error_with(id, answer::SERVER_ERROR, "rate limit exceeded", &data)
        }
        None => answer::error(id, answer::SERVER_ERROR, "rate limit exceeded"),
    };
    let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static(JSON))];
    headers.extend(wait.map(|it| (RETRY_AFTER, it)));
    Some(Reply { status: 200, headers, body: text.into(), reason: refused.reason })
}
