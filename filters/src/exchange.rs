//! The filter contract: what a hook is given and what it may answer.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pingora_http::{RequestHeader, ResponseHeader};
use serde_json::{Map, Value};

use crate::callout::apply::Owed;
use crate::expr::Inputs;
use crate::identity::Identity;
use crate::outside::Outside;
use crate::whereabouts::Whereabouts;

/// One request on its way in. Hooks change the head in place; nothing is copied.
pub struct Exchange<'a> {
    pub request: &'a mut RequestHeader,
    pub facts: &'a mut Facts,
    /// The clock, and work off the traffic threads.
    pub outside: &'a dyn Outside,
}

impl Exchange<'_> {
    /// What expressions may read of the request so far.
    pub fn inputs(&self) -> Inputs<'_> {
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
    /// Request host, lower case, no port.
    pub host: String,
    /// Who the request is from, as far as it was proven.
    pub identity: Identity,
    /// Where it came in and where it goes.
    pub whereabouts: Whereabouts,
    /// How many bytes of the request path the route's prefix match covered; 0 otherwise.
    pub matched_prefix: usize,
    /// Headers owed to the client on whatever answer it gets (CORS, quota). They replace the
    /// upstream's headers of the same name.
    pub owed: Vec<(HeaderName, HeaderValue)>,
    /// What servers that were asked want changed on whatever answer the client gets.
    pub response_changes: Vec<Owed>,
    /// The beginning of the request's body, where a policy asked for it.
    pub body: Option<Prefix>,
    /// What an authorization server left: `extauthz` of expressions.
    pub extauthz: Option<Box<Map<String, Value>>>,
    /// What went wrong on the way without ending the request, for the log; the first stands.
    pub fault: Option<String>,
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
            host: String::new(),
            identity: Identity::default(),
            whereabouts: Whereabouts::default(),
            matched_prefix: 0,
            owed: Vec::new(),
            response_changes: Vec::new(),
            body: None,
            extauthz: None,
            fault: None,
            upstream_host: None,
            upstream_host_auto: false,
        }
    }

    /// Notes what went wrong, for the log.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some(what());
        }
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// The beginning of a body.
#[derive(Clone, Debug, Default)]
pub struct Prefix {
    pub bytes: Bytes,
    /// It is all of it.
    pub whole: bool,
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
    /// No token, or one that is not accepted.
    JwtAuth,
    /// No API key, or one that is not known.
    ApiKeyAuth,
    /// No user and password, or wrong ones.
    BasicAuth,
    /// An authorization server refused, or could not be asked.
    ExtAuth,
    /// A quota is used up, or could not be asked for.
    RateLimit,
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
        Self::JwtAuth,
        Self::ApiKeyAuth,
        Self::BasicAuth,
        Self::ExtAuth,
        Self::RateLimit,
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
            Self::JwtAuth => "JwtAuth",
            Self::ApiKeyAuth => "APIKeyAuth",
            Self::BasicAuth => "BasicAuth",
            Self::ExtAuth => "ExtAuth",
            Self::RateLimit => "RateLimit",
            Self::Timeout => "Timeout",
            Self::UpstreamFailure => "UpstreamFailure",
            Self::ClientGone => "ClientGone",
        }
    }
}

/// A response on its way out; for filters with an `on_response` hook.
pub struct Answer<'a> {
    pub response: &'a mut ResponseHeader,
    pub facts: &'a Facts,
}
