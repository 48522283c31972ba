//! One pass over the body of a request: what it asks for, and where that stands.
//!
//! A body is an object; a key that is there twice is refused, for the gateway and the provider might each look at
//! another one. What is not looked at here is checked for its grammar and otherwise left alone.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::edit::Edits;
use super::route::{Operation, is_model};
use crate::json::{self, Kind, Raw};

/// Members of the outermost object.
pub const MEMBERS_MAX: usize = 256;

/// Longest name of a model.
pub(super) const MODEL_BYTES_MAX: usize = 512;

/// Why a body is not the request that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Json(#[from] json::Fault),
    #[error("the body is not a JSON object")]
    NotObject,
    #[error("a key of the outermost object is there twice")]
    Twice,
    #[error("more than {MEMBERS_MAX} keys in the outermost object")]
    Members,
    #[error("`{0}` is not {1}")]
    Kind(&'static str, &'static str),
    #[error("`model` is not the name of a model")]
    Model,
    #[error("the body is not the form that it should be: {0}")]
    Form(&'static str),
}

impl Fault {
    /// For programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Model => "invalid_model",
            _ => "invalid_request_body",
        }
    }
}

/// A request as scanned.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The whole object.
    object: Raw<'a>,
    members: Vec<(Raw<'a>, Raw<'a>)>,
    /// Some key is not written as it reads.
    escaped: bool,
    /// What the body names, where it does.
    pub model: Option<Cow<'a, str>>,
    /// `stream`, where the dialect has it in the body.
    pub stream: bool,
    /// `stream_options.include_usage`; nothing where the client did not set `stream_options`.
    pub include_usage: Option<bool>,
    pub max_tokens: Option<u64>,
}

/// Reads a body.
pub fn scan(operation: Operation, body: &[u8]) -> Result<Request<'_>, Fault> {
    let mut members = Vec::with_capacity(16);
    let mut too_many = false;
    let object = json::outline(body, |key, value| match members.len() < MEMBERS_MAX {
        true => members.push((key, value)),
        false => too_many = true,
    })?;
    if object.kind() != Kind::Object {
        return Err(Fault::NotObject);
    }
    if too_many {
        return Err(Fault::Members);
    }
    let escaped = members.iter().any(|(key, _)| key.text().contains('\\'));
    if has_twice(&members, escaped) {
        return Err(Fault::Twice);
    }
    let mut request =
        Request { object, members, escaped, model: None, stream: false, include_usage: None, max_tokens: None };
    request.read(operation)?;
    Ok(request)
}

/// A body that was scanned, and where its members are: it can be read again without being scanned again.
#[derive(Clone, Debug)]
pub struct Scanned {
    operation: Operation,
    body: Bytes,
    object: Range<usize>,
    members: Vec<(Range<usize>, Range<usize>)>,
    escaped: bool,
}

impl Scanned {
    /// What was scanned is this body.
    pub fn of(operation: Operation, body: Bytes, request: &Request<'_>) -> Self {
        let members = request.members.iter().map(|(key, value)| (key.range(), value.range()));
        Self { operation, object: request.object.range(), members: members.collect(), escaped: request.escaped, body }
    }

    /// Whether this is the same body, in the same place.
    pub fn is_of(&self, body: &[u8]) -> bool {
        std::ptr::eq(&*self.body, body)
    }

    /// What [`scan`] gave.
    ///
    /// # Errors
    /// None, where it was made of what [`scan`] gave.
    pub fn request(&self) -> Result<Request<'_>, Fault> {
        let (object, members) = self.parts()?;
        let (members, escaped) = (members.collect(), self.escaped);
        let mut request =
            Request { object, members, escaped, model: None, stream: false, include_usage: None, max_tokens: None };
        request.read(self.operation)?;
        Ok(request)
    }

    /// The object, and keys and values of its members.
    pub(super) fn parts(&self) -> Result<(Raw<'_>, impl Iterator<Item = (Raw<'_>, Raw<'_>)>), Fault> {
        let document = std::str::from_utf8(&self.body).map_err(|_| json::Fault::Encoding)?;
        let members = self.members.iter().map(|(key, value)| (Raw::at(document, key), Raw::at(document, value)));
        Ok((Raw::at(document, &self.object), members))
    }
}

/// Keys in whatever spelling.
fn has_twice(members: &[(Raw<'_>, Raw<'_>)], escaped: bool) -> bool {
    members.iter().enumerate().any(|(position, (key, _))| {
        members.iter().skip(position + 1).any(|(other, _)| match escaped {
            true => key.as_str() == other.as_str(),
            false => key.text() == other.text(),
        })
    })
}

