//! `requestHeaderModifier`, `responseHeaderModifier`: add, set and remove headers.
//!
//! ```yaml
//! requestHeaderModifier:
//!   add:
//!     x-gateway: edge-1
//!   set:
//!     host: api.internal
//!   remove: [x-debug]
//! responseHeaderModifier:
//!   remove: [server]
//! ```
//!
//! **Order.** `add`, then `set`, then `remove`. Requests are changed after every decision that is
//! made about them as the client sent them, and before `urlRewrite`; responses are changed on the
//! way back, the gateway's own answers too.
//!
//! **Parts that are not headers.** On requests, `set` takes `host` (or `:authority`), `:path` and
//! `:method`. A host set here is sent upstream as it is, and stops the automatic host of host
//! backends. There is one host in a request, so it can be neither added nor removed.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it. Of the gateway phase and of the route phase one each may hold, and both run.
//!
//! **Limits.** Headers that frame a message or belong to one connection (`content-length`,
//! `transfer-encoding`, `connection`, `te`, …) are refused when the configuration is read: the
//! gateway writes them itself.
//!
//! **Telemetry.** None of its own.

mod config;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use policy::{Change, Policy};
