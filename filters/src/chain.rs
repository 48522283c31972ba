//! Running the filters of one place: requests in order, responses in reverse.
//!
//! Dispatch is by the closed enum, so a hook costs a branch and no allocation. Most hooks answer at
//! once; those that may have to wait (a password hash, later a call) do it in [`in_time`], on the
//! request's own future: nothing is boxed for a request that does not wait.

use std::sync::Arc;

use pingora_http::ResponseHeader;

use crate::exchange::Answer;
use crate::rung::Rung;
use crate::{Attachment, Effective, Exchange, Facts, Policy, Verdict};

/// Runs request hooks until one answers.
pub async fn on_request(effective: &Effective, exchange: &mut Exchange<'_>) -> Verdict {
    for attachment in effective.filters() {
        let verdict = match at_once(attachment, exchange) {
            Some(verdict) => verdict,
            None => in_time(attachment, exchange).await,
        };
        if let Verdict::Reply(reply) = verdict {
            return Verdict::Reply(reply);
        }
    }
    Verdict::Continue
}

/// Runs request hooks of a backend's own policies: heads only, they cannot answer.
pub fn on_attempt(effective: &Effective, exchange: &mut Exchange<'_>) {
    for attachment in effective.filters() {
        if let Policy::RequestHeaderModifier(policy) = &attachment.policy {
            policy.on_request(exchange);
        }
    }
}

/// Runs those hooks of a backend's own policies that decide whether it is asked at all: once, before
/// the first try.
pub async fn on_backend(effective: &Effective, exchange: &mut Exchange<'_>) -> Verdict {
    for attachment in effective.filters() {
        if attachment.policy.kind().rung() != Rung::Authority {
            continue;
        }
        let verdict = match at_once(attachment, exchange) {
            Some(verdict) => verdict,
            None => in_time(attachment, exchange).await,
        };
        if let Verdict::Reply(reply) = verdict {
            return Verdict::Reply(reply);
        }
    }
    Verdict::Continue
}

/// Runs response hooks, the last filter first. Also for answers of the gateway's own.
pub fn on_response(effective: &Effective, response: &mut ResponseHeader, facts: &Facts) {
    if !effective.has_response_hooks() {
        return;
    }
    for attachment in effective.filters().iter().rev() {
        let answer = &mut Answer { response, facts };
        match &attachment.policy {
            Policy::Cors(policy) => policy.on_response(answer),
            Policy::ResponseHeaderModifier(policy) => policy.on_response(answer),
            _ => {}
        }
    }
}

/// The verdict of a hook that does not wait; `None` where it has to: then [`in_time`] has it.
fn at_once(attachment: &Arc<Attachment>, exchange: &mut Exchange<'_>) -> Option<Verdict> {
    Some(match &attachment.policy {
        Policy::IpAccess(policy) => policy.on_request(exchange),
        Policy::Cors(policy) => policy.on_request(exchange),
        Policy::RequestHeaderModifier(policy) => {
            policy.on_request(exchange);
            Verdict::Continue
        }
        Policy::UrlRewrite(policy) => policy.on_request(exchange),
        Policy::RequestRedirect(policy) => policy.on_request(exchange),
        Policy::DirectResponse(policy) => policy.on_request(exchange),
        Policy::ExtAuthz(_) | Policy::RemoteRateLimit(_) => return None,
        // Response side only, or settings.
        Policy::ResponseHeaderModifier(_)
        | Policy::AccessLog(_)
        | Policy::BackendHttp(_)
        | Policy::BackendTcp(_)
        | Policy::BackendTls(_)
        | Policy::Buffer(_)
        | Policy::CircuitBreaker(_)
        | Policy::Compression(_)
        | Policy::FrontendHttp(_)
        | Policy::FrontendTcp(_)
        | Policy::FrontendTls(_)
        | Policy::Health(_)
        | Policy::ProxyProtocol(_)
        | Policy::RequestMirror(_)
        | Policy::Retry(_)
        | Policy::SessionAffinity(_)
        | Policy::Timeout(_) => Verdict::Continue,
    })
}

/// Hooks that may wait; what `at_once` answers does not come here. A call is boxed: next to what it
/// waits for that is nothing, and requests that make none do not carry its state.
async fn in_time(attachment: &Arc<Attachment>, exchange: &mut Exchange<'_>) -> Verdict {
    match &attachment.policy {
        Policy::ExtAuthz(policy) => Box::pin(policy.on_request(exchange)).await,
        Policy::RemoteRateLimit(policy) => Box::pin(policy.on_request(exchange)).await,
        _ => Verdict::Continue,
    }
}
