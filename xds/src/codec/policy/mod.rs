//! Policies: one file for each unit of `filters`. The compiler lists the units that are missing.

mod a2a;
mod access_log;
mod ai;
mod api_key;
mod authorization;
mod backend_auth;
mod backend_http;
mod backend_tcp;
mod backend_tls;
mod basic_auth;
mod buffer;
mod callout;
mod circuit_breaker;
mod clouds;
mod compression;
mod concurrency_limit;
mod conditional;
mod cors;
mod credential;
mod csrf;
mod delay;
mod destination;
mod direct_response;
mod ext_authz;
mod fault;
mod frontend_http;
mod frontend_tcp;
mod frontend_tls;
mod header_modifier;
mod health;
mod ip_access;
mod jwt_auth;
mod local_rate_limit;
mod mcp_authentication;
mod mcp_authorization;
mod mcp_guardrails;
mod mcp_pinning;
mod mcp_tools;
mod mode;
mod network_authorization;
mod network_ext_authz;
mod proxy_protocol;
mod remote_rate_limit;
mod request_mirror;
mod request_redirect;
mod retry;
mod session_affinity;
mod timeout;
mod transformations;
mod url_rewrite;

use filters::{Kind, Policy, Scope};

use crate::pb::policy::Kind as Wire;

pub(super) fn encode(policy: &Policy) -> Wire {
    match policy {
        Policy::IpAccess(it) => Wire::IpAccess(ip_access::encode(it)),
        Policy::Cors(it) => Wire::Cors(cors::encode(it)),
        Policy::JwtAuth(it) => Wire::JwtAuth(jwt_auth::encode(it)),
        Policy::BasicAuth(it) => Wire::BasicAuth(basic_auth::encode(it)),
        Policy::ApiKey(it) => Wire::ApiKey(api_key::encode(it)),
        Policy::Authorization(it) => Wire::Authorization(authorization::encode(it)),
        Policy::NetworkExtAuthz(it) => Wire::NetworkExtAuthz(network_ext_authz::encode(it)),
        Policy::NetworkAuthorization(it) => Wire::NetworkAuthorization(network_authorization::encode(it)),
        Policy::McpAuthentication(it) => Wire::McpAuthentication(mcp_authentication::encode(it)),
        Policy::McpGuardrails(it) => Wire::McpGuardrails(mcp_guardrails::encode(it)),
        Policy::McpPinning(it) => Wire::McpPinning(mcp_pinning::encode(it)),
        Policy::McpTools(it) => Wire::McpTools(mcp_tools::encode(it)),
        Policy::McpAuthorization(it) => Wire::McpAuthorization(mcp_authorization::encode(it)),
        Policy::LocalRateLimit(it) => Wire::LocalRateLimit(local_rate_limit::encode(it)),
        Policy::Conditional(it) => Wire::Conditional(conditional::encode(it)),
        Policy::ConcurrencyLimit(it) => Wire::ConcurrencyLimit(concurrency_limit::encode(it)),
        Policy::Csrf(it) => Wire::Csrf(csrf::encode(it)),
        Policy::Delay(it) => Wire::Delay(delay::encode(it)),
        Policy::Fault(it) => Wire::Fault(fault::encode(it)),
        Policy::RequestHeaderModifier(it) => Wire::RequestHeaderModifier(header_modifier::encode(it)),
        Policy::ResponseHeaderModifier(it) => Wire::ResponseHeaderModifier(header_modifier::encode(it)),
        Policy::UrlRewrite(it) => Wire::UrlRewrite(url_rewrite::encode(it)),
        Policy::RequestRedirect(it) => Wire::RequestRedirect(request_redirect::encode(it)),
        Policy::DirectResponse(it) => Wire::DirectResponse(direct_response::encode(it)),
        Policy::Transformations(it) => Wire::Transformations(transformations::encode(it)),
        Policy::ExtAuthz(it) => Wire::ExtAuthz(ext_authz::encode(it)),
        Policy::RemoteRateLimit(it) => Wire::RemoteRateLimit(remote_rate_limit::encode(it)),
        Policy::A2a(it) => Wire::A2a(a2a::encode(it)),
        Policy::Ai(it) => Wire::Ai(ai::encode(it)),
        Policy::AccessLog(it) => Wire::AccessLog(access_log::encode(it)),
        Policy::BackendAuth(it) => Wire::BackendAuth(backend_auth::encode(it)),
        Policy::BackendHttp(it) => Wire::Http(backend_http::encode(it)),
        Policy::BackendTcp(it) => Wire::Tcp(backend_tcp::encode(it)),
        Policy::BackendTls(it) => Wire::BackendTls(backend_tls::encode(it)),
        Policy::Buffer(it) => Wire::Buffer(buffer::encode(it)),
        Policy::CircuitBreaker(it) => Wire::CircuitBreaker(circuit_breaker::encode(it)),
        Policy::Compression(it) => Wire::Compression(compression::encode(it)),
        Policy::FrontendHttp(it) => Wire::FrontendHttp(frontend_http::encode(it)),
        Policy::FrontendTcp(it) => Wire::FrontendTcp(frontend_tcp::encode(it)),
        Policy::FrontendTls(it) => Wire::FrontendTls(frontend_tls::encode(it)),
        Policy::Health(it) => Wire::Health(health::encode(it)),
        Policy::ProxyProtocol(it) => Wire::ProxyProtocol(proxy_protocol::encode(it)),
        Policy::RequestMirror(it) => Wire::RequestMirror(request_mirror::encode(it)),
        Policy::Retry(it) => Wire::Retry(retry::encode(it)),
        Policy::SessionAffinity(it) => Wire::SessionAffinity(session_affinity::encode(it)),
        Policy::Timeout(it) => Wire::Timeout(timeout::encode(it)),
    }
}

