//! `urlRewrite`: change host and path of a request before it goes to the backend.
//!
//! ```yaml
//! urlRewrite:
//!   authority:
//!     full: api.internal:8443
//!   path:
//!     prefix: /v2
//! ```
//!
//! **Authority.** `full` replaces host and port; `host` and `port` replace one and keep the other
//! as the client sent it; `auto` sends the backend's own host name, also to services; `none`
//! sends what the client sent, also to host backends. Any of them but `auto` stops the automatic
//! host of host backends.
//!
//! **Path.** `full` replaces the path; `prefix` replaces what the route's `pathPrefix` matched,
//! element by element as Gateway API has it (`/foo/bar` under `/foo` with `prefix: ""` gives
//! `/bar`). The query is kept.
//!
//! **Order.** After `requestHeaderModifier`, whose host it replaces.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it. Of the gateway phase and of the route phase one each may hold, and both run.
//!
//! **Limits.** Targets that are no path (`OPTIONS *`, `CONNECT`) keep theirs.
//!
//! **Telemetry.** The access log shows the client's path.

mod config;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use policy::Policy;
