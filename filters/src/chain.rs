//! Running the filters of one place: requests in order, responses in reverse.
//!
//! Dispatch is by the closed enum, so a hook costs a branch and no allocation. The hooks of this
//! crate do not wait today; `on_request` is `async` so that units which call out can.

use std::sync::Arc;

use pingora_http::ResponseHeader;

use crate::exchange::Answer;
use crate::{Attachment, Effective, Exchange, Facts, Policy, Verdict};

/// Runs request hooks until one answers.
pub async fn on_request(effective: &Effective, exchange: &mut Exchange<'_>) -> Verdict {
    for attachment in effective.filters() {
        if let Verdict::Reply(reply) = request_hook(attachment, exchange) {
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

fn request_hook(attachment: &Arc<Attachment>, exchange: &mut Exchange<'_>) -> Verdict {
    match &attachment.policy {
        Policy::IpAccess(policy) => policy.on_request(exchange),
        Policy::Cors(policy) => policy.on_request(exchange),
        Policy::RequestHeaderModifier(policy) => {
            policy.on_request(exchange);
            Verdict::Continue
        }
        Policy::UrlRewrite(policy) => policy.on_request(exchange),
        Policy::RequestRedirect(policy) => policy.on_request(exchange),
        Policy::DirectResponse(policy) => policy.on_request(exchange),
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
    }
}
