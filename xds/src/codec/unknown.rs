//! Fields of a message that this version does not know. The generated code skips them, and an
//! instruction that is skipped silently may be the one that keeps somebody out.

use std::collections::HashMap;
use std::sync::OnceLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

use crate::pb;

/// Most fields named; nobody reads further.
const NAMED_MAX: usize = 10;
/// Deepest nesting looked at: that of the messages themselves is below it.
const DEPTH_MAX: usize = 32;

const RESOURCE: &str = ".agentgateway.v1.Resource";

struct Field {
    name: String,
    /// The message it holds.
    message: Option<String>,
}

type Shapes = HashMap<String, HashMap<u32, Field>>;

/// The fields, each with its path, such as `policy.timeout.9`.
pub(super) fn fields(decoded: &pb::Resource, bytes: &[u8]) -> Vec<String> {
    // What was skipped is missing from the length; the walk below happens for such messages only.
    if decoded.encoded_len() == bytes.len() {
        return Vec::new();
    }
    let mut found = Vec::new();
    walk(bytes, RESOURCE, &mut Vec::new(), &mut found);
    found
}

fn walk(mut bytes: &[u8], message: &str, path: &mut Vec<&str>, found: &mut Vec<String>) {
    let Some(shape) = shapes().get(message).filter(|_| path.len() < DEPTH_MAX) else { return };
    while found.len() < NAMED_MAX
        && let Some((number, content)) = next(&mut bytes)
    {
        match shape.get(&number) {
            None => {
                let inside: String = path.iter().flat_map(|part| [part, "."]).collect();
                found.push(format!("field {inside}{number}"));
            }
            Some(Field { name, message: Some(inner) }) => {
                path.push(name);
                walk(content, inner, path, found);
                path.pop();
            }
            Some(Field { message: None, .. }) => {}
        }
    }
}

/// The next field: its number, and its content where it has a length.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let tag = varint(bytes)?;
    let number = u32::try_from(tag >> 3).ok()?;
    let length = match tag & 7 {
        0 => {
            varint(bytes)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((number, content))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn shapes() -> &'static Shapes {
    static SHAPES: OnceLock<Shapes> = OnceLock::new();
    SHAPES.get_or_init(|| {
        let set = FileDescriptorSet::decode(pb::DESCRIPTORS).expect("the descriptors come from our own build");
        let mut shapes = Shapes::new();
        for file in &set.file {
            for message in &file.message_type {
                collect(&format!(".{}", file.package()), message, &mut shapes);
            }
        }
        shapes
    })
}

fn collect(prefix: &str, message: &DescriptorProto, shapes: &mut Shapes) {
    let name = format!("{prefix}.{}", message.name());
    let field = |it: &prost_types::FieldDescriptorProto| {
        let inner = (it.r#type() == Type::Message).then(|| it.type_name().to_owned());
        (u32::try_from(it.number()).unwrap_or(0), Field { name: it.name().to_owned(), message: inner })
    };
    for inner in &message.nested_type {
        collect(&name, inner, shapes);
    }
    shapes.insert(name, message.field.iter().map(field).collect());
}
