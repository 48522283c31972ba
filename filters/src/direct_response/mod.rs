//! `directResponse`: answer without a backend.
//!
//! ```yaml
//! directResponse:
//!   status: 503
//!   body: closed for the night
//!   headers:
//!     retry-after: '"3600"'
//! ```
//!
//! **Headers.** Values are CEL expressions, so a text is quoted twice: once for YAML, once for CEL. A value that fails for
//! a request, or that no header can hold (line breaks, control characters), is left out of its answer.
//!
//! **Body.** A text, or `bodyExpression`: text and bytes as they are, anything else as JSON. An expression that fails is
//! answered with 500. Without `content-type` among the headers the body is `text/plain; charset=utf-8`, bytes are
//! `application/octet-stream`, and what became JSON `application/json`.
//!
//! **Order.** The last filter: admission, quotas and redirects speak first. Response filters run
//! on the answer as on any other.
//!
//! **Merging.** The most specific policy replaces the others whole, from the instance over gateway, listener and route
//! down to the rule; one with `inheritance: override` stands against all below it.
//!
//! **Limits.** Status 200 to 599; 204, 205 and 304 take no body. A body is at most 1 MiB. An expression that reads
//! `request.body` has the request's body read first, up to `frontendPolicies.http.maxBufferSize`, else 413.
//!
//! **Telemetry.** The request ends with reason `DirectResponse`, or `Transformation` where the body fails.

mod config;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub use config::{Body, Config, Value};
pub use policy::Policy;
