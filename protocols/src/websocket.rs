//! WebSocket frames (RFC 6455), read in passing and written. Nothing of a payload is held here, and nothing is unmasked
//! unless somebody asks ([`unmask`]).
//!
//! What an extension would change (reserved bits) is a fault: whoever reads frames sees to it that none is agreed upon.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;

/// Longest payload of frames that control the connection (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Two bytes, the longest length, and a key.
const HEAD_BYTES_MAX: usize = 14;

/// Who writes: what a client sends is masked, what a server sends is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub opcode: Opcode,
    /// The last of its message.
    pub fin: bool,
    pub key: Option<[u8; 4]>,
    pub length: u64,
}

impl Head {
    /// Whether a message is over with this frame.
    pub fn ends_message(&self) -> bool {
        self.fin && !self.opcode.is_control()
    }
}

/// What a stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Head(Head),
    /// More of the payload, masked as it came.
    Payload(&'a [u8]),
    /// The frame is over.
    End(Head),
}

/// Why what came is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("reserved bits of a frame are set")]
    Reserved,
    #[error("a frame of no known kind")]
    Opcode,
    #[error("a frame that is masked and must not be, or the other way round")]
    Mask,
    #[error("a control frame that is too long, or a part of one")]
    Control,
    #[error("a message goes on that did not begin, or begins within another")]
    Fragment,
    #[error("a length that is not written in its shortest form, or beyond all bounds")]
    Length,
}

/// A reader of one direction.
#[derive(Debug)]
pub struct Reader {
    side: Side,
    head: [u8; HEAD_BYTES_MAX],
    filled: usize,
    /// The frame under way, and what is left of its payload.
    frame: Option<(Head, u64)>,
    /// A message is under way: its last frame has not come.
    within: bool,
}

impl Reader {
    /// Reads what this side writes.
    pub fn new(side: Side) -> Self {
        Self { side, head: [0; HEAD_BYTES_MAX], filled: 0, frame: None, within: false }
    }

    /// Whether nothing is under way, so that a frame of one's own may be put in here.
    pub fn is_between(&self) -> bool {
        self.filled == 0 && self.frame.is_none() && !self.within
    }

    /// Takes the next piece off what came; nothing where more must come first.
    pub fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Fault> {
        if let Some((head, left)) = &mut self.frame {
            if *left == 0 {
                let head = *head;
                self.frame = None;
                self.within &= !head.ends_message();
                return Ok(Some(Piece::End(head)));
            }
            if rest.is_empty() {
                return Ok(None);
            }
            let most = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
            let (taken, after) = rest.split_at(most);
            *rest = after;
            *left -= taken.len() as u64;
            return Ok(Some(Piece::Payload(taken)));
        }
        while let Some((byte, after)) = rest.split_first() {
            *rest = after;
            if let Some(slot) = self.head.get_mut(self.filled) {
                *slot = *byte;
            }
            self.filled += 1;
            if self.filled >= 2 && self.filled == self.head_bytes() {
                self.filled = 0;
                let head = self.parse()?;
                self.within |= !head.opcode.is_control();
                self.frame = Some((head, head.length));
                return Ok(Some(Piece::Head(head)));
            }
        }
        Ok(None)
    }

    /// How long the head under way is, once its first two bytes are there.
    fn head_bytes(&self) -> usize {
        let [_, second, ..] = self.head;
        let length = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & 0x80 == 0 { 0 } else { 4 }
    }

    fn parse(&self) -> Result<Head, Fault> {
        let [first, second, long @ ..] = self.head;
        if first & 0x70 != 0 {
            return Err(Fault::Reserved);
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(Fault::Opcode)?;
        let (fin, masked) = (first & 0x80 != 0, second & 0x80 != 0);
        if masked != (self.side == Side::Client) {
            return Err(Fault::Mask);
        }
        let be = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let (length, least, behind) = match second & 0x7f {
            126 => (be(long.get(..2).unwrap_or_default()), 126, 2),
            127 => (be(long.get(..8).unwrap_or_default()), 1 << 16, 8),
            short => (u64::from(short), 0, 0),
        };
        if length < least || length > i64::MAX as u64 {
            return Err(Fault::Length);
        }
        if opcode.is_control() && (!fin || length > CONTROL_BYTES_MAX as u64) {
            return Err(Fault::Control);
        }
        if !opcode.is_control() && (opcode == Opcode::Continuation) != self.within {
            return Err(Fault::Fragment);
        }
        let key = long.get(behind..behind + 4).and_then(|it| it.try_into().ok()).filter(|_| masked);
        Ok(Head { opcode, fin, key, length })
    }
}

/// What a server answers to the key of a handshake (section 4.2.2).
pub fn accept(key: &str) -> String {
    let whole = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &whole))
}

/// Undoes a mask, or puts it on; `at` is how much of the payload is before these bytes.
pub fn unmask(bytes: &mut [u8], key: [u8; 4], at: usize) {
    for (byte, mask) in bytes.iter_mut().zip(key.iter().cycle().skip(at % 4)) {
        *byte ^= mask;
    }
}

