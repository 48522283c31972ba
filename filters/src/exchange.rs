//! The filter contract: what a hook is given and what it may answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use ir::PolicyKey;
use pingora_http::{RequestHeader, ResponseHeader};
use serde::Serialize;

use crate::Kind;
use crate::callout::apply::Owed;
use crate::conditional::Chosen;
use crate::expr;
use crate::identity::Identity;
use crate::outside::Outside;
use crate::whereabouts::Whereabouts;

/// One request on its way in. Hooks change the head in place; nothing is copied.
pub struct Exchange<'a> {
    pub request: &'a mut RequestHeader,
    pub facts: &'a mut Facts,
    /// The clock, servers that are asked, and work off the traffic threads.
    pub outside: &'a dyn Outside,
}

impl Exchange<'_> {
    /// What expressions may read of the request so far.
    pub fn inputs(&self) -> expr::Inputs<'_> {
        self.facts.inputs(self.request)
    }
}

/// What is known of a request beyond its head. A filter never adds a field here.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The client: socket peer, PROXY protocol source, or X-Forwarded-For behind trusted hops.
    pub client: IpAddr,
    /// Whether the client speaks TLS to us.
    pub tls: bool,
    /// The port the client dialled.
    pub port: u16,
    /// When the phase began, by the gateway's clock: since a moment of its own choice, never backwards.
    pub now: Duration,
    /// Random bits of this request, for draws.
    pub random: u64,
    /// Request host, lower case, no port.
    pub host: String,
    /// Who the request is from, as far as it was proven.
    pub identity: Identity,
    /// Where it came in and where it goes.
    pub whereabouts: Whereabouts,
    /// The request's body, as far as it was read before the request goes on.
    pub body: RequestBody,
    /// What a message of MCP is about, once it is read: `mcp` of expressions.
    pub mcp: Option<Box<Metadata>>,
    /// Values that `transformations` carry along.
    pub metadata: Option<Box<Metadata>>,
    /// Filters of this place that the request has passed, while it waits for its body.
    pub passed: usize,
    /// Which entries of policies with conditions apply to this request.
    pub chosen: Chosen,
    /// Why a filter refused, or what went wrong without ending the request; for the log only.
    pub fault: Option<String>,
    /// How many bytes of the request path the route's prefix match covered; 0 otherwise.
    pub matched_prefix: usize,
    /// Headers owed to the client on whatever answer it gets (CORS, quota). They replace the
    /// upstream's headers of the same name.
    pub owed: Vec<(HeaderName, HeaderValue)>,
    /// What policies decided that is to be counted and logged.
    pub decisions: Vec<Decision>,
    /// Kept until the exchange ends.
    held: Held,
    /// What servers that were asked want changed on whatever answer the client gets.
    pub response_changes: Vec<Owed>,
    /// What an authorization server left: `extauthz` of expressions.
    pub extauthz: Option<Box<Metadata>>,
    /// What an agent is asked, where the request is for one: `a2a` of expressions.
    pub a2a: Asked,
    /// Set by a rewrite of the authority: the `Host` sent upstream. Stops the automatic rewrite.
    pub upstream_host: Option<HeaderValue>,
    /// The host sent upstream follows the backend even where it would not by default.
    pub upstream_host_auto: bool,
}

impl Facts {
    /// The facts of a request before anything is known.
    pub fn new(client: IpAddr, tls: bool, port: u16) -> Self {
        Self {
            client,
            tls,
            port,
            now: Duration::ZERO,
            random: 0,
            host: String::new(),
            identity: Identity::default(),
            whereabouts: Whereabouts::default(),
            body: RequestBody::Unread,
            mcp: None,
            metadata: None,
            passed: 0,
            chosen: Chosen::default(),
            fault: None,
            matched_prefix: 0,
            owed: Vec::new(),
            decisions: Vec::new(),
            held: Held::default(),
            response_changes: Vec::new(),
            extauthz: None,
            a2a: Asked::Nothing,
            upstream_host: None,
            upstream_host_auto: false,
        }
    }

    /// Keeps something until the exchange ends, however it ends: places that are given back when dropped.
    pub fn hold(&mut self, guard: impl Send + Sync + 'static) {
        self.held.0.push(Arc::new(guard));
    }

    /// Draws whether this request is among the given share (0..1); `purpose` keeps draws independent of each other.
    pub fn draws(&self, purpose: u64, share: f64) -> bool {
        // The finish of splitmix64: neighbouring seeds give unrelated bits.
        let mut x = self.random ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        ((x >> 11) as f64 / (1_u64 << 53) as f64) < share
    }

    /// Notes what went wrong, for the log.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some(what());
        }
    }

    /// Whether more has to be read for a filter that wants this much.
    pub fn lacks(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Message => matches!(self.a2a, Asked::Unread),
            wanted => self.body.lacks(wanted),
        }
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// Values by name, as `metadata` of expressions.
pub type Metadata = expr::Json;

