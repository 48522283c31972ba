//! Running the filters of one place: requests in order, responses in reverse.
//!
//! Dispatch is by the closed enum, so a hook costs a branch and no allocation. Most hooks answer at
//! once; those that may have to wait (a password hash, a call) do it in [`in_time`]: nothing is boxed for
//! a request that does not wait.

use std::sync::Arc;

use crate::exchange::Answer;
use crate::rung::Rung;
use crate::{Attachment, Effective, Exchange, Policy, Reply, Verdict, Wanted, authorization};

/// How far a request came.
#[derive(Debug)]
pub enum Passed {
    /// Through all filters of the place.
    Through,
    /// A filter answers; later ones do not see the request.
    Reply(Reply),
    /// The next filter reads this much of the body: run again once it is there.
    Body(Wanted),
}

/// Runs request hooks until one answers, or has to see the body first.
pub async fn on_request(effective: &Effective, exchange: &mut Exchange<'_>) -> Passed {
    let passed = run(effective.filters(), exchange).await;
    if matches!(passed, Passed::Through) {
        exchange.facts.passed = 0;
    }
    passed
}

/// As [`on_request`], but for the filters that answer in a backend's place: what a request passes before it may wait.
/// [`on_request`] then goes on from there.
pub async fn on_request_before_answers(effective: &Effective, exchange: &mut Exchange<'_>) -> Passed {
    run(effective.filters_before_answers(), exchange).await
}

async fn run(filters: &[Arc<Attachment>], exchange: &mut Exchange<'_>) -> Passed {
    while let Some(attachment) = filters.get(exchange.facts.passed) {
        let wanted = wanted(&attachment.policy);
        if exchange.facts.body.lacks(wanted) {
            return Passed::Body(wanted);
        }
        let decided = exchange.facts.decisions.len();
        let verdict = match at_once(attachment, exchange) {
            _ if matches!(attachment.policy, Policy::Authorization(_)) => {
                authorization::on_request(filters, exchange.facts.passed, exchange)
            }
            Some(verdict) => verdict,
            None => in_time(attachment, exchange).await,
        };
        // Hooks do not know the name of their policy.
        for decision in exchange.facts.decisions.iter_mut().skip(decided) {
            decision.policy.get_or_insert_with(|| attachment.key.clone());
        }
        if let Verdict::Reply(reply) = verdict {
            return Passed::Reply(reply);
        }
        exchange.facts.passed += 1;
    }
    Passed::Through
}

/// How much of a request's body the hook of a policy reads.
fn wanted(policy: &Policy) -> Wanted {
    match policy {
        Policy::Transformations(policy) => policy.wants(),
        Policy::DirectResponse(policy) => policy.wants(),
        Policy::ExtAuthz(policy) => policy.wants(),
        Policy::RemoteRateLimit(policy) => policy.wants(),
        _ => Wanted::Nothing,
    }
}

/// Whether any filter asks a server.
pub fn asks(effective: &Effective) -> bool {
    effective.filters().iter().any(|it| matches!(it.policy, Policy::ExtAuthz(_) | Policy::RemoteRateLimit(_)))
}

/// How much of a request's body the policies of a backend read.
pub fn wanted_for_backend(effective: &Effective) -> Wanted {
    effective.filters().iter().map(|it| wanted(&it.policy)).max().unwrap_or(Wanted::Nothing)
}

/// Whether any policy sets a body, of the request or the response.
pub fn sets_bodies(effective: &Effective) -> bool {
    effective.filters().iter().any(|it| matches!(&it.policy, Policy::Transformations(policy) if policy.sets_body()))
}

/// What a backend's own policies do with the body: once, before the first attempt.
pub fn on_body(effective: &Effective, exchange: &mut Exchange<'_>) -> Verdict {
    for attachment in effective.filters() {
        if let Policy::Transformations(policy) = &attachment.policy
            && let Verdict::Reply(reply) = policy.on_body(exchange)
        {
            return Verdict::Reply(reply);
        }
    }
    Verdict::Continue
}

/// Runs request hooks of a backend's own policies, on the head of one attempt.
pub fn on_attempt(effective: &Effective, exchange: &mut Exchange<'_>) -> Verdict {
    for attachment in effective.filters() {
        let verdict = match &attachment.policy {
            Policy::Transformations(policy) => policy.on_attempt(exchange),
            Policy::RequestHeaderModifier(policy) => {
                policy.on_request(exchange);
                Verdict::Continue
            }
            _ => Verdict::Continue,
        };
        if let Verdict::Reply(reply) = verdict {
            return Verdict::Reply(reply);
        }
    }
    Verdict::Continue
}

/// As [`on_request`], but for a backend's own policies that decide whether it is asked at all: once, before the first
/// try.
pub async fn on_backend(effective: &Effective, exchange: &mut Exchange<'_>) -> Passed {
    let passed = run(effective.filters_of(Rung::Authority), exchange).await;
    if matches!(passed, Passed::Through) {
        exchange.facts.passed = 0;
    }
    passed
}

/// Runs response hooks, the last filter first. Also for answers of the gateway's own.
///
/// # Errors
/// What the client gets where the response may not pass.
pub fn on_response(effective: &Effective, answer: &mut Answer<'_>) -> Result<(), Reply> {
    if !effective.has_response_hooks() {
        return Ok(());
    }
    for attachment in effective.filters().iter().rev() {
        match &attachment.policy {
            Policy::Cors(policy) => policy.on_response(answer),
            Policy::ResponseHeaderModifier(policy) => policy.on_response(answer),
            Policy::Transformations(policy) => policy.on_response(answer)?,
            _ => {}
        }
    }
    Ok(())
}

/// The verdict of a hook that does not wait; `None` where it has to: then [`in_time`] has it.
fn at_once(attachment: &Arc<Attachment>, exchange: &mut Exchange<'_>) -> Option<Verdict> {
    Some(match &attachment.policy {
        Policy::IpAccess(policy) => policy.on_request(exchange),
        Policy::Cors(policy) => policy.on_request(exchange),
        Policy::JwtAuth(policy) => policy.on_request(exchange),
        Policy::BasicAuth(policy) => return policy.on_request(exchange),
        Policy::ApiKey(policy) => policy.on_request(exchange),
        Policy::Transformations(policy) => policy.on_request(exchange),
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
        Policy::ExtAuthz(_) | Policy::RemoteRateLimit(_) => return None,
        // Response side only, or settings.
        Policy::ResponseHeaderModifier(_)
        | Policy::AccessLog(_)
        | Policy::BackendAuth(_)
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
        | Policy::NetworkExtAuthz(_)
        | Policy::ProxyProtocol(_)
        | Policy::RequestMirror(_)
        | Policy::Retry(_)
        | Policy::SessionAffinity(_)
        | Policy::Timeout(_) => Verdict::Continue,
    })
}

/// Hooks that may wait; what `at_once` answers does not come here. A call is boxed: next to what it waits for that is
/// nothing, and requests that make none do not carry its state.
async fn in_time(attachment: &Arc<Attachment>, exchange: &mut Exchange<'_>) -> Verdict {
    match &attachment.policy {
        Policy::BasicAuth(policy) => policy.in_time(exchange).await,
        Policy::ExtAuthz(policy) => Box::pin(policy.on_request(exchange)).await,
        Policy::RemoteRateLimit(policy) => Box::pin(policy.on_request(exchange)).await,
        _ => Verdict::Continue,
    }
}
