//! The authorization request over HTTP, and what its answer comes to.

use bytes::Bytes;
use http::HeaderValue;
use http::header::{HOST, LOCATION, SET_COOKIE};
use http::uri::PathAndQuery;
use pingora_http::RequestHeader;

use super::filter::{Miss, Outcome};
use super::policy::{Failure, Http, Policy};
use crate::callout::{Allowed, Fault, HeaderChange, Headers, How, HttpAnswer, HttpRequest, Kind, is_ours};
use crate::expr::{self, Expression, Inputs};
use crate::{Exchange, Reason, Reply};

/// Says whether the body sent is all of it.
const PARTIAL: &str = "x-envoy-auth-partial-body";

impl Policy {
    /// `body`: what is sent of it, and whether there is more.
    pub(super) async fn ask_http(
        &self,
        http: &Http,
        exchange: &Exchange<'_>,
        body: Option<(Bytes, bool)>,
    ) -> Result<Outcome, Miss> {
        let request = self.question(http, exchange, body)?;
        let answer = exchange.outside.callout().http(&self.target, Kind::ExtAuthz, request).await?;
        match (answer.status, &http.redirect) {
            (200..=299, _) => Ok(Outcome::Allowed(http.taken(&answer, exchange))),
            (401 | 403, Some(redirect)) => Ok(Outcome::Answered(elsewhere(redirect, &answer, exchange)?)),
            (500.., _) if self.failure == Failure::Allow => Err(Fault::refused(answer.status, "HTTP").into()),
            _ => Ok(Outcome::Answered(verbatim(answer))),
        }
    }

    fn question<'a>(
        &self,
        http: &Http,
        exchange: &'a Exchange<'_>,
        body: Option<(Bytes, bool)>,
    ) -> Result<HttpRequest<'a>, Miss> {
        let asked = &exchange.request;
        let inputs = exchange.inputs();
        let path = match &http.path {
            Some(it) => text("path", it, &inputs)?,
            None => asked.uri.path_and_query().map_or("/", |it| it.as_str()).to_owned(),
        };
        if !path.starts_with('/') || path.parse::<PathAndQuery>().is_err() {
            return Err(Miss::Expression("path: not a path that begins with `/`".to_owned()));
        }
        let mut head = RequestHeader::build(asked.method.clone(), path.as_bytes(), None).map_err(broken)?;
        for name in self.told(asked) {
            for value in asked.headers.get_all(&*name) {
                head.append_header(name.clone(), value.clone()).map_err(broken)?;
            }
        }
        if let Some(authority) = asked.uri.authority().filter(|_| self.tells_host()) {
            let host = HeaderValue::from_str(authority.as_str()).map_err(broken)?;
            head.insert_header(HOST, host).map_err(broken)?;
        }
        for (name, it) in &http.request_headers {
            let value = it.evaluate(&inputs).ok();
            let value = value.and_then(|it| HeaderValue::from_bytes(&it.to_header()?).ok());
            if let Some(value) = value {
                head.insert_header(name.clone(), value).map_err(broken)?;
            }
        }
        let body = match (&http.body, body) {
            (Some(it), _) => {
                let value = it.evaluate(&inputs).and_then(|it| it.to_body());
                value.map_err(|error| Miss::Expression(format!("body: {}", it.explain(&error))))?.into()
            }
            (None, None) => Bytes::new(),
            (None, Some((bytes, partial))) => {
                head.insert_header(PARTIAL, if partial { "true" } else { "false" }).map_err(broken)?;
                bytes
            }
        };
        Ok(HttpRequest { head: Box::new(head), body, facts: exchange.facts })
    }

    /// Names of headers that are sent; framing is the call's own.
    fn told(&self, head: &RequestHeader) -> Vec<String> {
        let fits = |name: &str| name.parse().is_ok_and(|name| !is_ours(&name));
        match &self.headers {
            Headers::All => head.headers.keys().map(|it| it.as_str().to_owned()).filter(|it| fits(it)).collect(),
            Headers::These { names } => names.iter().filter(|it| fits(it)).cloned().collect(),
        }
    }

    fn tells_host(&self) -> bool {
        match &self.headers {
            Headers::All => true,
            Headers::These { names } => names.iter().any(|it| it == "host" || it == ":authority"),
        }
    }
}

impl Http {
    /// The headers that replace those of the request: a client cannot speak in the server's place.
    fn taken(&self, answer: &HttpAnswer, exchange: &Exchange<'_>) -> Allowed {
        let mut allowed = Allowed::default();
        for name in &self.response_headers {
            allowed.remove.push(name.as_str().to_owned());
            for value in answer.headers.get_all(name) {
                let value = Bytes::copy_from_slice(value.as_bytes());
                allowed.request.push(HeaderChange { name: name.as_str().to_owned(), value, how: How::Append });
            }
        }
        if !self.metadata.is_empty() {
            let response = expr::Response { code: answer.status, grpc_status: None, headers: Some(&answer.headers) };
            let response_body = Some(expr::Body { bytes: &answer.body, truncated: false });
            let inputs = Inputs { response: Some(response), response_body, ..exchange.inputs() };
            for (name, it) in &self.metadata {
                if let Some(value) = it.evaluate(&inputs).ok().and_then(|it| it.into_json().ok()) {
                    allowed.metadata.insert(name.to_string(), value);
                }
            }
        }
        allowed
    }
}

fn text(what: &str, it: &Expression, inputs: &Inputs<'_>) -> Result<String, Miss> {
    match it.evaluate(inputs) {
        Ok(value) => match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(Miss::Expression(format!("{what}: not a text"))),
        },
        Err(error) => Err(Miss::Expression(format!("{what}: {}", it.explain(&error)))),
    }
}

/// Sends the client to where it can prove itself. Cookies of the server go along: they are how it knows
/// the client again.
fn elsewhere(redirect: &Expression, answer: &HttpAnswer, exchange: &Exchange<'_>) -> Result<Reply, Miss> {
    let location = text("redirect", redirect, &exchange.inputs())?;
    let location =
        HeaderValue::from_str(&location).map_err(|_| Miss::Expression("redirect: not a header value".to_owned()))?;
    let cookies = answer.headers.get_all(SET_COOKIE).iter().map(|it| (SET_COOKIE, it.clone()));
    let headers = [(LOCATION, location)].into_iter().chain(cookies).collect();
    Ok(Reply { status: 302, headers, body: Bytes::new(), reason: Reason::ExtAuth })
}

/// The server's own answer, for the client. What belonged to its connection is gone already.
fn verbatim(answer: HttpAnswer) -> Reply {
    let HttpAnswer { status, headers, body } = answer;
    let own = headers.iter().filter(|(name, _)| !is_ours(name));
    let headers = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    Reply { status, headers, body, reason: Reason::ExtAuth }
}

fn broken(error: impl std::fmt::Display) -> Miss {
    Miss::Fault(Fault::Broken(error.to_string()))
}
