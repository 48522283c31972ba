//! What happens, as values: one event per occurrence, from which log line and counters both follow.

use std::net::SocketAddr;
use std::time::Duration;

use filters::exchange::Decision;
use filters::expr::{Inputs, Json};
use filters::{Identity, Reason};

use super::clock::Spent;
use super::llm::LlmEvent;
use crate::a2a::Told;

/// A request that ended, whichever way. Empty text means "not known".
#[derive(Clone, Copy, Debug)]
pub struct RequestEvent<'a> {
    pub connection_id: u64,
    pub bind: &'a str,
    pub gateway: &'a str,
    pub listener: &'a str,
    pub route: &'a str,
    pub route_rule: &'a str,
    /// Key of the backend.
    pub backend: &'a str,
    /// Address of the endpoint that answered, or was tried last.
    pub endpoint: &'a str,
    /// The client; absent on Unix sockets. Port 0 is left out (a client named by a proxy's header).
    pub src: Option<SocketAddr>,
    pub method: &'a str,
    pub host: &'a str,
    /// Path as the client sent it, with its query or without. The query is never logged by
    /// default: queries carry secrets.
    pub path: &'a str,
    /// `HTTP/1.1`.
    pub version: &'static str,
    /// Status sent to the client; 0 when there was none.
    pub status: u16,
    pub grpc_status: Option<u16>,
    /// `http`, `https`.
    pub protocol: &'static str,
    pub sni: &'a str,
    /// Who the request was from, as far as it was proven.
    pub identity: Option<&'a Identity>,
    pub reason: Reason,
    pub error: Option<&'a str>,
    /// What policies decided against it.
    pub decisions: &'a [Decision],
    /// How many attempts were retries: 0 when the first one counted.
    pub retry_attempt: u32,
    /// Request body.
    pub bytes_received: u64,
    /// Response body.
    pub bytes_sent: u64,
    pub duration: Duration,
    /// From the request's head to the hand-over to the backend: our own work.
    pub request_processing: Option<Duration>,
    /// From the hand-over to the response's head.
    pub upstream: Option<Duration>,
    /// A message of MCP.
    pub mcp: Option<&'a crate::mcp::Told>,
    /// What an agent was asked and what it answered: for counters, and in full.
    pub a2a: Option<(Told, Option<&'a Json>)>,
    /// For what is evaluated; absent where nothing is.
    pub inputs: Option<&'a Inputs<'a>>,
    pub access_log: Option<&'a filters::access_log::Policy>,
    /// Where a language model was asked.
    pub llm: Option<&'a LlmEvent<'a>>,
}

/// A raw connection that ended.
#[derive(Clone, Copy, Debug)]
pub struct TcpEvent<'a> {
    pub connection_id: u64,
    pub bind: &'a str,
    pub gateway: &'a str,
    pub listener: &'a str,
    pub route: &'a str,
    pub endpoint: &'a str,
    pub src: Option<SocketAddr>,
    /// Empty when the client named none.
    pub sni: &'a str,
    pub received: u64,
    pub sent: u64,
    pub duration: Duration,
    pub reason: Reason,
    pub error: Option<&'a str>,
}

impl TcpEvent<'_> {
    /// `tls` where a server name was seen.
    pub(super) fn protocol(&self) -> &'static str {
        if self.sni.is_empty() { "tcp" } else { "tls" }
    }
}

/// What an update of the configuration took, phase by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    pub parse: Spent,
    pub lower: Spent,
    pub compile: Spent,
    pub publish: Spent,
}

impl Phases {
    pub(super) fn named(&self) -> [(&'static str, Spent); 4] {
        let Self { parse, lower, compile, publish } = *self;
        [("parse", parse), ("lower", lower), ("compile", compile), ("publish", publish)]
    }
}
