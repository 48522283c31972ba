//! JSON, tokens and maps.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Builtin, for_logs, global, method};
use crate::expr::error::Error;
use crate::expr::eval::Frame;
use crate::expr::map::{Entries, Map};
use crate::expr::value::Value;

type Returned<'a> = Result<Value<'a>, Error>;

pub(super) const TABLE: &[Builtin] = &[
    global("json", 1, 1, json),
    global("toJson", 1, 1, to_json),
    global("to_json", 1, 1, to_json),
    method("toJson", 0, 0, to_json),
    global("unvalidatedJwtPayload", 1, 1, jwt_payload),
    method("merge", 1, 1, merge),
    for_logs("flatten", |frame, args| flatten(frame, args, false)),
    for_logs("flattenRecursive", |frame, args| flatten(frame, args, true)),
    for_logs("flatten_recursive", |frame, args| flatten(frame, args, true)),
];

fn text<'v>(value: &'v Value<'_>) -> Result<&'v [u8], Error> {
    match value {
        Value::String(text) => Ok(text.as_bytes()),
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(Error::no_overload()),
    }
}

fn unreadable(error: &serde_json::Error) -> Error {
    // Only where: the content may be anything.
    Error::invalid(format!("not valid JSON (at {}:{})", error.line(), error.column()))
}

fn json<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [value] = args else { return Err(Error::no_overload()) };
    let text = text(value)?;
    frame.produces(text.len())?;
    let value = serde_json::from_slice(text).map_err(|error| unreadable(&error))?;
    from_json(frame, value)
}

/// A value of its own, from JSON that nobody keeps.
fn from_json<'a>(frame: &mut Frame<'a>, value: serde_json::Value) -> Returned<'a> {
    frame.step()?;
    Ok(match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => Value::number(&number),
        serde_json::Value::String(text) => Value::text(text),
        serde_json::Value::Array(items) => {
            let items = items.into_iter().map(|item| from_json(frame, item)).collect::<Result<Vec<_>, _>>()?;
            frame.list(items)?
        }
        serde_json::Value::Object(map) => {
            let mut entries = Entries::default();
            for (name, value) in map {
                frame.produces(2 * size_of::<Value<'a>>())?;
                entries.insert(Value::text(name), from_json(frame, value)?);
            }
            Value::Map(Map::of(entries))
        }
    })
}

/// `json(of).field`: the rest is passed over, not built.
pub(in crate::expr) fn json_field<'a>(frame: &mut Frame<'a>, of: &Value<'a>, field: &str) -> Returned<'a> {
    let text = text(of)?;
    frame.reads(text.len())?;
    let mut reader = serde_json::Deserializer::from_slice(text);
    let found = Field(field).deserialize(&mut reader).map_err(|error| unreadable(&error))?;
    reader.end().map_err(|error| unreadable(&error))?;
    match found {
        Found::Field(value) => from_json(frame, value),
        Found::NoField => Err(Error::missing()),
        Found::NoObject => Err(Error::no_overload()),
    }
}

struct Field<'f>(&'f str);

enum Found {
    Field(serde_json::Value),
    NoField,
    NoObject,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::NoField;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == self.0 {
                found = Found::Field(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::NoObject)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::NoObject)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::NoObject)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(Found::NoObject)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::NoObject)
    }

    fn visit_str<E>(self, _: &str) -> Result<Found, E> {
        Ok(Found::NoObject)
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::NoObject)
    }
}

fn to_json<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [value] = args else { return Err(Error::no_overload()) };
    let json = value.to_json(&mut |bytes| frame.produces(bytes))?;
    frame.text(json.to_string())
}

/// The claims of a token nobody checked.
fn jwt_payload<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    use base64::Engine;
    let token = match args {
        [Value::String(token) | Value::Secret(token)] => token,
        _ => return Err(Error::no_overload()),
    };
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    frame.produces(token.len())?;
    let payload = token.split('.').nth(1).ok_or_else(|| Error::invalid("not a token"))?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload.trim_end_matches('='));
    let payload = payload.map_err(|_| Error::invalid("not a token: its payload is not base64"))?;
    let claims = serde_json::from_slice(&payload).map_err(|error| unreadable(&error))?;
    from_json(frame, claims)
}

fn merge<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [Value::Map(left), Value::Map(right)] = args else { return Err(Error::no_overload()) };
    let mut entries = Entries::default();
    for (name, value) in left.entries().into_iter().chain(right.entries()) {
        frame.produces(2 * size_of::<Value<'a>>())?;
        entries.insert(name, value);
    }
    Ok(Value::Map(Map::of(entries)))
}

/// A map whose entries a log shows as fields of their own: see `Value::flattened`.
fn flatten<'a>(frame: &mut Frame<'a>, args: &[Value<'a>], is_deep: bool) -> Returned<'a> {
    let [value] = args else { return Err(Error::no_overload()) };
    let mut entries = Entries::default();
    spread(frame, &mut entries, "", value, is_deep)?;
    entries.mark_flat();
    Ok(Value::Map(Map::of(entries)))
}

fn spread<'a>(
    frame: &mut Frame<'a>,
    entries: &mut Entries<'a>,
    prefix: &str,
    value: &Value<'a>,
    is_deep: bool,
) -> Result<(), Error> {
    let parts: Vec<(String, Value<'a>)> = match value {
        Value::Map(map) => {
            map.entries().into_iter().filter_map(|(name, value)| Some((name.scalar()?.into_owned(), value))).collect()
        }
        Value::List(items) => items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return Err(Error::no_overload()),
    };
    for (name, value) in parts {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        frame.produces(name.len() + 2 * size_of::<Value<'a>>())?;
        match value {
            Value::Map(_) | Value::List(_) if is_deep => spread(frame, entries, &name, &value, true)?,
            value => {
                entries.insert(Value::text(name), value);
            }
        }
    }
    Ok(())
}
