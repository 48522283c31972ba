//! One exchange with an agent that the gateway itself begins, over its own connections: what is asked may be asked again.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use filters::Effective;
use http::StatusCode;
use pingora_core::protocols::http::client::HttpSession;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use crate::random::affinity_key;
use crate::upstream::{self, Affinity, Cluster, Outcome, Template, Wanted, Wires};

/// Talks to agents.
#[derive(Default)]
pub(super) struct Caller {
    wires: Wires,
}

/// Whom to ask.
pub(super) struct To<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) template: &'a Template,
    pub(super) effective: &'a Effective,
    /// The endpoint that it wants; 0: whichever.
    pub(super) endpoint: u64,
}

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    /// The digest of the endpoint's address.
    pub(super) endpoint: u64,
}

impl Caller {
    /// Sends, once more where a connection had been closed meanwhile. To be bounded in time by whoever asks.
    pub(super) async fn send(
        &self,
        to: &To<'_>,
        head: &RequestHeader,
        body: &Bytes,
        bytes_max: usize,
    ) -> Result<Answer, String> {
        match self.attempt(to, head, body, bytes_max).await {
            Err((_, true)) => self.attempt(to, head, body, bytes_max).await,
            first => first,
        }
        .map_err(|(why, _)| why)
    }

    /// The flag of the fault: the connection had been used before.
    async fn attempt(
        &self,
        to: &To<'_>,
        head: &RequestHeader,
        body: &Bytes,
        bytes_max: usize,
    ) -> Result<Answer, (String, bool)> {
        let To { cluster, template, effective, endpoint } = to;
        let affinity = (*endpoint != 0).then_some(Affinity::Endpoint(*endpoint));
        let lease = cluster.draw(&[], affinity, effective.health(), template.connect_timeout()).await;
        let lease = lease.map_err(|fault| (fault.to_string(), false))?;
        let peer = template.peer(&lease, Wanted::default());
        let begun = Instant::now();
        let connected = self.wires.take(&peer, !body.is_empty()).await;
        let (mut session, reused) = connected.map_err(|error| {
            lease.report(Outcome { connect_failed: true, ..Outcome::default() }, effective.health());
            (error.to_string(), false)
        })?;
        let said = exchange(&mut session, head, body, (template.is_tls(), bytes_max)).await;
        let (status, body) = said.map_err(|error| {
            if !reused {
                lease.report(Outcome::default(), effective.health());
            }
            (error.to_string(), reused)
        })?;
        lease.report(Outcome::judge(status.as_u16(), begun.elapsed()), effective.health());
        let endpoint = affinity_key(lease.endpoint_text().as_bytes());
        self.wires.put(session, &peer).await;
        Ok(Answer { status, body, endpoint })
    }
}

async fn exchange(
    session: &mut HttpSession,
    head: &RequestHeader,
    body: &Bytes,
    (tls, bytes_max): (bool, usize),
) -> Result<(StatusCode, Bytes)> {
    let body = Some(body.clone()).filter(|it| !it.is_empty());
    upstream::ask(session, Box::new(head.clone()), body, tls).await?;
    let silent = || Error::explain(ErrorType::InvalidHTTPHeader, "no head");
    let status = session.response_header().map(|it| it.status).ok_or_else(silent)?;
    let mut whole = BytesMut::new();
    while !session.response_done() {
        let Some(chunk) = session.read_response_body().await? else { break };
        if whole.len() + chunk.len() > bytes_max {
            return Error::e_explain(ErrorType::ReadError, format!("the answer is larger than {bytes_max} bytes"));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok((status, whole.freeze()))
}
