//! What happens on the way: every policy, one unit each.
//!
//! A unit has up to three nouns, always the same: `Config` as written, `Policy` as understood
//! (plain data that cannot be invalid), and hooks on `Policy` for those that act on a request
//! (`on_request`, `on_response`). A unit without hooks is a *setting*: the gateway reads it.
//!
//! Units are listed once, in the table below. Their order is fixed in [`rung`]; users do not order
//! filters. How policies of several levels meet is in [`effective`]; how they run, in [`chain`].
//!
//! This crate makes no connection, reads no file and no clock: see `clippy.toml`.

pub mod callout;
pub mod chain;
pub mod effective;
pub mod exchange;
pub mod expr;
pub mod identity;
pub mod keep;
pub mod lower;
#[cfg(test)]
mod manual;
mod near;
pub mod outside;
pub mod placement;
pub mod quota;
pub mod rung;
#[cfg(test)]
mod testing;
mod unit;

pub mod a2a;
pub mod access_log;
pub mod ai;
pub mod api_key;
pub mod authorization;
pub mod backend_auth;
pub mod backend_http;
pub mod backend_tcp;
pub mod backend_tls;
pub mod basic_auth;
pub mod buffer;
pub mod cache;
pub mod circuit_breaker;
pub mod compression;
pub mod concurrency_limit;
pub mod conditional;
pub mod cors;
pub mod credential;
pub mod csrf;
pub mod delay;
pub mod destination;
pub mod direct_response;
pub mod ext_authz;
pub mod fault;
pub mod frontend_http;
pub mod frontend_tcp;
pub mod frontend_tls;
pub mod head;
pub mod header_modifier;
pub mod health;
pub mod ip_access;
pub mod jwt;
pub mod jwt_auth;
pub mod local_rate_limit;
pub mod mcp_authentication;
pub mod mcp_authorization;
pub mod mcp_guardrails;
pub mod mcp_pinning;
pub mod mcp_tools;
pub mod network_authorization;
pub mod network_ext_authz;
pub mod proxy_protocol;
pub mod remote_rate_limit;
pub mod request_mirror;
pub mod request_redirect;
pub mod retry;
pub mod session_affinity;
pub mod timeout;
pub mod tls_terms;
pub mod transformations;
pub mod url_rewrite;
pub mod whereabouts;

pub use effective::{Effective, Level};
pub use exchange::{Exchange, Facts, HeldBody, Reason, Reply, RequestBody, Verdict, Wanted};
pub use identity::Identity;
pub use keep::Keep;
pub use lower::{FileRef, Files, Scope};
pub use outside::Outside;

/// The snapshot of this product: topology with our policies attached.
pub type Snapshot = ir::Snapshot<Policy>;
/// A policy with its target.
pub type Attachment = ir::Attachment<Policy>;
/// What changed.
pub type Patch = ir::Patch<Policy>;
/// One changed key.
pub type Change = ir::Change<Policy>;

impl Policy {
    /// How much of a request's body must be there before its hook runs. Of conditional policies it is what their
    /// conditions read.
    pub fn wanted(&self) -> Wanted {
        match self {
            Self::Transformations(policy) => policy.wants(),
            Self::DirectResponse(policy) => policy.wants(),
            Self::Authorization(policy) => Wanted::of(policy.needs()),
            Self::LocalRateLimit(policy) => Wanted::of(policy.needs()),
            Self::ConcurrencyLimit(policy) => Wanted::of(policy.needs()),
            Self::ExtAuthz(policy) => policy.wants(),
            Self::RemoteRateLimit(policy) => policy.wants(),
            Self::Conditional(policy) => Wanted::of(policy.needs()),
            _ => Wanted::Nothing,
        }
    }

    /// Whether it is about messages of MCP: an expression of it reads what a message says, so that it waits for one.
    pub fn waits_for_message(&self) -> bool {
        let needs = match self {
            Self::LocalRateLimit(policy) => policy.needs(),
            Self::RemoteRateLimit(policy) => policy.needs(),
            Self::Conditional(policy) => return policy.any(Self::waits_for_message),
            _ => return false,
        };
        needs.intersects(expr::Needs::MCP)
    }

