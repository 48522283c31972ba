//! Calls that policies make before a request goes on: the port of `filters::callout` over the same
//! clusters, endpoints, DNS, health and TLS terms as traffic.
//!
//! [`line`] resolves a target once for each plan that changed something about it; [`channel`] keeps
//! one HTTP/2 connection for each endpoint, which all calls of gRPC share ([`grpc`], [`gather`]); [`exchange`]
//! sends requests of HTTP through Pingora's connector. [`check`] and [`rate_limit`] say in messages
//! of those protocols what a policy asks, and read the answers; nothing outside this folder knows
//! the messages.
//!
//! A call has one deadline from the first look at the target to the last byte of the answer. All of
//! them together are bounded, and dropping one ends it on the wire.

mod channel;
mod check;
mod exchange;
mod gather;
mod grpc;
mod line;
mod mcp;
mod pb;
mod rate_limit;
mod value;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use filters::callout::{
    self, Call, Check, Checked, Fault, Guard, Guarded, HttpAnswer, HttpRequest, Kind, Limited, RateLimit, Target,
};
use tokio::sync::Semaphore;

use crate::plan::Plan;
use crate::telemetry::Telemetry;
use crate::upstream::Wires;
use channel::Channels;
use line::{Line, Lines};

/// Calls under way at once, in the whole process.
pub(super) const CALLS_MAX: usize = 8192;
/// Endpoints tried for one call, while nothing was asked yet.
const ATTEMPTS_MAX: usize = 3;

/// Everything that calls share; one for the process.
pub struct Callouts {
    telemetry: Arc<Telemetry>,
    wires: Wires,
    channels: Arc<Channels>,
    lines: Lines,
    places: Semaphore,
}

/// Makes the calls of one request, under the plan that it sees.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    pub callouts: &'a Callouts,
    pub plan: &'a Plan,
    /// The request's own deadline, which no call outlives.
    pub until: Option<Instant>,
}

impl Callouts {
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        Self {
            telemetry,
            wires: Wires::default(),
            channels: Arc::default(),
            lines: Lines::default(),
            places: Semaphore::new(CALLS_MAX),
        }
    }
}

impl<'a> Caller<'a> {
    /// Runs one call within its bounds, and counts it.
    async fn bounded<T, F>(self, kind: Kind, target: &Arc<Target>, ask: impl FnOnce(Arc<Line>) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let begun = Instant::now();
        let answer = self.timed(begun, target, ask).await;
        let outcome = answer.as_ref().err().map_or("ok", Fault::label);
        self.callouts.telemetry.callout(kind.label(), outcome, begun.elapsed());
        if let Err(fault) = &answer {
            tracing::debug!(kind = kind.label(), %fault, "call of a policy failed");
        }
        answer
    }

    async fn timed<T, F>(
        self,
        begun: Instant,
        target: &Arc<Target>,
        ask: impl FnOnce(Arc<Line>) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let _place = self.callouts.places.try_acquire().map_err(|_| Fault::Overflow)?;
        let line = self.callouts.lines.find(target, self.plan)?;
        let limit = line.effective.backend_http().and_then(|it| it.request_timeout).unwrap_or(callout::CALL_TIMEOUT);
        let left = self.until.map_or(Duration::MAX, |until| until.saturating_duration_since(begun));
        let limit = limit.min(left);
        let admitted = async {
            let permit = line.cluster.admit(line.effective.circuit_breaker()).await;
            let _permit = permit.map_err(|_| Fault::Overflow)?;
            ask(line.clone()).await
        };
        match tokio::time::timeout(limit, admitted).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::Timeout(limit)),
        }
    }
}

impl callout::Callout for Caller<'_> {
    fn check<'a>(&'a self, target: &'a Arc<Target>, check: Check<'a>) -> Call<'a, Checked> {
        Box::pin(self.bounded(Kind::ExtAuthz, target, async move |line| {
            let answer = grpc::unary(self.callouts, &line, check::METHOD, check::encode(&check), check.facts).await?;
            check::decode(answer)
        }))
    }

    fn rate_limit<'a>(&'a self, target: &'a Arc<Target>, asked: RateLimit<'a>) -> Call<'a, Limited> {
        Box::pin(self.bounded(Kind::RateLimit, target, async move |line| {
            let facts = asked.facts;
            let message = grpc::frame(&rate_limit::encode(asked));
            let answer = grpc::unary(self.callouts, &line, rate_limit::METHOD, message, facts).await?;
            rate_limit::decode(answer)
        }))
    }

    fn guard<'a>(&'a self, target: &'a Arc<Target>, asked: Guard<'a>) -> Call<'a, Guarded> {
        Box::pin(self.bounded(Kind::ExtMcp, target, async move |line| {
            let question = mcp::Question::of(&asked);
            let answer = grpc::unary(self.callouts, &line, question.path(), question.frame(), asked.facts).await?;
            mcp::decode(asked.answered, answer)
        }))
    }

    fn http<'a>(&'a self, target: &'a Arc<Target>, kind: Kind, request: HttpRequest<'a>) -> Call<'a, HttpAnswer> {
        Box::pin(self.bounded(kind, target, async move |line| exchange::send(self.callouts, &line, request).await))
    }
}
