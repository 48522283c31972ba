//! The life of a request in Pingora's phases. This file only delegates; each phase has its file.
//!
//! `request` (normalise, listener, gateway phase, route, route phase, backend) → `peer` (endpoint,
//! per attempt) → `upstream_request` → `body` → `response` → `failure` if need be → `log`.
//! What a request carries along is in `ctx`; answers of our own are written by `answer`.

pub(crate) mod affinity;
pub mod answer;
pub mod body;
mod compression;
mod ctx;
mod demo;
mod failure;
mod finish;
pub mod forwarded;
pub mod inputs;
mod log;
pub(crate) mod names;
mod pass;
mod peer;
pub mod request;
mod response;
mod route;
mod seen;
mod upstream_request;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

pub use ctx::Ctx;
pub(crate) use finish::is_events;
pub(crate) use log::reads as log_reads;
pub(crate) use pass::{admission, admission_of};

use crate::a2a::A2a;
use crate::listen::carried::Carried;
use crate::llm::Prices;
use crate::mcp::Mcp;
use crate::outside::{Around, Asking};
use crate::plan::Plan;
use crate::state::State;
use crate::telemetry::Telemetry;
use crate::upstream::{Lender, Mirrors};

/// The proxy: one for the process, shared by all connections.
pub struct Proxy {
    pub state: Arc<State>,
    pub telemetry: Arc<Telemetry>,
    pub mirrors: Arc<Mirrors>,
    pub lender: Arc<Lender>,
    pub carried: Arc<Carried>,
    pub mcp: Arc<Mcp>,
    pub asking: Asking,
    pub a2a: Arc<A2a>,
    pub prices: Arc<Prices>,
}

impl Proxy {
    /// The world as a request under this plan sees it, which is to end by then.
    pub(crate) fn around<'a>(&'a self, plan: &'a Plan, until: Option<Instant>) -> Around<'a> {
        self.asking.around(plan, until)
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    // Boxed: Pingora moves it several times, and its future, copied for each request, holds two of it.
    type CTX = Box<Ctx>;

    fn new_ctx(&self) -> Box<Ctx> {
        Box::new(Ctx::new(self.state.plan()))
    }

    /// None: each costs every request. Compression is put in where a route asks for it.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<Ctx>) -> Result<bool> {
        request::filter(self, session, ctx).await
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Box<Ctx>) -> Result<Box<HttpPeer>> {
        peer::choose(self, session, ctx).await
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        upstream_request::filter(self, session, head, ctx)?;
        upstream_request::sign(self, head, ctx).await
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        if ctx.is_upgrade {
            crate::llm::from_client(body, ctx)?;
        }
        body::request(body, end, ctx)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        response::upstream(session, head, ctx)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        response::carry(self, head, ctx);
        response::filter(self, session, head, ctx)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Box<Ctx>,
    ) -> Result<Option<Duration>> {
        if ctx.is_upgrade {
            crate::llm::from_provider(self, session, body, ctx)?;
        }
        crate::a2a::pass(body, end, ctx)?;
        body::response(body, end, ctx)?;
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Box<Ctx>,
    ) -> Result<Option<Bytes>> {
        response::trailers(trailers, ctx);
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        ctx: &mut Box<Ctx>,
        error: Box<Error>,
    ) -> Box<Error> {
        failure::connect(self, session, ctx, error)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Box<Ctx>,
        reused: bool,
    ) -> Box<Error> {
        failure::exchange(self, session, ctx, error, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Box<Ctx>) -> FailToProxy {
        failure::answer(session, error, ctx).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Box<Ctx>) {
        log::ended(self, session, error, ctx);
    }

    /// Our own event says it better, once.
    fn suppress_error_log(&self, _: &Session, _: &Box<Ctx>, _: &Error) -> bool {
        true
    }
}
