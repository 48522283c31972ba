//! `authorization`: who may do what, in expressions.
//!
//! ```yaml
//! authorization:
//!   rules:
//!   - deny: request.path.startsWith("/internal")
//!   - require: has(jwt.sub)
//!   - allow: '"admins" in jwt.groups'
//!   - allow: request.method == "GET"
//! ```
//!
//! **Rules.** A text alone is an `allow` rule. All rules that hold at a place are taken together, of every level at
//! which one is attached:
//!
//! 1. a `deny` rule that is true refuses;
//! 2. a `require` rule that is not true refuses;
//! 3. an `allow` rule that is true lets pass;
//! 4. otherwise the request passes only where there is no `allow` rule at all.
//!
//! **Errors.** An expression that cannot be evaluated, for an attribute that is not there or for its cost, decides for
//! the safe side: a `deny` rule refuses, a `require` rule refuses, an `allow` rule grants nothing. So `deny: jwt.admin`
//! refuses everybody without a token; write `deny: has(jwt.admin) && jwt.admin` for the others to pass. Anything but
//! true and false is an error. What can never be evaluated, a misspelt attribute or one that does not exist there, is
//! refused with the configuration.
//!
//! **Places.** Gateway and listener (before routing, phase `gateway`, or after it), route, rule, and backend, which is
//! asked once it is drawn, as `backend.name`. What is written before routing is decided before routing, on its own.
//!
//! **Merging.** Policies of several levels accumulate, so a route may grant what its gateway does not, and may not
//! grant what its gateway denies or requires otherwise. With `inheritance: override` a policy stands alone against all
//! below it.
//!
//! **Shadow.** With `mode: shadow` the rules are taken into account only to say what would have happened: a request
//! that would have been refused passes, and is counted and logged (`policy.wouldDeny`).
//!
//! **Order.** After identity, before quotas.
//!
//! **Limits.** 1,000 rules a policy. One evaluation may cost so much and no more, whatever its input.
//!
//! **Outcome.** 403 `forbidden` with reason `Authorization`. Which rule it was is not for the client: the access log
//! names policy and rule (`policy`, `policy.rule`, from 0), and `agentgateway_policy_denials_total` counts.
//!
//! **Where we differ.** In the reference a `deny` rule that fails does not deny, so a request without the attribute it
//! asks for passes. `mode` is ours.

mod config;
mod decide;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub use config::{Config, EffectConfig, RuleConfig};
pub use decide::{Denial, Verdicts, decide};
pub use filter::on_request;
pub use policy::{Effect, Policy, Rule};
