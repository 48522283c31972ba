//! From a tree to a typed value, by serde, straight from the nodes.
//!
//! Numbers are not made of strings; a string is made of a plain number, as it was written, where
//! the type asks for one. What serde buffers (`flatten`, `untagged`) loses positions within, and
//! such errors are told at the map that was buffered; the schema check comes first for this reason.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use super::path::Path;
use super::{Key, Node, Place, Problem, Value};

/// Reads a value of a type from a tree.
///
/// # Errors
/// The first thing the type does not accept, with its path within `node` and its place.
pub fn read<T: DeserializeOwned>(node: &Node) -> Result<T, Problem> {
    let reader = Reader { node, path: &Path::ROOT };
    T::deserialize(reader).map_err(|fault| {
        let (place, path) = fault.at.unwrap_or_else(|| (node.at, String::new()));
        Problem::new(place, path, fault.message)
    })
}

/// An error on its way up; the innermost level that knows its place says so.
#[derive(Debug)]
struct Fault {
    message: String,
    at: Option<(Place, String)>,
}

impl Fault {
    fn at(mut self, place: Place, path: &Path<'_>) -> Self {
        self.at.get_or_insert_with(|| (place, path.to_string()));
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), at: None }
    }
}

#[derive(Clone, Copy)]
struct Reader<'de, 'p> {
    node: &'de Node,
    path: &'p Path<'p>,
}

impl<'de> Reader<'de, '_> {
    fn wrong<V: Visitor<'de>>(self, visitor: &V) -> Fault {
        let unexpected = match &self.node.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(it) => Unexpected::Bool(*it),
            Value::Int(it) => Unexpected::Signed(*it),
            Value::UInt(it) => Unexpected::Unsigned(*it),
            Value::Float(it) => Unexpected::Float(*it),
            Value::Str(it) => Unexpected::Str(it),
            Value::Seq(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        };
        de::Error::invalid_type(unexpected, visitor)
    }

    /// Also for tuples: elements nobody takes are an error.
    fn seq<V: Visitor<'de>>(self, nodes: &'de [Node], visitor: V) -> Result<V::Value, Fault> {
        let mut access = Elements { nodes: nodes.iter(), index: 0, path: self.path };
        let value = visitor.visit_seq(&mut access)?;
        match access.nodes.len() {
            0 => Ok(value),
            left => Err(de::Error::invalid_length(nodes.len(), &format!("{} items", nodes.len() - left).as_str())),
        }
    }

    fn map<V: Visitor<'de>>(self, entries: &'de [(Key, Node)], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Entries { entries: entries.iter(), value: None, path: self.path })
    }
}

impl<'de> de::Deserializer<'de> for Reader<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(it) => visitor.visit_bool(*it),
            Value::Int(it) => match u64::try_from(*it) {
                Ok(it) => visitor.visit_u64(it),
                Err(_) => visitor.visit_i64(*it),
            },
            Value::UInt(it) => visitor.visit_u64(*it),
            Value::Float(it) => visitor.visit_f64(*it),
            Value::Str(it) => visitor.visit_borrowed_str(it),
            Value::Seq(nodes) => self.seq(nodes, visitor),
            Value::Map(entries) => self.map(entries, visitor),
        }
        .map_err(|fault: Fault| fault.at(self.node.at, self.path))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match (self.node.quoted, self.node.number_text()) {
            (false, Some(text)) => visitor.visit_string(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Map(entries) => self.map(entries, visitor),
            _ => Err(self.wrong(&visitor)),
        }
        .map_err(|fault| fault.at(self.node.at, self.path))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Str(name) => visitor.visit_enum(Tag { name, place: self.node.at, content: None, path: self.path }),
            Value::Map(entries) => match entries.as_slice() {
                [(key, node)] => {
                    let tag = Tag { name: &key.name, place: key.at, content: Some(node), path: self.path };
                    visitor.visit_enum(tag)
                }
                _ => Err(de::Error::invalid_length(entries.len(), &"a map with a single key")),
            },
            _ => Err(self.wrong(&visitor)),
        }
        .map_err(|fault| fault.at(self.node.at, self.path))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier
    }
}

struct Elements<'de, 'p> {
    nodes: std::slice::Iter<'de, Node>,
    index: usize,
    path: &'p Path<'p>,
}

impl<'de> de::SeqAccess<'de> for Elements<'de, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.nodes.next() else { return Ok(None) };
        let path = self.path.index(self.index);
        self.index += 1;
        seed.deserialize(Reader { node, path: &path }).map(Some).map_err(|fault| fault.at(node.at, &path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len())
    }
}

struct Entries<'de, 'p> {
    entries: std::slice::Iter<'de, (Key, Node)>,
    value: Option<&'de (Key, Node)>,
    path: &'p Path<'p>,
}

impl<'de> de::MapAccess<'de> for Entries<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let reader = KeyReader(&key.name);
        seed.deserialize(reader).map(Some).map_err(|fault| fault.at(key.at, &self.path.key(&key.name)))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let Some((key, node)) = self.value.take() else { return Err(de::Error::custom("a value without its key")) };
        let path = self.path.key(&key.name);
        seed.deserialize(Reader { node, path: &path }).map_err(|fault| fault.at(node.at, &path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A key is text; a type that wants a number for a key gets what the text says.
struct KeyReader<'de>(&'de str);

impl<'de> KeyReader<'de> {
    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match super::scalar::number(self.0) {
            Some(Value::Int(it)) => visitor.visit_i64(it),
            Some(Value::UInt(it)) => visitor.visit_u64(it),
            Some(Value::Float(it)) => visitor.visit_f64(it),
            _ => visitor.visit_borrowed_str(self.0),
        }
    }
}

macro_rules! number_keys {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.number(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for KeyReader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.parse() {
            Ok(it) => visitor.visit_bool(it),
            Err(_) => visitor.visit_borrowed_str(self.0),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(de::value::BorrowedStrDeserializer::new(self.0))
    }

    number_keys! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A variant: its name alone, or the single key of a map and what is under it.
struct Tag<'de, 'p> {
    name: &'de str,
    place: Place,
    content: Option<&'de Node>,
    path: &'p Path<'p>,
}

impl<'de, 'p> de::EnumAccess<'de> for Tag<'de, 'p> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: de::value::StrDeserializer<'de, Fault> = self.name.into_deserializer();
        let value = seed.deserialize(name).map_err(|fault| fault.at(self.place, self.path))?;
        Ok((value, self))
    }
}

impl<'de> Tag<'de, '_> {
    fn with<T>(self, read: impl FnOnce(Reader<'de, '_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let Some(node) = self.content else {
            return Err(de::Error::custom(format!("`{}` needs a value", self.name)));
        };
        let path = self.path.key(self.name);
        read(Reader { node, path: &path }).map_err(|fault| fault.at(node.at, &path))
    }
}

impl<'de> de::VariantAccess<'de> for Tag<'de, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.content {
            None => Ok(()),
            Some(_) => self.with(|reader| <() as de::Deserialize>::deserialize(reader)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.with(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.with(|reader| match &reader.node.value {
            Value::Seq(nodes) => reader.seq(nodes, visitor),
            _ => Err(reader.wrong(&visitor)),
        })
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.with(|reader| match &reader.node.value {
            Value::Map(entries) => reader.map(entries, visitor),
            _ => Err(reader.wrong(&visitor)),
        })
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
