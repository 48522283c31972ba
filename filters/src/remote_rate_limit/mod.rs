//! `remoteRateLimit`: ask a rate limit server of one's own whether a request is within its quota.
//!
//! ```yaml
//! remoteRateLimit:
//!   host: limits.internal:8081
//!   domain: shop
//!   failureMode: failOpen
//!   descriptors: [{"entries": [{"key": "user", "value": "jwt.sub"}], "cost": "request.method == 'POST' ? 5 : 1"}]
//! ```
//!
//! **Server.** `host`, `service` or `backend` that speaks Envoy's `RateLimitService/ShouldRateLimit` (v3), with
//! `policies` beside it as for `extAuthz`. A call takes 2 s at most, or `policies.http.requestTimeout`.
//!
//! **Descriptors.** Each is what a quota is counted by; all of them are asked for in one call, and one that is over its
//! limit refuses the request. Values are CEL that gives a text, number or truth value; `cost` (1 unless written) is how
//! many hits the request is; `limitOverride` gives a map of `unit` (`second` to `year`) and `requestsPerUnit` in place of
//! the server's own limit. A descriptor of which a part fails, is empty or is longer than 4 KiB is left out; where none is left nobody is
//! asked. So a limit by a claim does not hold for requests without it: add a descriptor for those.
//!
//! **Tokens.** A descriptor of `type: tokens` counts tokens of language models, input and output together: requests that
//! are no calls of models do not ask for it. Before a call goes out its input is asked for, a token for every 4 bytes of
//! its body; when it has ended, whichever way, the rest of what it used is told to the server, behind the request. With
//! a `cost` of its own nothing is asked for but whether anything is left, and the cost, which sees all of the call
//! (`llm.outputTokens`, `llm.cost.total`), is told in the end. So a quota is overdrawn by what calls under way use
//! beyond what was asked for them. Servers take nothing back: what was asked for a call that failed stays counted.
//!
//! **Costs.** Where all descriptors cost the same, the cost is said once for the call, as every server understands it; else
//! with each descriptor (`hits_addend` of the descriptor).
//!
//! **Answer.** Over the limit: 429 with the server's body and headers, `x-ratelimit-limit`, `x-ratelimit-remaining` and
//! `x-ratelimit-reset` of the descriptor with the least left, and `retry-after`: the time until reset, else the limit's
//! window. Within it: the server's request headers are added to the request, its response headers and the same
//! `x-ratelimit-*` to the answer.
//!
//! **Failure.** No answer in time, no connection, an error, or an answer that is none: `failClosed` (default) answers
//! 503, `failOpen` lets the request pass.
//!
//! **Shadow.** `mode: shadow` asks, counts and logs (`policy.wouldDeny`), but refuses and changes nothing. The server counts
//! all the same.
//!
//! **Merging.** The most specific policy alone holds; with `inheritance: override` the one above stands.
//!
//! **Order.** After authentication and authorization, before headers are changed. Route phase only.
//!
//! **MCP.** A policy of which an expression reads `mcp` is asked for calls of tools, reads of resources and the like, and
//! not for requests: once a message is read and may be made. Its refusal is a JSON-RPC error, -32000, of status 200.
//!
//! **Limits.** 64 descriptors of 16 entries; answers as for `extAuthz`.
//!
//! **Telemetry.** Reason `RateLimit`; `policy_calls_total` and `upstream_call_duration_seconds` with subtype
//! `RateLimit`. Why a call failed is in the access log's `error`.
//!
//! **Where we differ.** The reference answers 500 when it cannot ask: that blames the gateway and is not retried; 503 says
//! what is true. `mode` is ours. An answer whose overall code is unknown is a failure, not a yes.

mod config;
mod filter;
mod tokens;

#[cfg(test)]
mod tests;

pub use config::{Config, DescriptorConfig, EntryConfig, FailureMode, Type};
pub use filter::{Descriptor, Policy, Unit};
pub use tokens::Due;
