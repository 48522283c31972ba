//! Plain fields of a request, and comparisons of them: the subset of CEL that needs no evaluator.

use serde::Serialize;

/// A field of the exchange, such as `request.path` or `request.headers["x-user"]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Field {
    Text(String),
}

/// A comparison of fields, such as `response.code >= 500`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Predicate {
    Always,
}
