//! Operations of a document as tools.

use std::collections::BTreeSet;

use http::{HeaderName, Method};
use serde_json::{Map, Value, json};

use super::schema::Resolver;

/// Largest document.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// Operations of one document.
pub const OPERATIONS_MAX: usize = 2000;
/// Values of one tool's schema, and of all tools together.
const SCHEMA_VALUES_MAX: usize = 20_000;
const ALL_VALUES_MAX: usize = 1_000_000;
/// Longest name of a tool.
const NAME_BYTES_MAX: usize = 64;
/// Longest title.
const TITLE_CHARS_MAX: usize = 64;
/// Parameters of one operation.
const PARAMETERS_MAX: usize = 200;

const METHODS: [(&str, Method); 7] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("options", Method::OPTIONS),
    ("head", Method::HEAD),
    ("patch", Method::PATCH),
];

/// An API as a server of tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    pub title: String,
    pub version: String,
    /// The path of the first server, with which the paths of operations begin.
    pub prefix: String,
    /// In the order of paths and methods in the document, by name.
    pub operations: Vec<Operation>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// One tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    pub name: String,
    pub method: Method,
    /// With the prefix of `servers`, and `{…}` for parameters.
    pub path: String,
    /// The definition, as JSON.
    pub tool: String,
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
}

/// A place in a request that an argument goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub place: Place,
    pub name: String,
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Path,
    Query,
    Header,
}

impl Place {
    pub fn key(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// How the body is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    pub content_type: String,
    pub form: Form,
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    /// `application/x-www-form-urlencoded`.
    Pairs,
    Text,
    /// Bytes, which the argument has in base64.
    Binary,
}

impl Api {
    /// # Errors
    /// It is no document of a version that is known.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("larger than {DOCUMENT_BYTES_MAX} bytes"));
        }
        let root: Value = serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))?;
        let version = root.get("openapi").and_then(Value::as_str).unwrap_or_default();
        if !version.starts_with("3.") {
            return Err("not an OpenAPI document of version 3.0 or 3.1 (`openapi` says which it is)".to_owned());
        }
        let info = |key: &str| root.pointer(&format!("/info/{key}")).and_then(Value::as_str).unwrap_or_default();
        let mut api = Self {
            title: info("title").to_owned(),
            version: info("version").to_owned(),
            prefix: prefix(&root),
            operations: Vec::new(),
            left_out: Vec::new(),
        };
        let prefix = api.prefix.clone();
        let mut reading = Reading { resolver: Resolver::new(&root), left: ALL_VALUES_MAX, names: BTreeSet::new() };
        let none = Map::new();
        for (path, item) in root.get("paths").and_then(Value::as_object).unwrap_or(&none) {
            let Some(item) = reading.resolver.target(item) else { continue };
            for (key, method) in &METHODS {
                let Some(operation) = item.get(*key) else { continue };
                if api.operations.len() >= OPERATIONS_MAX {
                    return Err(format!("more than {OPERATIONS_MAX} operations"));
                }
                let place = (format!("{prefix}{path}"), method.clone());
                if !path.starts_with('/') {
                    api.left_out.push(format!("{method} {path}: the path is none"));
                    continue;
                }
                match reading.operation(place, item, operation) {
                    Ok(operation) => api.operations.push(operation),
                    Err(why) => api.left_out.push(format!("{method} {path}: {why}")),
                }
            }
        }
        Ok(api)
    }

    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|it| it.name == name)
    }
}

/// The path of the first server. Which host it is on is the operator's to say.
fn prefix(root: &Value) -> String {
    let url = root.pointer("/servers/0/url").and_then(Value::as_str).unwrap_or_default();
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| rest.get(at..).unwrap_or_default()),
        None => url,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    // Variables of servers are the operator's to fill in.
    if path.starts_with('/') && !path.contains('{') { path.to_owned() } else { String::new() }
}

struct Reading<'a> {
    resolver: Resolver<'a>,
    /// Values that all further tools may have.
    left: usize,
    names: BTreeSet<String>,
}

