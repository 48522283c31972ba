//! One request of HTTP, through Pingora's connector: the version, pool and TLS terms are those that
//! traffic to the same backend has.

use std::time::Instant;

use filters::callout::{ANSWER_BYTES_MAX, Fault, HttpAnswer, HttpRequest};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, Method};
use pingora_core::protocols::http::client::HttpSession;
use pingora_error::ErrorType;
use protocols::http::hop;

use super::line::Line;
use super::{ATTEMPTS_MAX, Callouts};
use crate::upstream::wires::fit;
use crate::upstream::{Lease, Outcome, Wanted};

/// Interim answers that are passed over.
const INTERIM_MAX: usize = 8;

/// A try that gave no answer.
struct Miss {
    fault: Fault,
    unconnected: bool,
    /// A pooled connection was found dead.
    stale: bool,
}

pub(super) async fn send(callouts: &Callouts, line: &Line, mut request: HttpRequest<'_>) -> Result<HttpAnswer, Fault> {
    prepare(line, &mut request)?;
    let health = line.effective.health();
    let mut tried = Vec::new();
    for left in (0..ATTEMPTS_MAX).rev() {
        let drawn = line.cluster.draw(&tried, None, health, line.template.connect_timeout()).await;
        let lease = drawn.map_err(|fault| Fault::Unreachable(fault.to_string()))?;
        let begun = Instant::now();
        let miss = match Box::pin(attempt(callouts, line, &lease, &request)).await {
            Ok(answer) => {
                lease.report(Outcome::judge(answer.status, begun.elapsed()), health);
                return Ok(answer);
            }
            Err(miss) => miss,
        };
        let outcome = if miss.unconnected { Outcome::unreachable() } else { Outcome::default() };
        lease.report(outcome, health);
        let everywhere = miss.unconnected && tried.contains(&lease.id());
        if !(miss.unconnected || miss.stale) || everywhere || left == 0 {
            return Err(miss.fault);
        }
        if miss.unconnected {
            tried.push(lease.id());
        }
    }
    Err(Fault::Unreachable("no attempt was made".to_owned()))
}

/// Writes what the server is called, what the operator wants changed, and how long the body is.
fn prepare(line: &Line, request: &mut HttpRequest<'_>) -> Result<(), Fault> {
    let HttpRequest { head, body, facts } = request;
    let broken = |error: Box<pingora_error::Error>| Fault::Broken(error.to_string());
    if !head.headers.contains_key(HOST) {
        head.insert_header(HOST, line.host()).map_err(broken)?;
    }
    if line.changes() {
        line.change(head, Some(body), facts)?;
    }
    let bodiless = matches!(head.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS);
    if !body.is_empty() || !bodiless {
        head.insert_header(CONTENT_LENGTH, body.len()).map_err(broken)?;
    }
    Ok(())
}

async fn attempt(
    callouts: &Callouts,
    line: &Line,
    lease: &Lease,
    request: &HttpRequest<'_>,
) -> Result<HttpAnswer, Miss> {
    let peer = line.template.peer(lease, Wanted::default());
    let body = !request.body.is_empty();
    let (mut session, reused) = callouts.wires.take(&peer, body).await.map_err(|error| Miss {
        fault: Fault::Unreachable(error.to_string()),
        unconnected: true,
        stale: false,
    })?;
    let exchanged = converse(&mut session, line, request).await;
    let answer = exchanged.map_err(|cut| match cut {
        Cut::Said(fault) => Miss { fault, unconnected: false, stale: false },
        Cut::Broken(error, unanswered) => {
            let fault = match error.etype {
                ErrorType::InvalidHTTPHeader | ErrorType::InvalidH2 => Fault::Garbage(error.to_string()),
                _ => Fault::Unreachable(error.to_string()),
            };
            Miss { fault, unconnected: false, stale: reused && unanswered }
        }
    });
    match answer {
        Ok(answer) => {
            callouts.wires.put(session, &peer).await;
            Ok(answer)
        }
        Err(miss) => {
            session.shutdown().await;
            Err(miss)
        }
    }
}

/// How an exchange ends early.
enum Cut {
    Said(Fault),
    /// `true`: no byte of an answer had come.
    Broken(Box<pingora_error::Error>, bool),
}

async fn converse(session: &mut HttpSession, line: &Line, request: &HttpRequest<'_>) -> Result<HttpAnswer, Cut> {
    let unanswered = |error| Cut::Broken(error, true);
    let mut head = Box::new((*request.head).clone());
    fit(session, &mut head, line.template.is_tls()).map_err(|error| Cut::Said(Fault::Broken(error.to_string())))?;
    session.write_request_header(head).await.map_err(unanswered)?;
    if !request.body.is_empty() {
        session.write_request_body(request.body.clone(), true).await.map_err(unanswered)?;
    }
    session.finish_request_body().await.map_err(unanswered)?;
    let mut interim = 0;
    let (status, headers) = loop {
        session.read_response_header().await.map_err(unanswered)?;
        let Some(head) = session.response_header() else {
            return Err(Cut::Said(Fault::Garbage("it has no head".to_owned())));
        };
        let status = head.status.as_u16();
        if status >= 200 {
            break (status, head.headers.clone());
        }
        interim += 1;
        // 101 is not asked for.
        if status == 101 || interim > INTERIM_MAX || matches!(session, HttpSession::H2(_)) {
            return Err(Cut::Said(Fault::Garbage(format!("status {status}"))));
        }
    };
    let body = body(session).await?;
    Ok(HttpAnswer { status, headers: end_to_end(headers), body: body.into() })
}

async fn body(session: &mut HttpSession) -> Result<Vec<u8>, Cut> {
    let mut body = Vec::new();
    while !session.response_done() {
        let chunk = session.read_response_body().await.map_err(|error| Cut::Broken(error, false))?;
        let Some(chunk) = chunk else { break };
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Cut::Said(Fault::TooLarge));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Without what belongs to the connection that the answer came on.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let mut gone = Vec::new();
    hop::to_remove(&headers, false, |name| gone.push(name));
    for name in gone {
        headers.remove(name);
    }
    headers.remove(CONTENT_LENGTH);
    headers
}