/// Writes a whole message, or a control frame, in one frame.
pub fn write(out: &mut BytesMut, opcode: Opcode, key: Option<[u8; 4]>, payload: &[u8]) {
    let masked = if key.is_some() { 0x80 } else { 0 };
    let mut head = vec![0x80 | opcode.bits()];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => head.push(masked | short),
        (_, Ok(middle)) => {
            head.push(masked | 126);
            head.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            head.push(masked | 127);
            head.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    head.extend(key.into_iter().flatten());
    out.reserve(head.len() + payload.len());
    out.extend_from_slice(&head);
    let start = out.len();
    out.extend_from_slice(payload);
    if let (Some(key), Some(written)) = (key, out.get_mut(start..)) {
        unmask(written, key, 0);
    }
}

/// Writes the end of a connection: why, for programs and for people.
pub fn write_close(out: &mut BytesMut, key: Option<[u8; 4]>, code: u16, reason: &str) {
    let most = CONTROL_BYTES_MAX - 2;
    let end = (0..=reason.len().min(most)).rev().find(|it| reason.is_char_boundary(*it)).unwrap_or(0);
    let reason = reason.get(..end).unwrap_or_default();
    write(out, Opcode::Close, key, &[&code.to_be_bytes()[..], reason.as_bytes()].concat());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = Vec<(Opcode, Vec<u8>)>;

    /// Frames of a stream that comes in pieces of this length.
    fn read(side: Side, stream: &[u8], cut: usize) -> Result<Read, Fault> {
        let (mut reader, mut out, mut payload) = (Reader::new(side), Vec::new(), Vec::new());
        for piece in stream.chunks(cut) {
            let mut rest = piece;
            while let Some(piece) = reader.next(&mut rest)? {
                match piece {
                    Piece::Head(_) => payload = Vec::new(),
                    Piece::Payload(more) => payload.extend_from_slice(more),
                    Piece::End(head) => {
                        if let Some(key) = head.key {
                            unmask(&mut payload, key, 0);
                        }
                        out.push((head.opcode, std::mem::take(&mut payload)));
                    }
                }
            }
        }
        Ok(out)
    }

    #[test]
    fn the_examples_of_section_5_7_are_read() {
        for (side, bytes, want) in [
            (Side::Server, &[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f][..], vec![(Opcode::Text, &b"Hello"[..])]),
            (
                Side::Client,
                &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
                vec![(Opcode::Text, &b"Hello"[..])],
            ),
            (
                Side::Server,
                &[0x01, 0x03, 0x48, 0x65, 0x6c, 0x89, 0x01, 0x78, 0x80, 0x02, 0x6c, 0x6f],
                vec![(Opcode::Text, &b"Hel"[..]), (Opcode::Ping, b"x"), (Opcode::Continuation, b"lo")],
            ),
            (Side::Server, &[0x88, 0x00], vec![(Opcode::Close, &b""[..])]),
        ] {
            let want: Read = want.into_iter().map(|(opcode, it)| (opcode, it.to_vec())).collect();
            for cut in 1..=bytes.len() {
                assert_eq!(read(side, bytes, cut), Ok(want.clone()), "cut every {cut}");
            }
        }
    }

    #[test]
    fn what_no_endpoint_may_send_is_a_fault() {
        for (side, bytes, want) in [
            (Side::Server, &[0xc1, 0x00][..], Fault::Reserved),
            (Side::Server, &[0x83, 0x00], Fault::Opcode),
            (Side::Server, &[0x81, 0x80, 0, 0, 0, 0], Fault::Mask),
            (Side::Client, &[0x81, 0x00], Fault::Mask),
            (Side::Server, &[0x09, 0x00], Fault::Control),
            (Side::Server, &[0x89, 0x7e, 0x00, 0x7e], Fault::Control),
            (Side::Server, &[0x80, 0x00], Fault::Fragment),
            (Side::Server, &[0x01, 0x00, 0x81, 0x00], Fault::Fragment),
            (Side::Server, &[0x81, 0x7e, 0x00, 0x05], Fault::Length),
            (Side::Server, &[0x81, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], Fault::Length),
        ] {
            assert_eq!(read(side, bytes, 1), Err(want), "{bytes:x?}");
        }
    }

    #[test]
    fn the_key_of_section_1_3_is_answered() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn reasons_of_an_end_are_cut_between_characters() {
        let mut out = BytesMut::new();
        write_close(&mut out, None, 1008, &"ä".repeat(100));
        let frames = read(Side::Server, &out, 3).unwrap();
        assert_eq!(frames[0].1.len(), 2 + 122);
        assert!(std::str::from_utf8(&frames[0].1[2..]).is_ok());
    }

    proptest! {
        #[test]
        fn messages_are_the_same_when_they_are_read_again(
            sent in prop::collection::vec((any::<bool>(), prop_oneof![0_usize..130, 65_530_usize..65_540]), 0..4),
            key in prop::option::of(any::<[u8; 4]>()), cut in 1_usize..70_000
        ) {
            let (mut stream, mut want) = (BytesMut::new(), Vec::new());
            for (text, length) in sent {
                let payload: Vec<u8> = (0..length).map(|it| (it % 251) as u8).collect();
                let opcode = if text { Opcode::Text } else { Opcode::Binary };
                write(&mut stream, opcode, key, &payload);
                want.push((opcode, payload));
            }
            let side = if key.is_some() { Side::Client } else { Side::Server };
            prop_assert_eq!(read(side, &stream, cut), Ok(want));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), client in any::<bool>()) {
            let _ = read(if client { Side::Client } else { Side::Server }, &bytes, 5);
        }
    }
}
