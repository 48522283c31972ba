//! Rate limits as run.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::bucket::{At, Bucket, Terms};
use super::policy::{Policy, Rule, Unit};
use crate::exchange::{Decision, Mode};
use crate::quota::keyed::RULES_MAX;
use crate::quota::{Hash, Standing, Table, key};
use crate::{Exchange, Kind, Reason, Reply, Verdict};

/// What a bucket said.
struct Look {
    passes: bool,
    left: u64,
    reset: u64,
    wait: u64,
}

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let ledger = self.ledger.get(&self.rules);
        let now = exchange.facts.now;
        let mut taken: [Option<Hash>; RULES_MAX] = [None; RULES_MAX];
        let mut tightest: Option<Standing<'_>> = None;
        for (position, (rule, table)) in self.rules.iter().zip(ledger.tables()).enumerate() {
            let hash = key::hash(rule.key.as_ref(), &ledger.seed, exchange);
            let at = rule.terms.at(now);
            let look = table.with(hash, at, |bucket| rule.look(bucket, at));
            if !look.passes {
                exchange.facts.decisions.push(Decision::new(Kind::LocalRateLimit, position, rule.mode));
                if rule.mode == Mode::Shadow {
                    continue;
                }
                self.put_back(&taken, now);
                return Verdict::Reply(refusal(exchange, &rule.standing(&look), look.wait));
            }
            if rule.unit == Unit::Requests
                && let Some(place) = taken.get_mut(position)
            {
                *place = Some(hash);
            }
            let standing = rule.standing(&look);
            if rule.mode == Mode::Enforce && tightest.is_none_or(|it| standing.is_tighter(&it)) {
                tightest = Some(standing);
            }
        }
        if let Some(standing) = tightest {
            standing.owe(exchange.facts);
        }
        Verdict::Continue
    }

    /// Undoes what a request took that is refused after all.
    fn put_back(&self, taken: &[Option<Hash>; RULES_MAX], now: Duration) {
        let tables = self.ledger.get(&self.rules).tables();
        for ((rule, table), hash) in self.rules.iter().zip(tables).zip(taken) {
            if let Some(hash) = hash {
                let at = rule.terms.at(now);
                table.peek(*hash, |bucket| bucket.put_back(1, at));
            }
        }
    }

    /// Whether it counts tokens of language models at all.
    pub fn counts_tokens(&self) -> bool {
        self.rules.iter().any(|it| it.unit == Unit::Tokens)
    }

    /// Reserves tokens of language models in every bucket that counts them, as long as there is one left in each: what
    /// requests under way have reserved is not there for others. What was used is settled when it is known.
    pub fn reserve(&self, tokens: u64, exchange: &mut Exchange<'_>) -> Result<Reservation, Reply> {
        let now = exchange.facts.now;
        let ledger = self.ledger.get(&self.rules);
        let mut reservation = Reservation { charges: Vec::new(), tokens };
        for (position, (rule, table)) in self.rules.iter().zip(ledger.tables()).enumerate() {
            if rule.unit != Unit::Tokens {
                continue;
            }
            let hash = key::hash(rule.key.as_ref(), &ledger.seed, exchange);
            let charge = Charge { table: table.clone(), hash, terms: rule.terms };
            let look = charge.with(now, |bucket, at| {
                let look = rule.look(bucket, at);
                if look.passes || rule.mode == Mode::Shadow {
                    bucket.charge(tokens, at);
                }
                look
            });
            if !look.passes {
                exchange.facts.decisions.push(Decision::new(Kind::LocalRateLimit, position, rule.mode));
                if rule.mode == Mode::Enforce {
                    reservation.settle(0, now);
                    return Err(refusal(exchange, &rule.standing(&look), look.wait));
                }
            }
            reservation.charges.push(charge);
        }
        Ok(reservation)
    }
}

impl Rule {
    fn look(&self, bucket: &mut Bucket, at: At) -> Look {
        let passes = match self.unit {
            Unit::Requests => {
                bucket.cap(self.terms.max);
                bucket.take(1, at)
            }
            Unit::Tokens => bucket.left(at) > 0,
        };
        let wait = if passes { 0 } else { bucket.wait(1, at) };
        Look { passes, left: bucket.left(at), reset: bucket.reset(at), wait }
    }

    fn standing(&self, look: &Look) -> Standing<'_> {
        Standing {
            name: &self.name,
            limit: self.terms.max,
            window: self.terms.window(),
            remaining: look.left,
            reset: look.reset,
        }
    }
}

fn refusal(exchange: &mut Exchange<'_>, standing: &Standing<'_>, wait: u64) -> Reply {
    standing.owe(exchange.facts);
    let mut reply = Reply::text(429, Reason::RateLimit, "rate limit exceeded\n");
    reply.headers.push((RETRY_AFTER, HeaderValue::from(wait)));
    reply
}

/// Tokens of language models set aside for a request whose usage is not known yet.
///
/// It must be settled. One that is dropped stays charged: a request that was cut off has cost what was reserved.
#[must_use]
pub struct Reservation {
    charges: Vec<Charge>,
    tokens: u64,
}

struct Charge {
    table: Arc<Table<Bucket>>,
    hash: Hash,
    terms: Terms,
}

impl Reservation {
    /// Charges what was really used in place of what was reserved.
    pub fn settle(self, used: u64, now: Duration) {
        for charge in &self.charges {
            charge.with(now, |bucket, at| {
                if used < self.tokens {
                    bucket.put_back(self.tokens - used, at);
                } else {
                    bucket.charge(used - self.tokens, at);
                }
            });
        }
    }
}

impl Charge {
    fn with<T>(&self, now: Duration, change: impl FnOnce(&mut Bucket, At) -> T) -> T {
        let at = self.terms.at(now);
        self.table.with(self.hash, at, |bucket| change(bucket, at))
    }
}
