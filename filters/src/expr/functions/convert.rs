//! Conversions between types, sizes, and the least and greatest.

use super::{Builtin, MANY, global, method};
use crate::expr::error::Error;
use crate::expr::eval::{Frame, compare};
use crate::expr::node::Comparison;
use crate::expr::number;
use crate::expr::time::{Duration, Timestamp};
use crate::expr::value::{Blob, REDACTED, Str, Value};

type Returned<'a> = Result<Value<'a>, Error>;

pub(super) const TABLE: &[Builtin] = &[
    global("size", 1, 1, size),
    method("size", 0, 0, size),
    global("int", 1, 1, int),
    global("uint", 1, 1, uint),
    global("double", 1, 1, double),
    global("string", 1, 1, string),
    global("bytes", 1, 1, bytes),
    global("bool", 1, 1, boolean),
    global("type", 1, 1, kind),
    global("dyn", 1, 1, same),
    global("duration", 1, 1, duration),
    global("timestamp", 1, 1, timestamp),
    global("max", 1, MANY, max),
    global("min", 1, MANY, min),
    method("unredacted", 0, 0, unredacted),
    global("fail", 0, 1, fail),
];

fn size<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let size = match args {
        [Value::String(text)] => {
            frame.reads(text.len())?;
            text.chars().count()
        }
        [Value::Bytes(bytes)] => bytes.len(),
        [Value::List(items)] => items.len(),
        [Value::Map(map)] => map.len(),
        _ => return Err(Error::no_overload()),
    };
    Ok(Value::Int(i64::try_from(size).map_err(|_| Error::overflow())?))
}

fn int<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let value = match args {
        [Value::Int(value)] => Some(*value),
        [Value::Uint(value)] => i64::try_from(*value).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
        [Value::Double(value)] if *value > -9_223_372_036_854_775_808.0 && *value < 9_223_372_036_854_775_807.0 => {
            Some(*value as i64)
        }
        [Value::Double(_)] => None,
        [Value::String(text)] => return text.parse().map(Value::Int).map_err(|_| unreadable(text, "a whole number")),
        [Value::Timestamp(moment)] => Some(moment.seconds),
        [Value::Duration(span)] => Some(span.seconds),
        _ => return Err(Error::no_overload()),
    };
    value.map(Value::Int).ok_or_else(Error::overflow)
}

fn uint<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let value = match args {
        [Value::Uint(value)] => Some(*value),
        [Value::Int(value)] => u64::try_from(*value).ok(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
        [Value::Double(value)] if *value >= 0.0 && *value < 18_446_744_073_709_551_615.0 => Some(*value as u64),
        [Value::Double(_)] => None,
        [Value::String(text)] => return text.parse().map(Value::Uint).map_err(|_| unreadable(text, "a whole number")),
        _ => return Err(Error::no_overload()),
    };
    value.map(Value::Uint).ok_or_else(Error::overflow)
}

#[expect(clippy::cast_precision_loss, reason = "as CEL converts")]
fn double<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    Ok(Value::Double(match args {
        [Value::Double(value)] => *value,
        [Value::Int(value)] => *value as f64,
        [Value::Uint(value)] => *value as f64,
        [Value::String(text)] => text.parse().map_err(|_| unreadable(text, "a number"))?,
        _ => return Err(Error::no_overload()),
    }))
}

fn unreadable(text: &str, wanted: &str) -> Error {
    let short: String = text.chars().take(40).collect();
    Error::invalid(format!("`{}` is not {wanted}", short.escape_debug()))
}

fn string<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [value @ Value::String(_)] => Ok(value.clone()),
        [Value::Bytes(bytes)] => match (bytes, std::str::from_utf8(bytes)) {
            (_, Err(_)) => Err(Error::invalid("the bytes are not UTF-8")),
            (Blob::Borrowed(bytes), Ok(_)) => Ok(Value::str(std::str::from_utf8(bytes).unwrap_or(""))),
            (Blob::Shared(_), Ok(text)) => frame.text(text.to_owned()),
        },
        [Value::Secret(_)] => Ok(Value::str(REDACTED)),
        [Value::Null | Value::Type(_) | Value::List(_) | Value::Map(_) | Value::Optional(_)] => {
            Err(Error::no_overload())
        }
        [other] => match other.scalar() {
            Some(text) => frame.text(text.into_owned()),
            None => Err(Error::no_overload()),
        },
        _ => Err(Error::no_overload()),
    }
}

fn bytes<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [value @ Value::Bytes(_)] => Ok(value.clone()),
        [Value::String(Str::Borrowed(text))] => Ok(Value::Bytes(Blob::Borrowed(text.as_bytes()))),
        [Value::String(Str::Shared(text))] => {
            frame.produces(text.len())?;
            Ok(Value::bytes(text.as_bytes()))
        }
        _ => Err(Error::no_overload()),
    }
}

fn boolean<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [value @ Value::Bool(_)] => Ok(value.clone()),
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            other => Err(unreadable(other, "true or false")),
        },
        _ => Err(Error::no_overload()),
    }
}

fn kind<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [value] => Ok(Value::Type(value.type_name())),
        _ => Err(Error::no_overload()),
    }
}

fn same<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    args.first().cloned().ok_or_else(Error::no_overload)
}

fn duration<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [value @ Value::Duration(_)] => Ok(value.clone()),
        [Value::String(text)] => {
            Duration::parse(text).map(Value::Duration).ok_or_else(|| unreadable(text, "a duration such as `1h30m`"))
        }
        [Value::Int(seconds)] => {
            let span = Duration::of_nanos(i128::from(*seconds) * 1_000_000_000);
            span.map(Value::Duration).ok_or_else(Error::overflow)
        }
        _ => Err(Error::no_overload()),
    }
}

fn timestamp<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [value @ Value::Timestamp(_)] => Ok(value.clone()),
        [Value::String(text)] => {
            Timestamp::parse(text).map(Value::Timestamp).ok_or_else(|| unreadable(text, "a moment as RFC 3339 has it"))
        }
        [Value::Int(seconds)] => Timestamp::of_seconds(*seconds).map(Value::Timestamp).ok_or_else(Error::overflow),
        _ => Err(Error::no_overload()),
    }
}

fn max<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    extreme(frame, args, Comparison::Greater)
}

fn min<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    extreme(frame, args, Comparison::Less)
}

/// Of the arguments, or of the one list.
fn extreme<'a>(frame: &mut Frame<'a>, args: &[Value<'a>], wanted: Comparison) -> Returned<'a> {
    let items: Vec<Value<'a>> = match args {
        [Value::List(items)] => items.iter().collect(),
        args => args.to_vec(),
    };
    frame.reads(items.len().saturating_mul(64))?;
    let mut items = items.into_iter();
    let mut best = items.next().ok_or_else(|| Error::invalid("an empty list has neither least nor greatest"))?;
    if !number::is_number(&best) && !matches!(best, Value::String(_) | Value::Duration(_) | Value::Timestamp(_)) {
        return Err(Error::no_overload());
    }
    for item in items {
        if compare(wanted, &item, &best)? {
            best = item;
        }
    }
    Ok(best)
}

fn unredacted<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::Secret(text) | Value::String(text)] => Ok(Value::String(text.clone())),
        _ => Err(Error::no_overload()),
    }
}

fn fail<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let reason = args.first().and_then(Value::scalar).unwrap_or_default();
    Err(Error::new(crate::expr::error::Cause::Failed(reason.chars().take(256).collect::<String>().into())))
}
