//! External authorization as written.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;
use http::header::HOST;
use ir::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{Body, Cache, Failure, Grpc, Http, Policy, Protocol};
use crate::Scope;
use crate::callout::{Headers, Target, asks_a_server, is_ours};
use crate::expr::{Expression, Site, Vocabulary};
use crate::head;
use crate::quota::mode::ModeConfig;

/// Bytes of a body sent unless written.
const BODY_BYTES_DEFAULT: u32 = 8192;
/// Most bytes of a body that may be asked for.
const BODY_BYTES_MAX: u32 = 4 << 20;
/// Most answers that may be kept.
const ENTRIES_MAX: u32 = 1_000_000;
/// Status of a failure unless written.
const STATUS_DEFAULT: u16 = 403;

asks_a_server! {
    /// Ask a server of one's own whether a request may go on.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[schemars(rename = "ExtAuthz")]
    pub struct Config {
        /// How it is asked.
        pub protocol: ProtocolConfig,
        /// What becomes of a request about which the server cannot be asked.
        pub failure_mode: FailureConfig,
        /// Headers that the server is told: all of them over gRPC, `authorization` over HTTP unless written. Also
        /// `:method`, `:path`, `:authority`, `:scheme`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub include_request_headers: Vec<String>,
        /// Send the body too, or its beginning.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub include_request_body: Option<BodyConfig>,
        /// Whether decisions are put into effect.
        pub mode: ModeConfig,
        /// Remember answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cache: Option<CacheConfig>,
    }
}

/// How an authorization server is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ExtAuthzProtocol")]
pub enum ProtocolConfig {
    /// Envoy's authorization service over gRPC.
    Grpc(ContextConfig),
    /// A request of HTTP.
    Http(HttpConfig),
}

impl Default for ProtocolConfig {
    fn default() -> Self {
        Self::Grpc(ContextConfig::default())
    }
}

/// What the server is told besides the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "ExtAuthzGrpc")]
pub struct ContextConfig {
    /// Context extensions, as they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
    /// Metadata by namespace, as CEL that gives maps, in place of the claims of a token.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// What the request to the server is, and what is taken from its answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "ExtAuthzHttp")]
pub struct HttpConfig {
    /// Headers of an allowing answer that replace those of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_response_headers: Vec<String>,
    /// Path and query of the request to the server, as CEL; absent means the client's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where clients go whom the server answers 401 or 403, as CEL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// Body of the request to the server, as CEL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Headers of the request to the server, as CEL; one that fails is left away.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add_request_headers: BTreeMap<String, String>,
    /// What an allowing answer leaves in `extauthz`, as CEL over request and `response`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Which answers are remembered, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ExtAuthzCache")]
pub struct CacheConfig {
    /// Requests that agree on all of these, as CEL, share an answer.
    pub key: Vec<String>,
    /// How long, as CEL: a duration, or a timestamp or Unix time until when.
    pub ttl: String,
    /// Most answers kept, 1 to 1,000,000.
    #[serde(default = "entries_default")]
    pub max_entries: u32,
}

/// Answers kept unless written.
fn entries_default() -> u32 {
    10_000
}

/// What becomes of a request about which the server cannot be asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ExtAuthzFailureMode")]
pub enum FailureConfig {
    /// It goes on.
    Allow,
    /// It is answered 403.
    #[default]
    Deny,
    /// It is answered with this status, 400 to 599.
    DenyWithStatus(u16),
}

/// How much of a body is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "BodyOptions")]
pub struct BodyConfig {
    /// Most bytes sent; 0 means 8192.
    pub max_request_bytes: u32,
    /// Send the beginning of a larger body; otherwise the request is refused with 413.
    pub allow_partial_message: bool,
    /// Send it as bytes, not as text.
    pub pack_as_bytes: bool,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        self.lower_at(Site::Request, scope)
    }

    /// As [`Self::lower`], for expressions that are evaluated there.
    pub fn lower_at(mut self, site: Site, scope: &mut Scope<'_>) -> Option<Policy> {
        self.server().asked(scope, |target, scope| self.asking(target, site, scope))
    }

