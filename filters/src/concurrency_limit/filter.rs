//! Limits of what is under way, as run.

use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::policy::{Permit, Policy, Rule};
use crate::exchange::{Decision, Mode};
use crate::quota::key;
use crate::{Exchange, Kind, Reason, Reply, Verdict};

/// When another try may find a place, in seconds: nobody knows, but not at once.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let places = self.places.get(&self.rules);
        let mut permits: Vec<Permit> = Vec::with_capacity(self.rules.len());
        for (position, (rule, (_, table))) in self.rules.iter().zip(&places.tables).enumerate() {
            let hash = key::hash(rule.key.as_ref(), &places.seed, exchange);
            let room = table.with_kept(hash, (), |count| {
                let room = count.0 < rule.in_flight_max;
                let takes = room || rule.mode == Mode::Shadow;
                count.0 = count.0.saturating_add(u32::from(takes));
                (room, takes)
            });
            let (room, takes) = room.unwrap_or((false, false));
            if takes {
                permits.push(Permit { table: table.clone(), hash });
            }
            if !room {
                exchange.facts.decisions.push(Decision::new(Kind::ConcurrencyLimit, position, rule.mode));
                if rule.mode == Mode::Enforce {
                    return Verdict::Reply(rule.refusal());
                }
            }
        }
        exchange.facts.hold(permits);
        Verdict::Continue
    }
}

impl Rule {
    fn refusal(&self) -> Reply {
        let mut reply = Reply::text(self.status, Reason::ConcurrencyLimit, "too many requests in flight\n");
        reply.headers.push((RETRY_AFTER, RETRY_AFTER_SECONDS));
        reply
    }
}
