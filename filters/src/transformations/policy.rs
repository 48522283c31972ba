//! Transformations as understood.

use std::fmt;

use http::{HeaderName, HeaderValue};
use ir::Text;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::apply;
use crate::exchange::Wanted;
use crate::expr::{Expression, Inputs, Needs};
use crate::head;

/// Changes of requests and responses.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub request: Option<Transform>,
    pub response: Option<Transform>,
}

/// Changes of one message, applied in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transform {
    #[serde(serialize_with = "map")]
    pub metadata: Vec<(Text, Expression)>,
    /// Gives a map that replaces all headers.
    pub replace: Option<Expression>,
    #[serde(serialize_with = "map")]
    pub add: Vec<(HeaderName, Value)>,
    #[serde(serialize_with = "map")]
    pub set: Vec<(Part, Value)>,
    #[serde(serialize_with = "head::names")]
    pub remove: Vec<HeaderName>,
    pub body: Option<Expression>,
    /// What all of it reads.
    #[serde(skip)]
    pub(super) needs: Needs,
}

/// Which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// What `set` replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Header(HeaderName),
    /// `host` or `:authority`.
    Authority,
    Method,
    Path,
    Status,
}

/// The value of a header or another part.
#[derive(Clone, PartialEq)]
pub struct Value {
    expression: Expression,
    /// What a constant gives.
    ready: Option<HeaderValue>,
    /// For a header that usually holds a credential: shown nowhere.
    secret: bool,
}

impl Policy {
    /// How much of the request's body must be there before this runs.
    pub fn wants(&self) -> Wanted {
        match &self.request {
            Some(it) if it.body.is_some() => Wanted::Whole,
            Some(it) => Wanted::of(it.needs),
            None => Wanted::Nothing,
        }
    }

    /// Whether the response's head must wait for its body.
    pub fn wants_response_body(&self) -> bool {
        self.response.as_ref().is_some_and(|it| it.body.is_some() || it.needs.intersects(RESPONSE_BODY))
    }

    /// Whether a body is set: nothing for messages that stream.
    pub fn sets_body(&self) -> bool {
        [&self.request, &self.response].into_iter().flatten().any(|it| it.body.is_some())
    }
}

const RESPONSE_BODY: Needs = Needs::RESPONSE_BODY.or(Needs::RESPONSE_BODY_PREFIX);

impl Transform {
    pub(super) fn new(mut it: Self) -> Self {
        let values = it.add.iter().map(|it| &it.1).chain(it.set.iter().map(|it| &it.1)).map(|it| &it.expression);
        let expressions = it.metadata.iter().map(|it| &it.1).chain(&it.replace).chain(values).chain(&it.body);
        it.needs = expressions.fold(Needs::NONE, |needs, it| needs | it.needs());
        it
    }

    /// Whether this transformation itself says what a header is.
    pub(super) fn names(&self, name: &HeaderName) -> bool {
        let set = self.set.iter().any(|(part, _)| matches!(part, Part::Header(it) if it == name));
        set || self.add.iter().any(|(it, _)| it == name)
    }
}

impl Part {
    pub(super) fn parse(name: &str, side: Side) -> Result<Self, String> {
        match (name.to_ascii_lowercase().as_str(), side) {
            ("host" | ":authority", Side::Request) => Ok(Self::Authority),
            (":method", Side::Request) => Ok(Self::Method),
            (":path", Side::Request) => Ok(Self::Path),
            (":status", Side::Response) => Ok(Self::Status),
            (":scheme", _) => Err("`:scheme` follows from the connection to the backend".to_owned()),
            (other, Side::Request) if other.starts_with(':') => Err(format!("`{name}` cannot be set on a request")),
            (other, Side::Response) if other.starts_with(':') => Err(format!("`{name}` cannot be set on a response")),
            _ => head::parse_name(name).map(Self::Header),
        }
    }

    /// The header, or the part as HTTP/2 names it.
    pub fn name(&self) -> &str {
        match self {
            Self::Header(name) => name.as_str(),
            Self::Authority => ":authority",
            Self::Method => ":method",
            Self::Path => ":path",
            Self::Status => ":status",
        }
    }

    pub(super) fn header(self) -> Option<HeaderName> {
        match self {
            Self::Header(name) => Some(name),
            _ => None,
        }
    }
}

impl Value {
    /// Computes what is constant; a constant that can never be written is refused.
    pub(super) fn new(expression: Expression, part: &Part) -> Result<Self, String> {
        let ready = if expression.is_constant() {
            let value = apply::value(&expression, &Inputs::default());
            let value = value.ok_or_else(|| "this constant cannot be the value of a header".to_owned())?;
            if !apply::fits(part, &value) {
                return Err(format!("this constant cannot be a `{}`", part.name()));
            }
            Some(value)
        } else {
            None
        };
        let secret = matches!(part, Part::Header(name) if head::is_secret(name));
        Ok(Self { expression, ready, secret })
    }

    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// The value for one message; `None` where the expression fails, or gives what no header can be.
    pub(super) fn of(&self, inputs: &Inputs<'_>) -> Option<HeaderValue> {
        let mut value = match &self.ready {
            Some(value) => value.clone(),
            None => apply::value(&self.expression, inputs)?,
        };
        value.set_sensitive(self.secret);
        Some(value)
    }
}

impl AsRef<str> for Part {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.secret { serializer.serialize_str("***") } else { self.expression.serialize(serializer) }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret { f.write_str("***") } else { self.expression.fmt(f) }
    }
}

fn map<K: AsRef<str>, V: Serialize, S: Serializer>(entries: &[(K, V)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(entries.len()))?;
    for (name, value) in entries {
        map.serialize_entry(name.as_ref(), value)?;
    }
    map.end()
}
