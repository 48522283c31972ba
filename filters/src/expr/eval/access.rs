//! Parts of values: fields, elements, optionals, and what stands in where they are missing.

use super::{Evaluated, Frame, eval, no_key, text, within};
use crate::expr::error::{Cause, Error};
use crate::expr::functions;
use crate::expr::node::Kind;
use crate::expr::value::Value;

/// `of.field`
pub(in crate::expr) fn select<'a>(of: &Value<'a>, field: &str) -> Evaluated<'a> {
    match of {
        Value::Map(map) => map.field(field).ok_or_else(Error::missing),
        Value::Optional(inner) => optional(inner.as_deref(), |inner| select(inner, field)),
        _ => Err(Error::no_overload()),
    }
}

/// `of[key]` and `of[?key]`
pub(super) fn indexed<'a>(of: &Value<'a>, key: &Value<'a>, is_optional: bool) -> Evaluated<'a> {
    match (of, is_optional) {
        (Value::Optional(inner), _) => optional(inner.as_deref(), |inner| index(inner, key)),
        (of, false) => index(of, key),
        (of, true) => or_none(index(of, key)),
    }
}

pub(in crate::expr) fn index<'a>(of: &Value<'a>, key: &Value<'a>) -> Evaluated<'a> {
    match of {
        Value::Map(map) => match key {
            Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_) => {
                map.get(key).ok_or_else(|| no_key(key))
            }
            _ => Err(Error::no_overload()),
        },
        Value::List(items) => {
            let position = match key {
                Value::Int(position) => usize::try_from(*position).ok(),
                Value::Uint(position) => usize::try_from(*position).ok(),
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and positive")]
                Value::Double(position) if position.fract() == 0.0 && *position >= 0.0 => Some(*position as usize),
                Value::Double(_) => return Err(Error::invalid("a list index is a whole number")),
                _ => return Err(Error::no_overload()),
            };
            position.and_then(|it| items.get(it)).ok_or_else(|| Error::new(Cause::OutOfRange))
        }
        _ => Err(Error::no_overload()),
    }
}

/// Goes on inside an optional: what is missing there is none.
fn optional<'a>(inner: Option<&Value<'a>>, act: impl FnOnce(&Value<'a>) -> Evaluated<'a>) -> Evaluated<'a> {
    match inner {
        Some(inner) => or_none(act(inner)),
        None => Ok(Value::Optional(None)),
    }
}

fn or_none<'a>(value: Evaluated<'a>) -> Evaluated<'a> {
    match value {
        Ok(value) => Ok(Value::some(value)),
        Err(error) if error.is_missing() || error.cause == Cause::OutOfRange => Ok(Value::Optional(None)),
        Err(error) => Err(error),
    }
}

/// `has(of.field)`
pub(super) fn has(of: &Value<'_>, field: &str) -> Result<bool, Error> {
    match of {
        Value::Map(map) => Ok(map.field(field).is_some()),
        Value::Optional(Some(inner)) => has(inner, field),
        Value::Optional(None) => Ok(false),
        _ => Err(Error::no_overload()),
    }
}

/// Nodes that are neither a walk nor a plain call.
pub(super) fn special<'a>(kind: &'a Kind, frame: &mut Frame<'a>) -> Evaluated<'a> {
    match kind {
        Kind::Replace(parts, regex) => {
            let [of, replacement] = &**parts;
            let (of, replacement) = (text(of, frame)?, text(replacement, frame)?);
            functions::replace_regex(frame, &of, regex, &replacement)
        }
        Kind::JsonField(of, field) => {
            let of = eval(of, frame)?;
            functions::json_field(frame, &of, field)
        }
        Kind::OptionalSelect(of, field) => match eval(of, frame)? {
            Value::Optional(inner) => optional(inner.as_deref(), |inner| select(inner, field)),
            of => or_none(select(&of, field)),
        },
        Kind::OptionalOf(of) => or_none(eval(of, frame)),
        Kind::Default(parts) => {
            let [of, fallback] = &**parts;
            match eval(of, frame) {
                Err(error) if error.is_missing() => eval(fallback, frame),
                other => other,
            }
        }
        Kind::Coalesce(args) => {
            let mut last = None;
            for arg in args {
                match eval(arg, frame) {
                    Ok(Value::Null) => last = Some(Ok(Value::Null)),
                    Ok(value) => return Ok(value),
                    Err(error) if error.is_limit() => return Err(error),
                    Err(error) => last = last.or(Some(Err(error))),
                }
            }
            last.unwrap_or(Ok(Value::Null))
        }
        Kind::OptionalMap(parts, flat) => {
            let [of, body] = &**parts;
            match eval(of, frame)? {
                Value::Optional(None) => Ok(Value::Optional(None)),
                Value::Optional(Some(inner)) => {
                    let value = within(frame, Ok((*inner).clone()), |frame| eval(body, frame))?;
                    match (flat, value) {
                        (false, value) => Ok(Value::some(value)),
                        (true, value @ Value::Optional(_)) => Ok(value),
                        (true, _) => Err(Error::no_overload()),
                    }
                }
                _ => Err(Error::no_overload()),
            }
        }
        Kind::Or(parts, is_value) => {
            let [of, other] = &**parts;
            match (eval(of, frame)?, is_value) {
                (Value::Optional(Some(inner)), true) => Ok((*inner).clone()),
                (value @ Value::Optional(Some(_)), false) => Ok(value),
                (Value::Optional(None), true) => eval(other, frame),
                (Value::Optional(None), false) => match eval(other, frame)? {
                    value @ Value::Optional(_) => Ok(value),
                    _ => Err(Error::no_overload()),
                },
                _ => Err(Error::no_overload()),
            }
        }
        _ => Err(Error::no_overload()),
    }
}