impl<'a> Request<'a> {
    fn read(&mut self, operation: Operation) -> Result<(), Fault> {
        if !operation.has_model_in_path()
            && let Some(model) = self.given("model")
        {
            let model = model.as_str().ok_or(Fault::Kind("model", "a string"))?;
            self.model = Some(model).filter(|it| is_model(it));
            if self.model.is_none() {
                return Err(Fault::Model);
            }
        }
        match operation {
            Operation::GenerateContent => {
                self.max_tokens = number(self.inside("generationConfig", "maxOutputTokens")?);
            }
            Operation::Converse => self.max_tokens = number(self.inside("inferenceConfig", "maxTokens")?),
            _ => {
                self.max_tokens = ["max_completion_tokens", "max_output_tokens", "max_tokens"]
                    .into_iter()
                    .find_map(|name| number(self.given(name)));
                self.stream = match self.given("stream") {
                    Some(value) => value.as_bool().ok_or(Fault::Kind("stream", "true or false"))?,
                    None => false,
                };
            }
        }
        if operation == Operation::Completions && self.given("stream_options").is_some() {
            let asked = self.inside("stream_options", "include_usage")?;
            self.include_usage = Some(asked.and_then(Raw::as_bool).unwrap_or(false));
        }
        Ok(())
    }

    /// A member of the outermost object.
    pub fn get(&self, name: &str) -> Option<Raw<'a>> {
        let found = self.members.iter().find(|(key, _)| match self.escaped {
            true => key.as_str().as_deref() == Some(name),
            false => key.text().get(1..key.text().len() - 1) == Some(name),
        });
        found.map(|(_, value)| *value)
    }

    /// A member that is not null.
    pub fn given(&self, name: &str) -> Option<Raw<'a>> {
        self.get(name).filter(|it| !it.is_null())
    }

    fn inside(&self, outer: &'static str, inner: &str) -> Result<Option<Raw<'a>>, Fault> {
        let Some(object) = self.given(outer) else { return Ok(None) };
        if object.kind() != Kind::Object {
            return Err(Fault::Kind(outer, "an object"));
        }
        let value = object.member(inner).map_err(|_| Fault::Twice)?;
        Ok(value.filter(|it| !it.is_null()))
    }

    /// Makes the value of a key this JSON text, where the key is not there at the end of the object.
    pub fn set(&self, edits: &mut Edits, key: &str, json: impl Into<Bytes>) {
        match self.get(key) {
            Some(value) => edits.replace(value.range(), json),
            None => insert(edits, self.object, self.members.is_empty(), key, &json.into()),
        }
    }

    /// Takes a member out of the outermost object, and puts another one in its place where one is given.
    pub fn take(&self, edits: &mut Edits, key: &str, other: Option<&str>) {
        let Some(value) = self.get(key) else {
            if let Some(other) = other {
                insert_text(edits, self.object, self.members.is_empty(), other);
            }
            return;
        };
        let is_it = |(_, it): &(Raw<'_>, Raw<'_>)| it.range() == value.range();
        let Some(position) = self.members.iter().position(is_it) else { return };
        let Some((name, _)) = self.members.get(position) else { return };
        if let Some(other) = other {
            return edits.replace(name.range().start..value.range().end, other.to_owned());
        }
        let before = position.checked_sub(1).and_then(|it| self.members.get(it));
        let range = match (self.members.get(position + 1), before) {
            (Some((next, _)), _) => name.range().start..next.range().start,
            (None, Some((_, before))) => before.range().end..value.range().end,
            (None, None) => name.range().start..value.range().end,
        };
        edits.replace(range, "");
    }

    /// Another model.
    pub fn set_model(&self, edits: &mut Edits, model: &str) {
        self.set(edits, "model", json::quoted(model));
    }

    /// Asks the provider to say at the end of a stream what it used; see [`Self::include_usage`].
    pub fn ask_for_usage(&self, edits: &mut Edits) {
        match self.given("stream_options").filter(|it| it.kind() == Kind::Object) {
            None => self.set(edits, "stream_options", &b"{\"include_usage\":true}"[..]),
            Some(options) => match options.get("include_usage") {
                Some(value) => edits.replace(value.range(), "true"),
                None => insert(edits, options, options.members().next().is_none(), "include_usage", b"true"),
            },
        }
    }
}

/// A member more, before the closing brace: what is before it, which providers may know already, stays what it was.
fn insert(edits: &mut Edits, object: Raw<'_>, is_empty: bool, key: &str, json: &[u8]) {
    let mut text = format!("{}:", json::quoted(key)).into_bytes();
    text.extend_from_slice(json);
    insert_text(edits, object, is_empty, text);
}

fn insert_text(edits: &mut Edits, object: Raw<'_>, is_empty: bool, member: impl AsRef<[u8]>) {
    let Range { end, .. } = object.range();
    let comma = if is_empty && !edits.inserts_at(end - 1) { "" } else { "," };
    edits.insert(end - 1, [comma.as_bytes(), member.as_ref()].concat());
}

/// A whole number of nothing or more.
fn number(value: Option<Raw<'_>>) -> Option<u64> {
    value?.text().parse().ok()
}

#[cfg(test)]
mod tests;
