//! What one request carries through the phases.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use filters::{Effective, Facts, Reason, Reply};

use super::finish::Left;
use super::seen::Seen;
use crate::listen::ConnInfo;
use crate::listen::carried::Load;
use crate::llm::Asked;
use crate::plan::{Entry, ListenerPlan, Plan, Resolved, Terms};
use crate::session::Slot;
use crate::upstream::{Affinity, Counted, EndpointId, Lease, Loan, MirrorBody, Permit};

/// Per-request state. Filters keep theirs elsewhere; this is the gateway's own.
pub struct Ctx {
    /// Pinned from first byte to access log.
    pub plan: Arc<Plan>,
    pub started: Instant,
    pub facts: Facts,
    /// The connection it came on.
    pub conn: Option<Arc<ConnInfo>>,
    pub listener: Option<Arc<ListenerPlan>>,
    pub entry: Option<Arc<Entry>>,
    pub resolved: Option<Arc<Resolved>>,
    /// Which of the resolved backends was drawn.
    pub backend: Option<usize>,
    /// Gateway-phase policies, for their response hooks.
    pub gateway_effective: Option<Arc<Effective>>,
    /// Route-phase policies above the routes, for what no route took.
    pub base: Option<Arc<Effective>>,
    /// Terms of the port, for what no listener took.
    pub terms: Option<Arc<Terms>>,
    pub wrapped: Option<Slot>,
    /// Most that is held of a body (`maxBufferSize`).
    pub body_bytes_max: usize,
    /// Pingora keeps what is read of the body, from its beginning, as far as it is short.
    pub keeps_body: bool,
    /// Another body goes on than the one that is read: nobody is to keep that.
    pub changes_body: bool,
    /// All of the body is there when an attempt begins, and it is not empty.
    pub body_at_hand: bool,
    /// Bodies as they pass, where the log reads them.
    pub(super) seen: Option<Box<Seen>>,
    /// What a response that was finished late leaves for the log.
    pub(super) left: Option<Left>,
    pub original: Original,
    pub attempt: Attempt,
    pub outcome: Outcome,
    pub mirrors: Vec<MirrorBody>,
    pub affinity: Option<Affinity>,
    pub request_deadline: Option<Instant>,
    pub is_grpc: bool,
    pub is_upgrade: bool,
    /// The client waits to be told to go on (`Expect`).
    pub expects: bool,
    /// It came through a gateway already (`Via`).
    pub has_via: bool,
    /// The client's side speaks HTTP/2.
    pub is_h2: bool,
    /// Counted as what keeps a process that drains alive.
    pub load: Option<Load>,
    /// What is asked of a language model, and whom.
    pub(crate) ai: Option<Box<Asked>>,
    /// What it used, as expressions see it.
    pub llm: Option<Box<filters::expr::Json>>,
    /// What a message of MCP is about, as expressions see it.
    pub mcp: Option<Box<crate::mcp::About>>,
    /// What is told of it in the end.
    pub told: Option<Box<crate::mcp::Told>>,
    /// Where answers of MCP go that are not for this connection.
    pub channel: Option<Arc<crate::mcp::Channel>>,
    /// What an agent is asked.
    pub a2a: Option<Box<crate::a2a::Talk>>,
}

/// The request as the client sent it, for the log: filters change the head.
#[derive(Default)]
pub struct Original {
    pub path: SentUri,
    pub method: Option<http::Method>,
    /// Authority or `Host`, as sent.
    pub host: Option<http::HeaderValue>,
}

/// A path kept as the shared URI it came in.
#[derive(Default)]
pub struct SentUri(pub Option<http::Uri>);

impl SentUri {
    /// Without query: queries carry secrets.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", http::Uri::path)
    }
}

/// Tries at backends so far.
#[derive(Default)]
pub struct Attempt {
    /// Attempts begun.
    pub count: u32,
    pub tried: Vec<EndpointId>,
    pub lease: Option<Lease>,
    /// The connection, where it is one of ours.
    pub loan: Option<Arc<Loan>>,
    pub permit: Option<Permit>,
    /// Held for the rest of the request once it is a retry.
    pub retry_place: Option<Counted>,
    pub started: Option<Instant>,
    /// The request has no header that ends at this hop.
    pub end_to_end_only: bool,
    /// The current attempt got a response head.
    pub answered: bool,
    /// Something of the current attempt failed and may be tried again.
    pub retryable: bool,
}

/// How it ended, gathered on the way.
pub struct Outcome {
    pub reason: Reason,
    /// For the log only.
    pub error: Option<String>,
    pub status: u16,
    pub grpc_status: Option<u16>,
    /// A reply of our own that is still to be written (early failures).
    pub reply: Option<Box<Reply>>,
    pub request_done: Option<Instant>,
    pub response_headers: Option<Box<http::HeaderMap>>,
}

impl Ctx {
    pub fn new(plan: Arc<Plan>) -> Self {
        let started = Instant::now();
        let mut facts = Facts::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), false, 0);
        facts.now = crate::clock::reading(started);
        facts.random = crate::random::next();
        Self {
            plan,
            started,
            facts,
            conn: None,
            listener: None,
            entry: None,
            resolved: None,
            backend: None,
            gateway_effective: None,
            base: None,
            terms: None,
            wrapped: None,
            body_bytes_max: 0,
            keeps_body: false,
            changes_body: false,
            body_at_hand: false,
            seen: None,
            left: None,
            original: Original::default(),
            attempt: Attempt::default(),
            outcome: Outcome {
                reason: Reason::Upstream,
                error: None,
                status: 0,
                grpc_status: None,
                reply: None,
                request_done: None,
                response_headers: None,
            },
            mirrors: Vec::new(),
            affinity: None,
            request_deadline: None,
            is_grpc: false,
            is_upgrade: false,
            expects: false,
            has_via: false,
            is_h2: false,
            load: None,
            ai: None,
            llm: None,
            mcp: None,
            told: None,
            channel: None,
            a2a: None,
        }
    }

    /// The backend drawn for this request; of several providers, the one that is asked now.
    pub fn backend(&self) -> Option<&crate::plan::Backend> {
        match self.ai.as_ref().and_then(|it| it.provider()) {
            Some(provider) => Some(&provider.backend),
            None => self.route_backend(),
        }
    }

    /// The backend that the route names.
    pub fn route_backend(&self) -> Option<&crate::plan::Backend> {
        self.resolved.as_ref()?.backends.get(self.backend?)
    }

    /// Route-phase policies.
    pub fn effective(&self) -> Option<&Arc<Effective>> {
        self.resolved.as_ref().map(|it| &it.effective)
    }

    /// Policies and settings of the backend drawn, or the route's while there is none.
    pub fn settings(&self) -> Option<&Arc<Effective>> {
        self.backend().map(|it| &it.effective).or_else(|| self.effective())
    }

    /// Notes why the request fails; the first cause stands.
    pub fn fail(&mut self, reason: Reason, status: u16, error: impl Into<String>) {
        if self.outcome.reason == Reason::Upstream {
            self.outcome.reason = reason;
            self.outcome.status = status;
            self.outcome.error = Some(error.into());
        }
    }
}
