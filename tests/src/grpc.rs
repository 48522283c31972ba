//! gRPC's length-prefixed framing, by hand: the harness must be able to send what a code generator would not.
//!
//! Payloads are opaque bytes; [`serving`] and [`field_1`] are all the protobuf the tests need.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One message, uncompressed, with its five-byte prefix.
pub fn frame(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).expect("a message below 4 GiB"));
    out.put_slice(message);
    out.freeze()
}

/// Cuts a byte stream back into messages.
#[derive(Default)]
pub struct Frames {
    pending: BytesMut,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole message, if it has arrived.
    pub fn next_message(&mut self) -> Option<Bytes> {
        let prefix = self.pending.get(..5)?;
        let length = usize::try_from(u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]])).ok()?;
        if self.pending.len() < 5 + length {
            return None;
        }
        self.pending.advance(5);
        Some(self.pending.split_to(length).freeze())
    }

    /// Whether the stream ended inside a message.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

/// `grpc.health.v1.HealthCheckResponse`: SERVING (1) or NOT_SERVING (2).
pub fn serving(is: bool) -> Bytes {
    Bytes::from_static(if is { b"\x08\x01" } else { b"\x08\x02" })
}

/// A protobuf message with one string in field 1 (`HealthCheckRequest.service`, for one); up to 127 bytes.
pub fn field_1(text: &str) -> Bytes {
    let length = u8::try_from(text.len()).ok().filter(|it| *it < 128).expect("a string below 128 bytes");
    let mut out = BytesMut::with_capacity(text.len() + 2);
    out.put_slice(&[0x0a, length]);
    out.put_slice(text.as_bytes());
    out.freeze()
}
