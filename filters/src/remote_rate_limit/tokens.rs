//! Tokens of language models: a part is asked for before a request goes out, the rest is told when it has ended.

use super::filter::{Policy, Unit, whole};
use crate::callout::{self, Callout, Fault, RateLimit};
use crate::expr::Inputs;
use crate::{Exchange, Facts, Reply, Verdict};

/// What a request owes when it has ended: by which descriptor, and how much of it the server knows already.
#[derive(Debug, Default)]
pub struct Due(Vec<(usize, callout::Descriptor, u64)>);

impl Policy {
    /// Whether it counts tokens of language models at all.
    pub fn counts_tokens(&self) -> bool {
        self.descriptors.iter().any(|it| it.unit == Unit::Tokens)
    }

    /// Whether what it charges in the end is an expression, which sees the whole call.
    pub fn weighs_tokens(&self) -> bool {
        self.descriptors.iter().any(|it| it.unit == Unit::Tokens && it.cost.is_some())
    }

    /// Asks for as many tokens, or whether there are any at all where an expression says later how many there were.
    pub async fn reserve(&self, tokens: u64, exchange: &mut Exchange<'_>) -> Result<Due, Reply> {
        let counted = self.descriptors.iter().enumerate().filter(|(_, it)| it.unit == Unit::Tokens);
        let due: Vec<_> = {
            let inputs = exchange.inputs();
            let due = counted.filter_map(|(position, it)| {
                let reserved = if it.cost.is_some() { 0 } else { tokens };
                Some((position, it.named(&inputs)?, reserved))
            });
            due.collect()
        };
        if due.is_empty() {
            return Ok(Due::default());
        }
        let asked = due.iter().map(|(_, it, reserved)| callout::Descriptor { hits: Some(*reserved), ..it.clone() });
        let asked = asked.collect();
        match self.decided(asked, 0, exchange).await {
            Verdict::Continue => Ok(Due(due)),
            Verdict::Reply(reply) => Err(reply),
        }
    }

    /// What is to be told of a call that used so many; nothing where the server knows it all.
    pub fn rest(&self, Due(due): Due, used: u64, inputs: &Inputs<'_>) -> Vec<callout::Descriptor> {
        let rest = due.into_iter().filter_map(|(position, descriptor, reserved)| {
            let hits = match &self.descriptors.get(position)?.cost {
                None => used.saturating_sub(reserved),
                Some(it) => whole(&it.evaluate(inputs).ok()?)?,
            };
            (hits > 0).then_some(callout::Descriptor { hits: Some(hits), ..descriptor })
        });
        rest.collect()
    }

    /// Tells the server. What it answers comes too late for this request, and is asked anew for the next.
    pub async fn charge(
        &self,
        descriptors: Vec<callout::Descriptor>,
        facts: &Facts,
        callout: &dyn Callout,
    ) -> Result<(), Fault> {
        let told = RateLimit { facts, domain: &self.domain, descriptors, hits: 0 };
        callout.rate_limit(&self.target, told).await.map(drop)
    }
}