    /// The policy that asks this target, whatever is written of one.
    pub fn asking(self, target: Option<Arc<Target>>, site: Site, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { protocol, failure_mode, mode, cache, .. } = self;
        let (written, body) = (self.include_request_headers, self.include_request_body);
        let before = scope.problems.len();
        let names = scope.each("includeRequestHeaders", &written, name);
        let protocol = scope.at("protocol", |scope| protocol.lower(site, scope));
        let headers = match &protocol {
            _ if !names.is_empty() => Headers::These { names },
            Protocol::Grpc(_) => Headers::All,
            Protocol::Http(_) => Headers::These { names: vec!["authorization".to_owned()] },
        };
        let failure = failure_mode.lower(scope);
        let body = scope.at("includeRequestBody", |scope| body.map(|it| it.lower(scope)));
        let cache = cache.and_then(|it| scope.at("cache", |scope| it.lower(site, scope)));
        if let (Some(target), Protocol::Grpc(_)) = (&target, &protocol) {
            target.refuse_bodies(scope);
        }
        let target = target.filter(|_| scope.problems.len() == before)?;
        Some(Policy { target, protocol, failure, headers, body, mode: mode.lower(), cache })
    }
}

/// A header or pseudo header, in lower case.
fn name(text: &str) -> Result<String, String> {
    match text {
        ":method" | ":path" | ":authority" | ":scheme" => Ok(text.to_owned()),
        text => head::any_name(text).map(|it| it.as_str().to_owned()),
    }
}

impl ProtocolConfig {
    fn lower(self, site: Site, scope: &mut Scope<'_>) -> Protocol {
        match self {
            Self::Grpc(ContextConfig { context, metadata }) => {
                let context = context.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
                let metadata = scope.at("grpc", |scope| expressions("metadata", &metadata, site, scope));
                Protocol::Grpc(Grpc { context, metadata })
            }
            Self::Http(it) => scope.at("http", |scope| Protocol::Http(it.lower(site, scope))),
        }
    }
}

impl HttpConfig {
    fn lower(self, site: Site, scope: &mut Scope<'_>) -> Http {
        let Self { include_response_headers, path, redirect, body, add_request_headers, metadata } = self;
        let theirs = |text: &str| match head::any_name(text)? {
            name if is_ours(&name) || name == HOST => Err(format!("`{name}` is never taken from an answer")),
            name => Ok(name),
        };
        let response_headers = scope.each("includeResponseHeaders", &include_response_headers, theirs);
        let mut request_headers = Vec::with_capacity(add_request_headers.len());
        for (name, text) in &add_request_headers {
            let header = scope.at("addRequestHeaders", |scope| {
                let parsed = head::parse_name(name);
                Some((scope.check(name, parsed)?, expression(name, text, site, scope)?))
            });
            request_headers.extend(header);
        }
        // One order, whatever the letter case they were written in.
        request_headers.sort_by(|(left, _), (right, _): &(HeaderName, Expression)| left.as_str().cmp(right.as_str()));
        let twice = request_headers.windows(2).find(|it| matches!(it, [left, right] if left.0 == right.0));
        if let Some([(name, _), ..]) = twice {
            scope.problem_at("addRequestHeaders", format!("`{name}` is here twice, in different case"));
        }
        let mut one = |key: &str, text: Option<String>| {
            text.and_then(|text| {
                let vocabulary = Vocabulary::of(site);
                scope.check(key, Expression::parse(&text, &vocabulary))
            })
        };
        let (path, redirect, body) = (one("path", path), one("redirect", redirect), one("body", body));
        let metadata = expressions("metadata", &metadata, Site::Response, scope);
        Http { response_headers, path, redirect, body, request_headers, metadata }
    }
}

fn expression(key: &str, text: &str, site: Site, scope: &mut Scope<'_>) -> Option<Expression> {
    scope.check(key, Expression::parse(text, &Vocabulary::of(site)))
}

fn expressions(
    key: &str,
    texts: &BTreeMap<String, String>,
    site: Site,
    scope: &mut Scope<'_>,
) -> BTreeMap<Text, Expression> {
    let one = |scope: &mut Scope<'_>, (name, text): (&String, &String)| {
        Some((name.as_str().into(), expression(name, text, site, scope)?))
    };
    scope.at(key, |scope| texts.iter().filter_map(|it| one(scope, it)).collect())
}

impl CacheConfig {
    fn lower(self, site: Site, scope: &mut Scope<'_>) -> Option<Cache> {
        let Self { key, ttl, max_entries } = self;
        if key.is_empty() {
            scope.problem_at("key", "at least one expression: without a key all requests would share an answer");
        }
        if !(1..=ENTRIES_MAX).contains(&max_entries) {
            scope.problem_at("maxEntries", format!("{max_entries} is not 1 to {ENTRIES_MAX}"));
        }
        let vocabulary = Vocabulary::of(site);
        let key = scope.each("key", &key, |text| Expression::parse(text, &vocabulary));
        let ttl = expression("ttl", &ttl, site, scope)?;
        Some(Cache::new(key, ttl, max_entries as usize))
    }
}

impl FailureConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Failure {
        match self {
            Self::Allow => Failure::Allow,
            Self::Deny => Failure::Deny(STATUS_DEFAULT),
            Self::DenyWithStatus(status) => {
                if !(400..=599).contains(&status) {
                    let reason = format!("{status} does not refuse: write 400 to 599");
                    scope.at("failureMode", |scope| scope.problem_at("denyWithStatus", reason));
                }
                Failure::Deny(status)
            }
        }
    }
}

impl BodyConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Body {
        let Self { max_request_bytes, allow_partial_message, pack_as_bytes } = self;
        if max_request_bytes > BODY_BYTES_MAX {
            scope.problem_at("maxRequestBytes", format!("more than {BODY_BYTES_MAX} bytes"));
        }
        let bytes_max = if max_request_bytes == 0 { BODY_BYTES_DEFAULT } else { max_request_bytes };
        Body { bytes_max: bytes_max as usize, partial: allow_partial_message, packed: pack_as_bytes }
    }
}
