//! Header names and values as configuration writes them: parsed once, checked once.

use http::{HeaderName, HeaderValue};
use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

/// Names that frame a message or belong to one connection: the proxy writes them itself, and a
/// policy that could would open the door to request smuggling.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    ":scheme",
];

/// A header to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: HeaderName,
    pub value: HeaderValue,
}

impl Header {
    /// Parses and checks both parts. A value that may be a credential is marked sensitive: it is
    /// shown nowhere, and HTTP/2 does not index it.
    pub fn parse(name: &str, value: &str) -> Result<Self, String> {
        let name = parse_name(name)?;
        let mut value = parse_value(value)?;
        value.set_sensitive(is_secret(&name));
        Ok(Self { name, value })
    }
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut header = serializer.serialize_struct("Header", 2)?;
        header.serialize_field("name", self.name.as_str())?;
        let value =
            if self.value.is_sensitive() { "***".into() } else { String::from_utf8_lossy(self.value.as_bytes()) };
        header.serialize_field("value", &value)?;
        header.end()
    }
}

/// A header name that a policy may write or remove.
pub fn parse_name(text: &str) -> Result<HeaderName, String> {
    if is_framing(text) {
        return Err(format!("`{text}` frames the message or belongs to one connection; the gateway writes it itself"));
    }
    any_name(text)
}

/// Whether a header of this name frames the message or belongs to one connection.
pub fn is_framing(name: &str) -> bool {
    FRAMING.iter().any(|it| name.eq_ignore_ascii_case(it))
}

/// Whether headers of this name usually hold credentials.
pub(crate) fn is_secret(name: &HeaderName) -> bool {
    let name = name.as_str();
    ["authorization", "cookie", "-key", "-token", "-secret"].iter().any(|end| name.ends_with(end))
}

/// Any header name, also one that may only be read.
pub fn any_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("`{}` is not a header name: write letters, digits and `-`", text.escape_debug()))
}

/// A header value; the text is not shown in errors, it may be a credential.
pub fn parse_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(text.trim().as_bytes())
        .map_err(|_| "a header value holds no line break, NUL or other control character".to_owned())
}

/// `serialize_with` for a list of names.
pub(crate) fn names<S: Serializer>(names: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(names.len()))?;
    for name in names {
        list.serialize_element(name.as_str())?;
    }
    list.end()
}

/// `serialize_with` for a value that may be absent.
pub(crate) fn value_option<S: Serializer>(value: &Option<HeaderValue>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_frame_a_message_cannot_be_written() {
        for name in ["Content-Length", "transfer-encoding", "Connection", "TE", "Upgrade", ":scheme"] {
            let error = parse_name(name).unwrap_err();
            assert!(error.contains("gateway writes it itself"), "{name}: {error}");
        }
    }

    #[test]
    fn values_with_line_breaks_are_refused_without_being_shown() {
        for value in ["secret\r\nx: y", "secret\nx", "secret\0"] {
            let error = parse_value(value).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert_eq!(parse_value(" a b ").unwrap(), "a b");
    }

    #[test]
    fn names_with_spaces_or_separators_are_refused() {
        for name in ["", "a b", "a:b", "a\r\n", "ä"] {
            assert!(parse_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn credentials_are_shown_neither_in_dumps_nor_in_logs() {
        for (name, secret) in [("Authorization", true), ("x-api-key", true), ("set-cookie", true), ("x-a", false)] {
            let header = Header::parse(name, "hunter2").unwrap();
            let shown = format!("{header:?} {}", serde_json::to_string(&header).unwrap());
            assert_eq!(shown.contains("hunter2"), !secret, "{shown}");
        }
    }
}
