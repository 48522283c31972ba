//! A single server with an authorization of its own, where the gateway asks for no token: what the server says of it under
//! well-known paths passes through, and so do its challenges, so that clients find their way to tokens for it.

use filters::{Kind, Reason, Reply};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, Method};
use pingora_proxy::Session;
use protocols::mcp::answer;

use super::call::Terms;
use super::fault::Fault;
use super::federation::{Endpoint, Federation, Reach};
use super::talk::Talk;
use super::{TARGET_DEADLINE, reply};
use crate::proxy::Ctx;

const DOCUMENTS: [&str; 2] = ["/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server"];

/// Headers of such a document that go on.
const PASSED: [HeaderName; 5] = [
    CONTENT_TYPE,
    CACHE_CONTROL,
    http::header::ACCESS_CONTROL_ALLOW_ORIGIN,
    http::header::ACCESS_CONTROL_ALLOW_METHODS,
    http::header::ACCESS_CONTROL_ALLOW_HEADERS,
];

/// Whether the authorization of the only server is that of clients.
pub(super) fn holds(ctx: &Ctx, federation: &Federation) -> bool {
    let asks = |it: &filters::Effective| it.filters().iter().any(|it| it.policy.kind() == Kind::McpAuthentication);
    endpoint(federation).is_some() && !ctx.effective().is_some_and(|it| asks(it))
}

fn endpoint(federation: &Federation) -> Option<&Endpoint> {
    match federation.targets.as_slice() {
        [only] => match &only.reach {
            Reach::Http(endpoint) | Reach::Sse(endpoint) => Some(endpoint),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the request is for a document of the server's.
pub(super) fn is_document(method: &Method, ctx: &Ctx, talk: &Talk) -> bool {
    let path = ctx.original.path.as_str();
    let is = |it: &&str| path.strip_prefix(*it).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    talk.own_auth && matches!(*method, Method::GET | Method::OPTIONS) && DOCUMENTS.iter().any(is)
}

/// The server's own document, for a request that is for one.
pub(super) async fn document(session: &mut Session, ctx: &mut Ctx, talk: &Talk) -> Option<Reply> {
    let (method, path) = (session.req_header().method.clone(), ctx.original.path.as_str());
    let endpoint = endpoint(&talk.federation)?;
    let fetched = async {
        let head = talk.head(endpoint, (&method, path), b"").await?;
        let terms = Terms { deadline: TARGET_DEADLINE, again: true, affinity: None };
        let answer = talk.mcp.caller.send(endpoint, &head, None, terms).await?;
        let headers = PASSED.iter().filter_map(|name| Some((name.clone(), answer.headers.get(name)?.clone())));
        let (status, headers) = (answer.status.as_u16(), headers.collect::<Vec<_>>());
        Ok::<_, Fault>(Reply { status, headers, body: answer.collect().await?, reason: Reason::Upstream })
    };
    Some(match fetched.await {
        Ok(reply) => reply,
        Err(fault) => {
            ctx.outcome.error.get_or_insert_with(|| format!("a document of the MCP server: {fault}"));
            Reply::text(502, Reason::UpstreamFailure, "the server cannot be asked\n")
        }
    })
}

/// The server's challenge as the client gets it: with its status, for that is what clients go by.
pub(super) fn challenge(talk: &Talk, id: &str, fault: &Fault) -> Option<Reply> {
    let Fault::Challenge(status, challenge) = fault else { return None };
    if !talk.own_auth {
        return None;
    }
    let text = answer::error(id, answer::SERVER_ERROR, "the server wants another token");
    let mut refused = reply::message(*status, Reason::Upstream, text);
    refused.headers.push((WWW_AUTHENTICATE, challenge.clone()));
    Some(refused)
}
