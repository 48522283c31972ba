//! `==`, `in`, and the order of values.

use std::cmp::Ordering;

use super::Frame;
use crate::expr::error::Error;
use crate::expr::node::Comparison;
use crate::expr::number;
use crate::expr::value::Value;

/// Whether two values are equal; values of different kinds are not.
pub(in crate::expr) fn equals<'a>(left: &Value<'a>, right: &Value<'a>, frame: &mut Frame<'a>) -> Result<bool, Error> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::String(left), Value::String(right)) => **left == **right,
        (Value::Bytes(left), Value::Bytes(right)) => **left == **right,
        (Value::Duration(left), Value::Duration(right)) => left == right,
        (Value::Timestamp(left), Value::Timestamp(right)) => left == right,
        (Value::Type(left), Value::Type(right)) => left == right,
        (Value::Ip(left), Value::Ip(right)) => left == right,
        (Value::Cidr(left), Value::Cidr(right)) => left == right,
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(left)), Value::Optional(Some(right))) => {
            frame.step()?;
            equals(left, right, frame)?
        }
        (Value::List(left), Value::List(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right.iter()) {
                frame.step()?;
                if !equals(&left, &right, frame)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(left), Value::Map(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (name, left) in left.entries() {
                frame.step()?;
                match right.get(&name) {
                    Some(right) if equals(&left, &right, frame)? => {}
                    Some(_) | None => return Ok(false),
                }
            }
            true
        }
        (left, right) => number::order(left, right) == Some(Ordering::Equal),
    })
}

/// The order of two values of one kind.
fn order(left: &Value<'_>, right: &Value<'_>) -> Result<Option<Ordering>, Error> {
    Ok(Some(match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::String(left), Value::String(right)) => (**left).cmp(&**right),
        (Value::Bytes(left), Value::Bytes(right)) => (**left).cmp(&**right),
        (Value::Duration(left), Value::Duration(right)) => left.cmp(right),
        (Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(right),
        (left, right) if number::is_number(left) && number::is_number(right) => {
            return Ok(number::order(left, right));
        }
        _ => return Err(Error::no_overload()),
    }))
}

/// NaN is in no order: every comparison with it is false.
pub(in crate::expr) fn compare(comparison: Comparison, left: &Value<'_>, right: &Value<'_>) -> Result<bool, Error> {
    let Some(order) = order(left, right)? else { return Ok(false) };
    Ok(match comparison {
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

/// `item in of`
pub(in crate::expr) fn contains<'a>(of: &Value<'a>, item: &Value<'a>, frame: &mut Frame<'a>) -> Result<bool, Error> {
    match of {
        Value::List(items) => {
            for candidate in items.iter() {
                frame.step()?;
                if equals(&candidate, item, frame)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => Ok(map.get(item).is_some()),
        _ => Err(Error::no_overload()),
    }
}
