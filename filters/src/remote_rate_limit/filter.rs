//! Remote limits as understood, and as run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue};
use ir::Text;
use serde::Serialize;

use crate::callout::apply::{self, Changes};
use crate::callout::{self, Fault, LimitStatus, Limited, RateLimit, Target, Unit as Window};
use crate::exchange::{Decision, Mode};
use crate::expr::{Expression, Inputs, Needs, Value};
use crate::{Exchange, Facts, Kind, Reason, Reply, Verdict, Wanted};

/// Longest value of an entry.
const VALUE_BYTES_MAX: usize = 4 * 1024;
/// Hits of a request where nothing is said.
const COST_DEFAULT: u64 = 1;
/// When to come back where nobody knows.
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub target: Arc<Target>,
    pub domain: Text,
    pub descriptors: Vec<Descriptor>,
    pub fail_open: bool,
    pub mode: Mode,
}

/// What a descriptor counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    #[default]
    Requests,
    /// Tokens of language models: asked for by calls of models only.
    Tokens,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub entries: Vec<(Text, Expression)>,
    pub unit: Unit,
    pub cost: Option<Expression>,
    pub limit: Option<Expression>,
}

impl Policy {
    /// How much of the request's body expressions read.
    pub fn wants(&self) -> Wanted {
        Wanted::of(self.needs())
    }

    /// What its expressions read, of those that are asked before a request goes on.
    pub fn needs(&self) -> Needs {
        let asked = self.descriptors.iter().filter(|it| it.unit == Unit::Requests);
        asked.flat_map(Descriptor::expressions).fold(Needs::NONE, |needs, it| needs | it.needs())
    }

    pub async fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Some(asked) = self.question(exchange.facts, &exchange.inputs()) else { return Verdict::Continue };
        let RateLimit { descriptors, hits, .. } = asked;
        self.decided(descriptors, hits, exchange).await
    }

    /// Asks, and puts the answer into effect.
    pub(super) async fn decided(
        &self,
        descriptors: Vec<callout::Descriptor>,
        hits: u32,
        exchange: &mut Exchange<'_>,
    ) -> Verdict {
        let Verdict::Reply(reply) = self.decide(descriptors, hits, exchange).await else { return Verdict::Continue };
        let kind = Kind::RemoteRateLimit;
        exchange.facts.decisions.push(Decision { kind, rule: None, mode: self.mode, policy: None });
        match self.mode {
            Mode::Enforce => Verdict::Reply(reply),
            Mode::Shadow => Verdict::Continue,
        }
    }

    async fn decide(&self, descriptors: Vec<callout::Descriptor>, hits: u32, exchange: &mut Exchange<'_>) -> Verdict {
        let asked = RateLimit { facts: exchange.facts, domain: &self.domain, descriptors, hits };
        let answer = exchange.outside.callout().rate_limit(&self.target, asked).await;
        let limited = match answer {
            Ok(limited) if limited.over => return Verdict::Reply(refusal(limited)),
            // What is only tried out changes nothing.
            Ok(_) if self.mode == Mode::Shadow => return Verdict::Continue,
            Ok(limited) => limited,
            Err(fault) => return self.failed(exchange, &fault),
        };
        match pass(exchange, limited) {
            Ok(()) => Verdict::Continue,
            Err(fault) => self.failed(exchange, &fault),
        }
    }

    /// `None` where no descriptor is left.
    pub(super) fn question<'a>(&'a self, facts: &'a Facts, inputs: &Inputs<'_>) -> Option<RateLimit<'a>> {
        let requests = self.descriptors.iter().filter(|it| it.unit == Unit::Requests);
        let costed = requests.filter_map(|it| it.evaluate(inputs));
        let (mut descriptors, costs): (Vec<_>, Vec<u64>) = costed.unzip();
        let first = *costs.first()?;
        let shared = u32::try_from(first).ok().filter(|it| *it > 0 && costs.iter().all(|cost| *cost == first));
        if shared.is_none() {
            for (descriptor, cost) in descriptors.iter_mut().zip(costs) {
                descriptor.hits = Some(cost);
            }
        }
        Some(RateLimit { facts, domain: &self.domain, descriptors, hits: shared.unwrap_or(0) })
    }

    fn failed(&self, exchange: &mut Exchange<'_>, fault: &Fault) -> Verdict {
        exchange.facts.note(|| format!("remoteRateLimit: {fault}"));
        if self.fail_open {
            return Verdict::Continue;
        }
        Verdict::Reply(Reply::text(503, Reason::RateLimit, "rate limit service failed\n"))
    }
}

