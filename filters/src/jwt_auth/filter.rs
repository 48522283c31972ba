//! Tokens as judged, request by request.

use http::HeaderValue;
use http::header::RETRY_AFTER;
use pingora_http::RequestHeader;

use super::policy::Policy;
use crate::credential::{Found, Mode};
use crate::jwt::Fault;
use crate::{Exchange, Reason, Reply, Verdict, credential};

const MISSING: &str = "no token";

/// What was found of a request's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Accepted,
    /// The request goes on without identity.
    Passed,
    Missing,
    Refused(Fault),
}

impl Policy {
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        match self.judge(exchange) {
            Judged::Accepted | Judged::Passed => Verdict::Continue,
            Judged::Missing => refuse(None),
            Judged::Refused(fault) => refuse(Some(fault)),
        }
    }

    /// Judges the token and says who it is from.
    pub fn judge(&self, exchange: &mut Exchange<'_>) -> Judged {
        let Exchange { request, facts, outside } = exchange;
        for header in &self.headers {
            credential::scrub(&header.name, request);
        }
        // A token that an earlier phase took out of the request is judged anew, by the terms of this one.
        let earlier = facts.identity.jwt.clone();
        let earlier = earlier.as_ref().and_then(|it| std::str::from_utf8(it.token.expose()).ok());
        let judged = match (self.location.find(request, facts), earlier) {
            (Found::Nothing, None) if self.mode == Mode::Strict => return Judged::Missing,
            (Found::Nothing, None) => return Judged::Passed,
            (Found::Nothing, Some(token)) => self.state.get(self).verify(token, outside.now()),
            (Found::One(token), _) => self.state.get(self).verify(&token, outside.now()),
            (Found::Unclear, _) => Err(Fault::Malformed),
        };
        match judged {
            Ok(accepted) => {
                facts.identity.jwt = Some(accepted.jwt.clone());
                if !self.forward {
                    self.location.strip(request);
                }
                write(&accepted.headers, request);
                Judged::Accepted
            }
            Err(_) if self.mode == Mode::Permissive => Judged::Passed,
            Err(fault) => Judged::Refused(fault),
        }
    }
}

fn write(headers: &[(http::HeaderName, HeaderValue)], request: &mut RequestHeader) {
    for (name, value) in headers {
        // Fails only where the header map is full, which the limit on heads rules out.
        let _ = request.insert_header(name.clone(), value.clone());
    }
}

/// RFC 6750 section 3: no error code where nothing was sent.
fn refuse(fault: Option<Fault>) -> Verdict {
    let text = fault.map_or(MISSING, Fault::text);
    if fault == Some(Fault::KeysPending) {
        let mut reply = Reply::text(503, Reason::JwtAuth, format!("{text}\n"));
        reply.headers.push((RETRY_AFTER, HeaderValue::from_static("1")));
        return Verdict::Reply(reply);
    }
    let challenge = match fault {
        None => "Bearer realm=\"gateway\"".to_owned(),
        Some(_) => format!("Bearer realm=\"gateway\", error=\"invalid_token\", error_description=\"{text}\""),
    };
    let challenge = HeaderValue::try_from(challenge).expect("texts of faults are visible ASCII without quotes");
    Verdict::Reply(Reply::unauthorized(Reason::JwtAuth, challenge, format!("{text}\n")))
}
