//! What an evaluation can see: references to what the gateway has anyway; nothing is copied.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, Uri, Version};
use pingora_http::{RequestHeader, ResponseHeader};

use super::time::{Duration, Timestamp};
use super::value::Value;
use crate::exchange::Facts;
use crate::identity::Identity;

/// A JSON object.
pub type Json = serde_json::Map<String, serde_json::Value>;

/// Everything an expression may read; what is absent is missing to it.
#[derive(Clone, Copy, Default)]
pub struct Inputs<'a> {
    pub request: Option<Request<'a>>,
    pub request_body: Option<Body<'a>>,
    pub response: Option<Response<'a>>,
    pub response_body: Option<Body<'a>>,
    pub source: Option<Source<'a>>,
    pub destination: Option<Destination<'a>>,
    pub identity: Option<&'a Identity>,
    pub names: Names<'a>,
    pub backend: Option<Backend<'a>>,
    pub times: Times,
    pub env: Option<&'a Env>,
    /// `llm`, `mcp`, … as JSON objects, read in place.
    pub objects: Objects<'a>,
    pub ambient: Option<&'a dyn Ambient>,
    /// Header names whose values are secrets here, and cookies with them: for logs.
    pub sensitive: Option<&'a HashSet<String>>,
    /// Variables besides the vocabulary's, such as those of the specification's cases.
    pub bound: &'a [(&'a str, Value<'a>)],
}

impl fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Most of it is the client's, and some of it secret.
        f.write_str("Inputs")
    }
}

/// A request's head.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    pub uri: &'a Uri,
    /// Path and query as sent, where that differs from `uri`.
    pub target: Option<&'a str>,
    /// Host without port, lower case; empty means as the headers say.
    pub host: &'a str,
    /// `http` or `https`.
    pub scheme: &'static str,
    pub version: Version,
    pub headers: &'a HeaderMap,
}

impl<'a> Request<'a> {
    pub fn new(head: &'a RequestHeader, facts: &'a Facts) -> Self {
        Self {
            method: head.method.as_str(),
            uri: &head.uri,
            target: None,
            host: &facts.host,
            scheme: facts.scheme(),
            version: head.version,
            headers: &head.headers,
        }
    }
}

/// A response's head.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub code: u16,
    pub grpc_status: Option<u16>,
    pub headers: Option<&'a HeaderMap>,
}

impl<'a> From<&'a ResponseHeader> for Response<'a> {
    fn from(head: &'a ResponseHeader) -> Self {
        let grpc = head.headers.get("grpc-status").and_then(|it| it.to_str().ok()?.parse().ok());
        Self { code: head.status.as_u16(), grpc_status: grpc, headers: Some(&head.headers) }
    }
}

/// A body, or the first bytes of one.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    pub bytes: &'a [u8],
    /// There was more than was buffered: only the prefix can be read.
    pub truncated: bool,
}

/// The client.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub address: IpAddr,
    /// Absent for a client that a proxy's header names.
    pub port: Option<u16>,
    /// The socket's peer, whatever headers say.
    pub raw_address: IpAddr,
    pub raw_port: Option<u16>,
    pub workload: Option<&'a Json>,
    pub connect_headers: Option<&'a HeaderMap>,
}

/// What the client dialled.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    pub address: Option<IpAddr>,
    pub port: u16,
    /// Server name of the TLS handshake.
    pub hostname: Option<&'a str>,
}

/// What was chosen so far; empty means not chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    pub bind: &'a str,
    pub gateway_namespace: &'a str,
    pub gateway: &'a str,
    pub listener: &'a str,
    pub route_namespace: &'a str,
    pub route: &'a str,
    pub route_kind: &'a str,
    pub route_rule: &'a str,
}

/// The backend chosen.
#[derive(Clone, Copy, Debug)]
pub struct Backend<'a> {
    pub name: &'a str,
    /// `ai`, `mcp`, `static`, `dynamic`, `service` or `unknown`.
    pub kind: &'a str,
    /// `http`, `tcp`, `a2a`, `mcp` or `llm`.
    pub protocol: &'a str,
}

/// When things happened and how long they took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    pub request_processing: Option<Duration>,
    pub upstream: Option<Duration>,
    pub response_processing: Option<Duration>,
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    pub pod_name: String,
    pub namespace: String,
    pub gateway: String,
}

/// JSON objects that protocols and policies leave behind.
#[derive(Clone, Copy, Default)]
pub struct Objects<'a> {
    pub llm: Option<&'a Json>,
    pub llm_request: Option<&'a serde_json::Value>,
    pub mcp: Option<&'a Json>,
    pub a2a: Option<&'a Json>,
    pub extauthz: Option<&'a Json>,
    pub extproc: Option<&'a Json>,
    pub guardrails: Option<&'a Json>,
    pub metadata: Option<&'a Json>,
}

/// What is different each time; the gateway gives it.
pub trait Ambient: Sync {
    /// A random number, every value as likely.
    fn random(&self) -> u64;
}
