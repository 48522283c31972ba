//! Running the filters of one place: requests in order, responses in reverse.
//!
//! Dispatch is by the closed enum, so a hook costs a branch and no allocation. Most hooks answer at
//! once; those that may have to wait (a password hash, a call) do it in [`in_time`]: nothing is boxed for
//! a request that does not wait.

use crate::exchange::Answer;
use crate::rung::Rung;
use crate::{Effective, Exchange, Facts, Kind, Policy, Reply, Verdict, Wanted, authorization, backend_auth};

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
    let passed = run(effective, effective.filters().len(), exchange).await;
    if matches!(passed, Passed::Through) {
        exchange.facts.passed = 0;
    }
    passed
}

/// As [`on_request`], but for the filters that answer in a backend's place: what a request passes before it may wait.
/// [`on_request`] then goes on from there.
pub async fn on_request_before_answers(effective: &Effective, exchange: &mut Exchange<'_>) -> Passed {
    run(effective, effective.before_answers(), exchange).await
}

/// Runs the filters that come before the position `end`.
async fn run(effective: &Effective, end: usize, exchange: &mut Exchange<'_>) -> Passed {
    let filters = effective.filters().get(..end).unwrap_or_default();
    while let Some(attachment) = filters.get(exchange.facts.passed) {
        let wanted = effective.wanted(exchange.facts.passed);
        if exchange.facts.lacks(wanted) {
            return Passed::Body(wanted);
        }
        let mut policy = &attachment.policy;
        if let Policy::McpAuthentication(policy) = policy {
            let wanted = policy.wanted(exchange.request);
            if exchange.facts.body.lacks(wanted) {
                return Passed::Body(wanted);
            }
        }
        if let Policy::Conditional(conditional) = policy {
            let request = &*exchange.request;
            let Some(chosen) = conditional.choose(exchange.facts, |facts| conditional.first(&facts.inputs(request)))
            else {
                exchange.facts.passed += 1;
                continue;
            };
            if exchange.facts.lacks(chosen.wanted()) {
                return Passed::Body(chosen.wanted());
            }
            policy = chosen;
        }
        if policy.waits_for_message() {
            exchange.facts.passed += 1;
            continue;
        }
        let decided = exchange.facts.decisions.len();
        let verdict = match policy {
            Policy::Authorization(_) => authorization::on_request(filters, exchange.facts.passed, exchange),
            policy => match at_once(policy, exchange) {
                Some(verdict) => verdict,
                None => in_time(policy, exchange).await,
            },
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

/// Whether a message of MCP has limits of its own.
pub fn limits_messages(effective: &Effective) -> bool {
    effective.filters().iter().any(|it| it.policy.waits_for_message())
}

/// Runs what waits for a message of MCP, which `facts` say.
pub async fn on_message(effective: &Effective, exchange: &mut Exchange<'_>) -> Verdict {
    for attachment in effective.filters() {
        let mut policy = &attachment.policy;
        if let Policy::Conditional(conditional) = policy {
            let request = &*exchange.request;
            let first = |facts: &Facts| conditional.first(&facts.inputs(request));
            let Some(chosen) = conditional.choose(exchange.facts, first) else { continue };
            policy = chosen;
        }
        if !policy.waits_for_message() {
            continue;
        }
        let decided = exchange.facts.decisions.len();
        let verdict = match at_once(policy, exchange) {
            Some(verdict) => verdict,
            None => in_time(policy, exchange).await,
        };
        for decision in exchange.facts.decisions.iter_mut().skip(decided) {
            decision.policy.get_or_insert_with(|| attachment.key.clone());
        }
        if let Verdict::Reply(reply) = verdict {
            return Verdict::Reply(reply);
        }
    }
    Verdict::Continue
}

/// How much of a request's body the policies of a backend read.
pub fn wanted_for_backend(effective: &Effective) -> Wanted {
    let credentials = effective.backend_auth().map(backend_auth::Policy::wants);
    effective.filters().iter().map(|it| it.policy.wanted()).chain(credentials).max().unwrap_or(Wanted::Nothing)
}

/// Whether any filter asks a server, on whatever condition.
pub fn asks(effective: &Effective) -> bool {
    effective.filters().iter().any(|it| matches!(it.policy.kind(), Kind::ExtAuthz | Kind::RemoteRateLimit))
}

/// Whether any policy that applies sets a body, of the request or the response.
pub fn sets_bodies(effective: &Effective, facts: &Facts) -> bool {
    let applying = effective.filters().iter().filter_map(|it| match &it.policy {
        Policy::Conditional(policy) => policy.chosen(facts),
        policy => Some(policy),
    });
    applying.into_iter().any(|it| matches!(it, Policy::Transformations(policy) if policy.sets_body()))
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
    let asked = effective.positions_of(Rung::Authority);
    exchange.facts.passed = exchange.facts.passed.max(asked.start);
    let passed = run(effective, asked.end, exchange).await;
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
        let mut policy = &attachment.policy;
        if let Policy::Conditional(conditional) = policy {
            let request = answer.request;
            let first = |facts: &Facts| conditional.first(&facts.inputs(request));
            let Some(chosen) = conditional.choose(answer.facts, first) else { continue };
            policy = chosen;
        }
        match policy {
            Policy::Cors(policy) => policy.on_response(answer),
            Policy::ResponseHeaderModifier(policy) => policy.on_response(answer),
            Policy::Transformations(policy) => policy.on_response(answer)?,
            _ => {}
        }
    }
    Ok(())
}

/// The verdict of a hook that does not wait; `None` where it has to: then [`in_time`] has it.
fn at_once(policy: &Policy, exchange: &mut Exchange<'_>) -> Option<Verdict> {
    Some(match policy {
        Policy::IpAccess(policy) => policy.on_request(exchange),
        Policy::Cors(policy) => policy.on_request(exchange),
        Policy::McpAuthentication(policy) => return policy.on_request(exchange),
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
        | Policy::A2a(_)
        | Policy::AccessLog(_)
        | Policy::Ai(_)
        | Policy::BackendAuth(_)
        // See `run`: all of a place together, and what they choose.
        | Policy::Authorization(_)
        | Policy::Conditional(_)
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
        // Once the message is read, by who reads it.
        | Policy::McpAuthorization(_)
        | Policy::McpGuardrails(_)
        | Policy::McpPinning(_)
        | Policy::McpTools(_)
        | Policy::NetworkAuthorization(_)
        | Policy::NetworkExtAuthz(_)
        | Policy::ProxyProtocol(_)
        | Policy::RequestMirror(_)
        | Policy::Retry(_)
        | Policy::SessionAffinity(_)
        | Policy::Timeout(_) => Verdict::Continue,
    })
}

/// Hooks that may wait; what `at_once` answers does not come here.
async fn in_time(policy: &Policy, exchange: &mut Exchange<'_>) -> Verdict {
    match policy {
        Policy::BasicAuth(policy) => policy.in_time(exchange).await,
        Policy::McpAuthentication(policy) => Box::pin(policy.in_time(exchange)).await,
        Policy::ExtAuthz(policy) => Box::pin(policy.on_request(exchange)).await,
        Policy::RemoteRateLimit(policy) => Box::pin(policy.on_request(exchange)).await,
        _ => Verdict::Continue,
    }
}
