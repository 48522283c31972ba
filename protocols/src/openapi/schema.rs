//! Schemas without references, within bounds.

use serde_json::{Map, Value, json};

/// References inside references.
const REFERENCES_MAX: usize = 24;

/// A document, and how much may still be made of it.
pub(super) struct Resolver<'a> {
    root: &'a Value,
    /// Values that may still be copied for the tool at hand.
    left: usize,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root, left: 0 }
    }

    /// Allows so many values for what follows.
    pub(super) fn allow(&mut self, values: usize) {
        self.left = values;
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// What a value is, its own reference followed (parameters, bodies): one that leads nowhere is nothing.
    pub(super) fn target(&self, value: &'a Value) -> Option<&'a Value> {
        let mut value = value;
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Some(value) };
            value = self.root.pointer(&pointer(reference)?)?;
        }
        None
    }

    /// A schema without references. What leads back to itself, or elsewhere, may be anything.
    pub(super) fn schema(&mut self, schema: &Value) -> Value {
        self.value(schema, &mut Vec::new())
    }

    fn value(&mut self, value: &Value, open: &mut Vec<String>) -> Value {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return json!({});
        }
        match value {
            Value::Object(members) => match members.get("$ref").and_then(Value::as_str) {
                Some(reference) => self.referred(reference, members, open),
                None => self.object(members, open),
            },
            Value::Array(items) => Value::Array(items.iter().map(|it| self.value(it, open)).collect()),
            plain => plain.clone(),
        }
    }

    fn referred(&mut self, reference: &str, members: &Map<String, Value>, open: &mut Vec<String>) -> Value {
        let anything = || match members.get("description") {
            Some(text) => json!({ "description": text }),
            None => json!({}),
        };
        if open.len() >= REFERENCES_MAX || open.iter().any(|it| it == reference) {
            return anything();
        }
        let root = self.root;
        let Some(target) = pointer(reference).and_then(|it| root.pointer(&it)) else { return anything() };
        open.push(reference.to_owned());
        let mut resolved = self.value(target, open);
        open.pop();
        // 3.1: what stands beside a reference holds as well.
        if let (Value::Object(resolved), Some(text)) = (&mut resolved, members.get("description")) {
            resolved.insert("description".to_owned(), text.clone());
        }
        resolved
    }

    fn object(&mut self, members: &Map<String, Value>, open: &mut Vec<String>) -> Value {
        let mut out = Map::new();
        for (name, value) in members {
            match name.as_str() {
                // Of no use to who calls.
                "xml" | "externalDocs" | "discriminator" | "example" | "examples" => {}
                "enum" | "const" | "default" | "required" => {
                    out.insert(name.clone(), value.clone());
                }
                "properties" | "patternProperties" | "$defs" | "definitions" => {
                    let named = value.as_object().map(|it| {
                        it.iter().map(|(name, value)| (name.clone(), self.value(value, open))).collect::<Map<_, _>>()
                    });
                    out.insert(name.clone(), named.map_or_else(|| json!({}), Value::Object));
                }
                _ => {
                    out.insert(name.clone(), self.value(value, open));
                }
            }
        }
        Value::Object(out)
    }
}

/// A reference inside the document; others are not followed, for nothing is fetched because a document says so.
fn pointer(reference: &str) -> Option<String> {
    let pointer = reference.strip_prefix('#')?;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return None;
    }
    Some(decoded(pointer))
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|it| u8::from_str_radix(it, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
