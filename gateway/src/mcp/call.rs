//! One HTTP exchange with a server, over the gateway's own connections: its endpoints, its balancing, its TLS.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use protocols::sse::{Event, Reader};

use super::MESSAGE_BYTES_MAX;
use super::fault::Fault;
use super::federation::Endpoint;
use crate::upstream::{Affinity, Lease, Outcome, Wanted, Wires, ask};

/// Talks to servers.
#[derive(Default)]
pub(super) struct Caller {
    wires: Arc<Wires>,
}

/// How a request is sent.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// For the head of the answer.
    pub(super) deadline: Duration,
    /// It may be sent twice.
    pub(super) again: bool,
    /// Which endpoint it wants, always the same.
    pub(super) affinity: Option<u64>,
}

/// An answer whose head is there.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Body,
}

/// A body that is still to be read.
struct Body {
    /// It is large, and a body is passed on and on.
    session: Option<Box<HttpSession>>,
    peer: Box<HttpPeer>,
    wires: Arc<Wires>,
    /// Our side of the connection is closed.
    left: bool,
    /// Counted at its endpoint as long as it is read.
    _lease: Lease,
}

/// Events of an answer.
pub(super) struct HttpEvents {
    body: Body,
    reader: Reader,
    ready: VecDeque<Event>,
}

impl Caller {
    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        head: &RequestHeader,
        body: Option<Bytes>,
        terms: Terms,
    ) -> Result<Reply, Fault> {
        let Terms { deadline, again, affinity } = terms;
        let copy = || Box::new(head.clone());
        let exchange = async {
            let first = self.attempt(endpoint, copy(), body.clone(), affinity).await;
            match first {
                // A pooled connection that was closed meanwhile says nothing of the request.
                Err((Fault::Exchange(_), true)) if again => {
                    self.attempt(endpoint, copy(), body, affinity).await.map_err(|(fault, _)| fault)
                }
                first => first.map_err(|(fault, _)| fault),
            }
        };
        match tokio::time::timeout(deadline, Box::pin(exchange)).await {
            Ok(answered) => answered,
            Err(_) => Err(Fault::Deadline(deadline)),
        }
    }

    /// As [`Self::send`] for what may not be sent twice: nothing is copied for another attempt.
    pub(super) async fn send_once(
        &self,
        endpoint: &Endpoint,
        head: RequestHeader,
        body: Bytes,
        (deadline, affinity): (Duration, Option<u64>),
    ) -> Result<Reply, Fault> {
        let attempt = Box::pin(self.attempt(endpoint, Box::new(head), Some(body), affinity));
        match tokio::time::timeout(deadline, attempt).await {
            Ok(answered) => answered.map_err(|(fault, _)| fault),
            Err(_) => Err(Fault::Deadline(deadline)),
        }
    }

    /// The flag of the fault: the connection had been used before.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        head: Box<RequestHeader>,
        body: Option<Bytes>,
        affinity: Option<u64>,
    ) -> Result<Reply, (Fault, bool)> {
        let Endpoint { cluster, template, effective, .. } = endpoint;
        let affinity = affinity.map(Affinity::Hash);
        let lease = cluster.draw(&[], affinity, effective.health(), template.connect_timeout()).await;
        let lease = lease.map_err(|fault| (Fault::NoEndpoint(fault.to_string()), false))?;
        let peer = template.peer(&lease, Wanted::default());
        let begun = Instant::now();
        let broken = |error: Box<pingora_error::Error>, reused| (Fault::Exchange(error.to_string()), reused);
        let connected = self.wires.take(&peer, body.is_some()).await;
        let report = |outcome: Outcome| lease.report(outcome, effective.health());
        let (mut session, reused) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                report(Outcome { connect_failed: true, ..Outcome::default() });
                return Err(broken(error, false));
            }
        };
        let sent = ask(&mut session, head, body, template.is_tls()).await;
        match sent {
            Ok(()) => {
                let (status, headers) = session
                    .response_header()
                    .map(|head| (head.status, head.headers.clone()))
                    .ok_or((Fault::Silent, reused))?;
                report(Outcome::judge(status.as_u16(), begun.elapsed()));
                Ok(Reply {
                    status,
                    headers,
                    body: Body { session: Some(session), peer, wires: self.wires.clone(), left: false, _lease: lease },
                })
            }
            Err(error) => {
                if !reused {
                    report(Outcome::default());
                }
                Err(broken(error, reused))
            }
        }
    }
}

impl Reply {
    pub(super) fn is_type(&self, wanted: &str) -> bool {
        let value = self.headers.get(header::CONTENT_TYPE);
        value.is_some_and(|it| protocols::mcp::transport::is_type(it.as_bytes(), wanted))
    }

    /// The whole body.
    pub(super) async fn collect(mut self) -> Result<Bytes, Fault> {
        let mut first = None;
        let mut rest = BytesMut::new();
        while let Some(chunk) = self.body.chunk().await? {
            if rest.len() + chunk.len() > MESSAGE_BYTES_MAX {
                return Err(Fault::TooLarge(MESSAGE_BYTES_MAX));
            }
            if first.is_none() && rest.is_empty() {
                first = Some(chunk);
                continue;
            }
            if let Some(first) = first.take() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&chunk);
        }
        self.body.release().await;
        Ok(first.unwrap_or_else(|| rest.freeze()))
    }

    pub(super) fn events(self) -> HttpEvents {
        HttpEvents { body: self.body, reader: Reader::new(MESSAGE_BYTES_MAX), ready: VecDeque::new() }
    }

    /// Reads what is left, if it is little, so that the connection can be used again.
    pub(super) async fn discard(mut self) {
        let drained = async {
            for _ in 0..16 {
                match self.body.chunk().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return self.body.release().await,
                    Err(_) => return,
                }
            }
        };
        // What does not end is not worth a connection.
        let _ = tokio::time::timeout(Duration::from_millis(500), drained).await;
    }
}

impl Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(session) = self.session.as_mut() else { return Ok(None) };
        if session.response_done() {
            return Ok(None);
        }
        session.read_response_body().await.map_err(|error| Fault::Exchange(error.to_string()))
    }

    async fn release(&mut self) {
        if let Some(session) = self.session.take().filter(|_| !self.left) {
            self.wires.put(session, &self.peer).await;
        }
    }
}

impl HttpEvents {
    /// Closes our side of the connection, where it has two: a server that writes a stream ends it then. Of HTTP/2 there is
    /// no such half, and what was on its way would be lost with the whole.
    pub(super) async fn leave(&mut self) {
        if let Some(HttpSession::H1(session)) = self.body.session.as_deref_mut() {
            session.shutdown().await;
            self.body.left = true;
        }
    }

    /// The next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(chunk) = self.body.chunk().await? else {
                self.body.release().await;
                return Ok(None);
            };
            let Self { reader, ready, .. } = self;
            let read = reader.push(&chunk, &mut |event| ready.push_back(event));
            read.map_err(|fault| Fault::TooLarge(fault.0))?;
        }
    }
}