/// What an agent is asked.
#[derive(Clone, Debug, Default)]
pub enum Asked {
    /// No agent is asked.
    #[default]
    Nothing,
    /// The message is still to be read.
    Unread,
    Read(Box<Metadata>),
}

impl Asked {
    pub fn read(&self) -> Option<&Metadata> {
        match self {
            Self::Read(asked) => Some(asked),
            Self::Nothing | Self::Unread => None,
        }
    }

    pub fn read_mut(&mut self) -> Option<&mut Metadata> {
        match self {
            Self::Read(asked) => Some(asked),
            Self::Nothing | Self::Unread => None,
        }
    }
}

/// What is known of a request's body while filters run.
#[derive(Clone, Debug, Default)]
pub enum RequestBody {
    #[default]
    Unread,
    /// It cannot be read ahead: a call of gRPC, an upgrade.
    Streams,
    Held(HeldBody),
}

impl RequestBody {
    pub fn held(&self) -> Option<&HeldBody> {
        match self {
            Self::Held(held) => Some(held),
            Self::Unread | Self::Streams => None,
        }
    }

    pub fn held_mut(&mut self) -> Option<&mut HeldBody> {
        match self {
            Self::Held(held) => Some(held),
            Self::Unread | Self::Streams => None,
        }
    }

    /// Whether more has to be read for a filter that wants this much.
    pub fn lacks(&self, wanted: Wanted) -> bool {
        match (self, wanted) {
            (_, Wanted::Nothing) | (Self::Streams, _) => false,
            (Self::Unread, _) => true,
            (Self::Held(held), _) if held.whole || held.rest == Rest::Streams => false,
            (Self::Held(held), Wanted::Beyond(bytes)) => held.rest == Rest::More && held.bytes.len() <= bytes,
            (Self::Held(held), Wanted::Prefix) => held.rest == Rest::More,
            (Self::Held(_), Wanted::Whole | Wanted::Message) => true,
        }
    }
}

/// How much of a request's body a filter reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    Nothing,
    /// So many bytes, and whether there are more.
    Beyond(usize),
    /// As much as may be held, be it all or not.
    Prefix,
    /// All; a larger one is refused.
    Whole,
    /// All, and the message in it where an agent is asked.
    Message,
}

impl Wanted {
    /// What an expression that reads so much asks for.
    pub fn of(needs: expr::Needs) -> Self {
        if needs.intersects(expr::Needs::A2A) {
            Self::Message
        } else if needs.intersects(expr::Needs::REQUEST_BODY) {
            Self::Whole
        } else if needs.intersects(expr::Needs::REQUEST_BODY_PREFIX) {
            Self::Prefix
        } else {
            Self::Nothing
        }
    }
}

/// What may be read ahead of a body of which the beginning is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    #[default]
    More,
    /// Nothing: as much is held as may be.
    Beyond,
    /// Nothing: it streams, and no more than was asked for is held up.
    Streams,
}

/// A body, or the beginning of one, that was read ahead.
#[derive(Clone, Default)]
pub struct HeldBody {
    pub bytes: Bytes,
    /// Nothing follows.
    pub whole: bool,
    /// What of it may be read ahead where it is not whole.
    pub rest: Rest,
    /// It is not what the client sent any more.
    pub replaced: bool,
}

impl HeldBody {
    pub(crate) fn input(&self) -> expr::Body<'_> {
        expr::Body { bytes: &self.bytes, truncated: !self.whole }
    }
}

/// Bodies are shown nowhere.
impl std::fmt::Debug for HeldBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

/// What one exchange keeps alive; a copy of its facts keeps it as well.
#[derive(Clone, Default)]
struct Held(Vec<Arc<dyn Send + Sync>>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({})", self.0.len())
    }
}

/// What a policy decided against a request: for counters and the access log, never for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub kind: Kind,
    /// Which rule of the policy, from 0; `None` where it was for want of one.
    pub rule: Option<usize>,
    pub mode: Mode,
    /// Key of the policy; where `None`, the chain writes it.
    pub policy: Option<PolicyKey>,
}

impl Decision {
    pub fn new(kind: Kind, rule: usize, mode: Mode) -> Self {
        Self { kind, rule: Some(rule), mode, policy: None }
    }
}

/// Whether decisions are put into effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    #[default]
    Enforce,
    /// Decide, count and log; let everything pass.
    Shadow,
}

/// A hook's answer.
#[derive(Debug)]
pub enum Verdict {
    Continue,
    /// The gateway answers; later filters and the backend do not see the request.
    Reply(Reply),
}

/// An answer of the gateway's own. A denial is a reply with a reason, not an error.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    pub reason: Reason,
}

