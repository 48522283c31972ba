//! Values: borrowed from the request, the configuration or the expression wherever they can be.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use ipnet::IpNet;

use super::map::Map;
use super::time::{Duration, Timestamp};

/// A value in an evaluation. JSON (claims, metadata) is read in place.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Str<'a>),
    Bytes(Blob<'a>),
    List(List<'a>),
    Map(Map<'a>),
    Duration(Duration),
    Timestamp(Timestamp),
    /// A type, by its name.
    Type(&'static str),
    Optional(Option<Arc<Value<'a>>>),
    Ip(IpAddr),
    Cidr(IpNet),
    /// Shows as `<redacted>` until `.unredacted()`.
    Secret(Str<'a>),
}

/// What a secret shows as.
pub const REDACTED: &str = "<redacted>";

/// A text.
#[derive(Clone)]
pub enum Str<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

/// Bytes.
#[derive(Clone)]
pub enum Blob<'a> {
    Borrowed(&'a [u8]),
    Shared(Arc<[u8]>),
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    Json(&'a [serde_json::Value]),
    Borrowed(&'a [Value<'a>]),
    Shared(Arc<[Value<'a>]>),
}

impl<'a> Value<'a> {
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::String(Str::Shared(text.into()))
    }

    pub fn str(text: &'a str) -> Self {
        Self::String(Str::Borrowed(text))
    }

    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Bytes(Blob::Shared(bytes.into()))
    }

    pub fn list(items: Vec<Value<'a>>) -> Self {
        Self::List(List::Shared(items.into()))
    }

    pub(super) fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// JSON, without copying it.
    pub fn json(value: &'a serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => Self::number(number),
            serde_json::Value::String(text) => Self::str(text),
            serde_json::Value::Array(items) => Self::List(List::Json(items)),
            serde_json::Value::Object(map) => Self::Map(Map::Json(map)),
        }
    }

    pub(super) fn number(number: &serde_json::Number) -> Self {
        match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Self::Int(value),
            (None, Some(value)) => Self::Uint(value),
            (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    /// The same value, borrowing what it would share.
    pub(super) fn borrow(value: &'a Value<'a>) -> Value<'a> {
        match value {
            Value::String(text) => Value::str(text),
            Value::Bytes(bytes) => Value::Bytes(Blob::Borrowed(bytes)),
            Value::List(List::Shared(items)) => Value::List(List::Borrowed(items)),
            Value::Map(map) => Value::Map(map.borrow()),
            other => other.clone(),
        }
    }

    /// The text of a string; nothing else converts.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The name of its type, as `type()` gives it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Secret(_) => "secret",
        }
    }

    /// A bool, number, text or address as one line; `None` for what has parts.
    pub fn scalar(&self) -> Option<std::borrow::Cow<'_, str>> {
        Some(match self {
            Self::Bool(value) => if *value { "true" } else { "false" }.into(),
            Self::Int(value) => value.to_string().into(),
            Self::Uint(value) => value.to_string().into(),
            Self::Double(value) => super::number::double(*value).into(),
            Self::String(text) => (&**text).into(),
            Self::Duration(value) => value.to_string().into(),
            Self::Timestamp(value) => value.to_string().into(),
            Self::Type(name) => (*name).into(),
            Self::Ip(value) => value.to_string().into(),
            Self::Cidr(value) => value.to_string().into(),
            Self::Secret(_) => REDACTED.into(),
            Self::Null | Self::Bytes(_) | Self::List(_) | Self::Map(_) | Self::Optional(_) => return None,
        })
    }
}

impl<'a> Str<'a> {
    /// The part of it that `of`, a slice of it, covers: shared texts are copied.
    pub(super) fn part(&self, from: usize, to: usize) -> Str<'a> {
        match self {
            Self::Borrowed(text) => Self::Borrowed(text.get(from..to).unwrap_or("")),
            Self::Shared(text) => Self::Shared(text.get(from..to).unwrap_or("").into()),
        }
    }
}

impl Deref for Str<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl Deref for Blob<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Borrowed(items) => items.len(),
            Self::Shared(items) => items.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, position: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(items) => items.get(position).map(Value::json),
            Self::Borrowed(items) => items.get(position).map(Value::borrow),
            Self::Shared(items) => items.get(position).cloned(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|position| self.get(position))
    }
}