impl Descriptor {
    fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.entries.iter().map(|(_, it)| it).chain(&self.cost).chain(&self.limit)
    }

    /// The descriptor of one request, and its cost; `None` where a part of it fails.
    fn evaluate(&self, inputs: &Inputs<'_>) -> Option<(callout::Descriptor, u64)> {
        let descriptor = self.named(inputs)?;
        let cost = match &self.cost {
            None => COST_DEFAULT,
            Some(it) => whole(&it.evaluate(inputs).ok()?)?,
        };
        Some((descriptor, cost))
    }

    /// Without a cost.
    pub(super) fn named(&self, inputs: &Inputs<'_>) -> Option<callout::Descriptor> {
        let mut entries = Vec::with_capacity(self.entries.len());
        for (key, it) in &self.entries {
            let value = it.evaluate(inputs).ok()?.scalar()?.into_owned();
            if value.is_empty() || value.len() > VALUE_BYTES_MAX {
                return None;
            }
            entries.push((key.to_string(), value));
        }
        let limit = match &self.limit {
            None => None,
            Some(it) => Some(limit(it.evaluate(inputs).ok()?)?),
        };
        Some(callout::Descriptor { entries, limit, hits: None })
    }
}

/// A whole number that is not negative.
pub(super) fn whole(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Int(it) => u64::try_from(*it).ok(),
        Value::Uint(it) => Some(*it),
        Value::Double(it) if *it >= 0.0 && *it <= 1e15 => Some(it.ceil() as u64),
        _ => None,
    }
}

fn limit(value: Value<'_>) -> Option<(u32, Window)> {
    let value = value.into_json().ok()?;
    let requests = value.get("requestsPerUnit")?.as_u64()?;
    Some((u32::try_from(requests).ok()?, Window::parse(value.get("unit")?.as_str()?)?))
}

fn pass(exchange: &mut Exchange<'_>, limited: Limited) -> Result<(), Fault> {
    let Limited { statuses, request, response, .. } = limited;
    let changes = Changes::parse(&request, &[])?;
    let owed = apply::owed(&response)?;
    changes.apply(exchange);
    if !owed.iter().any(|(name, ..)| *name == REMAINING) {
        tell(exchange.facts, &statuses);
    }
    exchange.facts.response_changes.extend(owed);
    Ok(())
}

/// The most constrained limit of all that the answer tells of.
fn tell(facts: &mut Facts, statuses: &[LimitStatus]) {
    let Some(status) = tightest(statuses) else { return };
    let told = facts.owed.iter().find(|(name, _)| *name == REMAINING);
    let told = told.and_then(|(_, value)| value.to_str().ok()?.parse::<u32>().ok());
    if told.is_some_and(|told| told <= status.remaining) {
        return;
    }
    facts.owed.retain(|(name, _)| ![LIMIT, REMAINING, RESET].contains(name));
    facts.owed.extend(numbers(status));
}

fn tightest(statuses: &[LimitStatus]) -> Option<&LimitStatus> {
    statuses.iter().filter(|it| it.limit.is_some()).min_by_key(|it| if it.over { 0 } else { it.remaining })
}

fn numbers(status: &LimitStatus) -> Vec<(HeaderName, HeaderValue)> {
    let limit = status.limit.map(|(requests, _)| (LIMIT, HeaderValue::from(requests)));
    let reset = status.reset.map(|it| (RESET, HeaderValue::from(seconds(it))));
    [limit, Some((REMAINING, HeaderValue::from(status.remaining))), reset].into_iter().flatten().collect()
}

/// Rounded up: whoever comes back then is not early.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

fn refusal(limited: Limited) -> Reply {
    let Limited { statuses, response, body, .. } = limited;
    let body = if body.is_empty() { Bytes::from_static(b"rate limit exceeded\n") } else { body };
    let mut reply = Reply::text(429, Reason::RateLimit, body);
    let theirs = apply::owed_or_less(&response);
    let says = |name: &HeaderName| theirs.iter().any(|(theirs, _)| theirs == name);
    if says(&CONTENT_TYPE) {
        reply.headers.clear();
    }
    if !says(&REMAINING) {
        reply.headers.extend(tightest(&statuses).map(numbers).into_iter().flatten());
    }
    if !says(&RETRY_AFTER) {
        let until = |it: &LimitStatus| it.reset.or_else(|| it.limit?.1.map(|unit| Duration::from_secs(unit.seconds())));
        let after = statuses.iter().filter(|it| it.over).filter_map(until).max().unwrap_or(RETRY_DEFAULT);
        reply.headers.push((RETRY_AFTER, HeaderValue::from(seconds(after).max(1))));
    }
    reply.headers.extend(theirs);
    reply
}