    /// The policy comes into force under this name: what is kept for it is found or made.
    pub fn bind(&self, key: &ir::PolicyKey, keep: &Keep) {
        match self {
            Self::JwtAuth(policy) => policy.state.bind(key, policy, keep),
            Self::McpAuthentication(policy) => {
                policy.jwt.state.bind(key, &policy.jwt, keep);
                policy.state.bind(key, policy, keep);
            }
            Self::BasicAuth(policy) => policy.state.bind(key, policy, keep),
            Self::LocalRateLimit(policy) => policy.bind(key, keep),
            Self::BackendAuth(policy) => policy.bind(keep),
            Self::ConcurrencyLimit(policy) => policy.bind(key, keep),
            Self::Conditional(policy) => policy.bind(key, keep),
            Self::ExtAuthz(policy) => policy.bind(key, keep),
            Self::NetworkExtAuthz(policy) => policy.0.bind(key, keep),
            Self::A2a(policy) => policy.state.bind(key, policy, keep),
            _ => {}
        }
    }
}

unit::units! {
    // Filters: variant, configuration key, module, rung. Within a rung, the order of this table.
    IpAccess                = "ipAccess"               in ip_access        @ Edge;
    Cors                    = "cors"                   in cors             @ Admission;
    McpAuthentication       = "mcpAuthentication"      in mcp_authentication @ Identity;
    JwtAuth                 = "jwtAuth"                in jwt_auth         @ Identity;
    BasicAuth               = "basicAuth"              in basic_auth       @ Identity;
    ApiKey                  = "apiKey"                 in api_key          @ Identity;
    Csrf                    = "csrf"                   in csrf             @ Admission;
    ExtAuthz                = "extAuthz"               in ext_authz        @ Authority;
    Authorization           = "authorization"          in authorization    @ Authority;
    McpAuthorization        = "mcpAuthorization"       in mcp_authorization @ Authority;
    LocalRateLimit          = "localRateLimit"         in local_rate_limit @ Quota;
    ConcurrencyLimit        = "concurrencyLimit"       in concurrency_limit @ Quota;
    RemoteRateLimit         = "remoteRateLimit"        in remote_rate_limit @ Quota;
    Transformations         = "transformations"        in transformations  @ Transformation;
    RequestHeaderModifier   = "requestHeaderModifier"  in header_modifier  @ Transformation;
    ResponseHeaderModifier  = "responseHeaderModifier" in header_modifier  @ Transformation;
    UrlRewrite              = "urlRewrite"             in url_rewrite      @ Rewrite;
    Fault                   = "fault"                  in fault            @ Answer;
    RequestRedirect         = "requestRedirect"        in request_redirect @ Answer;
    DirectResponse          = "directResponse"         in direct_response  @ Answer;

    // Settings, read by the gateway.
    A2a                     = "a2a"                    in a2a              @ Setting;
    AccessLog               = "accessLog"              in access_log       @ Setting;
    Ai                      = "ai"                     in ai               @ Setting;
    BackendAuth             = "backendAuth"            in backend_auth     @ Setting;
    BackendHttp             = "http"                   in backend_http     @ Setting;
    BackendTcp              = "tcp"                    in backend_tcp      @ Setting;
    BackendTls              = "backendTLS"             in backend_tls      @ Setting;
    Buffer                  = "buffer"                 in buffer           @ Setting;
    CircuitBreaker          = "circuitBreaker"         in circuit_breaker  @ Setting;
    Compression             = "compression"            in compression      @ Setting;
    Delay                   = "delay"                  in delay            @ Setting;
    FrontendHttp            = "frontendHttp"           in frontend_http    @ Setting;
    FrontendTcp             = "frontendTcp"            in frontend_tcp     @ Setting;
    FrontendTls             = "frontendTls"            in frontend_tls     @ Setting;
    Health                  = "health"                 in health           @ Setting;
    McpGuardrails           = "mcpGuardrails"          in mcp_guardrails   @ Setting;
    McpPinning              = "mcpPinning"             in mcp_pinning      @ Setting;
    McpTools                = "mcpTools"               in mcp_tools        @ Setting;
    NetworkAuthorization    = "networkAuthorization"   in network_authorization @ Setting;
    NetworkExtAuthz         = "networkExtAuthz"        in network_ext_authz @ Setting;
    ProxyProtocol           = "proxyProtocol"          in proxy_protocol   @ Setting;
    RequestMirror           = "requestMirror"          in request_mirror   @ Setting;
    Retry                   = "retry"                  in retry            @ Setting;
    SessionAffinity         = "sessionAffinity"        in session_affinity @ Setting;
    Timeout                 = "timeout"                in timeout          @ Setting;
}