/// The policy, at the key of its kind.
pub(super) fn decode(wire: Wire, scope: &mut Scope<'_>) -> Option<Policy> {
    scope.at(kind(&wire).map_or("conditional", Kind::key), |scope| match wire {
        Wire::Conditional(it) => conditional::decode(it, scope).map(Policy::Conditional),
        Wire::IpAccess(it) => ip_access::decode(it, scope).map(Policy::IpAccess),
        Wire::Cors(it) => cors::decode(it, scope).map(Policy::Cors),
        Wire::JwtAuth(it) => jwt_auth::decode(it, scope).map(Policy::JwtAuth),
        Wire::BasicAuth(it) => basic_auth::decode(it, scope).map(Policy::BasicAuth),
        Wire::ApiKey(it) => api_key::decode(it, scope).map(Policy::ApiKey),
        Wire::Authorization(it) => authorization::decode(it, scope).map(Policy::Authorization),
        Wire::NetworkExtAuthz(it) => network_ext_authz::decode(it, scope).map(Policy::NetworkExtAuthz),
        Wire::NetworkAuthorization(it) => network_authorization::decode(it, scope).map(Policy::NetworkAuthorization),
        Wire::McpAuthentication(it) => mcp_authentication::decode(it, scope).map(Policy::McpAuthentication),
        Wire::McpGuardrails(it) => mcp_guardrails::decode(it, scope).map(Policy::McpGuardrails),
        Wire::McpPinning(it) => mcp_pinning::decode(it, scope).map(Policy::McpPinning),
        Wire::McpTools(it) => mcp_tools::decode(it, scope).map(Policy::McpTools),
        Wire::McpAuthorization(it) => mcp_authorization::decode(it, scope).map(Policy::McpAuthorization),
        Wire::LocalRateLimit(it) => local_rate_limit::decode(it, scope).map(Policy::LocalRateLimit),
        Wire::ConcurrencyLimit(it) => concurrency_limit::decode(it, scope).map(Policy::ConcurrencyLimit),
        Wire::Csrf(it) => csrf::decode(it, scope).map(Policy::Csrf),
        Wire::Delay(it) => delay::decode(it, scope).map(Policy::Delay),
        Wire::Fault(it) => fault::decode(it, scope).map(Policy::Fault),
        Wire::RequestHeaderModifier(it) => {
            header_modifier::decode(it, scope).lower_request(scope).map(Policy::RequestHeaderModifier)
        }
        Wire::ResponseHeaderModifier(it) => {
            header_modifier::decode(it, scope).lower_response(scope).map(Policy::ResponseHeaderModifier)
        }
        Wire::UrlRewrite(it) => url_rewrite::decode(it, scope).map(Policy::UrlRewrite),
        Wire::RequestRedirect(it) => request_redirect::decode(it, scope).map(Policy::RequestRedirect),
        Wire::DirectResponse(it) => direct_response::decode(it, scope).map(Policy::DirectResponse),
        Wire::Transformations(it) => transformations::decode(it, scope).map(Policy::Transformations),
        Wire::ExtAuthz(it) => ext_authz::decode(it, scope).map(Policy::ExtAuthz),
        Wire::RemoteRateLimit(it) => remote_rate_limit::decode(it, scope).map(Policy::RemoteRateLimit),
        Wire::A2a(it) => a2a::decode(it, scope).map(Policy::A2a),
        Wire::Ai(it) => ai::decode(it, scope).map(Policy::Ai),
        Wire::AccessLog(it) => access_log::decode(it, scope).map(Policy::AccessLog),
        Wire::BackendAuth(it) => backend_auth::decode(it, scope).map(Policy::BackendAuth),
        Wire::Http(it) => backend_http::decode(it, scope).map(Policy::BackendHttp),
        Wire::Tcp(it) => backend_tcp::decode(it, scope).map(Policy::BackendTcp),
        Wire::BackendTls(it) => backend_tls::decode(it, scope).map(Policy::BackendTls),
        Wire::Buffer(it) => buffer::decode(it, scope).map(Policy::Buffer),
        Wire::CircuitBreaker(it) => circuit_breaker::decode(it, scope).map(Policy::CircuitBreaker),
        Wire::Compression(it) => compression::decode(it, scope).map(Policy::Compression),
        Wire::FrontendHttp(it) => frontend_http::decode(it, scope).map(Policy::FrontendHttp),
        Wire::FrontendTcp(it) => frontend_tcp::decode(it, scope).map(Policy::FrontendTcp),
        Wire::FrontendTls(it) => frontend_tls::decode(it, scope).map(Policy::FrontendTls),
        Wire::Health(it) => health::decode(it, scope).map(Policy::Health),
        Wire::ProxyProtocol(it) => proxy_protocol::decode(it, scope).map(Policy::ProxyProtocol),
        Wire::RequestMirror(it) => request_mirror::decode(it, scope).map(Policy::RequestMirror),
        Wire::Retry(it) => retry::decode(it, scope).map(Policy::Retry),
        Wire::SessionAffinity(it) => session_affinity::decode(it, scope).map(Policy::SessionAffinity),
        Wire::Timeout(it) => timeout::decode(it, scope).map(Policy::Timeout),
    })
}

