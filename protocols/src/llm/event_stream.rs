//! Frames of the AWS event stream (`application/vnd.amazon.eventstream`) in passing: their payloads, without holding them.
//!
//! A frame is its length, the length of its headers, a CRC-32 of both, the headers, the payload, and a CRC-32 of it all.

use std::sync::LazyLock;

/// Longest frame that a service sends: 16 MiB of payload and what is around it.
const FRAME_BYTES_MAX: u32 = 24 << 20;

/// Before the headers.
const PRELUDE_BYTES: usize = 12;
/// Behind the payload.
const CHECKSUM_BYTES: usize = 4;

/// What a stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// More of the payload of the frame under way.
    Payload(&'a [u8]),
    /// The frame is over.
    End,
}

/// What came is not a frame, or was changed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled;

#[derive(Debug)]
pub(super) struct Frames {
    prelude: [u8; PRELUDE_BYTES],
    filled: usize,
    /// What is left of headers, payload and checksum.
    headers: usize,
    payload: usize,
    checksum: usize,
    crc: u32,
    stated: u32,
}

impl Frames {
    pub(super) fn new() -> Self {
        let prelude = [0; PRELUDE_BYTES];
        Self { prelude, filled: 0, headers: 0, payload: 0, checksum: 0, crc: 0, stated: 0 }
    }

    pub(super) fn push(&mut self, piece: &[u8], out: &mut impl FnMut(Piece<'_>)) -> Result<(), Garbled> {
        let mut rest = piece;
        while !rest.is_empty() {
            if self.filled < PRELUDE_BYTES {
                let taken = take(&mut rest, PRELUDE_BYTES - self.filled);
                for (slot, byte) in self.prelude.iter_mut().skip(self.filled).zip(taken) {
                    *slot = *byte;
                }
                self.filled += taken.len();
                if self.filled == PRELUDE_BYTES {
                    self.begin()?;
                }
            } else if self.headers > 0 {
                let taken = take(&mut rest, self.headers);
                self.headers -= taken.len();
                self.crc = crc32(self.crc, taken);
            } else if self.payload > 0 {
                let taken = take(&mut rest, self.payload);
                self.payload -= taken.len();
                self.crc = crc32(self.crc, taken);
                out(Piece::Payload(taken));
            } else {
                let taken = take(&mut rest, self.checksum);
                self.checksum -= taken.len();
                self.stated = taken.iter().fold(self.stated, |sum, byte| sum << 8 | u32::from(*byte));
                if self.checksum == 0 {
                    self.filled = 0;
                    out(Piece::End);
                    if self.stated != self.crc {
                        return Err(Garbled);
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Garbled> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.prelude;
        let total = u32::from_be_bytes([a, b, c, d]);
        let headers = u32::from_be_bytes([e, f, g, h]) as usize;
        let payload =
            (total as usize).checked_sub(PRELUDE_BYTES + CHECKSUM_BYTES).and_then(|it| it.checked_sub(headers));
        let sum = crc32(0, &[a, b, c, d, e, f, g, h]);
        let payload = payload.filter(|_| total <= FRAME_BYTES_MAX && sum == u32::from_be_bytes([i, j, k, l]));
        (self.headers, self.payload, self.checksum) = (headers, payload.ok_or(Garbled)?, CHECKSUM_BYTES);
        (self.crc, self.stated) = (crc32(0, &self.prelude), 0);
        Ok(())
    }
}

/// The first bytes, as many as there are, up to `most`.
fn take<'a>(rest: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(most.min(rest.len()));
    *rest = after;
    taken
}

static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|at| {
        let byte = u32::try_from(at).unwrap_or_default();
        (0..8).fold(byte, |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
});

/// CRC-32 as of RFC 1952 section 8, going on from that of what is before.
pub(super) fn crc32(before: u32, bytes: &[u8]) -> u32 {
    let table = &*TABLE;
    !bytes.iter().fold(!before, |crc, byte| {
        let at = (crc ^ u32::from(*byte)) & 0xff;
        (crc >> 8) ^ table.get(at as usize).copied().unwrap_or_default()
    })
}

/// A frame with one header for each pair of name and text.
#[cfg(test)]
pub(super) fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).expect("a short name"));
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).expect("a short value").to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let total = PRELUDE_BYTES + head.len() + payload.len() + CHECKSUM_BYTES;
    let mut out = u32::try_from(total).expect("a short frame").to_be_bytes().to_vec();
    out.extend_from_slice(&u32::try_from(head.len()).expect("short headers").to_be_bytes());
    out.extend_from_slice(&crc32(0, &out).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32(0, &out).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payloads(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, Garbled> {
        let (mut frames, mut out, mut payload) = (Frames::new(), Vec::new(), Vec::new());
        for piece in pieces {
            frames.push(piece, &mut |it| match it {
                Piece::Payload(more) => payload.extend_from_slice(more),
                Piece::End => out.push(std::mem::take(&mut payload)),
            })?;
        }
        Ok(out)
    }

    #[test]
    fn the_check_value_of_crc_32_comes_out() {
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
    }

    #[test]
    fn what_was_changed_on_the_way_is_noticed() {
        let whole = frame(&[(":event-type", "metadata")], b"{}");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(payloads(&[&changed]), Err(Garbled), "byte {at}");
        }
        assert_eq!(payloads(&[&[0xff; 64]]), Err(Garbled));
    }

    proptest! {
        #[test]
        fn payloads_pass_wherever_the_stream_is_cut(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5), cut in 1_usize..40
        ) {
            let stream: Vec<u8> = sent.iter().flat_map(|it| frame(&[(":event-type", "x"), ("a", "")], it)).collect();
            let pieces: Vec<_> = stream.chunks(cut).collect();
            prop_assert_eq!(payloads(&pieces).unwrap(), sent);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = payloads(&[&bytes]);
        }
    }
}
