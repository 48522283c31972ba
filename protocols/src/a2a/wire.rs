//! Messages in Protocol Buffers: looked through without their types, for nothing but a few texts changes.
//!
//! Fields that are not described are copied as they are, in their order, known or not.

use super::message::{Note, Seen};
use super::method::Version;
use super::shape::{self, Ask, STATES, Shape, What};
use super::walk::note;

/// Deepest nesting of messages.
const DEPTH_MAX: usize = 16;

/// Why a message cannot be looked through.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault<F> {
    #[error("not a message of Protocol Buffers")]
    Malformed,
    /// `place` refused.
    #[error("{0}")]
    Refused(F),
}

/// A message being looked through. `place` is asked about every text of [`shape::Place`], and may give another.
pub struct Wire<'p, F> {
    pub seen: Seen,
    version: Version,
    place: Ask<'p, F>,
}

impl<'p, F> Wire<'p, F> {
    pub fn new(version: Version, place: Ask<'p, F>) -> Self {
        Self { seen: Seen::default(), version, place }
    }

    /// The message with what `place` gave.
    pub fn message(&mut self, bytes: &[u8], shape: &'static Shape) -> Result<Vec<u8>, Fault<F>> {
        self.at_depth(bytes, shape, 0)
    }

    fn at_depth(&mut self, bytes: &[u8], shape: &'static Shape, depth: usize) -> Result<Vec<u8>, Fault<F>> {
        if depth > DEPTH_MAX {
            return Err(Fault::Malformed);
        }
        if depth <= 1
            && let Some(kind) = shape::kind_of(shape)
        {
            self.seen.kind.get_or_insert(kind);
        }
        let mut out = Vec::with_capacity(bytes.len() + 128);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (tag, after) = varint(rest).ok_or(Fault::Malformed)?;
            let number = u32::try_from(tag >> 3).ok().filter(|it| *it != 0).ok_or(Fault::Malformed)?;
            let what = shape.by_number(number, self.version);
            let value_len = length(tag & 7, after).ok_or(Fault::Malformed)?;
            let (whole, next) = rest.split_at_checked(rest.len() - after.len() + value_len).ok_or(Fault::Malformed)?;
            rest = next;
            if tag & 7 != 2 {
                if let (Some(What::State), 0) = (what, tag & 7) {
                    let state = varint(after).and_then(|(state, _)| STATES.get(usize::try_from(state).ok()?));
                    self.seen.note(Note::State, depth, state.copied().unwrap_or_default());
                }
                out.extend_from_slice(whole);
                continue;
            }
            let (_, body) = varint(after).ok_or(Fault::Malformed)?;
            let body = body.get(..body.len() - rest.len()).ok_or(Fault::Malformed)?;
            match self.field(what, body, depth)? {
                Field::Same => out.extend_from_slice(whole),
                Field::Gone => {}
                Field::Other(changed) => {
                    push_varint(tag, &mut out);
                    push_varint(changed.len() as u64, &mut out);
                    out.extend_from_slice(&changed);
                }
            }
        }
        Ok(out)
    }

    fn field(&mut self, what: Option<&'static What>, body: &[u8], depth: usize) -> Result<Field, Fault<F>> {
        Ok(match what {
            None | Some(What::State) => Field::Same,
            Some(What::Gone) => Field::Gone,
            Some(What::Metadata) => {
                self.metadata(body);
                Field::Same
            }
            Some(What::MessageId) => {
                self.seen.note(Note::Message, depth, std::str::from_utf8(body).unwrap_or_default());
                Field::Same
            }
            Some(What::Into(inner)) => Field::Other(self.at_depth(body, inner, depth + 1)?),
            Some(What::At(place)) => {
                let text = std::str::from_utf8(body).map_err(|_| Fault::Malformed)?;
                if text.is_empty() {
                    return Ok(Field::Same);
                }
                let replaced = (self.place)(*place, text).map_err(Fault::Refused)?;
                note(&mut self.seen, *place, depth, text);
                replaced.map_or(Field::Same, |it| Field::Other(it.into_bytes()))
            }
        })
    }

    /// A `google.protobuf.Struct`: a map of names to values, where a text is field 3.
    fn metadata(&mut self, body: &[u8]) {
        for entry in fields(body).filter_map(|(number, entry)| (number == 1).then_some(entry)) {
            let of = |wanted: u32| fields(entry).find_map(|(number, it)| (number == wanted).then_some(it));
            let skill = of(1).is_some_and(|it| matches!(it, b"skillId" | b"skill_id" | b"skill"));
            let text = of(2).filter(|_| skill).and_then(|value| {
                fields(value).find_map(|(number, it)| (number == 3).then_some(it)).map(String::from_utf8_lossy)
            });
            if let Some(text) = text {
                self.seen.note_skill(&text);
            }
        }
    }
}

enum Field {
    Same,
    Gone,
    Other(Vec<u8>),
}

/// Fields of a message that have a length; ends at what is malformed.
fn fields(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let (tag, after) = varint(rest)?;
            let len = length(tag & 7, after)?;
            let (value, next) = after.split_at_checked(len)?;
            rest = next;
            if tag & 7 == 2 {
                let (_, body) = varint(value)?;
                return Some((u32::try_from(tag >> 3).ok()?, body));
            }
        }
    })
}

/// How long a value is that begins here, with the length that it says itself.
fn length(kind: u64, bytes: &[u8]) -> Option<usize> {
    match kind {
        0 => varint(bytes).map(|(_, rest)| bytes.len() - rest.len()),
        1 => Some(8),
        5 => Some(4),
        2 => {
            let (len, rest) = varint(bytes)?;
            let len = usize::try_from(len).ok().filter(|it| *it <= rest.len())?;
            Some(bytes.len() - rest.len() + len)
        }
        // Groups are of a syntax before this protocol.
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (position, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(position).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(position + 1..)?));
        }
    }
    None
}

/// Adds a text to a message; of several the last counts.
pub fn push_text(number: u32, text: &str, out: &mut Vec<u8>) {
    push_varint(u64::from(number) << 3 | 2, out);
    push_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
