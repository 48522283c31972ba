//! Tokens of MCP clients as judged, request by request.

use http::HeaderValue;
use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use ir::Text;
use pingora_http::RequestHeader;
use serde_json::{Map, Value, json};

use super::document::REQUEST_BYTES_MAX;
use super::place::{self, Place, Wish};
use super::policy::Policy;
use crate::expr::Inputs;
use crate::jwt::Fault;
use crate::jwt_auth::Judged;
use crate::{Exchange, Facts, Reason, Reply, Verdict, Wanted};

impl Policy {
    /// How much of the body a request's judgement takes: registrations alone have one that is read.
    pub fn wanted(&self, request: &RequestHeader) -> Wanted {
        match Place::of(request.uri.path()) {
            Some(Place { wish: Wish::Registration | Wish::Token, .. }) if request.method == http::Method::POST => {
                Wanted::Beyond(REQUEST_BYTES_MAX)
            }
            _ => Wanted::Nothing,
        }
    }

    /// The verdict on all but what is asked for beside the endpoint itself.
    pub fn on_request(&self, exchange: &mut Exchange<'_>) -> Option<Verdict> {
        if Place::of(exchange.request.uri.path()).is_some() {
            return None;
        }
        let fault = match self.jwt.judge(exchange) {
            Judged::Accepted => return Some(self.scoped(exchange)),
            Judged::Passed => return Some(Verdict::Continue),
            Judged::Missing => None,
            Judged::Refused(fault) => Some(fault),
        };
        let place = self.document_of(exchange.request, exchange.facts, exchange.request.uri.path());
        Some(Verdict::Reply(self.unauthorized(place.as_deref(), fault)))
    }

    /// What is asked for beside the endpoint itself.
    pub async fn in_time(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let path = exchange.request.uri.path().to_owned();
        match Place::of(&path) {
            Some(place) => Verdict::Reply(self.serve(place, exchange).await),
            None => Verdict::Continue,
        }
    }

    fn scoped(&self, exchange: &Exchange<'_>) -> Verdict {
        let missing = self.lacks(exchange.facts, &self.required_scopes);
        if !missing {
            return Verdict::Continue;
        }
        let path = exchange.request.uri.path();
        let reply = self.insufficient((exchange.request, exchange.facts, path), &self.required_scopes);
        Verdict::Reply(reply)
    }

    /// The scopes that a message needs beyond those its token has; `None` where it has all.
    pub fn step_up(&self, facts: &Facts, inputs: &Inputs<'_>) -> Option<Vec<Text>> {
        let needed: Vec<Text> = self
            .step_up
            .iter()
            // What cannot be told is taken for true.
            .filter(|it| it.when.holds(inputs) != Ok(false))
            .flat_map(|it| it.scopes.iter().cloned())
            .collect();
        self.lacks(facts, &needed).then(|| {
            let mut all: Vec<Text> = self.required_scopes.iter().cloned().chain(needed).collect();
            all.sort();
            all.dedup();
            all
        })
    }

    fn lacks(&self, facts: &Facts, needed: &[Text]) -> bool {
        let nothing = Map::new();
        let claims = facts.identity.jwt.as_ref().map_or(&nothing, |it| &it.claims);
        !needed.iter().all(|scope| has(claims, scope))
    }

    /// 403: another token would do (RFC 6750 section 3.1). `path` is the endpoint's, as the client wrote it.
    pub fn insufficient(&self, (request, facts, path): (&RequestHeader, &Facts, &str), scopes: &[Text]) -> Reply {
        let place = self.document_of(request, facts, path);
        let text = "the token lacks a scope that is required";
        let challenge = challenge(place.as_deref(), Some(("insufficient_scope", text)), scopes);
        reply(403, challenge, ("insufficient_scope", text))
    }

    fn unauthorized(&self, place: Option<&str>, fault: Option<Fault>) -> Reply {
        if fault == Some(Fault::KeysPending) {
            let mut reply = Reply::text(503, Reason::JwtAuth, "the keys of the token's issuer are not there yet\n");
            reply.headers.push((RETRY_AFTER, HeaderValue::from_static("1")));
            return reply;
        }
        let text = fault.map_or("no token", Fault::text);
        let error = fault.map(|_| ("invalid_token", text));
        reply(401, challenge(place, error, &self.required_scopes), ("unauthorized", text))
    }

    fn document_of(&self, request: &RequestHeader, facts: &Facts, path: &str) -> Option<String> {
        Some(place::resource_document(&place::base(request, facts.tls)?, path))
    }
}

/// Whether a token has a scope: of `scope` in one text (RFC 9068), or of `scp` in a list or a text.
fn has(claims: &Map<String, Value>, scope: &str) -> bool {
    ["scope", "scp"].iter().filter_map(|it| claims.get(*it)).any(|it| match it {
        Value::String(text) => text.split(' ').any(|it| it == scope),
        Value::Array(list) => list.iter().any(|it| it == scope),
        _ => false,
    })
}

fn challenge(place: Option<&str>, error: Option<(&str, &str)>, scopes: &[Text]) -> String {
    let mut parts = Vec::new();
    if let Some((error, text)) = error {
        parts.push(format!(r#"error="{error}", error_description="{text}""#));
    }
    if !scopes.is_empty() {
        parts.push(format!(r#"scope="{}""#, scopes.iter().map(|it| &**it).collect::<Vec<_>>().join(" ")));
    }
    if let Some(place) = place {
        parts.push(format!(r#"resource_metadata="{place}""#));
    }
    if parts.is_empty() {
        return r#"Bearer realm="gateway""#.to_owned();
    }
    format!("Bearer {}", parts.join(", "))
}

fn reply(status: u16, challenge: String, (error, text): (&str, &str)) -> Reply {
    let body = json!({"error": error, "error_description": text}).to_string();
    let mut headers = vec![
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        // Clients in browsers have to see where to go.
        (ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("WWW-Authenticate")),
    ];
    headers.extend(HeaderValue::try_from(challenge).ok().map(|it| (WWW_AUTHENTICATE, it)));
    Reply { status, headers, body: body.into(), reason: Reason::JwtAuth }
}
