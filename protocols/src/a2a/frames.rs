//! Messages of gRPC in their frames (`PROTOCOL-HTTP2.md`): a flag, a length, a message.

use bytes::{Buf, BufMut, BytesMut};

/// Bytes before a message.
const HEAD: usize = 5;

/// Why frames cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("a message is compressed, which was not offered")]
    Compressed,
    #[error("a message is larger than {0} bytes")]
    Size(usize),
    #[error("the stream ends inside a message")]
    End,
}

/// Takes bytes in any pieces and gives whole messages.
#[derive(Debug)]
pub struct Frames {
    bytes_max: usize,
    held: BytesMut,
}

impl Frames {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: BytesMut::new() }
    }

    pub fn push(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// The next whole message.
    pub fn take(&mut self) -> Result<Option<BytesMut>, Fault> {
        let Some((&[flag, a, b, c, d], rest)) = self.held.split_first_chunk::<HEAD>() else { return Ok(None) };
        if flag != 0 {
            return Err(Fault::Compressed);
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.bytes_max {
            return Err(Fault::Size(self.bytes_max));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.held.advance(HEAD);
        Ok(Some(self.held.split_to(length)))
    }

    /// Nothing may be left when the stream ends.
    pub fn end(&self) -> Result<(), Fault> {
        if self.held.is_empty() { Ok(()) } else { Err(Fault::End) }
    }
}

/// A message in its frame.
pub fn write(message: &[u8], out: &mut BytesMut) {
    out.reserve(HEAD + message.len());
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_however_the_bytes_came() {
        let mut stream = BytesMut::new();
        for message in [&b"abc"[..], b"", b"defgh"] {
            write(message, &mut stream);
        }
        for size in 1..stream.len() {
            let mut frames = Frames::new(5);
            let mut got = Vec::new();
            for piece in stream.chunks(size) {
                frames.push(piece);
                while let Some(message) = frames.take().unwrap() {
                    got.push(message.to_vec());
                }
            }
            assert_eq!(got, [&b"abc"[..], b"", b"defgh"]);
            assert_eq!(frames.end(), Ok(()));
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let mut frames = Frames::new(5);
        frames.push(&[0, 0, 0, 0, 6]);
        assert_eq!(frames.take(), Err(Fault::Size(5)));
        let mut frames = Frames::new(5);
        frames.push(&[1, 0, 0, 0, 1, 0]);
        assert_eq!(frames.take(), Err(Fault::Compressed));
        let mut frames = Frames::new(5);
        frames.push(&[0, 0, 0]);
        assert_eq!((frames.take(), frames.end()), (Ok(None), Err(Fault::End)));
    }
}
