//! `localRateLimit`: how much may be asked for in a time, counted in this process.
//!
//! ```yaml
//! localRateLimit:
//! - maxTokens: 100
//!   tokensPerFill: 10
//!   fillInterval: 1s
//! - name: daily
//!   maxTokens: 5000
//!   tokensPerFill: 5000
//!   fillInterval: 24h
//! ```
//!
//! **Buckets.** A rule is a bucket of `maxTokens`, full at first, to which `tokensPerFill` come back every
//! `fillInterval`. A request takes one token out of the bucket of each rule, from all or from none; where one is empty
//! it gets 429. The interval begins with the first token taken out of a full bucket.
//!
//! **Keys.** Without `key` there is one bucket for all requests under the policy, wherever it is attached. With `key`,
//! an expression, there is one for each of its values: `jwt.sub`, `source.address`, `request.headers["x-tenant"]`.
//! Requests for which it has no value share one bucket, so leaving something out is no way around. Key by something
//! that a client cannot choose at will: who may make up keys may make up buckets.
//!
//! **MCP.** A policy of which a key reads `mcp` (`mcp.tool.name`, `mcp.tool.target + jwt.sub`) counts calls of tools, reads
//! of resources and the like, and not requests: it is asked once a message is read and may be made, and answers with a
//! JSON-RPC error, -32000, in a response of status 200. On a route without MCP servers it counts nothing.
//!
//! **Tokens.** `type: tokens` counts tokens of language models, input and output together. A request passes while there is
//! one left. Before it goes out it reserves what it may use: a token for every 4 bytes of its body, and as many as its
//! `max_tokens` says, 1,024 where it says nothing; where reservations of others leave none it is refused. When the answer
//! has ended, whichever way, what was used takes the place of what was reserved; nothing is charged for what failed. So
//! a bucket is overdrawn by one reservation less a token at most, and by what requests under way use beyond theirs; that
//! is a debt, which is paid first. Only LLM backends reserve and charge.
//!
//! **Headers.** On every answer: `x-ratelimit-limit`, `x-ratelimit-remaining`, `x-ratelimit-reset` (seconds), and
//! `RateLimit` with `RateLimit-Policy` as of draft-ietf-httpapi-ratelimit-headers-11, under the `name` of the rule; of
//! the rule with least left. On a 429 also `Retry-After`, after which the request would have passed.
//!
//! **State** is kept over reloads. A rule is known again by its `key`, `type` and `fillInterval`; what was used stays
//! used under a changed limit. A successor of this process takes the buckets along; while the predecessor drains, what
//! it still lets through counts there alone. Other processes count for themselves: see `remoteRateLimit`.
//!
//! **Limits.** 16 rules. `maxKeys` keys for each rule, 100,000 unless written, 1,000,000 at most, of 75 bytes or so. A
//! bucket that is full again is not kept. When all places are taken, a new key takes the place of the fullest bucket
//! of 16, so a flood of new keys drives out its own buckets and not those of who has used up much.
//!
//! **Shadow.** `mode: shadow` decides, counts and logs (`policy.wouldDeny`), but refuses nothing and tells clients
//! nothing.
//!
//! **Order.** After identity and authorization: refused requests use up nothing.
//!
//! **Merging.** The most specific policy alone holds, with its own buckets.
//!
//! **Outcome.** 429 `rate limit exceeded` with reason `RateLimit`; gRPC clients get `UNAVAILABLE`. The access log
//! names policy and rule.
//!
//! **Where we differ.** `key`, `name`, `mode` and `maxKeys` are ours. `maxTokens` and `tokensPerFill` default to 0 in
//! the reference, which lets nothing through, or nothing again: here they must be written.

pub mod bucket;
mod config;
mod filter;
mod ledger;
mod policy;
#[cfg(test)]
mod tests;

pub use config::{Config, RuleConfig, UnitConfig};
pub use filter::Reservation;
pub use ledger::{Exported, Ledger};
pub use policy::{Policy, Rule, Unit};
