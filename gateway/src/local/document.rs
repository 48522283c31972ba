//! The local document as written: field names, types and defaults of the configuration language.
//! The doc comments here become the JSON schema and the reference manual.

use std::collections::BTreeMap;

use filters::FileRef;
use filters::lower::ServicePort;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policies::{
    AuthPolicies, BackendPolicies, ExtAuthz, FrontendPolicies, GatewayPolicies, LocalRateLimit, RoutePolicies,
    TcpRoutePolicies, Transformations,
};
use super::statics::StaticConfig;

mod ai;
mod discovery;
mod mcp;

pub use ai::{
    AiAzure, AiAzureKind, AiBackend, AiBedrock, AiCustom, AiFormat, AiFormatKind, AiGroup, AiModel, AiProvider,
    AiProviderKind, AiVertex, LlmCase, LlmConditional, LlmFailover, LlmMatch, LlmModel, LlmParams, LlmPassthrough,
    LlmPriority, LlmProvider, LlmProviderKind, LlmRouting, LlmTerms, LlmVirtualModel, LlmVisibility, LlmWeight,
    LlmWeighted, LlmWritten, SimpleLlm,
};
pub use discovery::{HealthPolicy, LoadBalancer, Locality, LocalityMode, Scope, Service, Workload, WorkloadStatus};
pub use mcp::{
    McpApiSchema, McpBackend, McpFailureMode, McpOpenApi, McpPlace, McpPrefixMode, McpStatefulMode, McpStdio,
    McpTarget, SimpleMcp,
};

/// The whole document. Everything outside `config` takes effect while the process runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Document {
    /// Static settings, read once at start.
    pub config: StaticConfig,
    /// Ports with their listeners and routes, nested.
    pub binds: Vec<Bind>,
    /// Ports and listeners by name; routes are attached to them.
    pub gateways: BTreeMap<String, Gateway>,
    /// HTTP routes attached to gateways.
    pub routes: Vec<AttachedRoute>,
    /// TCP and TLS routes attached to gateways.
    pub tcp_routes: Vec<AttachedTcpRoute>,
    /// Named backends.
    pub backends: Vec<Backend>,
    /// Services, by `namespace/hostname`.
    pub services: Vec<Service>,
    /// Instances behind services.
    pub workloads: Vec<Workload>,
    /// Lists of routes that a route can delegate to.
    pub route_groups: Vec<RouteGroup>,
    /// Language models behind one endpoint, on a port of their own or on gateways.
    pub llm: Option<SimpleLlm>,
    /// MCP servers behind one endpoint, on a port of their own or on gateways.
    pub mcp: Option<SimpleMcp>,
    /// Policies with an explicit target.
    pub policies: Vec<DetachedPolicy>,
    /// Terms of client connections, for the whole process.
    pub frontend_policies: FrontendPolicies,
}

/// A port, or a socket address, or a unix socket.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bind {
    /// 0 lets the kernel choose; status shows the choice. May be left out with `address: unix:…`.
    pub port: Option<u16>,
    /// An IP address to listen on, or `unix:/path`. Default: all addresses.
    pub address: Option<String>,
    pub listeners: Vec<Listener>,
    /// `proxy` expects a PROXY header (v1 or v2) before everything else.
    #[serde(default)]
    pub tunnel_protocol: TunnelProtocol,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TunnelProtocol {
    #[default]
    Direct,
    Proxy,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    Http,
    Https,
    Tls,
    Tcp,
    /// HTTP, or HTTPS with `tls`, to MCP servers: what the routes of this listener lead to (`host`, `service`) speaks
    /// MCP, as if each were the one target of an `mcp` backend.
    #[serde(rename = "mcp", alias = "MCP")]
    Mcp,
    /// HTTP, or HTTPS where `tls` is given, to agents: the policy `a2a` holds for all its routes.
    #[serde(rename = "a2a", alias = "A2A")]
    A2a,
}

/// One of the listeners that share a port.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Listener {
    /// Default: `listenerN` by position.
    pub name: Option<String>,
    /// Default: `default`.
    pub namespace: Option<String>,
    /// Exact or `*.suffix`; default: any.
    pub hostname: Option<String>,
    /// Default: HTTP, or HTTPS where `tls` is given.
    pub protocol: Option<Protocol>,
    pub tls: Option<ServerTls>,
    /// HTTP routes of this listener.
    pub routes: Option<Vec<Route>>,
    /// TCP or TLS routes of this listener.
    pub tcp_routes: Option<Vec<TcpRoute>>,
    /// Policies that run before a route is selected.
    pub policies: Option<GatewayPolicies>,
}

