//! Limits by tokens: reserved before a request goes out, settled when it is known what it used.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use filters::local_rate_limit::Reservation;
use filters::remote_rate_limit::{self, Due};
use filters::{Attachment, Effective, Exchange, Policy, Reply};
use pingora_proxy::Session;

use protocols::llm::realtime::Refusal;

use super::{Asked, realtime};
use crate::proxy::request::Stop;
use crate::proxy::{Ctx, Proxy, inputs};

/// Tokens of an answer for which a request sets no bound.
const OUTPUT_TOKENS_DEFAULT: u64 = 1_024;

/// What is set aside for a request.
#[derive(Default)]
pub(crate) struct Reserved {
    local: Vec<Reservation>,
    /// Of answers of a session that are under way.
    answers: VecDeque<Vec<Reservation>>,
    remote: Vec<(Arc<Attachment>, Due)>,
}

/// Reserves what the request may use, wherever limits count tokens. A reply says that there is too little.
pub(crate) async fn reserve(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) -> Result<Option<Reply>, Stop> {
    let counting: Vec<_> = levels(ctx).flat_map(|it| it.filters()).filter(|it| counts(&it.policy)).cloned().collect();
    let Some(asked) = ctx.ai.as_ref().filter(|it| !counting.is_empty() && it.operation.uses_tokens()) else {
        return Ok(None);
    };
    let (input, tokens) = (asked.input_about(), asked.tokens_at_most());
    let mut reserved = Reserved::default();
    let mut refused = None;
    for attachment in counting {
        let around = proxy.around(&ctx.plan, ctx.request_deadline);
        let mut exchange = Exchange { request: session.req_header_mut(), facts: &mut ctx.facts, outside: &around };
        let decided = exchange.facts.decisions.len();
        let kept = match chosen(&attachment.policy, exchange.facts) {
            Some(Policy::LocalRateLimit(it)) => it.reserve(tokens, &mut exchange).map(|it| reserved.local.push(it)),
            Some(Policy::RemoteRateLimit(it)) => {
                let due = it.reserve(input, &mut exchange).await;
                due.map(|it| reserved.remote.push((attachment.clone(), it)))
            }
            _ => Ok(()),
        };
        for decision in exchange.facts.decisions.iter_mut().skip(decided) {
            decision.policy.get_or_insert_with(|| attachment.key.clone());
        }
        refused = kept.err();
        if refused.is_some() {
            break;
        }
    }
    if refused.is_some() {
        reserved.settle_local(0);
    }
    if let Some(asked) = &mut ctx.ai {
        asked.reserved = reserved;
    }
    Ok(refused)
}

/// Puts what was used in the place of what was reserved. Servers are told behind the request's back.
pub(crate) fn settle(proxy: &Proxy, session: &Session, ctx: &mut Ctx, status: u16) {
    let Some(asked) = &mut ctx.ai else { return };
    let used = asked.used(status);
    let mut reserved = std::mem::take(&mut asked.reserved);
    match asked.live.is_some() {
        true => reserved.settle_answers(asked.account.output_cut_off()),
        false => reserved.settle_local(used),
    }
    if reserved.remote.is_empty() {
        return;
    }
    let remote = std::mem::take(&mut reserved.remote);
    let weighs = remote.iter().any(|(it, _)| limits(&it.policy, &ctx.facts).is_some_and(|it| it.weighs_tokens()));
    if weighs && ctx.llm.is_none() {
        ctx.llm = ctx.ai.as_ref().map(|it| Box::new(it.object()));
    }
    let inputs = inputs::log(session.req_header(), ctx, status);
    let told = remote.into_iter().filter_map(|(attachment, due)| {
        let rest = limits(&attachment.policy, &ctx.facts)?.rest(due, used, &inputs);
        (!rest.is_empty()).then_some((attachment, rest))
    });
    let told: Vec<_> = told.collect();
    if told.is_empty() {
        return;
    }
    let (asking, plan, facts) = (proxy.asking.clone(), ctx.plan.clone(), ctx.facts.clone());
    tokio::spawn(async move {
        let around = asking.around(&plan, None);
        for (attachment, rest) in told {
            let Some(policy) = limits(&attachment.policy, &facts) else { continue };
            let charged = policy.charge(rest, &facts, filters::Outside::callout(&around)).await;
            if let Err(error) = charged {
                tracing::warn!(policy = %attachment.key, %error, "tokens that were used could not be told to their limit");
            }
        }
    });
}