impl<'a> Reading<'a> {
    fn operation(
        &mut self,
        (path, method): (String, Method),
        item: &'a Value,
        operation: &'a Value,
    ) -> Result<Operation, String> {
        let id = operation.get("operationId").and_then(Value::as_str).ok_or("it has no `operationId`")?;
        let name = safe(id);
        if name.is_empty() || self.names.contains(&name) {
            return Err(format!("the name `{}` is taken or empty", name.escape_debug()));
        }
        if path.contains(['?', '#', '\\']) || path.chars().any(|it| it.is_control() || it == ' ') {
            return Err("the path is none".to_owned());
        }
        self.resolver.allow(SCHEMA_VALUES_MAX.min(self.left));
        let (parameters, mut groups) = self.parameters(item, operation)?;
        for (at, _) in path.match_indices('{') {
            let rest = path.get(at + 1..).unwrap_or_default();
            let wanted = rest.split('}').next().unwrap_or_default();
            if !parameters.iter().any(|it| it.place == Place::Path && it.name == wanted) {
                return Err(format!("`{}` in the path is no parameter", wanted.escape_debug()));
            }
        }
        let body = self.body(operation)?;
        let mut required: Vec<&'static str> = groups.iter().filter(|it| !it.1.is_empty()).map(|it| it.0).collect();
        let mut properties = Map::new();
        for (key, needed, members) in groups.drain(..) {
            properties.insert(
                key.to_owned(),
                json!({"type": "object", "properties": members, "required": needed, "additionalProperties": false}),
            );
        }
        let body = body.map(|(body, schema)| {
            properties.insert("body".to_owned(), schema);
            if body.required {
                required.push("body");
            }
            body
        });
        if self.resolver.is_spent() {
            return Err("its schema is too large".to_owned());
        }
        self.left = self.left.saturating_sub(weight(&Value::Object(properties.clone())));
        let input = json!({"type": "object", "properties": properties, "required": required});
        let tool = definition(&name, (operation, &method), input);
        self.names.insert(name.clone());
        Ok(Operation { name, method, path, tool, parameters, body })
    }

