//! Running the filters of one place: requests in order, responses in reverse.
//!
//! Dispatch is by the closed enum, so a hook costs a branch and no allocation. Most hooks answer at
//! once; those that may have to wait (a password hash, later a call) do it in [`in_time`], on the
//! request's own future: nothing is boxed for a request that does not wait.

use std::sync::Arc;

use pingora_http::ResponseHeader;

use crate::exchange::Answer;
use crate::{Attachment, Effective, Exchange, Facts, Policy, Verdict, authorization};

/// Runs request hooks until one answers.
pub async fn on_request(effective: &Effective, exchange: &mut Exchange<'_>) -> Verdict {
    run(effective.filters(), exchange).await
}

/// As [`on_request`], but for the filters that answer in a backend's place: what a request passes before it may wait.
pub async fn on_request_before_answers(effective: &Effective, exchange: &mut Exchange<'_>) -> Verdict {
    run(effective.filters_around_answers().0, exchange).await
}

/// The rest of [`on_request_before_answers`].
pub async fn on_request_answers(effective: &Effective, exchange: &mut Exchange<'_>) -> Verdict {
    run(effective.filters_around_answers().1, exchange).await
}

async fn run(filters: &[Arc<Attachment>], exchange: &mut Exchange<'_>) -> Verdict {
    for (at, attachment) in filters.iter().enumerate() {
        let decided = exchange.facts.decisions.len();
        let verdict = match at_once(attachment, exchange) {
            _ if matches!(attachment.policy, Policy::Authorization(_)) => {
                authorization::on_request(filters, at, exchange)
            }
            Some(verdict) => verdict,
            None => in_time(attachment, exchange).await,
        };
        // Hooks do not know the name of their policy.
        for decision in exchange.facts.decisions.iter_mut().skip(decided) {
            decision.policy.get_or_insert_with(|| attachment.key.clone());
        }
        if let Verdict::Reply(reply) = verdict {
            return Verdict::Reply(reply);
        }
    }
    Verdict::Continue
}

/// Asks a backend's own policies whether a request may go there, once it is drawn.
pub fn on_backend(effective: &Effective, exchange: &mut Exchange<'_>) -> Verdict {
    let filters = effective.filters();
    match filters.iter().position(|it| matches!(it.policy, Policy::Authorization(_))) {
        Some(at) => authorization::on_request(filters, at, exchange),
        None => Verdict::Continue,
    }
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

/// The verdict of a hook that does not wait; `None` where it has to: then [`in_time`] has it.
fn at_once(attachment: &Arc<Attachment>, exchange: &mut Exchange<'_>) -> Option<Verdict> {
    Some(match &attachment.policy {
        Policy::IpAccess(policy) => policy.on_request(exchange),
        Policy::Cors(policy) => policy.on_request(exchange),
        Policy::JwtAuth(policy) => policy.on_request(exchange),
        Policy::BasicAuth(policy) => return policy.on_request(exchange),
        Policy::ApiKey(policy) => policy.on_request(exchange),
        Policy::Csrf(policy) => policy.on_request(exchange),
        Policy::LocalRateLimit(policy) => policy.on_request(exchange),
        Policy::ConcurrencyLimit(policy) => policy.on_request(exchange),
        Policy::RequestHeaderModifier(policy) => {
            policy.on_request(exchange);
            Verdict::Continue
        }
        Policy::UrlRewrite(policy) => policy.on_request(exchange),
        Policy::Fault(policy) => policy.on_request(exchange),
        Policy::RequestRedirect(policy) => policy.on_request(exchange),
        Policy::DirectResponse(policy) => policy.on_request(exchange),
        // Response side only, or settings.
        Policy::ResponseHeaderModifier(_)
        | Policy::AccessLog(_)
        // All of a place together, see `run`.
        | Policy::Authorization(_)
        | Policy::BackendHttp(_)
        | Policy::BackendTcp(_)
        | Policy::BackendTls(_)
        | Policy::Buffer(_)
        | Policy::CircuitBreaker(_)
        | Policy::Compression(_)
        | Policy::Delay(_)
        | Policy::FrontendHttp(_)
        | Policy::FrontendTcp(_)
        | Policy::FrontendTls(_)
        | Policy::Health(_)
        | Policy::NetworkAuthorization(_)
        | Policy::ProxyProtocol(_)
        | Policy::RequestMirror(_)
        | Policy::Retry(_)
        | Policy::SessionAffinity(_)
        | Policy::Timeout(_) => Verdict::Continue,
    })
}

/// Hooks that may wait; what `at_once` answers does not come here.
async fn in_time(attachment: &Arc<Attachment>, exchange: &mut Exchange<'_>) -> Verdict {
    match &attachment.policy {
        Policy::BasicAuth(policy) => policy.in_time(exchange).await,
        _ => Verdict::Continue,
    }
}
