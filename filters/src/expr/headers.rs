//! Headers as a map, in the views that `request.headers` has.

use std::collections::HashSet;

use http::header::HeaderMap;
use http::{HeaderName, HeaderValue};

use super::inputs::Inputs;
use super::value::{List, REDACTED, Str, Value};

/// Headers in one of their views. Names are lower case, and looked up in any case.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    pub(super) map: &'a HeaderMap,
    pub(super) shape: Shape,
    /// Values of headers that hold credentials show as `<redacted>`.
    pub(super) redacted: bool,
    /// Names whose values are secrets.
    pub(super) sensitive: Option<&'a HashSet<String>>,
}

/// What several values of one name look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One is a text, several are a list.
    Plain,
    /// Always one text, joined by commas.
    Joined,
    /// Always a list, as received.
    Raw,
    /// Always a list, split at commas.
    Split,
}

impl<'a> Headers<'a> {
    pub(super) fn plain(map: &'a HeaderMap, inputs: &Inputs<'a>) -> Self {
        Self { map, shape: Shape::Plain, redacted: false, sensitive: inputs.sensitive }
    }

    pub(super) fn len(&self) -> usize {
        self.map.keys_len()
    }

    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        self.named(&name)
    }

    /// The value of a name known when the expression was compiled.
    pub(super) fn named(&self, name: &HeaderName) -> Option<Value<'a>> {
        let mut values = self.map.get_all(name).iter();
        let first = values.next()?;
        if self.redacted && is_credential(name) {
            return Some(Value::str(REDACTED));
        }
        if self.is_secret(name.as_str()) {
            return Some(Value::Secret(text(first)));
        }
        let second = values.next();
        Some(match (self.shape, second) {
            (Shape::Plain | Shape::Joined, None) => Value::String(text(first)),
            (Shape::Joined, Some(_)) => {
                let all: Vec<Str<'a>> = self.map.get_all(name).iter().map(text).collect();
                let all: Vec<&str> = all.iter().map(|it| &**it).collect();
                Value::text(all.join(","))
            }
            (Shape::Plain, Some(_)) | (Shape::Raw, _) => {
                let all: Vec<Value<'a>> = self.map.get_all(name).iter().map(|it| Value::String(text(it))).collect();
                Value::List(List::Shared(all.into()))
            }
            (Shape::Split, _) => {
                let parts = self.map.get_all(name).iter().flat_map(|it| split(text(it)));
                Value::List(List::Shared(parts.collect()))
            }
        })
    }

    /// The only value of a name, where it can be read as it stands.
    #[inline]
    pub(super) fn single(&self, name: &HeaderName) -> Option<&'a str> {
        let mut values = self.map.get_all(name).iter();
        let first = values.next()?;
        let is_plain = values.next().is_none() && !self.redacted && !self.is_secret(name.as_str());
        if is_plain { str::from_utf8(first.as_bytes()).ok() } else { None }
    }

    /// Whether a value is not for the eyes of who asks.
    pub(super) fn is_secret(&self, name: &str) -> bool {
        self.sensitive.is_some_and(|names| names.contains(name))
    }

    pub(super) fn entries(&self) -> Vec<(Value<'a>, Value<'a>)> {
        let names = self.map.keys();
        names.filter_map(|name| Some((Value::str(name.as_str()), self.named(name)?))).collect()
    }
}

/// The text of a header value; bytes that are not UTF-8 are replaced.
#[inline]
pub(super) fn text(value: &HeaderValue) -> Str<'_> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Str::Borrowed(text),
        Err(_) => Str::Shared(String::from_utf8_lossy(value.as_bytes()).into()),
    }
}

fn split<'a>(line: Str<'a>) -> Vec<Value<'a>> {
    let start = line.as_ptr() as usize;
    let part = |part: &str| {
        let part = part.trim();
        let from = part.as_ptr() as usize - start;
        Value::String(line.part(from, from + part.len()))
    };
    line.split(',').map(part).collect()
}

/// Whether headers of this name usually hold credentials.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    crate::head::is_secret(name)
}