    /// Those of the path and of the operation, which replaces them by place and name; and what each place holds.
    fn parameters(&mut self, item: &'a Value, operation: &'a Value) -> Result<(Vec<Parameter>, Groups), String> {
        let mut found: Vec<(Parameter, &'a Value)> = Vec::new();
        for list in [item, operation] {
            let list = list.get("parameters").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for written in list {
                let Some(written) = self.resolver.target(written) else { continue };
                let text = |key: &str| written.get(key).and_then(Value::as_str).unwrap_or_default();
                let place = match text("in") {
                    "path" => Place::Path,
                    "query" => Place::Query,
                    "header" if may_set(text("name")) => Place::Header,
                    // Cookies are nobody's to set, nor are headers that say what a message is.
                    _ => continue,
                };
                let required = place == Place::Path || written.get("required") == Some(&Value::Bool(true));
                let parameter = Parameter { place, name: text("name").to_owned(), required };
                found.retain(|(it, _)| (it.place, &it.name) != (parameter.place, &parameter.name));
                found.push((parameter, written));
                if found.len() > PARAMETERS_MAX {
                    return Err(format!("more than {PARAMETERS_MAX} parameters"));
                }
            }
        }
        let mut groups = Groups::new();
        for place in [Place::Path, Place::Query, Place::Header] {
            let mut members = Map::new();
            let mut needed = Vec::new();
            for (parameter, written) in found.iter().filter(|(it, _)| it.place == place) {
                let schema = written
                    .get("schema")
                    .or_else(|| written.get("content")?.as_object()?.values().next()?.get("schema"));
                let mut schema = schema.map_or_else(|| json!({}), |it| self.resolver.schema(it));
                if let (Value::Object(schema), Some(text)) = (&mut schema, written.get("description")) {
                    schema.insert("description".to_owned(), text.clone());
                }
                members.insert(parameter.name.clone(), schema);
                if parameter.required {
                    needed.push(parameter.name.clone());
                }
            }
            if !members.is_empty() {
                groups.push((place.key(), needed, members));
            }
        }
        Ok((found.into_iter().map(|(it, _)| it).collect(), groups))
    }

    fn body(&mut self, operation: &'a Value) -> Result<Option<(Body, Value)>, String> {
        let Some(written) = operation.get("requestBody") else { return Ok(None) };
        let written = self.resolver.target(written).ok_or("its body leads nowhere")?;
        let required = written.get("required") == Some(&Value::Bool(true));
        let none = Map::new();
        let contents = written.get("content").and_then(Value::as_object).unwrap_or(&none);
        let mut best: Option<(Form, &String, &Value)> = None;
        for (kind, content) in contents {
            let form = form(kind);
            if best.is_none_or(|(held, ..)| rank(form) < rank(held)) {
                best = Some((form, kind, content));
            }
        }
        let Some((form, kind, content)) = best else { return Ok(None) };
        if http::HeaderValue::from_str(kind).is_err() || kind.starts_with("multipart/") {
            return Err(format!("bodies of type `{}` are not made", kind.escape_debug()));
        }
        let schema = match form {
            Form::Binary => json!({"type": "string", "contentEncoding": "base64"}),
            Form::Text => json!({"type": "string"}),
            Form::Json | Form::Pairs => content.get("schema").map_or_else(|| json!({}), |it| self.resolver.schema(it)),
        };
        let kind = if kind == "*/*" { "application/json".to_owned() } else { kind.clone() };
        Ok(Some((Body { content_type: kind, form, required }, schema)))
    }
}

/// Places of arguments: key, names that must be there, schemas by name.
type Groups = Vec<(&'static str, Vec<String>, Map<String, Value>)>;

fn definition(name: &str, (operation, method): (&Value, &Method), input: Value) -> String {
    let text = |key: &str| operation.get(key).and_then(Value::as_str).filter(|it| !it.trim().is_empty());
    let description = text("description").or(text("summary")).unwrap_or(name);
    let mut tool = Map::new();
    tool.insert("name".to_owned(), Value::from(name));
    if let Some(summary) = text("summary") {
        tool.insert("title".to_owned(), Value::from(summary.chars().take(TITLE_CHARS_MAX).collect::<String>()));
    }
    tool.insert("description".to_owned(), Value::from(description));
    tool.insert("inputSchema".to_owned(), input);
    let (reads, again) = (method.is_safe(), method.is_idempotent());
    tool.insert(
        "annotations".to_owned(),
        json!({"readOnlyHint": reads, "idempotentHint": again, "openWorldHint": true}),
    );
    Value::Object(tool).to_string()
}

fn form(kind: &str) -> Form {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match &*kind {
        "application/json" | "*/*" => Form::Json,
        it if it.ends_with("+json") => Form::Json,
        "application/x-www-form-urlencoded" => Form::Pairs,
        it if it.starts_with("text/") => Form::Text,
        _ => Form::Binary,
    }
}

fn rank(form: Form) -> u8 {
    match form {
        Form::Json => 0,
        Form::Pairs => 1,
        Form::Text => 2,
        Form::Binary => 3,
    }
}

/// A name that clients of every make take.
fn safe(id: &str) -> String {
    let plain = |it: char| if it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.') { it } else { '_' };
    id.trim().chars().map(plain).take(NAME_BYTES_MAX).collect()
}

/// Headers that a caller may set: not those that say what a message is, whose it is or where it goes.
fn may_set(name: &str) -> bool {
    let Ok(name) = name.parse::<HeaderName>() else { return false };
    let name = name.as_str();
    let never = [
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "origin",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    !never.contains(&name) && !["proxy-", "x-forwarded-", "sec-", "mcp-"].iter().any(|it| name.starts_with(it))
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(weight).sum::<usize>(),
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
