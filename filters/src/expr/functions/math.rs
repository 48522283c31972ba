//! `math.*`

use super::{Builtin, MANY, global};
use crate::expr::error::Error;
use crate::expr::eval::{Frame, compare};
use crate::expr::node::Comparison;
use crate::expr::number;
use crate::expr::value::Value;

type Returned<'a> = Result<Value<'a>, Error>;

pub(super) const TABLE: &[Builtin] = &[
    global("math.greatest", 1, MANY, |frame, args| extreme(frame, args, Comparison::Greater)),
    global("math.least", 1, MANY, |frame, args| extreme(frame, args, Comparison::Less)),
    global("math.ceil", 1, 1, |_, args| of_double(args, |it| Value::Double(it.ceil()))),
    global("math.floor", 1, 1, |_, args| of_double(args, |it| Value::Double(it.floor()))),
    global("math.round", 1, 1, |_, args| of_double(args, |it| Value::Double(it.round()))),
    global("math.trunc", 1, 1, |_, args| of_double(args, |it| Value::Double(it.trunc()))),
    global("math.isInf", 1, 1, |_, args| of_double(args, |it| Value::Bool(it.is_infinite()))),
    global("math.isNaN", 1, 1, |_, args| of_double(args, |it| Value::Bool(it.is_nan()))),
    global("math.isFinite", 1, 1, |_, args| of_double(args, |it| Value::Bool(it.is_finite()))),
    global("math.abs", 1, 1, abs),
    global("math.sign", 1, 1, sign),
    global("math.sqrt", 1, 1, sqrt),
    global("math.bitAnd", 2, 2, |_, args| bits(args, |l, r| l & r, |l, r| l & r)),
    global("math.bitOr", 2, 2, |_, args| bits(args, |l, r| l | r, |l, r| l | r)),
    global("math.bitXor", 2, 2, |_, args| bits(args, |l, r| l ^ r, |l, r| l ^ r)),
    global("math.bitNot", 1, 1, not),
    global("math.bitShiftLeft", 2, 2, |_, args| shift(args, |it, by| it.checked_shl(by).unwrap_or(0))),
    global("math.bitShiftRight", 2, 2, |_, args| shift(args, |it, by| it.checked_shr(by).unwrap_or(0))),
];

fn extreme<'a>(frame: &mut Frame<'a>, args: &[Value<'a>], wanted: Comparison) -> Returned<'a> {
    let items: Vec<Value<'a>> = match args {
        [Value::List(items)] => items.iter().collect(),
        args => args.to_vec(),
    };
    frame.reads(items.len().saturating_mul(64))?;
    if items.is_empty() || !items.iter().all(number::is_number) {
        return Err(Error::no_overload());
    }
    let mut items = items.into_iter();
    let mut best = items.next().ok_or_else(Error::no_overload)?;
    for item in items {
        if compare(wanted, &item, &best)? {
            best = item;
        }
    }
    Ok(best)
}

fn of_double<'a>(args: &[Value<'a>], act: fn(f64) -> Value<'static>) -> Returned<'a> {
    match args {
        [Value::Double(value)] => Ok(act(*value)),
        _ => Err(Error::no_overload()),
    }
}

fn abs<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::Double(value)] => Ok(Value::Double(value.abs())),
        [Value::Int(value)] => value.checked_abs().map(Value::Int).ok_or_else(Error::overflow),
        [value @ Value::Uint(_)] => Ok(value.clone()),
        _ => Err(Error::no_overload()),
    }
}

fn sign<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    Ok(match args {
        [Value::Double(value)] if value.is_nan() || *value == 0.0 => Value::Double(*value),
        [Value::Double(value)] => Value::Double(value.signum()),
        [Value::Int(value)] => Value::Int(value.signum()),
        [Value::Uint(value)] => Value::Uint(u64::from(*value > 0)),
        _ => return Err(Error::no_overload()),
    })
}

#[expect(clippy::cast_precision_loss, reason = "as CEL converts")]
fn sqrt<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    Ok(Value::Double(match args {
        [Value::Double(value)] => value.sqrt(),
        [Value::Int(value)] => (*value as f64).sqrt(),
        [Value::Uint(value)] => (*value as f64).sqrt(),
        _ => return Err(Error::no_overload()),
    }))
}

fn bits<'a>(args: &[Value<'a>], int: fn(i64, i64) -> i64, uint: fn(u64, u64) -> u64) -> Returned<'a> {
    match args {
        [Value::Int(left), Value::Int(right)] => Ok(Value::Int(int(*left, *right))),
        [Value::Uint(left), Value::Uint(right)] => Ok(Value::Uint(uint(*left, *right))),
        _ => Err(Error::no_overload()),
    }
}

fn not<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::Int(value)] => Ok(Value::Int(!value)),
        [Value::Uint(value)] => Ok(Value::Uint(!value)),
        _ => Err(Error::no_overload()),
    }
}

/// Shifts are of bits: a negative number shifts to the right as the bits it is.
fn shift<'a>(args: &[Value<'a>], act: fn(u64, u32) -> u64) -> Returned<'a> {
    let (Some(value), Some(Value::Int(by))) = (args.first(), args.get(1)) else { return Err(Error::no_overload()) };
    let by = u64::try_from(*by).map_err(|_| Error::invalid("math.bitShift: negative offset"))?;
    let by = u32::try_from(by).unwrap_or(u32::MAX);
    match value {
        Value::Int(value) => Ok(Value::Int(act(value.cast_unsigned(), by).cast_signed())),
        Value::Uint(value) => Ok(Value::Uint(act(*value, by))),
        _ => Err(Error::no_overload()),
    }
}
