//! Where in a request a credential stands, and what happens where it is missing or wrong.
//!
//! Shared by the authentication policies. A location is read exactly: a header that is there twice
//! is not "the first one", because whoever reads behind us may take the last. A credential that was
//! used is taken out of the request unless the policy forwards it.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderName, HeaderValue, Uri};
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::expr::{Expression, Inputs, Needs, Request, Vocabulary};
use crate::{Facts, Scope, head};

/// What a policy does where the credential is missing or wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AuthenticationMode")]
pub enum Mode {
    /// A valid credential is required.
    #[default]
    Strict,
    /// A request without credential goes on without identity; a wrong one is refused.
    Optional,
    /// Nothing is refused: a wrong credential counts as none. Let authorization decide.
    Permissive,
}

/// Where a credential is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AuthorizationLocation")]
pub enum Config {
    /// In a request header.
    Header(HeaderConfig),
    /// In a parameter of the query. Queries are logged in many places: prefer a header.
    QueryParameter(NameConfig),
    /// In a cookie.
    Cookie(NameConfig),
    /// The text that a CEL expression gives; an error counts as no credential. It cannot be taken out
    /// of the request.
    Expression(String),
}

/// A header, and what precedes the credential in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AuthorizationHeader")]
pub struct HeaderConfig {
    /// Name of the header.
    pub name: String,
    /// What precedes the credential, such as `Bearer `; upper and lower case are the same.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// The name of a parameter or cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AuthorizationName")]
pub struct NameConfig {
    /// The name.
    pub name: String,
}

/// A location as understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Location {
    Header {
        #[serde(serialize_with = "written")]
        name: HeaderName,
        prefix: Box<str>,
    },
    QueryParameter(Box<str>),
    Cookie(Box<str>),
    Expression(Expression),
}

/// What stands at a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Nothing,
    One(Cow<'a, str>),
    /// There twice, or not text.
    Unclear,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Location> {
        match self {
            Self::Header(HeaderConfig { name, prefix }) => scope.at("header", |scope| {
                let name = scope.check("name", head::parse_name(&name));
                let prefix = prefix.unwrap_or_default();
                if !prefix.bytes().all(|it| matches!(it, b' '..=b'~')) {
                    scope.problem_at("prefix", "a prefix is visible ASCII, such as `Bearer `");
                    return None;
                }
                Some(Location::Header { name: name?, prefix: prefix.into() })
            }),
            Self::QueryParameter(NameConfig { name }) => {
                scope.at("queryParameter", |scope| token(&name, scope).map(Location::QueryParameter))
            }
            Self::Cookie(NameConfig { name }) => scope.at("cookie", |scope| token(&name, scope).map(Location::Cookie)),
            Self::Expression(text) => {
                let why = "a credential is in the head of a request, not in its body";
                let vocabulary = Vocabulary::of(scope.site).without(Needs::ANY_BODY, why);
                scope.check("expression", Expression::parse(&text, &vocabulary)).map(Location::Expression)
            }
        }
    }
}

fn token(name: &str, scope: &mut Scope<'_>) -> Option<Box<str>> {
    let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.' | b'~');
    if name.is_empty() || !name.bytes().all(plain) {
        scope.problem_at("name", "a name is of letters, digits, `-`, `_`, `.` and `~`");
        return None;
    }
    Some(name.into())
}

impl Location {
    /// `Authorization: <scheme> <credential>`.
    pub fn authorization(scheme: &str) -> Self {
        Self::Header { name: AUTHORIZATION, prefix: format!("{scheme} ").into() }
    }

    /// As configured.
    pub fn config(&self) -> Config {
        match self {
            Self::Header { name, prefix } => {
                let prefix = Some(prefix.to_string()).filter(|it| !it.is_empty());
                Config::Header(HeaderConfig { name: name.as_str().to_owned(), prefix })
            }
            Self::QueryParameter(name) => Config::QueryParameter(NameConfig { name: name.to_string() }),
            Self::Cookie(name) => Config::Cookie(NameConfig { name: name.to_string() }),
            Self::Expression(expression) => Config::Expression(expression.text().to_owned()),
        }
    }

    /// Whether it is meant for a proxy: then the answer is 407 (RFC 9110 section 11.7.1).
    pub fn is_proxy(&self) -> bool {
        matches!(self, Self::Header { name, .. } if *name == PROXY_AUTHORIZATION)
    }

