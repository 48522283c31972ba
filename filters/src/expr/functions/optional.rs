//! Values that may be absent.

use super::{Builtin, global, method};
use crate::expr::error::Error;
use crate::expr::eval::Frame;
use crate::expr::value::Value;

type Returned<'a> = Result<Value<'a>, Error>;

pub(super) const TABLE: &[Builtin] = &[
    global("optional.none", 0, 0, |_, _| Ok(Value::Optional(None))),
    global("optional.of", 1, 1, of),
    global("optional.ofNonZeroValue", 1, 1, of_non_zero),
    method("value", 0, 0, value),
    method("hasValue", 0, 0, has_value),
    global("optional.unwrap", 1, 1, unwrap),
    method("unwrapOpt", 0, 0, unwrap),
];

fn of<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    args.first().cloned().map(Value::some).ok_or_else(Error::no_overload)
}

fn of_non_zero<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let Some(value) = args.first() else { return Err(Error::no_overload()) };
    let is_zero = match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) | Value::Secret(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Duration(span) => span.as_nanos() == 0,
        Value::Timestamp(moment) => moment.seconds == 0 && moment.nanos == 0,
        Value::Optional(inner) => inner.is_none(),
        Value::Type(_) | Value::Ip(_) | Value::Cidr(_) => false,
    };
    Ok(if is_zero { Value::Optional(None) } else { Value::some(value.clone()) })
}

fn value<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::Optional(Some(inner))] => Ok((**inner).clone()),
        [Value::Optional(None)] => Err(Error::invalid("optional.none() dereference")),
        _ => Err(Error::no_overload()),
    }
}

fn has_value<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::Optional(inner)] => Ok(Value::Bool(inner.is_some())),
        _ => Err(Error::no_overload()),
    }
}

/// The values of those that have one.
fn unwrap<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [Value::List(items)] = args else { return Err(Error::no_overload()) };
    let mut values = Vec::new();
    for item in items.iter() {
        match item {
            Value::Optional(Some(inner)) => values.push((*inner).clone()),
            Value::Optional(None) => {}
            _ => return Err(Error::no_overload()),
        }
    }
    frame.list(values)
}
