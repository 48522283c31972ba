//! Where an expression stands, and what reading an attribute asks of its host.

use std::ops::{BitOr, BitOrAssign};

/// Where an expression is evaluated: decides which attributes exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    /// When the process starts: nothing but `env`.
    Process,
    /// A connection, before any request: `source`, `destination`.
    Connection,
    /// A request before a route is selected for it.
    Gateway,
    /// A request with its route.
    Request,
    /// A request with its backend chosen.
    Backend,
    /// A response's head, with the request it answers.
    Response,
    /// The end of a request: everything.
    Log,
    /// A request that is an MCP call.
    Mcp,
    /// A request that is an LLM call, with its parsed body.
    Llm,
    /// Anything, for trying expressions out.
    Any,
}

/// A set of sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sites(u16);

impl Sites {
    pub(super) const CONNECTION: Self = Self(1 << 1);
    pub(super) const REQUEST: Self = Self(1 << 2);
    pub(super) const BACKEND: Self = Self(1 << 3);
    pub(super) const RESPONSE: Self = Self(1 << 4);
    pub(super) const LOG: Self = Self(1 << 5);
    pub(super) const MCP: Self = Self(1 << 6);
    pub(super) const LLM: Self = Self(1 << 7);
    pub(super) const GATEWAY: Self = Self(1 << 8);

    pub(super) const ALL: Self = Self(0xffff);
    /// Where there is a request with its route.
    pub(super) const ROUTED: Self =
        Self::REQUEST.or(Self::BACKEND).or(Self::RESPONSE).or(Self::LOG).or(Self::MCP).or(Self::LLM);
    /// Where there is a request.
    pub(super) const HTTP: Self = Self::ROUTED.or(Self::GATEWAY);
    /// Where there is a client.
    pub(super) const CLIENT: Self = Self::HTTP.or(Self::CONNECTION);
    /// Where a backend may have been chosen.
    pub(super) const CHOSEN: Self = Self::BACKEND.or(Self::RESPONSE).or(Self::LOG).or(Self::MCP).or(Self::LLM);
    /// Where there is a response.
    pub(super) const ANSWERED: Self = Self::RESPONSE.or(Self::LOG);

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn contains(self, site: Site) -> bool {
        self.0 & Self::of(site).0 != 0
    }

    const fn of(site: Site) -> Self {
        match site {
            Site::Process => Self(1),
            Site::Connection => Self::CONNECTION,
            Site::Gateway => Self::GATEWAY,
            Site::Request => Self::REQUEST,
            Site::Backend => Self::BACKEND,
            Site::Response => Self::RESPONSE,
            Site::Log => Self::LOG,
            Site::Mcp => Self::MCP,
            Site::Llm => Self::LLM,
            Site::Any => Self::ALL,
        }
    }
}

impl Site {
    /// As an error names it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Process => "when the process starts",
            Self::Connection => "for a connection",
            Self::Gateway => "before a route is selected",
            Self::Request => "for a request",
            Self::Backend => "for a request to a backend",
            Self::Response => "for a response",
            Self::Log => "in a log",
            Self::Mcp => "for an MCP call",
            Self::Llm => "for an LLM call",
            Self::Any => "here",
        }
    }
}

/// What an expression reads, so that callers keep nothing that nobody asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u32);

impl Needs {
    pub const NONE: Self = Self(0);
    /// The whole request body.
    pub const REQUEST_BODY: Self = Self(1);
    /// The first bytes of the request body.
    pub const REQUEST_BODY_PREFIX: Self = Self(1 << 1);
    pub const RESPONSE_BODY: Self = Self(1 << 2);
    pub const RESPONSE_BODY_PREFIX: Self = Self(1 << 3);
    /// The request's head (a snapshot, where the original is gone by then).
    pub const REQUEST: Self = Self(1 << 4);
    /// The response's headers.
    pub const RESPONSE_HEADERS: Self = Self(1 << 5);
    pub const JWT: Self = Self(1 << 6);
    pub const API_KEY: Self = Self(1 << 7);
    pub const BASIC_AUTH: Self = Self(1 << 8);
    /// The client's certificate.
    pub const PEER: Self = Self(1 << 9);
    pub const LLM: Self = Self(1 << 10);
    /// `llm.prompt`
    pub const LLM_PROMPT: Self = Self(1 << 11);
    /// `llm.completion` and `llm.toolCalls`
    pub const LLM_COMPLETION: Self = Self(1 << 12);
    pub const LLM_REQUEST: Self = Self(1 << 13);
    pub const MCP: Self = Self(1 << 14);
    pub const EXTAUTHZ: Self = Self(1 << 15);
    pub const EXTPROC: Self = Self(1 << 16);
    pub const METADATA: Self = Self(1 << 17);
    pub const TIMES: Self = Self(1 << 18);
    /// Randomness: the value differs each time.
    pub const AMBIENT: Self = Self(1 << 19);
    pub const SOURCE: Self = Self(1 << 20);
    pub const NAMES: Self = Self(1 << 21);
    pub const RESPONSE: Self = Self(1 << 22);
    pub const BACKEND: Self = Self(1 << 23);
    pub const ENV: Self = Self(1 << 24);
    /// What an agent is asked.
    pub const A2A: Self = Self(1 << 25);
    pub const EVERYTHING: Self = Self(u32::MAX);
    /// Any part of the request's body.
    pub const ANY_REQUEST_BODY: Self = Self::REQUEST_BODY.or(Self::REQUEST_BODY_PREFIX);
    /// Any part of the response's body.
    pub const ANY_RESPONSE_BODY: Self = Self::RESPONSE_BODY.or(Self::RESPONSE_BODY_PREFIX);
    /// Any part of any body.
    pub const ANY_BODY: Self = Self::ANY_REQUEST_BODY.or(Self::ANY_RESPONSE_BODY);

    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is read.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is read.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Needs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

impl BitOrAssign for Needs {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}
