//! A fixed answer as written.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use crate::Scope;
use crate::field::Field;
use crate::head::Header;

/// Longest body accepted.
const BODY_BYTES_MAX: usize = 1 << 20;

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
    /// The body as a CEL expression. Not supported by this version yet.
    #[serde(default)]
    pub body_expression: Option<String>,
    /// Headers of the answer; each value is a CEL expression, of which this version supports text
    /// literals: `'"text"'`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { status, body, body_expression, headers } = self;
        let before = scope.problems.len();
        if body_expression.is_some() {
            scope.problem_at("bodyExpression", "expressions are not supported by this version yet; write `body`");
        }
        let headers = scope.at("headers", |scope| {
            let header = |(name, value): (&String, &String)| scope.check(name, literal(name, value));
            headers.iter().filter_map(header).collect()
        });
        let policy = Policy::lower(status, body.unwrap_or_default(), headers, scope);
        policy.filter(|_| scope.problems.len() == before)
    }
}

impl Policy {
    /// From its parts, as configuration of any form has them; reports all problems.
    pub fn lower(status: u16, body: String, mut headers: Vec<Header>, scope: &mut Scope<'_>) -> Option<Self> {
        let before = scope.problems.len();
        if !(200..600).contains(&status) {
            scope.problem_at("status", format!("{status} cannot be answered: write 200 to 599"));
        }
        if matches!(status, 204 | 205 | 304) && !body.is_empty() {
            scope.problem_at("body", format!("an answer with status {status} has no body"));
        }
        if body.len() > BODY_BYTES_MAX {
            scope.problem_at("body", format!("longer than {BODY_BYTES_MAX} bytes"));
        }
        if !body.is_empty() && !headers.iter().any(|header| header.name == CONTENT_TYPE) {
            headers.push(Header { name: CONTENT_TYPE, value: HeaderValue::from_static("text/plain; charset=utf-8") });
        }
        // One order, whatever the letter case they were written in.
        headers.sort_by(|left, right| left.name.as_str().cmp(right.name.as_str()));
        for (one, other) in headers.iter().zip(headers.iter().skip(1)) {
            if one.name == other.name {
                scope.problem_at("headers", format!("`{}` is here twice, in different case", one.name));
            }
        }
        (scope.problems.len() == before).then(|| Self { status, body: Bytes::from(body), headers })
    }
}

fn literal(name: &str, value: &str) -> Result<Header, String> {
    match Field::parse(value) {
        Ok(Field::Text(text)) => Header::parse(name, &text),
        _ => Err(format!(
            "expressions are not supported by this version yet; write a quoted literal, `{name}: '\"text\"'`"
        )),
    }
}
