//! Whole frames of AWS's event stream, read and written. See `event_stream` for looking at them in passing.

use bytes::{Buf, BytesMut};

use super::event_stream::crc32;

/// Before the headers: two lengths, and a checksum of both.
const PRELUDE_BYTES: usize = 12;
/// Behind the payload.
const CHECKSUM_BYTES: usize = 4;

/// What came is not a frame, was changed on the way, or is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a frame, or one that is too long")]
pub(super) struct Garbled;

/// A frame: its payload, and what its headers say that it is.
#[derive(Debug, Default)]
pub(super) struct Frame<'a> {
    /// `:event-type`, or `:exception-type`.
    pub(super) kind: &'a str,
    pub(super) is_exception: bool,
    pub(super) payload: &'a [u8],
    /// Its headers as they are written, and all of it.
    pub(super) headers: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// A reader of frames of up to so many bytes.
#[derive(Debug)]
pub(super) struct Frames {
    bytes_max: usize,
    held: BytesMut,
}

impl Frames {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: BytesMut::new() }
    }

    pub(super) fn push(&mut self, piece: &[u8], out: &mut impl FnMut(Frame<'_>)) -> Result<(), Garbled> {
        self.held.extend_from_slice(piece);
        while let Some(prelude) = self.held.first_chunk::<PRELUDE_BYTES>() {
            let total = be32(prelude, 0) as usize;
            if be32(prelude, 8) != crc32(0, prelude.get(..8).unwrap_or_default())
                || total > self.bytes_max
                || total < PRELUDE_BYTES + CHECKSUM_BYTES
            {
                return Err(Garbled);
            }
            let Some(whole) = self.held.get(..total) else { return Ok(()) };
            let (body, sum) = whole.split_at(total - CHECKSUM_BYTES);
            if be32(sum, 0) != crc32(0, body) {
                return Err(Garbled);
            }
            let headers = be32(body, 4) as usize;
            let (headers, payload) =
                body.get(PRELUDE_BYTES..).and_then(|it| it.split_at_checked(headers)).ok_or(Garbled)?;
            let mut frame = Frame { payload, headers, whole, ..Frame::default() };
            read_headers(headers, &mut frame)?;
            out(frame);
            self.held.advance(total);
        }
        Ok(())
    }

    /// Whether the last frame is not whole.
    pub(super) fn is_cut(&self) -> bool {
        !self.held.is_empty()
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).into_iter().flatten().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// Headers are a name, a kind of value, and the value; those of text are the only ones that say anything here.
fn read_headers<'a>(mut rest: &'a [u8], frame: &mut Frame<'a>) -> Result<(), Garbled> {
    fn take<'a>(rest: &mut &'a [u8], most: usize) -> Result<&'a [u8], Garbled> {
        let (taken, after) = rest.split_at_checked(most).ok_or(Garbled)?;
        *rest = after;
        Ok(taken)
    }
    while !rest.is_empty() {
        let length = usize::from(take(&mut rest, 1)?.first().copied().unwrap_or_default());
        let name = take(&mut rest, length)?;
        let kind = take(&mut rest, 1)?.first().copied();
        let bytes = match kind {
            Some(0 | 1) => 0,
            Some(2) => 1,
            Some(3) => 2,
            Some(4) => 4,
            Some(5 | 8) => 8,
            Some(9) => 16,
            Some(6 | 7) => {
                let length = take(&mut rest, 2)?;
                length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
            }
            _ => return Err(Garbled),
        };
        let value = take(&mut rest, bytes)?;
        let text = || std::str::from_utf8(value).map_err(|_| Garbled);
        match name {
            b":event-type" | b":exception-type" | b":error-code" => frame.kind = text()?,
            b":message-type" => frame.is_exception = text()? != "event",
            _ => {}
        }
    }
    Ok(())
}

/// Writes a frame with another payload: itself, where that is the one it has.
pub(super) fn rewrite(whole: &[u8], headers: usize, payload: &[u8], out: &mut BytesMut) {
    let behind = PRELUDE_BYTES + headers;
    let held = whole.len().checked_sub(CHECKSUM_BYTES).and_then(|end| whole.get(behind..end));
    if held == Some(payload) {
        return out.extend_from_slice(whole);
    }
    let length = |it: usize| u32::try_from(it).unwrap_or(u32::MAX).to_be_bytes();
    let prelude = [length(behind + payload.len() + CHECKSUM_BYTES), length(headers)].concat();
    let start = out.len();
    out.extend_from_slice(&prelude);
    out.extend_from_slice(&crc32(0, &prelude).to_be_bytes());
    out.extend_from_slice(whole.get(PRELUDE_BYTES..behind).unwrap_or_default());
    out.extend_from_slice(payload);
    let sum = crc32(0, out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_be_bytes());
}

/// Writes a frame of this kind. `payload` appends it.
pub fn write_frame(out: &mut Vec<u8>, kind: &str, is_exception: bool, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; PRELUDE_BYTES]);
    let (name, message) = if is_exception { (":exception-type", "exception") } else { (":event-type", "event") };
    for (name, value) in [(name, kind), (":content-type", "application/json"), (":message-type", message)] {
        out.push(u8::try_from(name.len()).unwrap_or_default());
        out.extend_from_slice(name.as_bytes());
        out.push(7);
        out.extend_from_slice(&u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    let headers = out.len() - start - PRELUDE_BYTES;
    payload(out);
    let length = |it: usize| u32::try_from(it).unwrap_or(u32::MAX).to_be_bytes();
    let total = out.len() - start + CHECKSUM_BYTES;
    let mut prelude = [length(total), length(headers)].concat();
    prelude.extend_from_slice(&crc32(0, &prelude).to_be_bytes());
    if let Some(place) = out.get_mut(start..start + PRELUDE_BYTES) {
        place.copy_from_slice(&prelude);
    }
    let sum = crc32(0, out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = Vec<(String, bool, Vec<u8>)>;

    fn read(stream: &[u8], cut: usize) -> Result<Read, Garbled> {
        let (mut frames, mut out) = (Frames::new(1 << 16), Vec::new());
        for piece in stream.chunks(cut) {
            frames.push(piece, &mut |it| out.push((it.kind.to_owned(), it.is_exception, it.payload.to_vec())))?;
        }
        Ok(out)
    }

    #[test]
    fn what_was_changed_on_the_way_is_noticed() {
        let mut whole = Vec::new();
        write_frame(&mut whole, "messageStop", false, |out| out.extend_from_slice(b"{}"));
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            // A length that grew waits for more.
            assert!(read(&changed, 7).is_ok_and(|it| it.is_empty()) || read(&changed, 7).is_err(), "byte {at}");
        }
        assert!(read(&[0xff; 64], 5).is_err());
    }

    proptest! {
        #[test]
        fn frames_are_the_same_when_they_are_read_again(
            sent in prop::collection::vec(("[a-zA-Z]{1,9}", any::<bool>(), prop::collection::vec(any::<u8>(), 0..20)), 0..5),
            cut in 1_usize..40
        ) {
            let mut stream = Vec::new();
            for (kind, exception, payload) in &sent {
                write_frame(&mut stream, kind, *exception, |out| out.extend_from_slice(payload));
            }
            prop_assert_eq!(read(&stream, cut).unwrap(), sent);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes, 9);
        }
    }
}
