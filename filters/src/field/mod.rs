//! Plain fields of a request, and comparisons of them: the subset of CEL that needs no evaluator.
//!
//! Fields: `request.method`, `request.path`, `request.uri`, `request.host`, `request.scheme`,
//! `request.version`, `request.headers["name"]` (or `request.headers.name`),
//! `request.cookies["name"]`, `request.query["name"]`, `response.code`,
//! `response.headers["name"]`, `source.address`, `source.port`, `backend.name`, `route.name`,
//! `listener.name`; literals `"text"`, `'text'` and whole numbers.
//!
//! Predicates: `==`, `!=`, `<`, `<=`, `>`, `>=` between two of these, joined by `&&`, `||`, `!` and
//! parentheses.
//!
//! What is accepted here means what CEL says it means, so that a full engine only widens the
//! language: a missing header is an error in CEL, an error spoils the comparison but not what
//! `&&` and `||` can decide without it, and a predicate that ends in an error does not hold.

mod parse;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use http::HeaderName;
use ir::Text;
use serde::{Serialize, Serializer};

/// Longest text accepted.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Deepest nesting of parentheses and negations accepted.
pub const DEPTH_MAX: usize = 16;

/// A field of the exchange, such as `request.path` or `request.headers["x-user"]`, or a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    RequestMethod,
    RequestPath,
    RequestUri,
    RequestHost,
    RequestScheme,
    RequestVersion,
    RequestHeader(HeaderName),
    RequestCookie(Text),
    RequestQuery(Text),
    ResponseCode,
    ResponseHeader(HeaderName),
    SourceAddress,
    SourcePort,
    BackendName,
    RouteName,
    ListenerName,
    /// A literal.
    Text(Text),
    /// A literal.
    Int(i64),
}

/// A comparison of fields, such as `response.code >= 500`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    Constant(bool),
    Compare(Field, Operator, Field),
    Not(Box<Predicate>),
    All(Vec<Predicate>),
    Any(Vec<Predicate>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The value of a field in one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    Int(i64),
}

/// Whoever knows the exchange. Never asked for literals.
pub trait Lookup {
    /// The value of a field; `None` where this exchange has no such thing (yet).
    fn get(&self, field: &Field) -> Option<Value<'_>>;
}

impl Field {
    /// Reads one field or literal. Errors name position and nearest known name.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::field(text)
    }

    /// Whether its value exists only once the response does.
    pub fn is_of_response(&self) -> bool {
        matches!(self, Self::ResponseCode | Self::ResponseHeader(_))
    }

    /// The value in one exchange.
    pub fn value<'a>(&'a self, lookup: &'a dyn Lookup) -> Option<Value<'a>> {
        match self {
            Self::Text(text) => Some(Value::Text(Cow::Borrowed(text))),
            Self::Int(number) => Some(Value::Int(*number)),
            field => lookup.get(field),
        }
    }

    /// Whether it is a number; text otherwise.
    fn is_int(&self) -> bool {
        matches!(self, Self::Int(_) | Self::ResponseCode | Self::SourcePort)
    }
}

impl Predicate {
    /// Reads a predicate. Errors name position and nearest known name.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::predicate(text)
    }

    /// Whether it holds. What cannot be decided for want of a field does not.
    pub fn holds(&self, lookup: &dyn Lookup) -> bool {
        self.decide(lookup).unwrap_or(false)
    }

    /// Whether its value exists only once the response does.
    pub fn is_of_response(&self) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Compare(left, _, right) => left.is_of_response() || right.is_of_response(),
            Self::Not(inner) => inner.is_of_response(),
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::is_of_response),
        }
    }

    /// CEL's logic: `None` is an error, which `&&` and `||` survive where the other side decides.
    fn decide(&self, lookup: &dyn Lookup) -> Option<bool> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Compare(left, operator, right) => operator.compare(&left.value(lookup)?, &right.value(lookup)?),
            Self::Not(inner) => inner.decide(lookup).map(|value| !value),
            Self::All(parts) => join(parts, lookup, false),
            Self::Any(parts) => join(parts, lookup, true),
        }
    }
}

/// The value that decides alone (`false` for `&&`, `true` for `||`), if any part has it.
fn join(parts: &[Predicate], lookup: &dyn Lookup, decisive: bool) -> Option<bool> {
    let mut outcome = Some(!decisive);
    for part in parts {
        match part.decide(lookup) {
            Some(value) if value == decisive => return Some(decisive),
            Some(_) => {}
            None => outcome = None,
        }
    }
    outcome
}

impl Operator {
    fn compare(self, left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
        let order = match (left, right) {
            (Value::Text(left), Value::Text(right)) => left.cmp(right),
            (Value::Int(left), Value::Int(right)) => left.cmp(right),
            (Value::Text(_), Value::Int(_)) | (Value::Int(_), Value::Text(_)) => return None,
        };
        Some(match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(number) => number.fmt(f),
        }
    }
}

/// As CEL; what is written here reads back as the same field.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestHeader(name) => write!(f, "request.headers[{}]", Quoted(name.as_str())),
            Self::RequestCookie(name) => write!(f, "request.cookies[{}]", Quoted(name)),
            Self::RequestQuery(name) => write!(f, "request.query[{}]", Quoted(name)),
            Self::ResponseHeader(name) => write!(f, "response.headers[{}]", Quoted(name.as_str())),
            Self::Text(text) => Quoted(text).fmt(f),
            Self::Int(number) => number.fmt(f),
            simple => {
                let named = parse::SIMPLE.iter().find(|(_, field)| field == simple);
                f.write_str(named.map_or("", |(name, _)| name))
            }
        }
    }
}

/// As CEL, with all parentheses; what is written here reads back as the same predicate.
impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, symbol) = match self {
            Self::Constant(value) => return value.fmt(f),
            Self::Compare(left, operator, right) => return write!(f, "{left} {} {right}", operator.symbol()),
            // Parentheses that nobody wrote would count towards the depth when this is read back.
            Self::Not(inner) if matches!(**inner, Self::Not(_) | Self::Constant(_)) => return write!(f, "!{inner}"),
            Self::Not(inner) => return write!(f, "!({inner})"),
            Self::All(parts) => (parts, " && "),
            Self::Any(parts) => (parts, " || "),
        };
        for (position, part) in parts.iter().enumerate() {
            if position > 0 {
                f.write_str(symbol)?;
            }
            match part {
                Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
                part => part.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Predicate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text as CEL quotes it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
