//! `+ - * / %` and negation: nothing wraps around.

use super::Frame;
use crate::expr::error::{Cause, Error};
use crate::expr::node::Operation;
use crate::expr::value::{Blob, Value};

type Calculated<'a> = Result<Value<'a>, Error>;

pub(in crate::expr) fn calculate<'a>(
    operation: Operation,
    left: &Value<'a>,
    right: &Value<'a>,
    frame: &mut Frame<'a>,
) -> Calculated<'a> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => int(operation, *left, *right),
        (Value::Uint(left), Value::Uint(right)) => uint(operation, *left, *right),
        (Value::Double(left), Value::Double(right)) => double(operation, *left, *right),
        _ => match operation {
            Operation::Add => add(left, right, frame),
            Operation::Subtract => subtract(left, right),
            Operation::Multiply | Operation::Divide | Operation::Remainder => Err(Error::no_overload()),
        },
    }
}

fn int<'a>(operation: Operation, left: i64, right: i64) -> Calculated<'a> {
    if right == 0 && matches!(operation, Operation::Divide | Operation::Remainder) {
        return Err(Error::new(Cause::DivisionByZero));
    }
    let result = match operation {
        Operation::Add => left.checked_add(right),
        Operation::Subtract => left.checked_sub(right),
        Operation::Multiply => left.checked_mul(right),
        Operation::Divide => left.checked_div(right),
        Operation::Remainder => left.checked_rem(right),
    };
    result.map(Value::Int).ok_or_else(Error::overflow)
}

fn uint<'a>(operation: Operation, left: u64, right: u64) -> Calculated<'a> {
    if right == 0 && matches!(operation, Operation::Divide | Operation::Remainder) {
        return Err(Error::new(Cause::DivisionByZero));
    }
    let result = match operation {
        Operation::Add => left.checked_add(right),
        Operation::Subtract => left.checked_sub(right),
        Operation::Multiply => left.checked_mul(right),
        Operation::Divide => left.checked_div(right),
        Operation::Remainder => left.checked_rem(right),
    };
    result.map(Value::Uint).ok_or_else(Error::overflow)
}

fn double<'a>(operation: Operation, left: f64, right: f64) -> Calculated<'a> {
    Ok(Value::Double(match operation {
        Operation::Add => left + right,
        Operation::Subtract => left - right,
        Operation::Multiply => left * right,
        Operation::Divide => left / right,
        Operation::Remainder => return Err(Error::no_overload()),
    }))
}

fn add<'a>(left: &Value<'a>, right: &Value<'a>, frame: &mut Frame<'a>) -> Calculated<'a> {
    Ok(match (left, right) {
        (Value::String(left), Value::String(right)) => {
            frame.produces(left.len() + right.len())?;
            Value::text([&**left, &**right].concat())
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            frame.produces(left.len() + right.len())?;
            Value::Bytes(Blob::Shared([&**left, &**right].concat().into()))
        }
        (Value::List(left), Value::List(right)) => {
            let count = left.len() + right.len();
            frame.produces(count.saturating_mul(size_of::<Value<'a>>()))?;
            Value::list(left.iter().chain(right.iter()).collect())
        }
        (Value::Duration(left), Value::Duration(right)) => {
            let sum = crate::expr::time::Duration::of_nanos(left.as_nanos() + right.as_nanos());
            Value::Duration(sum.ok_or_else(Error::overflow)?)
        }
        (Value::Timestamp(moment), Value::Duration(span)) | (Value::Duration(span), Value::Timestamp(moment)) => {
            Value::Timestamp(moment.plus(*span).ok_or_else(Error::overflow)?)
        }
        _ => return Err(Error::no_overload()),
    })
}

fn subtract<'a>(left: &Value<'a>, right: &Value<'a>) -> Calculated<'a> {
    Ok(match (left, right) {
        (Value::Duration(left), Value::Duration(right)) => {
            let rest = crate::expr::time::Duration::of_nanos(left.as_nanos() - right.as_nanos());
            Value::Duration(rest.ok_or_else(Error::overflow)?)
        }
        (Value::Timestamp(moment), Value::Duration(span)) => {
            Value::Timestamp(moment.minus(*span).ok_or_else(Error::overflow)?)
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => {
            Value::Duration(left.since(*right).ok_or_else(Error::overflow)?)
        }
        _ => return Err(Error::no_overload()),
    })
}

pub(in crate::expr) fn negate<'a>(value: &Value<'a>) -> Calculated<'a> {
    match value {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(Error::overflow),
        Value::Double(value) => Ok(Value::Double(-value)),
        _ => Err(Error::no_overload()),
    }
}
