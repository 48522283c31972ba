//! The sets of policies that each place of the document accepts. Which units there are, and what
//! they mean, is in `filters`; this file says where they may be written, and where that place is for their expressions
//! (`at`) unless it depends on who lowers them.

use filters::expr::Site;
use filters::{Policy, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! policy_set {
    ($(#[$doc:meta])* $name:ident $(at $site:path)? { $( $field:ident = $key:literal : $config:ty => $lower:expr; )* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $( #[serde(rename = $key, skip_serializing_if = "Option::is_none")] pub $field: Option<$config>, )*
        }

        impl $name {
            /// Whether none is written.
            pub fn is_empty(&self) -> bool {
                true $( && self.$field.is_none() )*
            }

            /// Lowers each policy that is written, reporting all problems.
            pub fn lower(self, scope: &mut Scope<'_>) -> Vec<Policy> {
                let Self { $( $field, )* } = self;
                $( scope.site = $site; )?
                let mut lowered = Vec::new();
                $( if let Some(config) = $field {
                    let lower: fn($config, &mut Scope<'_>) -> _ = $lower;
                    lowered.extend(scope.at($key, |scope| lower(config, scope)));
                } )*
                twice(&lowered, scope);
                lowered
            }
        }
    };
}

/// One unit's `lower`, wrapped into its variant.
macro_rules! unit {
    ($module:ident, $variant:ident) => {
        |config, scope| config.lower(scope).map(Policy::$variant)
    };
}

/// As `unit!`, for one that may have conditions. Its entries have the terms of the policy itself.
macro_rules! conditional {
    ($module:ident, $variant:ident) => {
        |config, scope| {
            let one = |it: filters::$module::Config, scope: &mut Scope<'_>| it.lower(scope).map(Policy::$variant);
            config.lower(filters::Kind::$variant, scope, one, one)
        }
    };
}

/// `localRateLimit`, of which an entry is one limit.
fn lower_local_rate_limit(config: LocalRateLimit, scope: &mut Scope<'_>) -> Option<Policy> {
    use filters::local_rate_limit::{Config, RuleConfig};
    let plain = |it: Config, scope: &mut Scope<'_>| it.lower(scope).map(Policy::LocalRateLimit);
    let entry = |it: RuleConfig, scope: &mut Scope<'_>| it.lower_alone(scope).map(Policy::LocalRateLimit);
    config.lower(filters::Kind::LocalRateLimit, scope, plain, entry)
}

pub type LocalRateLimit =
    filters::conditional::Config<filters::local_rate_limit::Config, filters::local_rate_limit::RuleConfig>;
pub type Transformations = filters::conditional::Config<filters::transformations::Config>;
pub type ExtAuthz = filters::conditional::Config<filters::ext_authz::Config>;
type RemoteRateLimit = filters::conditional::Config<filters::remote_rate_limit::Config>;
type DirectResponse = filters::conditional::Config<filters::direct_response::Config>;

/// A policy can stand in a group and on its own: which one is meant?
fn twice(lowered: &[Policy], scope: &mut Scope<'_>) {
    for (position, policy) in lowered.iter().enumerate() {
        let key = policy.kind().key();
        if lowered.iter().take(position).any(|it| it.kind() == policy.kind()) {
            let group = match policy {
                Policy::Ai(_) => "as `guardrails`: write them as `ai.promptGuard`",
                _ => "in `auth`: keep one",
            };
            scope.problem_at(key, format!("written twice, once of it {group}"));
        }
    }
}

policy_set! {
    /// Policies that find out who a request is from, as a group.
    AuthPolicies {
        jwt_auth = "jwtAuth": filters::jwt_auth::Config => unit!(jwt_auth, JwtAuth);
        basic_auth = "basicAuth": filters::basic_auth::Config => unit!(basic_auth, BasicAuth);
        api_key = "apiKey": filters::api_key::Config => unit!(api_key, ApiKey);
    }
}

/// What routes take, and what stands in their place in shorthands.
macro_rules! route_policy_set {
    ($(#[$doc:meta])* $name:ident { $($further:tt)* }) => {
        policy_set! {
            $(#[$doc])*
            $name {
                $($further)*
                ai = "ai": filters::ai::Config => unit!(ai, Ai);
                a2a = "a2a": filters::a2a::Config => unit!(a2a, A2a);
                mcp_guardrails = "mcpGuardrails": filters::mcp_guardrails::Config => unit!(mcp_guardrails, McpGuardrails);
                mcp_pinning = "mcpPinning": filters::mcp_pinning::Config => unit!(mcp_pinning, McpPinning);
                mcp_tools = "mcpTools": filters::mcp_tools::Config => unit!(mcp_tools, McpTools);
                mcp_authentication = "mcpAuthentication": filters::mcp_authentication::Config => unit!(mcp_authentication, McpAuthentication);
                mcp_authorization = "mcpAuthorization": filters::mcp_authorization::Config => |config, scope| filters::mcp_authorization::Policy::lower(config, scope).map(Policy::McpAuthorization);
                transformations = "transformations": Transformations => conditional!(transformations, Transformations);
                remote_rate_limit = "remoteRateLimit": RemoteRateLimit => conditional!(remote_rate_limit, RemoteRateLimit);
                ext_authz = "extAuthz": ExtAuthz => conditional!(ext_authz, ExtAuthz);
                request_header_modifier = "requestHeaderModifier": filters::header_modifier::Config => |config, scope| config.lower_request(scope).map(Policy::RequestHeaderModifier);
                response_header_modifier = "responseHeaderModifier": filters::header_modifier::Config => |config, scope| config.lower_response(scope).map(Policy::ResponseHeaderModifier);
                request_redirect = "requestRedirect": filters::request_redirect::Config => unit!(request_redirect, RequestRedirect);
                url_rewrite = "urlRewrite": filters::url_rewrite::Config => unit!(url_rewrite, UrlRewrite);
                request_mirror = "requestMirror": filters::request_mirror::Config => unit!(request_mirror, RequestMirror);
                direct_response = "directResponse": DirectResponse => conditional!(direct_response, DirectResponse);
                cors = "cors": filters::cors::Config => unit!(cors, Cors);
                authorization = "authorization": filters::authorization::Config => unit!(authorization, Authorization);
                concurrency_limit = "concurrencyLimit": filters::concurrency_limit::Config => unit!(concurrency_limit, ConcurrencyLimit);
                csrf = "csrf": filters::csrf::Config => unit!(csrf, Csrf);
                local_rate_limit = "localRateLimit": LocalRateLimit => lower_local_rate_limit;
                delay = "delay": filters::delay::Config => unit!(delay, Delay);
                fault = "fault": filters::fault::Config => unit!(fault, Fault);
                ip_access = "ipAccess": filters::ip_access::Config => unit!(ip_access, IpAccess);
                auth = "auth": AuthPolicies => |config, scope| config.lower(scope);
                jwt_auth = "jwtAuth": filters::jwt_auth::Config => unit!(jwt_auth, JwtAuth);
                basic_auth = "basicAuth": filters::basic_auth::Config => unit!(basic_auth, BasicAuth);
                api_key = "apiKey": filters::api_key::Config => unit!(api_key, ApiKey);
                backend_auth = "backendAuth": filters::backend_auth::Config => unit!(backend_auth, BackendAuth);
                backend_tls = "backendTLS": filters::backend_tls::Config => unit!(backend_tls, BackendTls);
                buffer = "buffer": filters::buffer::Config => unit!(buffer, Buffer);
                compression = "compression": filters::compression::Config => unit!(compression, Compression);
                timeout = "timeout": filters::timeout::Config => unit!(timeout, Timeout);
                retry = "retry": filters::retry::Config => unit!(retry, Retry);
            }
        }
    };
}

route_policy_set! {
    /// Policies of a route.
    RoutePolicies {}
}

route_policy_set! {
    /// Policies of all models of `llm`.
    LlmPolicies {
        guardrails = "guardrails": filters::ai::PromptGuardConfig => |config, scope| config.lower(scope).map(Policy::Ai);
    }
}

policy_set! {
    /// Policies of a TCP or TLS route.
    TcpRoutePolicies {
        backend_tls = "backendTLS": filters::backend_tls::Config => unit!(backend_tls, BackendTls);
    }
}

policy_set! {
    /// Policies of a backend.
    BackendPolicies at Site::Backend {
        ai = "ai": filters::ai::Config => unit!(ai, Ai);
        a2a = "a2a": filters::a2a::Config => unit!(a2a, A2a);
        mcp_guardrails = "mcpGuardrails": filters::mcp_guardrails::Config => unit!(mcp_guardrails, McpGuardrails);
        mcp_pinning = "mcpPinning": filters::mcp_pinning::Config => unit!(mcp_pinning, McpPinning);
        mcp_tools = "mcpTools": filters::mcp_tools::Config => unit!(mcp_tools, McpTools);
        mcp_authorization = "mcpAuthorization": filters::mcp_authorization::Config => |config, scope| filters::mcp_authorization::Policy::lower(config, scope).map(Policy::McpAuthorization);
        authorization = "authorization": filters::authorization::Config => unit!(authorization, Authorization);
        transformations = "transformations": filters::transformations::Config => unit!(transformations, Transformations);
        ext_authz = "extAuthz": filters::ext_authz::Config => unit!(ext_authz, ExtAuthz);
        request_header_modifier = "requestHeaderModifier": filters::header_modifier::Config => |config, scope| config.lower_request(scope).map(Policy::RequestHeaderModifier);
        response_header_modifier = "responseHeaderModifier": filters::header_modifier::Config => |config, scope| config.lower_response(scope).map(Policy::ResponseHeaderModifier);
        backend_auth = "backendAuth": filters::backend_auth::Config => unit!(backend_auth, BackendAuth);
        backend_tls = "backendTLS": filters::backend_tls::Config => unit!(backend_tls, BackendTls);
        http = "http": filters::backend_http::Config => unit!(backend_http, BackendHttp);
        tcp = "tcp": filters::backend_tcp::Config => unit!(backend_tcp, BackendTcp);
        health = "health": filters::health::Config => unit!(health, Health);
        session_affinity = "sessionAffinity": filters::session_affinity::Config => unit!(session_affinity, SessionAffinity);
        circuit_breaker = "circuitBreaker": filters::circuit_breaker::Config => unit!(circuit_breaker, CircuitBreaker);
    }
}

policy_set! {
    /// Policies of one MCP server.
    TargetPolicies at Site::Backend {
        transformations = "transformations": filters::transformations::Config => unit!(transformations, Transformations);
        request_header_modifier = "requestHeaderModifier": filters::header_modifier::Config => |config, scope| config.lower_request(scope).map(Policy::RequestHeaderModifier);
        backend_auth = "backendAuth": filters::backend_auth::Config => unit!(backend_auth, BackendAuth);
        backend_tls = "backendTLS": filters::backend_tls::Config => unit!(backend_tls, BackendTls);
        http = "http": filters::backend_http::Config => unit!(backend_http, BackendHttp);
        tcp = "tcp": filters::backend_tcp::Config => unit!(backend_tcp, BackendTcp);
    }
}

policy_set! {
    /// Policies of a gateway or listener: they run before a route is selected.
    GatewayPolicies {
        authorization = "authorization": filters::authorization::Config => unit!(authorization, Authorization);
        concurrency_limit = "concurrencyLimit": filters::concurrency_limit::Config => unit!(concurrency_limit, ConcurrencyLimit);
        local_rate_limit = "localRateLimit": LocalRateLimit => lower_local_rate_limit;
        ext_authz = "extAuthz": ExtAuthz => conditional!(ext_authz, ExtAuthz);
        cors = "cors": filters::cors::Config => unit!(cors, Cors);
        csrf = "csrf": filters::csrf::Config => unit!(csrf, Csrf);
        ip_access = "ipAccess": filters::ip_access::Config => unit!(ip_access, IpAccess);
        auth = "auth": AuthPolicies => |config, scope| config.lower(scope);
        jwt_auth = "jwtAuth": filters::jwt_auth::Config => unit!(jwt_auth, JwtAuth);
        basic_auth = "basicAuth": filters::basic_auth::Config => unit!(basic_auth, BasicAuth);
        api_key = "apiKey": filters::api_key::Config => unit!(api_key, ApiKey);
        transformations = "transformations": Transformations => conditional!(transformations, Transformations);
        request_header_modifier = "requestHeaderModifier": filters::header_modifier::Config => |config, scope| config.lower_request(scope).map(Policy::RequestHeaderModifier);
        response_header_modifier = "responseHeaderModifier": filters::header_modifier::Config => |config, scope| config.lower_response(scope).map(Policy::ResponseHeaderModifier);
    }
}

policy_set! {
    /// Terms of client connections and of the access log, for the whole process.
    FrontendPolicies {
        network_ext_authz = "networkExtAuthz": filters::network_ext_authz::Config => |config, scope| filters::network_ext_authz::Policy::lower(config, scope).map(Policy::NetworkExtAuthz);
        network_authorization = "networkAuthorization": filters::network_authorization::Config => |config, scope| filters::network_authorization::Policy::lower(config, scope).map(Policy::NetworkAuthorization);
        http = "http": filters::frontend_http::Config => unit!(frontend_http, FrontendHttp);
        tls = "tls": filters::frontend_tls::Config => unit!(frontend_tls, FrontendTls);
        tcp = "tcp": filters::frontend_tcp::Config => unit!(frontend_tcp, FrontendTcp);
        proxy_protocol = "proxyProtocol": filters::proxy_protocol::Config => unit!(proxy_protocol, ProxyProtocol);
        proxy = "proxy": filters::proxy_protocol::Config => unit!(proxy_protocol, ProxyProtocol);
        access_log = "accessLog": filters::access_log::Config => unit!(access_log, AccessLog);
        logging = "logging": filters::access_log::Config => unit!(access_log, AccessLog);
        ip_access = "ipAccess": filters::ip_access::Config => unit!(ip_access, IpAccess);
    }
}

policy_set! {
    /// Any policy that can be attached on its own.
    AnyPolicies {
        a2a = "a2a": filters::a2a::Config => unit!(a2a, A2a);
        mcp_guardrails = "mcpGuardrails": filters::mcp_guardrails::Config => unit!(mcp_guardrails, McpGuardrails);
        mcp_pinning = "mcpPinning": filters::mcp_pinning::Config => unit!(mcp_pinning, McpPinning);
        mcp_tools = "mcpTools": filters::mcp_tools::Config => unit!(mcp_tools, McpTools);
        mcp_authentication = "mcpAuthentication": filters::mcp_authentication::Config => unit!(mcp_authentication, McpAuthentication);
        mcp_authorization = "mcpAuthorization": filters::mcp_authorization::Config => |config, scope| filters::mcp_authorization::Policy::lower(config, scope).map(Policy::McpAuthorization);
        transformations = "transformations": Transformations => conditional!(transformations, Transformations);
        remote_rate_limit = "remoteRateLimit": RemoteRateLimit => conditional!(remote_rate_limit, RemoteRateLimit);
        ext_authz = "extAuthz": ExtAuthz => conditional!(ext_authz, ExtAuthz);
        request_header_modifier = "requestHeaderModifier": filters::header_modifier::Config => |config, scope| config.lower_request(scope).map(Policy::RequestHeaderModifier);
        response_header_modifier = "responseHeaderModifier": filters::header_modifier::Config => |config, scope| config.lower_response(scope).map(Policy::ResponseHeaderModifier);
        request_redirect = "requestRedirect": filters::request_redirect::Config => unit!(request_redirect, RequestRedirect);
        url_rewrite = "urlRewrite": filters::url_rewrite::Config => unit!(url_rewrite, UrlRewrite);
        request_mirror = "requestMirror": filters::request_mirror::Config => unit!(request_mirror, RequestMirror);
        direct_response = "directResponse": DirectResponse => conditional!(direct_response, DirectResponse);
        cors = "cors": filters::cors::Config => unit!(cors, Cors);
        authorization = "authorization": filters::authorization::Config => unit!(authorization, Authorization);
        concurrency_limit = "concurrencyLimit": filters::concurrency_limit::Config => unit!(concurrency_limit, ConcurrencyLimit);
        local_rate_limit = "localRateLimit": LocalRateLimit => lower_local_rate_limit;
        csrf = "csrf": filters::csrf::Config => unit!(csrf, Csrf);
        delay = "delay": filters::delay::Config => unit!(delay, Delay);
        fault = "fault": filters::fault::Config => unit!(fault, Fault);
        ip_access = "ipAccess": filters::ip_access::Config => unit!(ip_access, IpAccess);
        auth = "auth": AuthPolicies => |config, scope| config.lower(scope);
        jwt_auth = "jwtAuth": filters::jwt_auth::Config => unit!(jwt_auth, JwtAuth);
        basic_auth = "basicAuth": filters::basic_auth::Config => unit!(basic_auth, BasicAuth);
        api_key = "apiKey": filters::api_key::Config => unit!(api_key, ApiKey);
        backend_auth = "backendAuth": filters::backend_auth::Config => unit!(backend_auth, BackendAuth);
        backend_tls = "backendTLS": filters::backend_tls::Config => unit!(backend_tls, BackendTls);
        buffer = "buffer": filters::buffer::Config => unit!(buffer, Buffer);
        compression = "compression": filters::compression::Config => unit!(compression, Compression);
        timeout = "timeout": filters::timeout::Config => unit!(timeout, Timeout);
        retry = "retry": filters::retry::Config => unit!(retry, Retry);
        http = "http": filters::backend_http::Config => unit!(backend_http, BackendHttp);
        tcp = "tcp": filters::backend_tcp::Config => unit!(backend_tcp, BackendTcp);
        health = "health": filters::health::Config => unit!(health, Health);
        session_affinity = "sessionAffinity": filters::session_affinity::Config => unit!(session_affinity, SessionAffinity);
        circuit_breaker = "circuitBreaker": filters::circuit_breaker::Config => unit!(circuit_breaker, CircuitBreaker);
    }
}

#[cfg(test)]
mod tests {
    use filters::rung::Rung;
    use filters::{Kind, placement};
    use ir::{BackendKey, Phase, Target};

    use super::*;

    #[test]
    fn a_file_takes_at_a_backend_what_may_be_attached_to_one() {
        let schema = schemars::schema_for!(BackendPolicies).to_value();
        let target = Target::Backend(BackendKey::new("b"));
        for kind in Kind::ALL.iter().filter(|it| it.rung() != Rung::Setting) {
            let may_stand = placement::check(*kind, Phase::Route, &target).is_ok();
            assert_eq!(schema["properties"].get(kind.key()).is_some(), may_stand, "{}", kind.key());
        }
    }
}