/// Termination of TLS. Files and credentials are watched and take effect when they change.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServerTls {
    /// PEM file: certificate chain, leaf first.
    pub cert: Option<FileRef>,
    /// PEM file: private key.
    pub key: Option<FileRef>,
    /// PEM file: roots that client certificates must chain to; makes one mandatory.
    pub root: Option<FileRef>,
    /// IANA names, in order of preference.
    pub cipher_suites: Option<Vec<String>>,
    /// `TLS_V1_2` (the default) or `TLS_V1_3`.
    #[serde(rename = "minTLSVersion")]
    pub min_tls_version: Option<TlsVersion>,
    /// Another spelling of `minTLSVersion`.
    #[serde(rename = "minTlsVersion")]
    #[schemars(extend("deprecated" = true))]
    pub min_tls_version_alias: Option<TlsVersion>,
    /// `TLS_V1_2` or `TLS_V1_3` (the default).
    #[serde(rename = "maxTLSVersion")]
    pub max_tls_version: Option<TlsVersion>,
    /// Another spelling of `maxTLSVersion`.
    #[serde(rename = "maxTlsVersion")]
    #[schemars(extend("deprecated" = true))]
    pub max_tls_version_alias: Option<TlsVersion>,
    /// `X25519`, `P-256`, `P-384`, `X25519_MLKEM768`; default: all, hybrid first.
    pub key_exchange_groups: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    #[serde(rename = "TLS_V1_0")]
    V1_0,
    #[serde(rename = "TLS_V1_1")]
    V1_1,
    #[serde(rename = "TLS_V1_2")]
    V1_2,
    #[serde(rename = "TLS_V1_3")]
    V1_3,
}

/// Structs that hold the policies of a gateway beside keys of their own.
macro_rules! with_gateway_policies {
    ($( $(#[$doc:meta])* $name:ident { $( $(#[$at:meta])* $field:ident: $type:ty, )* } )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[$at])* pub $field: $type, )*
            /// Policies that run before a route is selected.
            pub authorization: Option<filters::authorization::Config>,
            pub concurrency_limit: Option<filters::concurrency_limit::Config>,
            pub local_rate_limit: Option<LocalRateLimit>,
            pub ext_authz: Option<ExtAuthz>,
            pub cors: Option<filters::cors::Config>,
            pub csrf: Option<filters::csrf::Config>,
            pub ip_access: Option<filters::ip_access::Config>,
            pub auth: Option<AuthPolicies>,
            pub jwt_auth: Option<filters::jwt_auth::Config>,
            pub basic_auth: Option<filters::basic_auth::Config>,
            pub api_key: Option<filters::api_key::Config>,
            pub transformations: Option<Transformations>,
            pub request_header_modifier: Option<filters::header_modifier::Config>,
            pub response_header_modifier: Option<filters::header_modifier::Config>,
        }

        impl $name {
            /// Its policies, which it has no more then.
            pub fn take_policies(&mut self) -> GatewayPolicies {
                GatewayPolicies {
                    authorization: self.authorization.take(),
                    concurrency_limit: self.concurrency_limit.take(),
                    local_rate_limit: self.local_rate_limit.take(),
                    ext_authz: self.ext_authz.take(),
                    cors: self.cors.take(),
                    csrf: self.csrf.take(),
                    ip_access: self.ip_access.take(),
                    auth: self.auth.take(),
                    jwt_auth: self.jwt_auth.take(),
                    basic_auth: self.basic_auth.take(),
                    api_key: self.api_key.take(),
                    transformations: self.transformations.take(),
                    request_header_modifier: self.request_header_modifier.take(),
                    response_header_modifier: self.response_header_modifier.take(),
                }
            }
        }
    )* };
}

with_gateway_policies! {
    /// A named port. Either one listener written flat, or `listeners`.
    Gateway {
        port: Option<u16>,
        /// An IP address to listen on, or `unix:/path`. Default: all addresses.
        address: Option<String>,
        protocol: Option<Protocol>,
        tls: Option<ServerTls>,
        listeners: Vec<GatewayListener>,
    }

    /// One of several listeners of a gateway.
    GatewayListener {
        name: Option<String>,
        hostname: Option<String>,
        protocol: Option<Protocol>,
        tls: Option<ServerTls>,
    }
}

/// Gateways a route hangs on: `name` (all its listeners) or `name/listener`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GatewayRefs {
    One(String),
    Many(Vec<String>),
}

impl Default for GatewayRefs {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// A route with the gateways it hangs on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AttachedRoute {
    /// Default: the gateway named `default`, if there is one.
    pub gateways: GatewayRefs,
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub rule_name: Option<String>,
    pub hostnames: Vec<String>,
    pub matches: Option<Vec<Match>>,
    pub policies: Option<RoutePolicies>,
    pub backends: Vec<RouteBackend>,
}

