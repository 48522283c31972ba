//! `concurrencyLimit`: how many requests may be under way at once.
//!
//! ```yaml
//! concurrencyLimit:
//! - maxInFlight: 500
//! - maxInFlight: 20
//!   key: source.address
//! ```
//!
//! **Places.** A request takes a place under each rule, or under none; it gives them back when it ends, however it
//! ends: with the last byte of its answer, of its event stream or its WebSocket, or when its client is gone. Nobody
//! waits for a place: who finds none is refused at once.
//!
//! **Keys.** Without `key` all requests under the policy share the places, wherever it is attached: a gateway, a
//! route, a rule. With `key`, an expression, each of its values has places of its own: `jwt.sub`, `source.address`,
//! `request.headers["x-tenant"]`. Requests for which it has no value share places. How much one backend is asked to
//! carry, with a queue, is `circuitBreaker`.
//!
//! **State** is kept over reloads, whatever the new limits are: requests under way go on and count. A rule is known
//! again by its `key`. A successor of this process counts afresh what it lets in; what drains in the predecessor counts
//! there.
//!
//! **Limits.** 16 rules. `maxKeys` keys with requests under way at once, 100,000 unless written, 1,000,000 at most; a
//! request with one more key is refused. A key without requests is not kept.
//!
//! **Shadow.** `mode: shadow` decides, counts and logs (`policy.wouldDeny`), but refuses nothing. Its places are
//! taken beyond the limit, too, so that it shows what would have been under way.
//!
//! **Order.** The last of the quotas: what another refuses takes no place.
//!
//! **Merging.** The most specific policy alone holds, with its own places.
//!
//! **Outcome.** `status` with `Retry-After: 1`, `too many requests in flight` and reason `ConcurrencyLimit`; 429 for
//! rules with a key, whose client is asked for less, and 503 for those without, unless written.
//!
//! **Where we differ.** The reference has no such policy.

mod config;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub use config::{Config, RuleConfig};
pub use policy::{Policy, Rule};