/// Which unit a message is for. `None`: it holds none that this version knows.
pub(super) fn kind(wire: &Wire) -> Option<Kind> {
    Some(match wire {
        Wire::Conditional(it) => return conditional::kind(it),
        Wire::IpAccess(_) => Kind::IpAccess,
        Wire::Cors(_) => Kind::Cors,
        Wire::JwtAuth(_) => Kind::JwtAuth,
        Wire::BasicAuth(_) => Kind::BasicAuth,
        Wire::ApiKey(_) => Kind::ApiKey,
        Wire::Authorization(_) => Kind::Authorization,
        Wire::NetworkAuthorization(_) => Kind::NetworkAuthorization,
        Wire::McpAuthentication(_) => Kind::McpAuthentication,
        Wire::McpGuardrails(_) => Kind::McpGuardrails,
        Wire::McpPinning(_) => Kind::McpPinning,
        Wire::McpTools(_) => Kind::McpTools,
        Wire::McpAuthorization(_) => Kind::McpAuthorization,
        Wire::NetworkExtAuthz(_) => Kind::NetworkExtAuthz,
        Wire::LocalRateLimit(_) => Kind::LocalRateLimit,
        Wire::ConcurrencyLimit(_) => Kind::ConcurrencyLimit,
        Wire::Csrf(_) => Kind::Csrf,
        Wire::Delay(_) => Kind::Delay,
        Wire::Fault(_) => Kind::Fault,
        Wire::RequestHeaderModifier(_) => Kind::RequestHeaderModifier,
        Wire::ResponseHeaderModifier(_) => Kind::ResponseHeaderModifier,
        Wire::UrlRewrite(_) => Kind::UrlRewrite,
        Wire::RequestRedirect(_) => Kind::RequestRedirect,
        Wire::DirectResponse(_) => Kind::DirectResponse,
        Wire::Transformations(_) => Kind::Transformations,
        Wire::ExtAuthz(_) => Kind::ExtAuthz,
        Wire::RemoteRateLimit(_) => Kind::RemoteRateLimit,
        Wire::A2a(_) => Kind::A2a,
        Wire::Ai(_) => Kind::Ai,
        Wire::AccessLog(_) => Kind::AccessLog,
        Wire::BackendAuth(_) => Kind::BackendAuth,
        Wire::Http(_) => Kind::BackendHttp,
        Wire::Tcp(_) => Kind::BackendTcp,
        Wire::BackendTls(_) => Kind::BackendTls,
        Wire::Buffer(_) => Kind::Buffer,
        Wire::CircuitBreaker(_) => Kind::CircuitBreaker,
        Wire::Compression(_) => Kind::Compression,
        Wire::FrontendHttp(_) => Kind::FrontendHttp,
        Wire::FrontendTcp(_) => Kind::FrontendTcp,
        Wire::FrontendTls(_) => Kind::FrontendTls,
        Wire::Health(_) => Kind::Health,
        Wire::ProxyProtocol(_) => Kind::ProxyProtocol,
        Wire::RequestMirror(_) => Kind::RequestMirror,
        Wire::Retry(_) => Kind::Retry,
        Wire::SessionAffinity(_) => Kind::SessionAffinity,
        Wire::Timeout(_) => Kind::Timeout,
    })
}