/// An answer of a session begins: what it may use is reserved, or there is nothing left. What was reserved for the
/// session is for the first one.
pub(super) fn begin(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, output_max: Option<u64>) -> Option<Refusal> {
    let reserved = &mut ctx.ai.as_mut()?.reserved;
    if !reserved.local.is_empty() {
        let first = std::mem::take(&mut reserved.local);
        reserved.answers.push_back(first);
        return None;
    }
    let counting: Vec<_> = levels(ctx).flat_map(|it| it.filters()).filter(|it| counts(&it.policy)).cloned().collect();
    if counting.is_empty() {
        return None;
    }
    let tokens = output_max.unwrap_or(OUTPUT_TOKENS_DEFAULT);
    let (mut kept, mut refused) = (Vec::new(), None);
    // The session is older than its answers.
    let began = std::mem::replace(&mut ctx.facts.now, crate::clock::now());
    for attachment in counting {
        let around = proxy.around(&ctx.plan, None);
        let mut exchange = Exchange { request: session.req_header_mut(), facts: &mut ctx.facts, outside: &around };
        let decided = exchange.facts.decisions.len();
        let Some(Policy::LocalRateLimit(it)) = chosen(&attachment.policy, exchange.facts) else { continue };
        let it = it.reserve(tokens, &mut exchange);
        for decision in exchange.facts.decisions.iter_mut().skip(decided) {
            decision.policy.get_or_insert_with(|| attachment.key.clone());
        }
        match it {
            Ok(it) => kept.push(it),
            Err(reply) => {
                refused = Some(realtime::used_up(&reply));
                break;
            }
        }
    }
    ctx.facts.now = began;
    if refused.is_some() {
        let now = crate::clock::now();
        kept.drain(..).for_each(|it| it.settle(0, now));
    }
    ctx.ai.as_mut()?.reserved.answers.push_back(kept);
    refused
}

/// An answer of a session is over.
pub(super) fn end(ctx: &mut Ctx, used: u64) {
    let answer = ctx.ai.as_mut().and_then(|it| it.reserved.answers.pop_front());
    let now = crate::clock::now();
    answer.into_iter().flatten().for_each(|it| it.settle(used, now));
}

impl Reserved {
    /// A session is over: of answers that were under way so many tokens came.
    fn settle_answers(&mut self, output: u64) {
        self.settle_local(0);
        let now = crate::clock::now();
        for (at, answer) in self.answers.drain(..).enumerate() {
            let used = if at == 0 { output } else { 0 };
            answer.into_iter().for_each(|it| it.settle(used, now));
        }
    }

    fn settle_local(&mut self, used: u64) {
        let now = crate::clock::reading(Instant::now());
        self.local.drain(..).for_each(|it| it.settle(used, now));
    }
}

impl Asked {
    /// What the request may use: about its input, and the output that it allows.
    fn tokens_at_most(&self) -> u64 {
        let output = if self.operation.generates() { self.max_tokens.unwrap_or(OUTPUT_TOKENS_DEFAULT) } else { 0 };
        self.input_about().saturating_add(output)
    }

    /// What it has used, with what providers were given that did not answer in time. Of an answer that does not say it,
    /// about; of one that failed, nothing.
    fn used(&self, status: u16) -> u64 {
        let outlasted = self.outlasted.iter().map(|it| it.input).sum();
        self.answered(status).saturating_add(outlasted)
    }

    fn answered(&self, status: u16) -> u64 {
        let seen = self.account.seen.as_deref();
        match seen.and_then(|it| it.usage.total()) {
            Some(total) => total,
            None if (200..300).contains(&status) && self.operation.uses_tokens() => {
                self.input_about().saturating_add(self.account.output_about())
            }
            None => 0,
        }
    }
}

fn levels(ctx: &Ctx) -> impl Iterator<Item = &Arc<Effective>> {
    ctx.gateway_effective.iter().chain(ctx.effective())
}

fn counts(policy: &Policy) -> bool {
    match policy {
        Policy::LocalRateLimit(it) => it.counts_tokens(),
        Policy::RemoteRateLimit(it) => it.counts_tokens(),
        Policy::Conditional(it) => it.any(counts),
        _ => false,
    }
}

/// The policy itself, or the one that its conditions have chosen.
fn chosen<'a>(policy: &'a Policy, facts: &filters::Facts) -> Option<&'a Policy> {
    match policy {
        Policy::Conditional(it) => it.chosen(facts),
        policy => Some(policy),
    }
}

fn limits<'a>(policy: &'a Policy, facts: &filters::Facts) -> Option<&'a remote_rate_limit::Policy> {
    match chosen(policy, facts)? {
        Policy::RemoteRateLimit(it) => Some(it),
        _ => None,
    }
}
