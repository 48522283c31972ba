//! The port for outgoing calls: how a policy asks a server of the operator's own before a request
//! goes on.
//!
//! A policy says whom it asks ([`Target`]) and what, in values of this module; it knows no socket
//! and no wire format. The gateway implements [`Callout`] over the same clusters, endpoints and TLS
//! terms as traffic; tests of units implement it with answers.
//!
//! What the implementation promises: a call ends within the deadline of its target
//! ([`CALL_TIMEOUT`] unless its `http` policy says otherwise), an answer is at most
//! [`ANSWER_BYTES_MAX`] long, and dropping a call ends it.

pub mod apply;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use ir::{BackendRef, Text};
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::lower::{ServicePort, SimpleBackend};
use crate::{Attachment, Facts, Level, Policy, Scope};

/// How long a call may take where nothing is said.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer that is read.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest text of a server that reaches a log.
const SAID_BYTES_MAX: usize = 256;

/// A call under way. Dropping it ends it.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Who makes calls.
pub trait Callout: Send + Sync {
    /// Envoy's `Authorization/Check`.
    fn check<'a>(&'a self, target: &'a Arc<Target>, check: Check<'a>) -> Call<'a, Checked>;

    /// Envoy's `RateLimitService/ShouldRateLimit`.
    fn rate_limit<'a>(&'a self, target: &'a Arc<Target>, asked: RateLimit<'a>) -> Call<'a, Limited>;

    /// Any request of HTTP, for a policy of this kind.
    fn http<'a>(&'a self, target: &'a Arc<Target>, kind: Kind, request: HttpRequest) -> Call<'a, HttpAnswer>;
}

/// What a call is for: a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ExtAuthz,
    RateLimit,
}

impl Kind {
    pub fn label(self) -> &'static str {
        match self {
            Self::ExtAuthz => "ExtAuthz",
            Self::RateLimit => "RateLimit",
        }
    }
}

/// Whom to ask: a backend, under its own policies and those written beside the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    pub backend: BackendRef,
    #[serde(skip_serializing_if = "no_policies")]
    pub policies: Level,
}

fn no_policies(level: &Level) -> bool {
    level.is_empty()
}

/// The part of a configuration that names a server: exactly one of the three, and its terms.
#[derive(Default)]
pub struct Reference {
    pub host: Option<String>,
    pub backend: Option<String>,
    pub service: Option<ServicePort>,
    pub policies: Option<Terms>,
}

/// Policies of a server that the gateway itself asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "SimpleBackendPolicies")]
pub struct Terms {
    /// Changes of the headers of each call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<crate::header_modifier::Config>,
    /// TLS towards the server.
    #[serde(rename = "backendTLS", skip_serializing_if = "Option::is_none")]
    pub backend_tls: Option<crate::backend_tls::Config>,
    /// Version, and with `requestTimeout` how long a call may take (2 s).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<crate::backend_http::Config>,
    /// Connect timeout and keep-alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<crate::backend_tcp::Config>,
}

impl Reference {
    /// The target, or the problem at the current path.
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Arc<Target>> {
        let Self { host, backend, service, policies } = self;
        let policies = scope.at("policies", |scope| policies.map(|it| it.lower(scope)).unwrap_or_default());
        let (key, simple) = match (host, backend, service) {
            (Some(host), None, None) => ("host", SimpleBackend::Host(host)),
            (None, Some(backend), None) => ("backend", SimpleBackend::Backend(backend)),
            (None, None, Some(service)) => ("service", SimpleBackend::Service(service)),
            _ => {
                scope.problem("name the server to ask: exactly one of `host`, `service`, `backend`");
                return None;
            }
        };
        let backend = scope.backends.refer(simple);
        let backend = scope.check(key, backend)?;
        Some(Arc::new(Target { backend, policies: level(policies) }))
    }
}

