//! `extAuthz`: ask a server of one's own whether a request may go on.
//!
//! ```yaml
//! extAuthz:
//!   host: authz.internal:9000
//!   failureMode: deny
//!   includeRequestBody:
//!     maxRequestBytes: 8192
//!     allowPartialMessage: true
//! ```
//!
//! **Server.** `host`, `service` or `backend`, with `policies` beside it (`backendTLS`, `http`, `tcp`,
//! `requestHeaderModifier`, `transformations`, `backendAuth`) where it is not reached as its own policies say. A call takes 2 s at most,
//! or `policies.http.requestTimeout`.
//!
//! **Protocol.** `grpc` (default): Envoy's `envoy.service.auth.v3.Authorization/Check`, with `context`
//! as its context extensions. `metadata` (CEL by namespace) is sent along; unless it is written, the claims of a
//! verified token, as `jwt_payload` of `envoy.filters.http.jwt_authn`. `http`: a request of the client's own method and
//! path, or of the `path`, `body` and `addRequestHeaders` that are written (CEL). 2xx allows: the headers
//! listed in `includeResponseHeaders` are copied to the request, and `metadata` (CEL over `response`) is left in
//! `extauthz`. 401 and 403 become a 302 to `redirect` (CEL) where that is written. Every other answer goes to the
//! client as it is.
//!
//! **What is sent.** `includeRequestHeaders`: over gRPC all headers and pseudo headers unless some are
//! named, over HTTP `authorization` only. `includeRequestBody`: up to `maxRequestBytes` (8192) of the
//! body; a larger body is refused with 413, or its beginning is sent with `allowPartialMessage`; the
//! header `x-envoy-auth-partial-body` says which. `packAsBytes` sends it as bytes, not as text.
//!
//! **What comes back.** An allowing server may set, append and take away headers (`:path`, `:method`
//! and the host too), change the query, add headers to the client's answer, and leave metadata
//! (`extauthz`). A denying one says status (403 unless it does), headers and body.
//!
//! **Failure.** No answer in time, no connection, an error, or an answer that is none: `failureMode`
//! `deny` answers 403, `{denyWithStatus: 503}` that status, `allow` lets the request pass. Over HTTP, 5xx is a failure for
//! `allow`, and an answer like any other otherwise.
//!
//! `path`, `redirect` or `body` that cannot be evaluated refuse the request with 403; a header or metadata is left away.
//!
//! **Cache.** With `cache`, requests that agree on every expression of `key` share an answer for as long as `ttl`
//! says (a duration, or a time until when; a day at most), up to `maxEntries` (10,000) of them. In the last tenth of that
//! time, or 5 s, one request asks again while the others go on with what is known. Failures and answers over 8 KiB are
//! not kept. A key that fails keeps nothing. What was kept is forgotten when the policy changes, and only then.
//!
//! **Shadow.** `mode: shadow` asks, counts and logs (`policy.wouldDeny`), but refuses and changes nothing.
//!
//! **Order.** After authentication, before authorization rules; before routing when written at a gateway or listener,
//! once a backend is chosen when written at a backend.
//!
//! **Limits.** Answers of 1 MiB, 128 changed headers of 64 KiB together, 8192 calls at once.
//!
//! **Telemetry.** Reason `ExtAuth`; `policy_calls_total` and `upstream_call_duration_seconds` with
//! subtype `ExtAuthz`. Why a call failed is in the access log's `error`.
//!
//! **Where we differ.** A gRPC answer without a status allows only if it holds an `ok_response`, and one that holds
//! a `denied_response` denies whatever its status. Headers that cannot be written make the answer a
//! failure. `content-length`, `transfer-encoding` and other headers of a connection are never the server's
//! to change. A header of `includeResponseHeaders` that the server leaves out is taken from the request. A backend's
//! own `extAuthz` is asked once for a request, not again for each try. `mode` is ours.

mod cache;
mod config;
mod filter;
mod http_call;
mod policy;

#[cfg(test)]
mod tests;

pub use cache::Store;
pub use config::{BodyConfig, CacheConfig, Config, ContextConfig, FailureConfig, HttpConfig, ProtocolConfig};
pub use policy::{Body, Cache, Failure, Grpc, Http, Policy, Protocol};