/// A rule: what it matches and where that goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Route {
    /// Default: `routeN` by position.
    pub name: Option<String>,
    /// Default: `default`.
    pub namespace: Option<String>,
    /// Name of this rule inside the route, for policies that target it.
    pub rule_name: Option<String>,
    /// Exact or `*.suffix`; default: the listener's.
    pub hostnames: Vec<String>,
    /// Any one suffices; default: every path.
    pub matches: Option<Vec<Match>>,
    pub policies: Option<RoutePolicies>,
    /// Drawn by weight.
    pub backends: Vec<RouteBackend>,
}

/// All parts must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Match {
    pub path: Option<PathMatch>,
    /// Exact, upper case.
    pub method: Option<String>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    Exact(String),
    /// By whole segments; a trailing `/` makes no difference.
    PathPrefix(String),
    /// Must match the whole path.
    Regex(String),
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderMatch {
    /// A header, or `:method`, `:path`, `:authority`, `:scheme`.
    pub name: String,
    pub value: ValueMatch,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueryMatch {
    pub name: String,
    pub value: ValueMatch,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ValueMatch {
    Exact(String),
    /// Must match the whole value.
    Regex(String),
}

/// Exactly one of `host`, `backend`, `service`, `routeGroup`, `mcp`, `ai`, `demo`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteBackend {
    /// Share among the backends of the rule; 0 is never drawn.
    #[serde(default = "one")]
    pub weight: u32,
    /// `name:port`, `ip:port` or `unix:/path`.
    pub host: Option<String>,
    /// Name of an entry of `backends`.
    pub backend: Option<String>,
    pub service: Option<ServicePort>,
    /// Name of an entry of `routeGroups`: matching goes on there.
    pub route_group: Option<String>,
    /// MCP servers behind one endpoint.
    pub mcp: Option<McpBackend>,
    /// Providers of language models behind one endpoint.
    pub ai: Option<AiBackend>,
    /// The gateway's own echo, to try things with.
    pub demo: Option<Demo>,
    pub policies: Option<BackendPolicies>,
}

/// The gateway's own echo: says requests back, streams at `/events`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Demo {}

fn one() -> u32 {
    1
}

/// A TCP or TLS route with the gateways it hangs on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AttachedTcpRoute {
    /// Default: the gateway named `default`, if there is one.
    pub gateways: GatewayRefs,
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub rule_name: Option<String>,
    pub hostnames: Vec<String>,
    pub policies: Option<TcpRoutePolicies>,
    pub backends: Vec<RouteBackend>,
}

/// A TCP or TLS route.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TcpRoute {
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub rule_name: Option<String>,
    /// SNI names; default: any.
    pub hostnames: Vec<String>,
    pub policies: Option<TcpRoutePolicies>,
    pub backends: Vec<RouteBackend>,
}

/// A named backend: exactly one of `host`, `mcp` and `ai`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    pub name: String,
    /// `name:port`, `ip:port` or `unix:/path`.
    pub host: Option<String>,
    /// MCP servers behind one endpoint.
    pub mcp: Option<McpBackend>,
    /// Providers of language models behind one endpoint.
    pub ai: Option<AiBackend>,
    pub policies: Option<BackendPolicies>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteGroup {
    pub name: String,
    pub routes: Vec<Route>,
}

/// A policy with its target. `policy` holds exactly one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DetachedPolicy {
    pub name: ResourceName,
    pub target: PolicyTarget,
    #[serde(default)]
    pub phase: PolicyPhase,
    /// `override` stands against more specific policies of its kind.
    #[serde(default)]
    pub inheritance: PolicyInheritance,
    pub policy: DetachedContent,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceName {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
}

fn default_namespace() -> String {
    "default".to_owned()
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PolicyPhase {
    #[default]
    Route,
    Gateway,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PolicyInheritance {
    #[default]
    Default,
    Override,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PolicyTarget {
    Gateway(GatewayTarget),
    Route(RouteTarget),
    Backend(BackendTarget),
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayTarget {
    pub gateway_name: String,
    /// Default: the namespace of this gateway.
    pub gateway_namespace: Option<String>,
    pub listener_name: Option<String>,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteTarget {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    pub rule_name: Option<String>,
    pub kind: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BackendTarget {
    Backend(ResourceName),
    Service(ServiceTarget),
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceTarget {
    pub hostname: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    pub port: Option<u16>,
}

/// Any policy of a route or of a backend.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DetachedContent(pub super::policies::AnyPolicies);
