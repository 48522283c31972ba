//! Numbers of three types that compare as one line of numbers.

use std::cmp::Ordering;

use super::value::Value;

/// Orders two numbers by their value; `None` with NaN, or where one is none.
pub(super) fn order(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Uint(left), Value::Uint(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Uint(right)) => Some(i128::from(*left).cmp(&i128::from(*right))),
        (Value::Uint(left), Value::Int(right)) => Some(i128::from(*left).cmp(&i128::from(*right))),
        (Value::Int(left), Value::Double(right)) => whole(i128::from(*left), *right),
        (Value::Uint(left), Value::Double(right)) => whole(i128::from(*left), *right),
        (Value::Double(left), Value::Int(right)) => whole(i128::from(*right), *left).map(Ordering::reverse),
        (Value::Double(left), Value::Uint(right)) => whole(i128::from(*right), *left).map(Ordering::reverse),
        _ => None,
    }
}

/// A whole number against a double: as doubles, as the specification has it.
#[expect(clippy::cast_precision_loss, reason = "the specification compares what is left of it")]
fn whole(left: i128, right: f64) -> Option<Ordering> {
    (left as f64).partial_cmp(&right)
}

pub(super) fn is_number(value: &Value<'_>) -> bool {
    matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_))
}

/// A double as CEL's `string()` writes it.
pub(super) fn double(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else if value != 0.0 && (value.abs() < 1e-4 || value.abs() >= 1e21) {
        exponent(value)
    } else {
        value.to_string()
    }
}

/// `1.5e+21`: at least two digits of exponent, with its sign.
fn exponent(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A double as `format()` writes it.
pub(super) fn format(value: f64) -> String {
    if value.is_infinite() { if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned() } else { double(value) }
}
