//! A fixed answer as written.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use crate::Scope;
use crate::expr::{Expression, Site, Vocabulary};
use crate::head::{self, Header};
use crate::transformations::header_of;

/// Longest body answered.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// Answer without a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "DirectResponse")]
pub struct Config {
    /// 200 to 599.
    pub status: u16,
    /// The body, as text.
    #[serde(default)]
    pub body: Option<String>,
    /// The body as a CEL expression: text or bytes, anything else becomes JSON.
    #[serde(default)]
    pub body_expression: Option<String>,
    /// Headers of the answer; each value is a CEL expression, such as `'"text"'` or `request.path`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A value of a header: known beforehand, or computed for each request.
pub enum Value {
    Fixed(Header),
    Computed(HeaderName, Expression),
}

/// The body: a text, an expression, or none.
#[derive(Default)]
pub struct Body {
    pub text: String,
    pub expression: Option<String>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { status, body, body_expression, headers } = self;
        let before = scope.problems.len();
        if body.is_some() && body_expression.is_some() {
            scope.problem_at("bodyExpression", "there is one body: write `body` or `bodyExpression`");
        }
        let headers = scope.at("headers", |scope| {
            let header = |(name, value): (&String, &String)| scope.check(name, Value::parse(name, value));
            headers.iter().filter_map(header).collect()
        });
        let body = Body { text: body.unwrap_or_default(), expression: body_expression };
        let policy = Policy::lower(status, body, headers, scope);
        policy.filter(|_| scope.problems.len() == before)
    }
}

impl Policy {
    /// From its parts, as configuration of any form has them; reports all problems.
    pub fn lower(status: u16, body: Body, headers: Vec<Value>, scope: &mut Scope<'_>) -> Option<Self> {
        let before = scope.problems.len();
        let Body { text: body, expression } = body;
        let body_expression =
            expression.and_then(|text| scope.check("bodyExpression", Expression::parse(&text, &vocabulary())));
        if !(200..600).contains(&status) {
            scope.problem_at("status", format!("{status} cannot be answered: write 200 to 599"));
        }
        if matches!(status, 204 | 205 | 304) && (!body.is_empty() || body_expression.is_some()) {
            scope.problem_at("body", format!("an answer with status {status} has no body"));
        }
        if body.len() > BODY_BYTES_MAX {
            scope.problem_at("body", format!("longer than {BODY_BYTES_MAX} bytes"));
        }
        let (mut fixed, mut computed) = (Vec::new(), Vec::new());
        for value in headers {
            match value {
                Value::Fixed(header) => fixed.push(header),
                Value::Computed(name, expression) => computed.push((name, expression)),
            }
        }
        let is_named = |name: &HeaderName| {
            fixed.iter().any(|it: &Header| it.name == *name) || computed.iter().any(|(it, _)| it == name)
        };
        if !body.is_empty() && !is_named(&CONTENT_TYPE) {
            fixed.push(Header { name: CONTENT_TYPE, value: HeaderValue::from_static("text/plain; charset=utf-8") });
        }
        // One order, whatever the letter case they were written in.
        fixed.sort_by(|left, right| left.name.as_str().cmp(right.name.as_str()));
        computed.sort_by(|left, right| left.0.as_str().cmp(right.0.as_str()));
        let mut names: Vec<&str> =
            fixed.iter().map(|it| &it.name).chain(computed.iter().map(|it| &it.0)).map(HeaderName::as_str).collect();
        names.sort_unstable();
        for (one, other) in names.iter().zip(names.iter().skip(1)) {
            if one == other {
                scope.problem_at("headers", format!("`{one}` is here twice, in different case"));
            }
        }
        let body = Bytes::from(body);
        (scope.problems.len() == before).then(|| Self { status, body, body_expression, headers: fixed, computed })
    }
}

impl Value {
    /// From CEL; what is constant is computed here.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let parsed = head::parse_name(name)?;
        let expression = Expression::parse(text, &vocabulary())?;
        if !expression.is_constant() {
            return Ok(Self::Computed(parsed, expression));
        }
        let value = header_of(&expression, &Default::default());
        let value = value.ok_or_else(|| "this constant cannot be the value of a header".to_owned())?;
        let mut header = Header { name: parsed, value };
        header.value.set_sensitive(head::is_secret(&header.name));
        Ok(Self::Fixed(header))
    }
}

fn vocabulary() -> Vocabulary {
    Vocabulary::of(Site::Request)
}