    /// Reads the credential.
    pub fn find<'a>(&self, request: &'a RequestHeader, facts: &Facts) -> Found<'a> {
        match self {
            Self::Header { name, prefix } => {
                let mut values = request.headers.get_all(name).iter();
                let Some(value) = values.next() else { return Found::Nothing };
                if values.next().is_some() {
                    return Found::Unclear;
                }
                let Ok(text) = value.to_str() else { return Found::Unclear };
                match text.split_at_checked(prefix.len()) {
                    Some((start, rest)) if start.eq_ignore_ascii_case(prefix) => one(rest.trim_ascii()),
                    // Another scheme is for somebody else.
                    _ => Found::Nothing,
                }
            }
            Self::QueryParameter(name) => {
                let pairs = request.uri.query().into_iter().flat_map(|query| query.split('&'));
                only(pairs.filter_map(|pair| pair.split_once('=')).filter(|(key, _)| key == &&**name).map(|it| it.1))
            }
            Self::Cookie(name) => {
                let lines = request.headers.get_all(COOKIE).iter().filter_map(|it| it.to_str().ok());
                let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
                only(pairs.filter(|(key, _)| key.trim() == &**name).map(|(_, value)| value.trim()))
            }
            Self::Expression(expression) => computed(expression, request, facts),
        }
    }

    /// Takes the credential out of the request.
    pub fn strip(&self, request: &mut RequestHeader) {
        match self {
            Self::Header { name, .. } => {
                request.remove_header(name);
            }
            Self::QueryParameter(name) => strip_query(name, request),
            Self::Cookie(name) => strip_cookie(name, request),
            Self::Expression(_) => {}
        }
    }
}

/// Removes what a client sent under a name that is ours to write, also with `_` for `-`: some
/// servers take the two for one.
pub fn scrub(name: &HeaderName, request: &mut RequestHeader) {
    let same = |it: &HeaderName| {
        let plain = |it: &u8| if *it == b'_' { b'-' } else { *it };
        let (a, b) = (it.as_str().as_bytes(), name.as_str().as_bytes());
        a.len() == b.len() && a.iter().map(plain).eq(b.iter().map(plain))
    };
    while let Some(found) = request.headers.keys().find(|it| same(it)).cloned() {
        request.remove_header(&found);
    }
}

fn computed<'a>(expression: &Expression, request: &RequestHeader, facts: &Facts) -> Found<'a> {
    let inputs =
        Inputs { request: Some(Request::new(request, facts)), identity: Some(&facts.identity), ..Inputs::default() };
    let Ok(value) = expression.evaluate(&inputs) else { return Found::Nothing };
    match value.as_str() {
        Some(text) if !text.is_empty() => Found::One(Cow::Owned(text.to_owned())),
        _ => Found::Nothing,
    }
}

fn one(text: &str) -> Found<'_> {
    if text.is_empty() { Found::Nothing } else { Found::One(Cow::Borrowed(text)) }
}

/// Percent signs are decoded: what stands in a query or cookie may have been encoded.
fn only<'a>(mut values: impl Iterator<Item = &'a str>) -> Found<'a> {
    let Some(value) = values.next() else { return Found::Nothing };
    if values.next().is_some() {
        return Found::Unclear;
    }
    if !value.contains('%') {
        return one(value);
    }
    match decode(value.as_bytes()) {
        Some(text) => Found::One(Cow::Owned(text)),
        None => Found::Unclear,
    }
}

fn decode(mut text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        text = rest;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (digits, rest) = text.split_at_checked(2)?;
        text = rest;
        out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
    }
    String::from_utf8(out).ok()
}

fn strip_query(name: &str, request: &mut RequestHeader) {
    let Some(query) = request.uri.query() else { return };
    let others: Vec<&str> =
        query.split('&').filter(|pair| pair.split_once('=').map_or(*pair, |it| it.0) != name).collect();
    let path = request.uri.path();
    let target = if others.is_empty() { path.to_owned() } else { format!("{path}?{}", others.join("&")) };
    let mut parts = request.uri.clone().into_parts();
    // Parts of a valid target are a valid target.
    parts.path_and_query = target.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        request.set_uri(uri);
    }
}