impl Terms {
    fn lower(self, scope: &mut Scope<'_>) -> Vec<Policy> {
        let Self { request_header_modifier, backend_tls, http, tcp } = self;
        let mut policies = Vec::new();
        if let Some(config) = request_header_modifier {
            let lowered = scope.at("requestHeaderModifier", |scope| config.lower_request(scope));
            policies.extend(lowered.map(Policy::RequestHeaderModifier));
        }
        if let Some(config) = backend_tls {
            policies.extend(scope.at("backendTLS", |scope| config.lower(scope)).map(Policy::BackendTls));
        }
        if let Some(config) = http {
            policies.extend(scope.at("http", |scope| config.lower(scope)).map(Policy::BackendHttp));
        }
        if let Some(config) = tcp {
            policies.extend(scope.at("tcp", |scope| config.lower(scope)).map(Policy::BackendTcp));
        }
        policies
    }
}

/// Policies as if they were attached where they are written.
pub fn level(policies: Vec<Policy>) -> Level {
    let attach = |policy: Policy| {
        Arc::new(Attachment {
            key: ir::PolicyKey::new(policy.kind().key()),
            target: ir::Target::Instance,
            phase: ir::Phase::Route,
            inheritance: ir::Inheritance::Default,
            order: 0,
            policy,
            origin: ir::Origin::default(),
        })
    };
    policies.into_iter().map(attach).collect()
}

/// Which headers of a request a server is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Headers {
    /// All of them, and the pseudo headers.
    #[default]
    All,
    These {
        names: Vec<String>,
    },
}

/// The beginning of a request's body, or all of it.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    pub bytes: &'a Bytes,
    /// Sent as bytes, not as text.
    pub packed: bool,
    /// There is more of it.
    pub partial: bool,
}

/// A question to an authorization server.
pub struct Check<'a> {
    pub head: &'a RequestHeader,
    pub facts: &'a Facts,
    pub headers: &'a Headers,
    pub body: Option<Body<'a>>,
    pub context: &'a BTreeMap<Text, Text>,
    /// By namespace.
    pub metadata: Map<String, Value>,
}

/// What an authorization server says. Nothing in it has been judged: names and values are as sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    Allowed(Allowed),
    Denied(Denied),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allowed {
    pub request: Vec<HeaderChange>,
    pub remove: Vec<String>,
    pub query_set: Vec<(String, String)>,
    pub query_remove: Vec<String>,
    pub response: Vec<HeaderChange>,
    pub metadata: Map<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Denied {
    pub status: Option<u16>,
    pub headers: Vec<HeaderChange>,
    pub body: Bytes,
    pub metadata: Map<String, Value>,
}

/// A header that a server wants changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderChange {
    pub name: String,
    pub value: Bytes,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Append,
    AddIfAbsent,
    Overwrite,
    OverwriteIfExists,
}

/// A question to a rate limit server.
pub struct RateLimit<'a> {
    pub domain: &'a str,
    pub descriptors: Vec<Descriptor>,
    /// What every descriptor without a number of its own costs.
    pub hits: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    pub entries: Vec<(String, String)>,
    pub limit: Option<(u32, Unit)>,
    pub hits: Option<u64>,
}

/// The window of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

impl Unit {
    pub const ALL: [Self; 6] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Month, Self::Year];

    pub fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(text))
    }

    /// A month is 30 days, a year 365.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Month => 30 * 86_400,
            Self::Year => 365 * 86_400,
        }
    }
}

/// What a rate limit server says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limited {
    pub over: bool,
    pub statuses: Vec<LimitStatus>,
    pub request: Vec<HeaderChange>,
    pub response: Vec<HeaderChange>,
    pub body: Bytes,
}

/// One descriptor's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitStatus {
    pub over: bool,
    /// Requests in one window, and the window where it is known.
    pub limit: Option<(u32, Option<Unit>)>,
    pub remaining: u32,
    pub reset: Option<Duration>,
}

