//! A message of protobuf written from what it is made of, without a copy of each text in between: for the question that
//! is asked with every request. What is empty is left out, as proto3 has it.

use bytes::{BufMut, Bytes};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::grpc::PREFIX;

/// Bytes that most questions fit into.
const USUAL: usize = 1024;

/// A message of gRPC behind its prefix.
pub(super) struct Wire(Vec<u8>);

impl Wire {
    pub(super) fn new() -> Self {
        let mut bytes = Vec::with_capacity(USUAL);
        bytes.resize(PREFIX, 0);
        Self(bytes)
    }

    pub(super) fn number(&mut self, tag: u32, number: u64) {
        if number != 0 {
            encode_key(tag, WireType::Varint, &mut self.0);
            encode_varint(number, &mut self.0);
        }
    }

    pub(super) fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            encode_key(tag, WireType::LengthDelimited, &mut self.0);
            encode_varint(bytes.len() as u64, &mut self.0);
            self.0.put_slice(bytes);
        }
    }

    /// Text has to be UTF-8: what is not is replaced.
    pub(super) fn text(&mut self, tag: u32, text: &[u8]) {
        self.bytes(tag, String::from_utf8_lossy(text).as_bytes());
    }

    /// A message within, which is there even if it is empty.
    pub(super) fn within(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        encode_key(tag, WireType::LengthDelimited, &mut self.0);
        let begin = self.0.len();
        write(self);
        let end = self.0.len();
        let length = (end - begin) as u64;
        // The length stands before what it counts.
        let room = encoded_len_varint(length);
        self.0.resize(end + room, 0);
        self.0.copy_within(begin..end, begin + room);
        if let Some(mut place) = self.0.get_mut(begin..begin + room) {
            encode_varint(length, &mut place);
        }
    }

    /// A message of two texts, the first of which is known to be UTF-8: nearly all that a question holds are such.
    pub(super) fn pair(&mut self, tag: u32, key: &str, value: &[u8]) {
        let value = String::from_utf8_lossy(value);
        let room = |length: usize| if length == 0 { 0 } else { 1 + encoded_len_varint(length as u64) + length };
        encode_key(tag, WireType::LengthDelimited, &mut self.0);
        encode_varint((room(key.len()) + room(value.len())) as u64, &mut self.0);
        self.bytes(1, key.as_bytes());
        self.bytes(2, value.as_bytes());
    }

    pub(super) fn message<M: Message>(&mut self, tag: u32, message: &M) {
        prost::encoding::message::encode(tag, message, &mut self.0);
    }

    pub(super) fn finish(mut self) -> Bytes {
        let length = u32::try_from(self.0.len() - PREFIX).unwrap_or(u32::MAX);
        if let Some(prefix) = self.0.get_mut(1..PREFIX) {
            prefix.copy_from_slice(&length.to_be_bytes());
        }
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::callout::pb::auth::attribute_context::{Pair, Peer};

    #[test]
    fn it_is_read_back_as_what_was_written() {
        for length in [0, 1, 100, 127, 128, 20_000] {
            let long = "x".repeat(length);
            let mut wire = Wire::new();
            // A peer of that principal.
            wire.within(1, |it| it.text(4, long.as_bytes()));
            wire.text(4, b"a\xffb");
            let bytes = wire.finish();
            assert_eq!(u32::from_be_bytes(bytes[1..PREFIX].try_into().unwrap()) as usize, bytes.len() - PREFIX);
            #[derive(Clone, PartialEq, Message)]
            struct Outer {
                #[prost(message, optional, tag = "1")]
                peer: Option<Peer>,
                #[prost(string, tag = "4")]
                text: String,
            }
            let read = Outer::decode(&bytes[PREFIX..]).unwrap();
            assert_eq!(read.peer.unwrap().principal, long);
            assert_eq!(read.text, "a\u{fffd}b");
        }
        let mut wire = Wire::new();
        wire.message(3, &Pair { key: "k".to_owned(), value: "v".to_owned() });
        assert_eq!(&wire.finish()[PREFIX..], [26, 6, 10, 1, b'k', 18, 1, b'v']);
        for (key, value) in [("k", "v"), ("", "v"), ("k", ""), ("", ""), ("long", &"x".repeat(300))] {
            let (mut by_hand, mut generated) = (Wire::new(), Wire::new());
            by_hand.pair(3, key, value.as_bytes());
            generated.message(3, &Pair { key: key.to_owned(), value: value.to_owned() });
            assert_eq!(by_hand.finish(), generated.finish(), "{key}: {value}");
        }
    }
}
