//! `requestRedirect`: send the client elsewhere.
//!
//! ```yaml
//! requestRedirect:
//!   scheme: https
//!   authority:
//!     host: www.example.com
//!   path:
//!     prefix: /new
//!   status: 301
//! ```
//!
//! **Location.** Always absolute; what is not changed is the request's own, the query included.
//! The port follows Gateway API: the one in `authority`; else, where `scheme` is given, the
//! well-known one of that scheme; else the one the client dialled. Ports 80 (http) and 443
//! (https) are not written. `authority: auto` and `none` leave the authority alone. A request
//! without a host (HTTP/1.0) gets a `Location` without one, unless the policy names it.
//!
//! **Status.** 301, 302 (the default), 303, 307 or 308; others are refused, since clients follow
//! no other (the reference takes any number).
//!
//! **Order.** After CORS and quotas, before `directResponse`. `urlRewrite` on the same route runs
//! first, and the redirect then shows the rewritten path.
//!
//! **Merging.** The most specific policy replaces the others whole, from the instance over gateway, listener and route
//! down to the rule; one with `inheritance: override` stands against all below it.
//!
//! **Telemetry.** The request ends with reason `DirectResponse`.

mod config;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use policy::Policy;
