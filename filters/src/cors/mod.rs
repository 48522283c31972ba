//! `cors`: let scripts of other origins call, as the Fetch standard has it.
//!
//! ```yaml
//! cors:
//!   allowOrigins: ["https://app.example.com", "https://*.example.org", "http://localhost:*"]
//!   allowMethods: [GET, POST]
//!   allowHeaders: [authorization, content-type]
//!   exposeHeaders: [x-request-id]
//!   allowCredentials: true
//!   maxAge: 10m
//! ```
//!
//! **Preflights** (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) are answered by the
//! gateway with 200 and never forwarded; an origin that is not allowed gets the 200 without CORS
//! headers. `*` in `allowMethods` or `allowHeaders` echoes what was asked for, since browsers do
//! not take a `*` together with credentials.
//!
//! **Other requests** of an allowed origin go on; whatever answers them, the gateway included,
//! carries the CORS headers, in place of the backend's own. Requests without `Origin`, and of
//! origins that are not allowed, go on unchanged: CORS is the browser's check, not a firewall.
//!
//! **Credentials.** With `allowCredentials` and `*` in `allowOrigins` the origin is echoed: every
//! site may act with its visitors' cookies. Name the origins instead where that matters.
//!
//! **Order.** Before identity, so that refusals carry CORS headers too.
//!
//! **Caches.** `Vary: Origin` is added to every response whose headers depend on the origin.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it. Of the gateway phase and of the route phase one each may hold, and both run.
//!
//! **Where we differ.** The reference answers any `OPTIONS` of an allowed origin; here one that is
//! no preflight reaches the backend, which may have something to say about it.
//!
//! **Telemetry.** Preflights end with reason `DirectResponse`.

mod config;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub use config::Config;
pub(crate) use config::origin;
pub use policy::{HostPattern, Listed, Origin, Policy, PortPattern};
