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
mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use ir::Text;
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Facts;
pub(crate) use target::asks_a_server;
pub use target::{Reference, Target, Terms, level, only_requests};

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

    /// `ExtMcp/CheckRequest` and `CheckResponse`.
    fn guard<'a>(&'a self, target: &'a Arc<Target>, guard: Guard<'a>) -> Call<'a, Guarded> {
        let _ = (target, guard);
        nobody()
    }

    /// Any request of HTTP, for a policy of this kind.
    fn http<'a>(&'a self, target: &'a Arc<Target>, kind: Kind, request: HttpRequest<'a>) -> Call<'a, HttpAnswer>;
}

/// What a call is for: a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ExtAuthz,
    RateLimit,
    ExtMcp,
    AiGuard,
}

impl Kind {
    pub fn label(self) -> &'static str {
        match self {
            Self::ExtAuthz => "ExtAuthz",
            Self::RateLimit => "RateLimit",
            Self::ExtMcp => "ExtMcp",
            Self::AiGuard => "AiGuard",
        }
    }
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
    pub facts: &'a Facts,
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

/// A question about a message of MCP.
pub struct Guard<'a> {
    /// It is the result that is looked at, else the parameters.
    pub answered: bool,
    /// Names of the servers that are meant.
    pub services: &'a [&'a str],
    pub method: &'a str,
    pub metadata: &'a Map<String, Value>,
    /// Parameters or result, as JSON.
    pub message: &'a str,
    pub facts: &'a Facts,
}

/// What a guardrail says. Nothing in it has been judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guarded {
    Pass,
    /// Other parameters, or another result, as JSON.
    Mutated(String),
    Refused(Refusal),
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of JSON-RPC.
    pub code: i32,
    pub reason: String,
    /// An error of JSON-RPC in their place, as JSON.
    pub error: Option<String>,
}

/// A request of HTTP. The authority is the gateway's to write unless `host` is among the headers.
pub struct HttpRequest<'a> {
    pub head: Box<RequestHeader>,
    pub body: Bytes,
    /// Those of the request on whose behalf it is made.
    pub facts: &'a Facts,
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

/// Asks nobody: for where no calls are made.
pub struct Nobody;

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

    fn http<'a>(&'a self, _: &'a Arc<Target>, _: Kind, _: HttpRequest<'a>) -> Call<'a, HttpAnswer> {
        nobody()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_is_cut_and_plain_in_a_log() {
        let text = Fault::refused(13, &format!("a\nb\u{1b}[31m{}", "é".repeat(300))).to_string();
        assert!(text.starts_with("status 13: a b [31m") && text.len() < 300, "{text}");
    }
}
