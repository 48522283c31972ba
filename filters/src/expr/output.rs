//! Results on their way out: JSON, bytes, header values.

use std::borrow::Cow;

use super::error::Error;
use super::value::{REDACTED, Value};

/// Deepest value written as JSON.
const DEPTH_MAX: usize = 128;

impl<'a> Value<'a> {
    /// The value as JSON: bytes as base64, times as text, secrets redacted.
    ///
    /// # Errors
    /// What `charge` says of so many bytes, and nesting beyond a limit.
    pub(super) fn to_json(
        &self,
        charge: &mut dyn FnMut(usize) -> Result<(), Error>,
    ) -> Result<serde_json::Value, Error> {
        json(self, charge, 0)
    }

    /// The value as JSON, for answers and logs. What is nested too deeply is an error.
    ///
    /// # Errors
    /// Nesting beyond a limit.
    pub fn into_json(self) -> Result<serde_json::Value, Error> {
        json(&self, &mut |_| Ok(()), 0)
    }

    /// The value as a body: text and bytes as they are, anything else as JSON.
    ///
    /// # Errors
    /// As [`Value::into_json`].
    pub fn to_body(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::String(text) => Ok(text.as_bytes().to_vec()),
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
            Self::Secret(_) => Ok(REDACTED.as_bytes().to_vec()),
            other => Ok(other.clone().into_json()?.to_string().into_bytes()),
        }
    }

    /// The value as a header's: text, bytes, a number or a bool; `None` for what has parts.
    pub fn to_header(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
            other => other.scalar().map(|text| match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
        }
    }

    /// A span of time: a duration, or a number of milliseconds; nothing below zero.
    pub fn to_span(&self) -> Option<std::time::Duration> {
        match self {
            Self::Duration(span) => span.to_std(),
            Self::Int(millis) => u64::try_from(*millis).ok().map(std::time::Duration::from_millis),
            Self::Uint(millis) => Some(std::time::Duration::from_millis(*millis)),
            Self::Double(millis) => std::time::Duration::try_from_secs_f64(*millis / 1000.0).ok(),
            _ => None,
        }
    }
}

fn json(
    value: &Value<'_>,
    charge: &mut dyn FnMut(usize) -> Result<(), Error>,
    depth: usize,
) -> Result<serde_json::Value, Error> {
    use base64::Engine;
    if depth > DEPTH_MAX {
        return Err(Error::invalid(format!("nested deeper than {DEPTH_MAX}")));
    }
    charge(16)?;
    Ok(match value {
        Value::Null | Value::Optional(None) => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Uint(value) => (*value).into(),
        Value::Double(value) => match serde_json::Number::from_f64(*value) {
            Some(number) => number.into(),
            None => super::number::format(*value).into(),
        },
        Value::Bytes(bytes) => {
            charge(bytes.len().saturating_mul(2))?;
            base64::engine::general_purpose::STANDARD.encode(&**bytes).into()
        }
        Value::Optional(Some(inner)) => json(inner, charge, depth + 1)?,
        Value::List(items) => {
            items.iter().map(|item| json(&item, charge, depth + 1)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Value::Map(map) => {
            let mut object = serde_json::Map::new();
            for (name, value) in map.entries() {
                let name = name.scalar().unwrap_or_default().into_owned();
                charge(name.len())?;
                object.insert(name, json(&value, charge, depth + 1)?);
            }
            object.into()
        }
        Value::String(_)
        | Value::Duration(_)
        | Value::Timestamp(_)
        | Value::Type(_)
        | Value::Ip(_)
        | Value::Cidr(_)
        | Value::Secret(_) => {
            let text = value.scalar().unwrap_or_default();
            charge(text.len())?;
            text.into_owned().into()
        }
    })
}
