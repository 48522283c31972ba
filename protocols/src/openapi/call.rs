//! A call of a tool as a request, and its answer as a result.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::document::{Body, Form, Operation, Place};

/// Longest path with its query.
pub const TARGET_BYTES_MAX: usize = 8192;

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// With the query.
    pub target: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Option<(String, Vec<u8>)>,
}

impl Operation {
    /// # Errors
    /// Arguments that cannot be meant; the text is for the model.
    pub fn request(&self, arguments: &Value) -> Result<Request, String> {
        let none = Map::new();
        let group = |place: Place| arguments.get(place.key()).and_then(Value::as_object).unwrap_or(&none);
        for place in [Place::Path, Place::Query, Place::Header] {
            if let Some(unknown) = group(place).keys().find(|name| !self.has(place, name)) {
                return Err(format!("`{}.{}` is not a parameter", place.key(), unknown.escape_debug()));
            }
        }
        let mut path = self.path.clone();
        let mut query = Vec::new();
        let mut headers = Vec::new();
        for parameter in &self.parameters {
            let at = || format!("`{}.{}`", parameter.place.key(), parameter.name.escape_debug());
            let value = group(parameter.place).get(&parameter.name).filter(|it| !it.is_null());
            let Some(value) = value else {
                if parameter.required {
                    return Err(format!("{} is missing", at()));
                }
                continue;
            };
            match parameter.place {
                Place::Path => {
                    let text = texts(value).join(",");
                    if text.is_empty() || text.chars().all(|it| it == '.') {
                        return Err(format!("{} is not a part of a path", at()));
                    }
                    path = path.replace(&format!("{{{}}}", parameter.name), &encoded(&text));
                }
                Place::Query => {
                    let name = encoded(&parameter.name);
                    query.extend(texts(value).iter().map(|it| format!("{name}={}", encoded(it))));
                }
                Place::Header => {
                    let name = parameter.name.parse().map_err(|_| format!("{} is not a header", at()))?;
                    let value = HeaderValue::from_str(&texts(value).join(","));
                    headers.push((name, value.map_err(|_| format!("{} does not fit into a header", at()))?));
                }
            }
        }
        let query = query.join("&");
        let mark = if query.is_empty() {
            ""
        } else if path.contains('?') {
            "&"
        } else {
            "?"
        };
        let target = format!("{path}{mark}{query}");
        if target.len() > TARGET_BYTES_MAX {
            return Err(format!("path and query are longer than {TARGET_BYTES_MAX} bytes"));
        }
        let body = match (&self.body, arguments.get("body").filter(|it| !it.is_null())) {
            (Some(body), Some(value)) => Some((body.content_type.clone(), written(body, value)?)),
            (Some(body), None) if body.required => return Err("`body` is missing".to_owned()),
            _ => None,
        };
        Ok(Request { target, headers, body })
    }

    fn has(&self, place: Place, name: &str) -> bool {
        self.parameters.iter().any(|it| it.place == place && it.name == name)
    }
}

fn written(body: &Body, value: &Value) -> Result<Vec<u8>, String> {
    match body.form {
        Form::Json => Ok(value.to_string().into_bytes()),
        Form::Pairs => {
            let members = value.as_object().ok_or("`body` is not an object")?;
            let pairs = members.iter().flat_map(|(name, value)| {
                let name = encoded(name);
                texts(value).into_iter().map(move |it| format!("{name}={}", encoded(&it)))
            });
            Ok(pairs.collect::<Vec<_>>().join("&").into_bytes())
        }
        Form::Text => Ok(value.as_str().ok_or("`body` is not a text")?.as_bytes().to_vec()),
        Form::Binary => {
            let text = value.as_str().ok_or("`body` is not base64")?;
            STANDARD.decode(text.trim()).map_err(|_| "`body` is not base64".to_owned())
        }
    }
}

/// A value as a query says it: each item of a list for itself.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Null => Vec::new(),
        other => vec![other.to_string()],
    }
}

/// Percent-encoding of all that is not unreserved (RFC 3986 section 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            it if it.is_ascii_alphanumeric() => out.push(char::from(it)),
            it => out.push_str(&format!("%{it:02X}")),
        }
    }
    out
}

/// The result of an answer, as JSON. `status` is below 500.
pub fn result(status: u16, body: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let structured = match parsed {
        Some(Value::Object(it)) => Value::Object(it),
        Some(other) => json!({ "data": other }),
        None => json!({ "code": status, "message": String::from_utf8_lossy(body) }),
    };
    let text = structured.to_string();
    let mut result = json!({"content": [{"type": "text", "text": text}], "structuredContent": structured});
    if status >= 300
        && let Value::Object(result) = &mut result
    {
        result.insert("isError".to_owned(), Value::Bool(true));
    }
    result.to_string()
}

/// A result that says what was wrong with the arguments, for the model to mend.
pub fn refused(why: &str) -> String {
    json!({"content": [{"type": "text", "text": why}], "isError": true}).to_string()
}