fn strip_cookie(name: &str, request: &mut RequestHeader) {
    let lines: Vec<HeaderValue> = request.headers.get_all(COOKIE).iter().cloned().collect();
    request.remove_header(&COOKIE);
    for line in lines {
        let Ok(text) = line.to_str() else { continue };
        let others = text
            .split(';')
            .map(str::trim)
            .filter(|pair| !pair.is_empty() && pair.split_once('=').map_or(*pair, |it| it.0).trim() != name);
        let kept = others.collect::<Vec<_>>().join("; ");
        if let (false, Ok(kept)) = (kept.is_empty(), HeaderValue::from_str(&kept)) {
            // Fails only where the map is full, and it was not before.
            let _ = request.append_header(COOKIE, kept);
        }
    }
}

fn written<S: serde::Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses, request};

    fn at(location: serde_json::Value) -> Location {
        lower(location, Config::lower)
    }

    fn found(location: &Location, target: &str, headers: &[(&'static str, &str)]) -> (Option<String>, String) {
        let (mut head, facts) = request("GET", target);
        for (name, value) in headers {
            head.append_header(*name, *value).unwrap();
        }
        let found = match location.find(&head, &facts) {
            Found::Nothing => None,
            Found::One(text) => Some(text.into_owned()),
            Found::Unclear => Some("?".to_owned()),
        };
        location.strip(&mut head);
        let left: Vec<_> =
            head.headers.iter().filter(|(name, _)| *name != "host").map(|it| format!("{it:?}")).collect();
        (found, format!("{} {}", head.uri, left.concat()))
    }

    #[test]
    fn a_credential_is_read_where_it_stands_and_taken_out() {
        let bearer = Location::authorization("Bearer");
        let query = at(json!({"queryParameter": {"name": "key"}}));
        let cookie = at(json!({"cookie": {"name": "sid"}}));
        let cel = at(json!({"expression": "request.headers['x-a'].stripPrefix('key-')"}));
        let own = at(json!({"header": {"name": "x-api-key"}}));
        for (location, target, headers, want, left) in [
            (&bearer, "/", &[("authorization", "bearer  abc ")][..], Some("abc"), "/ "),
            (&bearer, "/", &[("authorization", "Basic abc")], None, "/ "),
            (&bearer, "/", &[("authorization", "Bearer")], None, "/ "),
            (&bearer, "/", &[("authorization", "Bearer a"), ("authorization", "Bearer b")], Some("?"), "/ "),
            (&bearer, "/", &[], None, "/ "),
            (&own, "/", &[("x-api-key", "k")], Some("k"), "/ "),
            (&query, "/a?x=1&key=a%2Bb&y=2", &[], Some("a+b"), "/a?x=1&y=2 "),
            (&query, "/a?key=1", &[], Some("1"), "/a "),
            (&query, "/a?key=1&key=2", &[], Some("?"), "/a "),
            (&query, "/a?key=%zz", &[], Some("?"), "/a "),
            (&query, "/a?akey=1", &[], None, "/a?akey=1 "),
            (&cookie, "/", &[("cookie", "a=1; sid=x; b=2")], Some("x"), "/ (\"cookie\", \"a=1; b=2\")"),
            (&cookie, "/", &[("cookie", "sid=x")], Some("x"), "/ "),
            (&cookie, "/", &[("cookie", "sid=x"), ("cookie", "sid=y")], Some("?"), "/ "),
            (&cel, "/", &[("x-a", "key-abc")], Some("abc"), "/ (\"x-a\", \"key-abc\")"),
            (&cel, "/", &[("x-b", "key-abc")], None, "/ (\"x-b\", \"key-abc\")"),
        ] {
            let (text, rest) = found(location, target, headers);
            assert_eq!((text.as_deref(), rest.as_str()), (want, left), "{location:?} {target} {headers:?}");
        }
    }

    #[test]
    fn locations_that_cannot_be_are_refused() {
        refuses(
            [
                (json!({"header": {"name": "a b"}}), "not a header name"),
                (json!({"header": {"name": "content-length"}}), "frames the message"),
                (json!({"header": {"name": "x", "prefix": "a\nb"}}), "visible ASCII"),
                (json!({"cookie": {"name": "a;b"}}), "a name is of letters"),
                (json!({"expression": "request.nothing"}), "policy.expression: "),
                (json!({"expression": "string(request.body)"}), "not in its body"),
                (json!({"queryParameter": {"name": ""}}), "a name is of letters"),
            ],
            Config::lower,
        );
    }
}
