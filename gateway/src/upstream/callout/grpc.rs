//! One unary call of gRPC, over the connection that all calls to its endpoint share.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use filters::Facts;
use filters::callout::{ANSWER_BYTES_MAX, Fault};
use h2::Reason;
use h2::client::ResponseFuture;
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use pingora_http::RequestHeader;
use prost::Message;
use protocols::grpc;

use super::line::Line;
use super::{ATTEMPTS_MAX, Callouts};
use crate::upstream::{Lease, Outcome};

/// What precedes a message: whether it is compressed, and its length.
pub(super) const PREFIX: usize = 5;

/// A try that gave no answer.
struct Miss {
    fault: Fault,
    /// Nothing was connected to.
    unconnected: bool,
    /// The server has not begun to look at the question, or cannot be known to have: it may be asked
    /// again.
    again: bool,
}

/// Asks with a message behind its prefix, and gives back the bytes of the one message of the answer.
pub(super) async fn unary(
    callouts: &Callouts,
    line: &Line,
    method: &'static str,
    frame: Bytes,
    facts: &Facts,
) -> Result<Bytes, Fault> {
    let changed = if line.changes() { Some(changed(line, method, facts)?) } else { None };
    let head = changed.as_ref().map_or_else(|| line.head(method), Ok)?;
    let health = line.effective.health();
    let mut tried = Vec::new();
    for left in (0..ATTEMPTS_MAX).rev() {
        let drawn = line.cluster.draw(&tried, None, health, line.template.connect_timeout()).await;
        let lease = drawn.map_err(|fault| Fault::Unreachable(fault.to_string()))?;
        let begun = Instant::now();
        let asked = attempt(callouts, line, &lease, head.clone(), frame.clone()).await;
        let miss = match asked {
            Ok(answer) => {
                let outcome = Outcome { ok: true, latency: Some(begun.elapsed()), ..Outcome::default() };
                lease.report(outcome, health);
                return Ok(answer);
            }
            Err(miss) => miss,
        };
        let outcome = if miss.unconnected { Outcome::unreachable() } else { Outcome::default() };
        lease.report(outcome, health);
        let everywhere = miss.unconnected && tried.contains(&lease.id());
        if !miss.again || everywhere || left == 0 {
            return Err(miss.fault);
        }
        if miss.unconnected {
            tried.push(lease.id());
        }
    }
    Err(Fault::Unreachable("no attempt was made".to_owned()))
}

/// The message behind its prefix.
pub(super) fn frame<M: Message>(message: &M) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Only a buffer of fixed size can be full.
    let _ = message.encode(&mut frame);
    frame.freeze()
}

/// The head of each call of a method that nothing changes.
///
/// # Errors
/// The method is no path.
pub(super) fn head(tls: bool, authority: Authority, method: &'static str) -> Result<Request<()>, Fault> {
    let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(method).build();
    let mut head = Request::new(());
    *head.uri_mut() = uri.map_err(|error| Fault::Broken(error.to_string()))?;
    *head.method_mut() = Method::POST;
    *head.version_mut() = Version::HTTP_2;
    let headers = head.headers_mut();
    headers.reserve(3);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("agentgateway/", env!("CARGO_PKG_VERSION"))));
    Ok(head)
}

/// The head as the operator wants it changed.
#[inline(never)]
fn changed(line: &Line, method: &'static str, facts: &Facts) -> Result<Request<()>, Fault> {
    let mut changed = RequestHeader::from(line.head(method)?.clone().into_parts().0);
    line.change(&mut changed, None, facts)?;
    let host = changed.remove_header(&HOST);
    let mut parts: http::request::Parts = changed.into();
    if let Some(authority) = host.and_then(|it| Authority::try_from(it.as_bytes()).ok()) {
        let mut uri = parts.uri.into_parts();
        uri.authority = Some(authority);
        parts.uri = Uri::from_parts(uri).map_err(|error| Fault::Broken(error.to_string()))?;
    }
    Ok(Request::from_parts(parts, ()))
}

