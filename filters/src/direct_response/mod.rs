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
//! **Headers.** Values are CEL expressions. This version understands text literals only, so a
//! value is quoted twice: once for YAML, once for CEL. Without `content-type` among them, a body
//! goes out as `text/plain; charset=utf-8`.
//!
//! **Order.** The last filter: admission, quotas and redirects speak first. Response filters run
//! on the answer as on any other.
//!
//! **Limits.** Status 200 to 599; 204, 205 and 304 take no body. A body is at most 1 MiB.
//! `bodyExpression` and `conditional` come with a later version.
//!
//! **Telemetry.** The request ends with reason `DirectResponse`.

mod config;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use policy::Policy;