impl Reply {
    /// A plain-text answer; `body` is what the client may read.
    pub fn text(status: u16, reason: Reason, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut headers = Vec::with_capacity(1);
        if !body.is_empty() {
            headers.push((http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")));
        }
        Self { status, headers, body, reason }
    }

    /// A 401 with its challenge (RFC 9110 section 11.6.1), which must be there for clients to know
    /// what to send.
    pub fn unauthorized(reason: Reason, challenge: HeaderValue, body: impl Into<Bytes>) -> Self {
        let mut reply = Self::text(401, reason, body);
        reply.headers.push((http::header::WWW_AUTHENTICATE, challenge));
        reply
    }
}

/// Why a request ended as it did: closed, because it is a metric label. Names as users of this
/// kind of gateway know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// The backend answered.
    Upstream,
    /// A policy of the route answered (redirect, direct response, CORS preflight).
    DirectResponse,
    /// No listener or route covers the request.
    NotFound,
    /// The connection's certificate does not cover the host asked for (421).
    Misdirected,
    /// The route's backend reference is broken.
    NoBackend,
    /// No endpoint is there to take the request.
    NoHealthyBackend,
    /// A limit on connections or pending requests was reached.
    Overflow,
    /// Our own fault.
    Internal,
    /// The client's request is malformed.
    InvalidRequest,
    /// A head, body or header limit was exceeded.
    TooLarge,
    /// Network rules refuse the client.
    IpAccess,
    /// A transformation failed in a way that lets nothing pass.
    Transformation,
    /// No token, or one that is not accepted.
    JwtAuth,
    /// No API key, or one that is not known.
    ApiKeyAuth,
    /// No user and password, or wrong ones.
    BasicAuth,
    /// The request comes from another site (`csrf`).
    Csrf,
    /// A fault was asked for (`fault`).
    FaultInjected,
    /// Rules refuse the request.
    Authorization,
    /// A rate limit was reached, or its server could not be asked.
    RateLimit,
    /// A limit on requests under way was reached.
    ConcurrencyLimit,
    /// An authorization server refused, or could not be asked.
    ExtAuth,
    /// A deadline passed.
    Timeout,
    /// The backend failed (refused, reset, malformed).
    UpstreamFailure,
    /// The client went away first.
    ClientGone,
}

impl Reason {
    /// Every reason, in order of its number.
    pub const ALL: &'static [Reason] = &[
        Self::Upstream,
        Self::DirectResponse,
        Self::NotFound,
        Self::Misdirected,
        Self::NoBackend,
        Self::NoHealthyBackend,
        Self::Overflow,
        Self::Internal,
        Self::InvalidRequest,
        Self::TooLarge,
        Self::IpAccess,
        Self::Transformation,
        Self::JwtAuth,
        Self::ApiKeyAuth,
        Self::BasicAuth,
        Self::Csrf,
        Self::FaultInjected,
        Self::Authorization,
        Self::RateLimit,
        Self::ConcurrencyLimit,
        Self::ExtAuth,
        Self::Timeout,
        Self::UpstreamFailure,
        Self::ClientGone,
    ];

    /// The metric label and access-log value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Upstream => "Upstream",
            Self::DirectResponse => "DirectResponse",
            Self::NotFound => "NotFound",
            Self::Misdirected => "Misdirected",
            Self::NoBackend => "NoBackend",
            Self::NoHealthyBackend => "NoHealthyBackend",
            Self::Overflow => "Overflow",
            Self::Internal => "Internal",
            Self::InvalidRequest => "InvalidRequest",
            Self::TooLarge => "TooLarge",
            Self::IpAccess => "IpAccess",
            Self::Transformation => "Transformation",
            Self::JwtAuth => "JwtAuth",
            Self::ApiKeyAuth => "APIKeyAuth",
            Self::BasicAuth => "BasicAuth",
            Self::Csrf => "Csrf",
            Self::FaultInjected => "FaultInjected",
            Self::Authorization => "Authorization",
            Self::RateLimit => "RateLimit",
            Self::ConcurrencyLimit => "ConcurrencyLimit",
            Self::ExtAuth => "ExtAuth",
            Self::Timeout => "Timeout",
            Self::UpstreamFailure => "UpstreamFailure",
            Self::ClientGone => "ClientGone",
        }
    }
}

/// A response on its way out; for filters with an `on_response` hook.
pub struct Answer<'a> {
    pub response: &'a mut ResponseHeader,
    /// The request that it answers, as the route has left it.
    pub request: &'a RequestHeader,
    pub facts: &'a mut Facts,
    /// The body, where it is held back until the head is final.
    pub body: Option<&'a mut Bytes>,
}

impl Answer<'_> {
    /// What expressions see of a response.
    pub fn inputs(&self) -> expr::Inputs<'_> {
        let mut inputs = self.facts.inputs(self.request);
        inputs.response = Some((&*self.response).into());
        inputs.response_body = self.body.as_deref().map(|bytes| expr::Body { bytes, truncated: false });
        inputs
    }
}
