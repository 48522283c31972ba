//! Transformations as run.
//!
//! Writing a header fails only where the map is full, which the limit on heads rules out long before.

use http::HeaderValue;
use http::header::{CONTENT_LENGTH, HOST, UPGRADE};

use super::apply::{self, Changes, FRAMING};
use super::policy::{Part, Policy, Transform};
use crate::exchange::Answer;
use crate::{Exchange, Reason, Reply, Verdict, destination};

/// What the client may read of a failure; the log has more.
const REFUSED: &str = "the request could not be transformed\n";
/// Why the body of a gRPC call, for one, cannot be set.
const STREAMS: &str = "`body`: the request streams, nobody holds its body";
/// As above.
const NOT_ANSWERED: &str = "the response could not be transformed\n";

impl Policy {
    /// At gateway or route phase.
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Some(transform) = &self.request else { return Verdict::Continue };
        verdict(transform.request(exchange, Step::Phase), exchange)
    }

    /// For an attempt at a backend: the body was transformed before the first.
    pub fn on_attempt(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Some(transform) = &self.request else { return Verdict::Continue };
        verdict(transform.request(exchange, Step::Attempt), exchange)
    }

    /// The body of a backend's own transformation, once.
    pub fn on_body(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Some(transform) = self.request.as_ref().filter(|it| it.body.is_some()) else { return Verdict::Continue };
        verdict(transform.body_only(exchange), exchange)
    }

    /// # Errors
    /// What the log says where the response may not pass.
    pub fn on_response(&self, answer: &mut Answer<'_>) -> Result<(), Reply> {
        let Some(transform) = &self.response else { return Ok(()) };
        transform.response(answer).map_err(|reason| {
            answer.facts.fault = Some(reason);
            Reply::text(502, Reason::Transformation, NOT_ANSWERED)
        })
    }
}

/// When a request is transformed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// At gateway or route phase: all of it.
    Phase,
    /// For an attempt: the copy of the head that goes out.
    Attempt,
}

fn verdict(outcome: Result<(), String>, exchange: &mut Exchange<'_>) -> Verdict {
    match outcome {
        Ok(()) => Verdict::Continue,
        Err(reason) => {
            exchange.facts.fault = Some(reason);
            Verdict::Reply(Reply::text(500, Reason::Transformation, REFUSED))
        }
    }
}

impl Transform {
    fn request(&self, exchange: &mut Exchange<'_>, step: Step) -> Result<(), String> {
        self.remember(exchange);
        let with_body = step == Step::Phase && self.body.is_some() && !exchange.request.headers.contains_key(UPGRADE);
        let changes = {
            let facts = &*exchange.facts;
            if with_body && facts.body.held().is_none() {
                return Err(STREAMS.to_owned());
            }
            Changes::of(self, &facts.inputs(exchange.request), with_body)?
        };
        let Changes { headers, add, set, body } = changes;
        let Exchange { request, facts, .. } = exchange;
        if let Some(headers) = headers {
            let gone: Vec<_> = request.headers.keys().filter(|name| !apply::stays(name)).cloned().collect();
            for name in gone {
                request.remove_header(&name);
            }
            for (name, value) in &headers {
                let _ = request.append_header(name, value.clone());
            }
        }
        for (name, value) in add {
            let _ = request.append_header(name, value);
        }
        for (part, value) in set {
            match (part, value) {
                (Part::Header(name), Some(value)) => drop(request.insert_header(name, value)),
                (Part::Header(name), None) => drop(request.remove_header(&name)),
                (Part::Authority, Some(value)) => {
                    if step == Step::Phase {
                        // Routes are selected by it where this is the gateway phase.
                        facts.host = apply::host(&value);
                        facts.upstream_host = Some(value.clone());
                    }
                    let _ = request.insert_header(HOST, value);
                }
                (Part::Method, Some(value)) => {
                    if let Some(method) = apply::method(&value).filter(|_| apply::is_ordinary(&request.method)) {
                        request.set_method(method);
                    }
                }
                (Part::Path, Some(value)) => {
                    if let Some(target) = apply::target(&value) {
                        destination::set_target(request, target);
                    }
                }
                (_, None) | (Part::Status, _) => {}
            }
        }
        for name in &self.remove {
            request.remove_header(name);
        }
        if let Some(body) = body {
            self.new_body(exchange, body);
        }
        Ok(())
    }

    fn body_only(&self, exchange: &mut Exchange<'_>) -> Result<(), String> {
        if exchange.request.headers.contains_key(UPGRADE) {
            return Ok(());
        }
        self.remember(exchange);
        let only = Self { body: self.body.clone(), ..Self::default() };
        let facts = &*exchange.facts;
        if facts.body.held().is_none() {
            return Err(STREAMS.to_owned());
        }
        let changes = Changes::of(&only, &facts.inputs(exchange.request), true)?;
        if let Some(body) = changes.body {
            self.new_body(exchange, body);
        }
        Ok(())
    }

    fn remember(&self, exchange: &mut Exchange<'_>) {
        if self.metadata.is_empty() {
            return;
        }
        let values = apply::metadata(self, &exchange.facts.inputs(exchange.request));
        exchange.facts.metadata.get_or_insert_default().extend(values);
    }

    fn new_body(&self, exchange: &mut Exchange<'_>, bytes: bytes::Bytes) {
        let Exchange { request, facts, .. } = exchange;
        let Some(held) = facts.body.held_mut().filter(|it| it.bytes != bytes) else { return };
        held.bytes = bytes;
        held.replaced = true;
        for name in apply::outdated(self, &request.headers).into_iter().chain(FRAMING) {
            request.remove_header(&name);
        }
        let _ = request.insert_header(CONTENT_LENGTH, HeaderValue::from(held.bytes.len()));
    }

    fn response(&self, answer: &mut Answer<'_>) -> Result<(), String> {
        if !self.metadata.is_empty() {
            let values = apply::metadata(self, &answer.inputs());
            answer.facts.metadata.get_or_insert_default().extend(values);
        }
        let with_body = answer.body.is_some();
        let Changes { headers, add, set, body } = Changes::of(self, &answer.inputs(), with_body)?;
        let response = &mut *answer.response;
        if let Some(headers) = headers {
            let gone: Vec<_> = response.headers.keys().filter(|name| !apply::stays(name)).cloned().collect();
            for name in gone {
                response.remove_header(&name);
            }
            for (name, value) in &headers {
                let _ = response.append_header(name, value.clone());
            }
        }
        for (name, value) in add {
            let _ = response.append_header(name, value);
        }
        for (part, value) in set {
            match (part, value) {
                (Part::Header(name), Some(value)) => drop(response.insert_header(name, value)),
                (Part::Header(name), None) => drop(response.remove_header(&name)),
                (Part::Status, Some(value)) => {
                    if let Some(status) = apply::status(&value).filter(|_| apply::has_body(response.status)) {
                        let _ = response.set_status(status);
                    }
                }
                _ => {}
            }
        }
        for name in &self.remove {
            response.remove_header(name);
        }
        if let Some(bytes) = body
            && let Some(held) = answer.body.as_deref_mut()
            && *held != bytes
        {
            *held = bytes;
            for name in apply::outdated(self, &response.headers).into_iter().chain(FRAMING) {
                response.remove_header(&name);
            }
            let _ = response.insert_header(CONTENT_LENGTH, HeaderValue::from(held.len()));
        }
        Ok(())
    }
}
