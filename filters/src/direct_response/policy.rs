//! A fixed answer as understood.

use bytes::Bytes;
use http::HeaderName;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::exchange::Wanted;
use crate::expr::{Expression, Needs};
use crate::head::{self, Header};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// 200 to 599.
    pub status: u16,
    #[serde(serialize_with = "lossy")]
    pub body: Bytes,
    /// In place of `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_expression: Option<Expression>,
    /// With the content type, where there is a body and it is known what it is.
    pub headers: Vec<Header>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "expressions")]
    pub computed: Vec<(HeaderName, Expression)>,
}

impl Policy {
    /// How much of the request's body must be there before this runs.
    pub fn wants(&self) -> Wanted {
        if self.body_expression.is_none() && self.computed.is_empty() {
            return Wanted::Nothing;
        }
        let expressions = self.computed.iter().map(|it| &it.1).chain(&self.body_expression);
        let needs = expressions.fold(Needs::NONE, |needs, it| needs | it.needs());
        Wanted::of(needs)
    }
}

fn lossy<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

fn expressions<S: Serializer>(headers: &[(HeaderName, Expression)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(headers.len()))?;
    for (name, expression) in headers {
        let text = if head::is_secret(name) { "***" } else { expression.text() };
        map.serialize_entry(name.as_str(), text)?;
    }
    map.end()
}
