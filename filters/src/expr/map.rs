//! Maps: literals with keys of several types, JSON objects in place, headers, and the closed
//! objects of the vocabulary.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::attribute;
use super::headers::Headers;
use super::inputs::Inputs;
use super::value::{Str, Value};

/// From this many entries on a map has an index.
const INDEXED_FROM: usize = 8;

/// A map in an evaluation.
#[derive(Clone)]
pub enum Map<'a> {
    Json(&'a serde_json::Map<String, serde_json::Value>),
    Borrowed(&'a Entries<'a>),
    Shared(Arc<Entries<'a>>),
    Headers(Headers<'a>),
    /// `request`, `source.identity`, …: a node of the vocabulary.
    Object(attribute::Object<'a>),
}

/// The entries of a map, in order of insertion; keys are unique.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a> {
    entries: Vec<(Value<'a>, Value<'a>)>,
    index: Option<HashMap<Key<'a>, usize, FixedState>>,
    /// A log shows the entries as fields of their own.
    is_flat: bool,
}

/// A key as it compares: numbers by their value, whatever their type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Bool(bool),
    Number(i128),
    Text(Text<'a>),
}

#[derive(Clone, Debug)]
struct Text<'a>(Str<'a>);

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl Eq for Text<'_> {}

impl std::hash::Hash for Text<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (*self.0).hash(state);
    }
}

fn key<'a>(value: &Value<'a>) -> Option<Key<'a>> {
    Some(match value {
        Value::Bool(value) => Key::Bool(*value),
        Value::Int(value) => Key::Number(i128::from(*value)),
        Value::Uint(value) => Key::Number(i128::from(*value)),
        // A double finds the whole number it equals.
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e19 => Key::Number(*value as i128),
        Value::String(text) => Key::Text(Text(text.clone())),
        _ => return None,
    })
}

/// Whether a value may be the key of a map.
pub(super) fn is_key(value: &Value<'_>) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_))
}

impl<'a> Entries<'a> {
    pub(super) fn mark_flat(&mut self) {
        self.is_flat = true;
    }

    /// Adds or replaces; returns false where the key was there.
    pub(super) fn insert(&mut self, name: Value<'a>, value: Value<'a>) -> bool {
        let Some(wanted) = key(&name) else { return true };
        if let Some(position) = self.position(&wanted) {
            if let Some(entry) = self.entries.get_mut(position) {
                entry.1 = value;
            }
            return false;
        }
        if let Some(index) = &mut self.index {
            index.insert(wanted, self.entries.len());
        }
        self.entries.push((name, value));
        if self.index.is_none() && self.entries.len() > INDEXED_FROM {
            let keys = self.entries.iter().enumerate().filter_map(|(at, (name, _))| Some((key(name)?, at)));
            self.index = Some(keys.collect());
        }
        true
    }

    fn position(&self, wanted: &Key<'_>) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(wanted).copied(),
            None => self.entries.iter().position(|(name, _)| key(name).is_some_and(|it| it == *wanted)),
        }
    }

    fn find(&self, name: &Value<'_>) -> Option<&Value<'a>> {
        if self.index.is_none()
            && let Value::String(wanted) = name
        {
            let mut entries = self.entries.iter();
            return entries.find(|(key, _)| key.as_str() == Some(wanted)).map(|(_, value)| value);
        }
        let position = self.position(&key(name)?)?;
        self.entries.get(position).map(|(_, value)| value)
    }
}

impl<'a> Map<'a> {
    pub fn of(entries: Entries<'a>) -> Self {
        Self::Shared(Arc::new(entries))
    }

    pub(super) fn borrow(&'a self) -> Map<'a> {
        match self {
            Self::Shared(entries) => Self::Borrowed(entries),
            other => other.clone(),
        }
    }

    /// Whether `flatten()` made it.
    pub fn is_flat(&self) -> bool {
        match self {
            Self::Borrowed(entries) => entries.is_flat,
            Self::Shared(entries) => entries.is_flat,
            Self::Json(_) | Self::Headers(_) | Self::Object(_) => false,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Json(map) => map.len(),
            Self::Borrowed(entries) => entries.entries.len(),
            Self::Shared(entries) => entries.entries.len(),
            Self::Headers(headers) => headers.len(),
            Self::Object(object) => object.keys().count(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, name: &Value<'_>) -> Option<Value<'a>> {
        match self {
            Self::Borrowed(entries) => entries.find(name).map(Value::borrow),
            Self::Shared(entries) => entries.find(name).cloned(),
            Self::Json(_) | Self::Headers(_) | Self::Object(_) => self.field(name.as_str()?),
        }
    }

    /// The value under a text.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json(map) => json_get(map, name).map(Value::json),
            Self::Headers(headers) => headers.get(name),
            Self::Object(object) => object.get(name),
            Self::Borrowed(_) | Self::Shared(_) => self.get(&Value::str(name)),
        }
    }

    /// Keys and values, in order.
    pub fn entries(&self) -> Vec<(Value<'a>, Value<'a>)> {
        match self {
            Self::Json(map) => map.iter().map(|(name, value)| (Value::str(name), Value::json(value))).collect(),
            Self::Borrowed(entries) => {
                entries.entries.iter().map(|(name, value)| (Value::borrow(name), Value::borrow(value))).collect()
            }
            Self::Shared(entries) => entries.entries.clone(),
            Self::Headers(headers) => headers.entries(),
            Self::Object(object) => object.keys().filter_map(|key| Some((Value::str(key), object.get(key)?))).collect(),
        }
    }
}

/// A field of a JSON object. Small objects are looked through: hashing costs more than comparing.
#[inline]
pub(crate) fn json_get<'a>(
    map: &'a serde_json::Map<String, serde_json::Value>,
    name: &str,
) -> Option<&'a serde_json::Value> {
    if map.len() <= 16 { map.iter().find(|(key, _)| *key == name).map(|(_, value)| value) } else { map.get(name) }
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries()).finish()
    }
}

/// For `variables()`: everything there is.
pub(super) fn variables<'a>(inputs: &'a Inputs<'a>) -> Map<'a> {
    Map::Object(attribute::Object::root(inputs))
}
