//! `conf/reference.md`: the reference manual, written from the JSON schema.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::local::schema;

/// The whole manual.
pub fn text() -> String {
    let schema = schema::json();
    let mut out = String::from(
        "# Configuration reference\n\nGenerated from the configuration types by `agentgateway reference`; do not edit.\n\
         Types end in `?` where null is allowed; `required` keys have no default.\n",
    );
    section(&mut out, "Document", &schema);
    if let Some(definitions) = schema.get("$defs").and_then(Value::as_object) {
        for (name, definition) in definitions {
            section(&mut out, name, definition);
        }
    }
    out
}

fn section(out: &mut String, name: &str, schema: &Value) {
    let _ = write!(out, "\n## {name}\n\n");
    if let Some(text) = schema.get("description").and_then(Value::as_str) {
        let _ = write!(out, "{text}\n\n");
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        table(out, properties, schema);
        return;
    }
    let _ = writeln!(out, "{}", kind(schema));
    for it in alternatives(schema) {
        if let Some(text) = it.get("description").and_then(Value::as_str) {
            let _ = write!(out, "\n- {}: {}\n", kind(it), one_line(text));
        }
    }
}

fn table(out: &mut String, properties: &Map<String, Value>, schema: &Value) {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    out.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for (key, value) in properties {
        let default = match value.get("default") {
            _ if required.contains(&key.as_str()) => "required".to_owned(),
            Some(Value::Null) | None => String::new(),
            Some(value) => format!("`{}`", value.to_string().replace('|', "\\|")),
        };
        let text = value.get("description").and_then(Value::as_str).map(one_line).unwrap_or_default();
        let _ = writeln!(out, "| `{key}` | {} | {default} | {text} |", kind(value).replace('|', "\\|"));
    }
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten()
}

/// The type in words, with links to other sections.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(" or ");
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    let several: Vec<String> = alternatives(schema).map(kind).collect();
    if !several.is_empty() {
        return several.join(" or ");
    }
    match schema.get("type") {
        Some(Value::String(one)) => plain(one, schema),
        Some(Value::Array(many)) => {
            let null = many.iter().any(|it| it == "null");
            let named = many.iter().filter_map(Value::as_str).filter(|it| *it != "null");
            let text = named.map(|it| plain(it, schema)).collect::<Vec<_>>().join(" or ");
            if null { format!("{text}?") } else { text }
        }
        _ => "any".to_owned(),
    }
}

fn plain(name: &str, schema: &Value) -> String {
    match name {
        "array" => format!("list of {}", schema.get("items").map_or_else(|| "any".to_owned(), kind)),
        "object" => match schema.get("properties").and_then(Value::as_object) {
            Some(properties) if !properties.is_empty() => {
                let fields = properties.iter().map(|(key, value)| format!("`{key}`: {}", kind(value)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            }
            _ => match schema.get("additionalProperties") {
                Some(values @ Value::Object(_)) => format!("map of {}", kind(values)),
                _ => "map".to_owned(),
            },
        },
        other => other.to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
