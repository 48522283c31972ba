//! JSON as `google.protobuf.Struct`, and back.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Wire};
use serde_json::{Map, Number, Value};

/// Deepest nesting that is followed either way; what lies deeper is null.
const DEPTH_MAX: usize = 32;

pub(super) fn encode(map: &Map<String, Value>) -> Struct {
    object(map, 0)
}

pub(super) fn decode(message: Struct) -> Map<String, Value> {
    map(message, 0)
}

fn object(map: &Map<String, Value>, depth: usize) -> Struct {
    let fields = map.iter().map(|(key, value)| (key.clone(), wire(value, depth + 1)));
    Struct { fields: fields.collect() }
}

fn wire(value: &Value, depth: usize) -> Wire {
    let kind = match value {
        _ if depth > DEPTH_MAX => Kind::NullValue(0),
        Value::Null => Kind::NullValue(0),
        Value::Bool(it) => Kind::BoolValue(*it),
        Value::Number(it) => Kind::NumberValue(it.as_f64().unwrap_or(f64::NAN)),
        Value::String(it) => Kind::StringValue(it.clone()),
        Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.iter().map(|it| wire(it, depth + 1)).collect() })
        }
        Value::Object(map) => Kind::StructValue(object(map, depth)),
    };
    Wire { kind: Some(kind) }
}

fn map(message: Struct, depth: usize) -> Map<String, Value> {
    let fields: BTreeMap<String, Wire> = message.fields.into_iter().collect();
    fields.into_iter().map(|(key, value)| (key, json(value, depth + 1))).collect()
}

fn json(value: Wire, depth: usize) -> Value {
    match value.kind {
        _ if depth > DEPTH_MAX => Value::Null,
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(it)) => Value::Bool(it),
        Some(Kind::NumberValue(it)) => number(it),
        Some(Kind::StringValue(it)) => Value::String(it),
        Some(Kind::ListValue(it)) => it.values.into_iter().map(|it| json(it, depth + 1)).collect(),
        Some(Kind::StructValue(it)) => Value::Object(map(it, depth)),
    }
}

/// A whole number stays one: the message knows only floating point.
fn number(it: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if it.fract() == 0.0 && it.abs() <= EXACT {
        return Value::Number(Number::from(it as i64));
    }
    Number::from_f64(it).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let value = json!({"a": [1, 2.5, true, null, {"b": "c"}], "sub": "me", "exp": 1_800_000_000});
        let map = value.as_object().unwrap();
        assert_eq!(&decode(encode(map)), map);
    }

    #[test]
    fn what_lies_too_deep_is_null() {
        let mut value = json!(1);
        for _ in 0..100 {
            value = json!({ "a": value });
        }
        let back = decode(encode(value.as_object().unwrap()));
        let mut depth = 0;
        let mut at = back.get("a");
        while let Some(inner) = at.and_then(|it| it.get("a")) {
            (at, depth) = (Some(inner), depth + 1);
        }
        assert!((10..=DEPTH_MAX).contains(&depth), "{depth}");
    }
}
