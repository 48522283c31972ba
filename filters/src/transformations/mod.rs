//! `transformations`: change requests and responses by expressions.
//!
//! ```yaml
//! transformations:
//!   request:
//!     metadata:
//!       tenant: request.headers["x-tenant"]
//!     set:
//!       x-tenant: metadata.tenant.lowerAscii()
//!       x-path: request.path
//!     remove: [x-debug]
//!   response:
//!     add:
//!       x-served-for: metadata.tenant
//! ```
//!
//! **Parts.** For `request` and `response` alike, each value a CEL expression:
//! - `metadata`: values to carry along; later expressions, the response's and the log's, read them as `metadata.NAME`.
//! - `replace`: a map that takes the place of *all* headers. `host` and what frames the message stay.
//! - `add`, `set`, `remove`: headers beside, in place of, or without those of the same name.
//! - `body`: text or bytes are the new body, anything else becomes JSON.
//!
//! **Order.** `metadata`, `replace`, `add`, `set`, `remove`, `body`. Every expression sees the message as it came to this
//! transformation; only `metadata` is there already. Policies of gateway, route and backend follow each other; responses
//! come back in reverse. Transformations come before `requestHeaderModifier` and `urlRewrite`, after authentication. Those
//! of a backend change the head of each attempt, and the body once. Responses of the gateway's own pass too, but for `body`.
//!
//! **Parts that are not headers.** `set` takes `:method`, `:path` and `:authority` (or `host`) on requests and `:status`
//! on responses. `:scheme` follows from the connection to the backend and is refused. A path is brought into the form that
//! clients' paths have. HEAD, CONNECT and statuses without a body (1xx, 204, 205, 304) can be neither set nor left: they
//! decide how a message is framed.
//!
//! **Failures.** A value of `set` that fails takes the header away, one of `add` or `metadata` is left out, and a part
//! that is not a header stays as it is. A value with a line break or control character is such a failure: no expression can
//! write a second header. A `replace` or `body` that fails refuses the message: 500 for a request, 502 for a response.
//!
//! **Bodies.** They are read before they go on only where an expression of the policy sets or reads them, up to
//! `frontendPolicies.http.maxBufferSize`: 413 for a larger request, 502 for a larger response. Length and transfer coding
//! follow the new body; `content-encoding`, digests and validators of the old one go with it, unless this very
//! transformation sets them. Expressions see a body as it was sent, compressed or not: so a backend is asked for a response
//! without coding (`accept-encoding: identity`) and without ranges wherever a response body is read or set, and the gateway
//! does not compress it either. Request bodies are transformed once, whatever is tried again.
//!
//! **What is left alone.** `text/event-stream` and switched protocols stream, and their bodies pass untouched; the metric
//! below counts them. Calls of gRPC are refused where a body would be set; reading one fails. Responses to HEAD and those
//! without a body have none to set.
//!
//! **Merging.** The more specific policy replaces the other whole, level by level; those of the gateway phase, of the
//! route phase and of a backend are three, and all run.
//!
//! **Limits.** 64 entries of each kind; the bounds of every expression. `conditional` as for other policies that have it.
//!
//! **Where we differ.** In the reference a failing body becomes an empty one, and a failing `replace` lets everything
//! pass.
//!
//! **Telemetry.** Reason `Transformation`, with the error in the log;
//! `agentgateway_body_transformations_skipped_total` by reason.

mod apply;
mod config;
mod filter;
mod policy;
#[cfg(test)]
mod tests;

pub(crate) use apply::value as header_of;
pub use config::{Config, TransformConfig};
pub use policy::{Part, Policy, Transform, Value};
