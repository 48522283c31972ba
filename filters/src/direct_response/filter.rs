//! A fixed answer as run.

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::config::BODY_BYTES_MAX;
use super::policy::Policy;
use crate::expr::{Inputs, Value};
use crate::transformations::header_of;
use crate::{Exchange, Reason, Reply, Verdict, head};

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let mut reply = Reply {
            status: self.status,
            headers: self.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
            body: self.body.clone(),
            reason: Reason::DirectResponse,
        };
        if self.body_expression.is_none() && self.computed.is_empty() {
            return Verdict::Reply(reply);
        }
        let inputs = exchange.facts.inputs(exchange.request);
        for (name, expression) in &self.computed {
            if let Some(mut value) = header_of(expression, &inputs) {
                value.set_sensitive(head::is_secret(name));
                reply.headers.push((name.clone(), value));
            }
        }
        match self.body(&inputs) {
            Ok(None) => {}
            Ok(Some((body, kind))) => {
                if !body.is_empty() && !reply.headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
                    reply.headers.push((CONTENT_TYPE, HeaderValue::from_static(kind)));
                }
                reply.body = body;
            }
            Err(reason) => {
                exchange.facts.fault = Some(reason);
                return Verdict::Reply(Reply::text(500, Reason::Transformation, "the answer could not be made\n"));
            }
        }
        Verdict::Reply(reply)
    }

    /// The computed body, and what it is unless a header says so.
    fn body(&self, inputs: &Inputs<'_>) -> Result<Option<(Bytes, &'static str)>, String> {
        let Some(expression) = &self.body_expression else { return Ok(None) };
        let value = expression.evaluate(inputs);
        let kind = match &value {
            Ok(Value::String(_)) => "text/plain; charset=utf-8",
            Ok(Value::Bytes(_)) => "application/octet-stream",
            _ => "application/json",
        };
        let body = value.and_then(|value| value.to_body());
        let body = body.map_err(|error| format!("`bodyExpression`: {}", expression.explain(&error)))?;
        if body.len() > BODY_BYTES_MAX {
            return Err(format!("`bodyExpression`: gives more than {BODY_BYTES_MAX} bytes"));
        }
        Ok(Some((body.into(), kind)))
    }
}