async fn attempt(
    callouts: &Callouts,
    line: &Line,
    lease: &Lease,
    head: Request<()>,
    frame: Bytes,
) -> Result<Bytes, Miss> {
    let connection = match callouts.channels.at_hand(&line.template, lease) {
        Some(open) => open,
        None => {
            // Boxed: every call would carry the room that dialling takes.
            let dialled = Box::pin(callouts.channels.connect(&line.template, lease)).await;
            dialled.map_err(|fault| Miss { fault, unconnected: true, again: true })?
        }
    };
    let unsent = |error: h2::Error| {
        connection.give_up();
        Miss { fault: Fault::Unreachable(error.to_string()), unconnected: false, again: true }
    };
    let mut sender = connection.sender.clone().ready().await.map_err(unsent)?;
    let (response, mut body) = sender.send_request(head, false).map_err(unsent)?;
    body.send_data(frame, true).map_err(unsent)?;
    read(response).await.map_err(|cut| match cut {
        Cut::Said(fault) => Miss { fault, unconnected: false, again: false },
        Cut::Broken(error) => {
            let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
            let leaving = error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
            if !error.is_reset() {
                connection.give_up();
            }
            // A connection that stood idle may have died long before it was used.
            let again = refused || leaving || (connection.reused && error.is_io());
            let fault = if error.is_io() || again {
                Fault::Unreachable(error.to_string())
            } else {
                Fault::Garbage(error.to_string())
            };
            Miss { fault, unconnected: false, again }
        }
    })
}

/// How reading an answer ends early.
enum Cut {
    /// By what it says.
    Said(Fault),
    /// By the connection.
    Broken(h2::Error),
}

impl From<h2::Error> for Cut {
    fn from(error: h2::Error) -> Self {
        Self::Broken(error)
    }
}

async fn read(response: ResponseFuture) -> Result<Bytes, Cut> {
    let garbage = |why: &str| Cut::Said(Fault::Garbage(why.to_owned()));
    let (head, mut body) = response.await?.into_parts();
    if head.status != StatusCode::OK {
        let code = grpc::Code::from_http(head.status.as_u16()) as u16;
        return Err(Cut::Said(Fault::refused(code, &format!("HTTP status {}", head.status.as_u16()))));
    }
    let told = status(&head.headers).map_err(Cut::Said)?;
    if told.is_none() && !head.headers.get(CONTENT_TYPE).is_some_and(|it| grpc::is_grpc(it.as_bytes())) {
        return Err(garbage("its content-type is not that of gRPC"));
    }
    let mut answer = Bytes::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let length = chunk.len();
        if answer.len() + length > ANSWER_BYTES_MAX + PREFIX {
            return Err(Cut::Said(Fault::TooLarge));
        }
        answer = if answer.is_empty() { chunk } else { [answer, chunk].concat().into() };
        body.flow_control().release_capacity(length)?;
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    if told.or(status(&trailers).map_err(Cut::Said)?).is_none() {
        return Err(garbage("it has no grpc-status"));
    }
    message(answer).map_err(garbage)
}

/// `Some` where the call succeeded, `None` where nothing is said.
fn status(headers: &HeaderMap) -> Result<Option<()>, Fault> {
    let Some(status) = headers.get("grpc-status") else { return Ok(None) };
    let code = status.to_str().ok().and_then(|it| it.parse::<u16>().ok());
    match code {
        Some(0) => Ok(Some(())),
        Some(code) => {
            let message = headers.get("grpc-message").and_then(|it| it.to_str().ok()).unwrap_or_default();
            Err(Fault::refused(code, &grpc::decode_message(message)))
        }
        None => Err(Fault::Garbage("its grpc-status is not a number".to_owned())),
    }
}

/// The one message, taken out of its frame.
fn message(mut answer: Bytes) -> Result<Bytes, &'static str> {
    if answer.len() < PREFIX {
        return Err("it has no message");
    }
    let prefix = answer.split_to(PREFIX);
    let length = prefix.get(1..).and_then(|it| it.try_into().ok()).map_or(0, u32::from_be_bytes);
    match prefix.first() {
        Some(0) if length as usize == answer.len() => Ok(answer),
        Some(0) => Err("its length is not that of its message"),
        _ => Err("it is compressed, which was not asked for"),
    }
}
