//! JSON in which no object has a member twice.
//!
//! RFC 7519 section 4 lets a reader take the last of two claims of one name or refuse. Whoever
//! signed and whoever reads behind us may disagree on which counts, so it is refused, at any depth.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Claims that a token usually has, about.
const MEMBERS: usize = 8;

/// Reads an object; `None` where the text is anything else.
pub fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match read(text, Reader { members: MEMBERS })? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// Reads a whole text, which is checked for UTF-8 once and not text by text.
fn read<'de, V: Visitor<'de>>(text: &'de [u8], visitor: V) -> Option<V::Value> {
    let mut reader = serde_json::Deserializer::from_str(str::from_utf8(text).ok()?);
    let value = reader.deserialize_any(visitor).ok()?;
    reader.end().ok()?;
    Some(value)
}

/// A token's header (RFC 7515 section 4), as far as it is understood.
#[derive(Debug, Default, PartialEq)]
pub struct Header<'a> {
    pub algorithm: Option<Cow<'a, str>>,
    pub key_id: Option<Cow<'a, str>>,
    /// It names extensions that must be understood.
    pub is_critical: bool,
}

/// Reads a header without making a map of it; `None` where it is no object, or `alg` or `kid` no text.
pub fn header(text: &[u8]) -> Option<Header<'_>> {
    read(text, HeaderReader)
}

struct HeaderReader;

impl<'de> Visitor<'de> for HeaderReader {
    type Value = Header<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Header<'de>, A::Error> {
        let mut header = Header::default();
        // A header is short: its few names are compared, which costs less than a set of them.
        let mut seen: Vec<Cow<'de, str>> = Vec::with_capacity(4);
        while let Some(TextOf(name)) = members.next_key()? {
            if seen.contains(&name) {
                return Err(A::Error::custom("a member is here twice"));
            }
            match &*name {
                "alg" => header.algorithm = Some(members.next_value::<TextOf<'_>>()?.0),
                "kid" => header.key_id = Some(members.next_value::<TextOf<'_>>()?.0),
                name => {
                    header.is_critical |= name == "crit";
                    members.next_value::<Strict>()?;
                }
            }
            seen.push(name);
        }
        Ok(header)
    }
}

/// A text, borrowed where it has no escapes.
struct TextOf<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for TextOf<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextReader).map(Self)
    }
}

struct TextReader;

impl<'de> Visitor<'de> for TextReader {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, it: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(it))
    }

    fn visit_str<E: Error>(self, it: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(it.to_owned()))
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader { members: 0 }).map(Self)
    }
}

struct Reader {
    /// Room that an object begins with. Growing hashes its names again each time, but one that is nested may be one of
    /// thousands that are empty.
    members: usize,
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, it: bool) -> Result<Value, E> {
        Ok(Value::Bool(it))
    }

    fn visit_i64<E: Error>(self, it: i64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_u64<E: Error>(self, it: u64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_f64<E: Error>(self, it: f64) -> Result<Value, E> {
        Number::from_f64(it).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: Error>(self, it: &str) -> Result<Value, E> {
        Ok(Value::String(it.to_owned()))
    }

    fn visit_string<E: Error>(self, it: String) -> Result<Value, E> {
        Ok(Value::String(it))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::with_capacity(self.members);
        while let Some(name) = members.next_key::<String>()? {
            let Strict(value) = members.next_value()?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is here twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_far_as_it_is_understood() {
        let read = |text: &str| {
            header(text.as_bytes())
                .map(|it| (it.algorithm.map(Cow::into_owned), it.key_id.map(Cow::into_owned), it.is_critical))
        };
        let some = |text: &str| Some(text.to_owned());
        let good = r#" {"typ":"JWT", "alg":"RS256","jwk":{"a":[1]},"k\u0069d":"a\"b"} "#;
        assert_eq!(read(good), Some((some("RS256"), some("a\"b"), false)));
        assert_eq!(read("{}"), Some((None, None, false)));
        assert_eq!(read(r#"{"crit":["b64"],"alg":"x"}"#), Some((some("x"), None, true)));
        for bad in [
            r#"{"alg":"a","\u0061lg":"a"}"#,
            r#"{"kid":null}"#,
            r#"{"kid":1}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"jwk":{"a":1,"a":1}}"#,
            r#"{"x":1,"x":1}"#,
            r#"{"alg":"a"}x"#,
            r#"["alg"]"#,
            "null",
            "",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn members_that_come_twice_are_refused_at_any_depth() {
        for (text, good) in [
            (r#"{"a":1,"b":[{"c":null}],"d":-1.5e3,"e":"x","f":true}"#, true),
            (r#"{"a":1,"a":1}"#, false),
            (r#"{"a":{"b":1,"\u0062":2}}"#, false),
            (r#"[1]"#, false),
            (r#"{"a":1} "#, true),
            (r#"{"a":1}x"#, false),
            ("", false),
        ] {
            assert_eq!(object(text.as_bytes()).is_some(), good, "{text}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
        assert_eq!(object(deep.as_bytes()), None, "depth is bounded");
    }
}
