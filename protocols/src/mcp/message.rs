//! JSON-RPC 2.0 messages as MCP has them.

use std::borrow::Cow;

use crate::json::{self, Kind, Raw};

/// Longest id and longest method: they are copied, and ids come back in headers and logs.
pub const ID_BYTES_MAX: usize = 1024;
pub const METHOD_BYTES_MAX: usize = 256;

/// One message, read in place.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    pub raw: Raw<'a>,
    /// As written: a string or a number.
    pub id: Option<Raw<'a>>,
    pub method: Option<Cow<'a, str>>,
    pub params: Option<Raw<'a>>,
    pub result: Option<Raw<'a>>,
    pub error: Option<Raw<'a>>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Request,
    Notification,
    Response,
}

/// Why a text is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("parse error: {0}")]
    Json(#[from] json::Fault),
    #[error("invalid request: several messages at once")]
    Batch,
    #[error("invalid request: {0}")]
    Invalid(&'static str),
}

impl Fault {
    /// The JSON-RPC error code.
    pub fn code(&self) -> i32 {
        match self {
            Self::Json(_) => super::answer::PARSE_ERROR,
            Self::Batch | Self::Invalid(_) => super::answer::INVALID_REQUEST,
        }
    }
}

impl From<json::Twice> for Fault {
    fn from(_: json::Twice) -> Self {
        Self::Invalid("a member is there twice")
    }
}

impl<'a> Message<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        Self::of(json::parse(bytes)?)
    }

    /// A value of a document as a message.
    pub fn of(raw: Raw<'a>) -> Result<Self, Fault> {
        match raw.kind() {
            Kind::Object => {}
            Kind::Array => return Err(Fault::Batch),
            _ => return Err(Fault::Invalid("a message is an object")),
        }
        let [mut version, mut id, mut method, mut params, mut result, mut error] = [None; 6];
        for (key, value) in raw.members() {
            let slot = match &*key {
                "jsonrpc" => &mut version,
                "id" => &mut id,
                "method" => &mut method,
                "params" => &mut params,
                "result" => &mut result,
                "error" => &mut error,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(json::Twice.into());
            }
        }
        if version.and_then(Raw::as_str).as_deref() != Some("2.0") {
            return Err(Fault::Invalid("`jsonrpc` is not \"2.0\""));
        }
        let it = Self { raw, id, method: text(method)?, params, result, error };
        it.check()?;
        Ok(it)
    }

    fn check(&self) -> Result<(), Fault> {
        if self.params.is_some_and(|it| it.kind() != Kind::Object) {
            return Err(Fault::Invalid("`params` is not an object"));
        }
        let is_response = self.result.is_some() || self.error.is_some();
        if self.method.is_some() == is_response {
            return Err(Fault::Invalid("neither a request nor an answer"));
        }
        let Some(id) = self.id else {
            return if is_response { Err(Fault::Invalid("an answer without `id`")) } else { Ok(()) };
        };
        if id.text().len() > ID_BYTES_MAX {
            return Err(Fault::Invalid("`id` is too long"));
        }
        match id.kind() {
            Kind::String | Kind::Number => Ok(()),
            // An error that belongs to no request (JSON-RPC 2.0 section 5).
            Kind::Null if self.error.is_some() => Ok(()),
            _ => Err(Fault::Invalid("`id` is neither a string nor a number")),
        }
    }

    pub fn shape(&self) -> Shape {
        match (&self.method, self.id) {
            (Some(_), Some(_)) => Shape::Request,
            (Some(_), None) => Shape::Notification,
            (None, _) => Shape::Response,
        }
    }

    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or_default()
    }

    /// A member of `params` that is a string.
    pub fn param(&self, name: &str) -> Result<Option<Raw<'a>>, json::Twice> {
        match self.params {
            Some(params) => Ok(params.member(name)?.filter(|it| it.kind() == Kind::String)),
            None => Ok(None),
        }
    }

    /// A member of `params._meta`.
    pub fn meta(&self, name: &str) -> Option<Raw<'a>> {
        self.params?.get("_meta")?.get(name)
    }

    /// Whether this answers the request of that id.
    pub fn answers(&self, id: &str) -> bool {
        self.shape() == Shape::Response && self.id.is_some_and(|it| same_id(it.text(), id))
    }
}

/// Ids are the same that are the same value, however it is written.
fn same_id(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (json::parse(a.as_bytes()), json::parse(b.as_bytes())) {
        (Ok(a), Ok(b)) => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => a.text().parse::<f64>().is_ok_and(|a| b.text().parse() == Ok(a)),
            _ => false,
        },
        _ => false,
    }
}

fn text(method: Option<Raw<'_>>) -> Result<Option<Cow<'_, str>>, Fault> {
    let Some(raw) = method else { return Ok(None) };
    match raw.as_str() {
        Some(text) if text.len() <= METHOD_BYTES_MAX => Ok(Some(text)),
        Some(_) => Err(Fault::Invalid("`method` is too long")),
        None => Err(Fault::Invalid("`method` is not a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_notifications_and_answers_are_told_apart() {
        for (text, shape, id) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Shape::Request, "1"),
            (r#"{"method":"x","params":{},"id":"a","jsonrpc":"2.0","more":[]}"#, Shape::Request, "\"a\""),
            (r#"{"jsonrpc":"2.0","method":"notifications/x"}"#, Shape::Notification, ""),
            (r#"{"jsonrpc":"2.0","id":-1,"result":null}"#, Shape::Response, "-1"),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, Shape::Response, "null"),
        ] {
            let message = Message::parse(text.as_bytes()).unwrap();
            assert_eq!((message.shape(), message.id.map_or("", Raw::text)), (shape, id), "{text}");
        }
    }

    #[test]
    fn hostile_messages_are_refused_with_the_right_code() {
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"a"}}"#, "x".repeat(ID_BYTES_MAX));
        for (text, code) in [
            ("", -32700),
            ("{", -32700),
            ("<html>", -32700),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a""#, -32700),
            ("[]", -32600),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"a"}]"#, -32600),
            ("\"text\"", -32600),
            ("{}", -32600),
            (r#"{"id":1,"method":"a"}"#, -32600),
            (r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#, -32600),
            (r#"{"jsonrpc":2.0,"id":1,"method":"a"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":[1],"method":"a"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":true,"method":"a"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":null,"result":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[1]}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","meth\u006fd":"b"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"a","result":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","result":1}"#, -32600),
            (&long, -32600),
        ] {
            assert_eq!(Message::parse(text.as_bytes()).unwrap_err().code(), code, "{text}");
        }
    }

    #[test]
    fn ids_compare_by_value_and_type() {
        for (sent, back, same) in [
            ("1", "1", true),
            ("1", "1.0", true),
            ("\"a\"", r#""\u0061""#, true),
            ("1", "\"1\"", false),
            ("1", "2", false),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{back},"result":{{}}}}"#);
            assert_eq!(Message::parse(text.as_bytes()).unwrap().answers(sent), same, "{sent} {back}");
        }
    }
}
