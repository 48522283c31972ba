//! The specification's own cases: see `tests/golden/cel/README.md`.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::expr::time::{Duration, Timestamp};
use crate::expr::value::Value;
use crate::expr::vocabulary::Declared;
use crate::expr::{Entries, Expression, Inputs, Map, Site, Vocabulary, summary};

const CASES: &str = include_str!("../../../../tests/golden/cel/cases.jsonl");
const ABSENT: &str = include_str!("../../../../tests/golden/cel/absent.txt");

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    group: String,
    name: String,
    expr: String,
    #[serde(default)]
    bindings: BTreeMap<String, Json>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    container: String,
    #[serde(default)]
    unchecked: bool,
    #[serde(default)]
    check_only: bool,
    #[serde(default)]
    error: bool,
    value: Option<Json>,
    /// It names messages of protocol buffers.
    #[serde(default)]
    messages: bool,
}

/// A value as the cases write it; `None` for messages and enums.
fn read(json: &Json) -> Option<Value<'static>> {
    let (kind, inner) = json.as_object()?.iter().next()?;
    let text = || inner.as_str().map(str::to_owned);
    Some(match kind.as_str() {
        "nullValue" => Value::Null,
        "boolValue" => Value::Bool(inner.as_bool()?),
        "int64Value" => Value::Int(text()?.parse().ok()?),
        "uint64Value" => Value::Uint(text()?.parse().ok()?),
        "doubleValue" => Value::Double(text()?.parse().ok()?),
        "stringValue" => Value::text(text()?),
        "bytesValue" => {
            use base64::Engine;
            Value::bytes(base64::engine::general_purpose::STANDARD.decode(text()?).ok()?)
        }
        "typeValue" => {
            let name = text()?;
            let known = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "type", "null_type"];
            let known = known.into_iter().chain(["google.protobuf.Timestamp", "google.protobuf.Duration"]);
            Value::Type(known.chain(["optional_type"]).find(|it| *it == name)?)
        }
        "listValue" => {
            let items = inner.get("values").and_then(Json::as_array).cloned().unwrap_or_default();
            Value::list(items.iter().map(read).collect::<Option<_>>()?)
        }
        "mapValue" => {
            let mut entries = Entries::default();
            for entry in inner.get("entries").and_then(Json::as_array).cloned().unwrap_or_default() {
                entries.insert(read(entry.get("key")?)?, read(entry.get("value")?)?);
            }
            Value::Map(Map::of(entries))
        }
        "objectValue" => match inner.get("@type")?.as_str()? {
            "type.googleapis.com/google.protobuf.Duration" => {
                Value::Duration(Duration::parse(inner.get("value")?.as_str()?)?)
            }
            "type.googleapis.com/google.protobuf.Timestamp" => {
                Value::Timestamp(Timestamp::parse(inner.get("value")?.as_str()?)?)
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// Equal in kind, too: `1` is not `1.0` here, and NaN is NaN.
fn same(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => left == right || left.is_nan() && right.is_nan(),
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right.iter()).all(|(left, right)| same(&left, &right))
        }
        (Value::Map(left), Value::Map(right)) => {
            left.len() == right.len()
                && left.entries().iter().all(|(key, value)| right.get(key).is_some_and(|other| same(value, &other)))
        }
        (Value::Optional(left), Value::Optional(right)) => match (left, right) {
            (Some(left), Some(right)) => same(left, right),
            (left, right) => left.is_none() && right.is_none(),
        },
        (left, right) => left.type_name() == right.type_name() && format!("{left:?}") == format!("{right:?}"),
    }
}

impl Case {
    /// `None` where it passes, else what went wrong.
    fn run(&self) -> Option<String> {
        let mut vocabulary = Vocabulary::of(Site::Any);
        let names = self.names.iter().chain(self.bindings.keys());
        vocabulary.declared = Declared {
            names: names.map(|name| name.as_str().into()).collect(),
            container: self.container.as_str().into(),
            unchecked: self.unchecked,
            alone: true,
        };
        let bound: Option<Vec<(&str, Value<'static>)>> =
            self.bindings.iter().map(|(name, value)| Some((name.as_str(), read(value)?))).collect();
        let Some(bound) = bound else { return Some("a variable cannot be read".to_owned()) };
        let expression = match Expression::compile(&self.expr, &vocabulary) {
            Ok(expression) => expression,
            Err(_) if self.error => return None,
            Err(problems) => return Some(summary(&problems)),
        };
        if self.check_only {
            return Some("types are not checked beforehand".to_owned());
        }
        let inputs = Inputs { bound: &bound, ..Inputs::default() };
        match expression.evaluate(&inputs) {
            Ok(value) if self.error => Some(format!("an error is wanted, not {value:?}")),
            Err(_) if self.error => None,
            Err(error) => Some(error.to_string()),
            Ok(value) => {
                let Some(wanted) = self.value.as_ref().and_then(read) else {
                    return Some("the value wanted cannot be read".to_owned());
                };
                (!same(&value, &wanted)).then(|| format!("{value:?} instead of {wanted:?}"))
            }
        }
    }
}

#[test]
fn the_specification_is_followed() {
    let absent: Vec<&str> =
        ABSENT.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let (mut wrong, mut passed, mut alone, mut count) = (Vec::new(), 0, 0, 0);
    for line in CASES.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        count += 1;
        // An error for want of messages is not the error that is asked for.
        let failed = case.run().or_else(|| (case.messages && case.error).then(|| "needs messages".to_owned()));
        let name = format!("{}/{}", case.group, case.name);
        let is_listed = absent.contains(&name.as_str());
        passed += usize::from(failed.is_none());
        alone += usize::from(failed.is_none() && !case.messages);
        match failed {
            Some(reason) if !is_listed => wrong.push(format!("{name}: {}: {reason}", case.expr)),
            None if is_listed => wrong.push(format!("{name}: passes: take it off the list")),
            _ => {}
        }
    }
    println!("{passed} of {count} pass, {alone} of them without messages; {} are listed as absent", absent.len());
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((count, passed + absent.len()), (2344, 2344));
}