/// A request of HTTP. The authority is the gateway's to write unless `host` is among the headers.
pub struct HttpRequest {
    pub head: Box<RequestHeader>,
    pub body: Bytes,
}

/// The answer, without what belongs to its connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The reference leads nowhere.
    Broken(String),
    /// No endpoint, or none that takes connections.
    Unreachable(String),
    /// Too many calls at once.
    Overflow,
    Timeout(Duration),
    /// What came back is no answer.
    Garbage(String),
    TooLarge,
    /// The server says that it could not answer.
    Refused {
        code: u16,
        message: String,
    },
}

impl Fault {
    /// A metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Broken(_) => "broken",
            Self::Unreachable(_) => "unreachable",
            Self::Overflow => "overflow",
            Self::Timeout(_) => "timeout",
            Self::Garbage(_) => "garbage",
            Self::TooLarge => "too_large",
            Self::Refused { .. } => "refused",
        }
    }

    /// What a server said when it refused, as far as a log may hold it.
    pub fn refused(code: u16, message: &str) -> Self {
        let mut end = message.len().min(SAID_BYTES_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let message = message.get(..end).unwrap_or_default().chars().map(|it| if it.is_control() { ' ' } else { it });
        Self::Refused { code, message: message.collect() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) | Self::Unreachable(why) => f.write_str(why),
            Self::Overflow => f.write_str("too many calls under way"),
            Self::Timeout(after) => write!(f, "no answer in {after:?}"),
            Self::Garbage(why) => write!(f, "not an answer: {why}"),
            Self::TooLarge => write!(f, "an answer over {ANSWER_BYTES_MAX} bytes"),
            Self::Refused { code, message } => write!(f, "status {code}: {message}"),
        }
    }
}

/// Headers that frame a message or belong to one connection: no server may set, append to or take
/// away these, whatever it answers.
pub fn is_ours(name: &HeaderName) -> bool {
    use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
    [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, TE, TRAILER, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

#[cfg(test)]
pub(crate) mod fake {
    use super::*;

    /// A world without servers.
    pub(crate) struct Nobody;

    fn nobody<'a, T>() -> Call<'a, T> {
        Box::pin(async { Err(Fault::Broken("there is nobody to ask".to_owned())) })
    }

    impl Callout for Nobody {
        fn check<'a>(&'a self, _: &'a Arc<Target>, _: Check<'a>) -> Call<'a, Checked> {
            nobody()
        }

        fn rate_limit<'a>(&'a self, _: &'a Arc<Target>, _: RateLimit<'a>) -> Call<'a, Limited> {
            nobody()
        }

        fn http<'a>(&'a self, _: &'a Arc<Target>, _: Kind, _: HttpRequest) -> Call<'a, HttpAnswer> {
            nobody()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[derive(Deserialize)]
    struct Written {
        host: Option<String>,
        backend: Option<String>,
        policies: Option<Terms>,
    }

    fn target(written: Written, scope: &mut Scope<'_>) -> Option<Arc<Target>> {
        let Written { host, backend, policies } = written;
        Reference { host, backend, service: None, policies }.lower(scope)
    }

    #[test]
    fn a_server_is_named_once_and_has_terms() {
        let it = lower(json!({"host": "authz:9000", "policies": {"http": {"requestTimeout": "50ms"}}}), target);
        assert_eq!(it.policies.len(), 1);
        refuses(
            [
                (json!({}), "policy: name the server to ask"),
                (json!({"host": "a:1", "backend": "b"}), "policy: name the server to ask"),
                (json!({"backend": "absent"}), "policy.backend: no backend `absent`"),
            ],
            target,
        );
    }

    #[test]
    fn what_a_server_said_is_cut_and_plain_in_a_log() {
        let text = Fault::refused(13, &format!("a\nb\u{1b}[31m{}", "é".repeat(300))).to_string();
        assert!(text.starts_with("status 13: a b [31m") && text.len() < 300, "{text}");
    }
}
