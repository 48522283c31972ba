//! Content codings (RFC 9110 section 8.4.1): what came compressed, read piece by piece, within bounds.
//!
//! A reader hands out at most 16 KiB at once, and whoever takes them says when it is enough: a small body that is a great
//! one costs what was taken of it. What does not end as its coding says is not whole. One coding is read; a list of them
//! is not known here. Nothing is compressed here.

use std::borrow::Cow;
use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstd, Operation};

/// Bytes that are handed out at once.
const OUT_BYTES: usize = 16 << 10;

/// Windows of zstd: 8 MiB, which RFC 8878 section 3.1.1.1.2 wants everybody to read, and no more.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The window of deflate, and what asks for it without a frame of its own.
const WINDOW_BITS: u8 = 15;

/// What a body is coded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Br,
    Zstd,
}

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the body is not {0}, as `content-encoding` says it is")]
    Lies(&'static str),
    #[error("the body is larger than may be held once its coding is undone")]
    TooLarge,
}

impl Coding {
    /// What `Content-Encoding` says: nothing where it is another one, or several.
    pub fn of(value: &[u8]) -> Option<Self> {
        let is = |name: &str| value.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        Some(match () {
            () if is("gzip") || is("x-gzip") => Self::Gzip,
            () if is("deflate") => Self::Deflate,
            () if is("br") => Self::Br,
            () if is("zstd") => Self::Zstd,
            () => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Br => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// Reads a body that is there as a whole, of `bytes_max` at most.
pub fn decode(coding: Coding, body: &[u8], bytes_max: usize) -> Result<Bytes, Fault> {
    let mut plain = Vec::with_capacity(body.len().saturating_mul(4).min(bytes_max));
    let mut reader = Reader::new(coding);
    reader.push(body, &mut |piece| {
        if plain.len() + piece.len() > bytes_max {
            return Err(Fault::TooLarge);
        }
        plain.extend_from_slice(piece);
        Ok(())
    })?;
    reader.finish()?;
    Ok(plain.into())
}

/// Reads a body as it comes.
pub struct Reader {
    coding: Coding,
    engine: Engine,
    /// What was coded has come to its end.
    ended: bool,
    out: Box<[u8]>,
}

enum Engine {
    /// Which of its two forms it is, with a frame or without, its first two bytes say.
    Undecided(Vec<u8>),
    Flate(Decompress),
    Br(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    /// Nothing where there is no memory for it.
    Zstd(Option<Zstd<'static>>),
}

/// What one step has read and written.
struct Step {
    read: usize,
    written: usize,
    ended: bool,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("coding", &self.coding).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Reader {
    pub fn new(coding: Coding) -> Self {
        Self { coding, engine: Engine::new(coding), ended: false, out: vec![0; OUT_BYTES].into() }
    }

    /// Takes a piece, cut anywhere, and hands out what it says.
    pub fn push(&mut self, piece: &[u8], take: &mut dyn FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        let piece = self.decided(piece);
        let mut piece = &*piece;
        if matches!(self.engine, Engine::Undecided(_)) {
            return Ok(());
        }
        loop {
            if self.ended && piece.is_empty() {
                return Ok(());
            }
            if self.ended {
                // RFC 1952 section 2.2, RFC 8878 section 3.1: one may follow the other.
                if !matches!(self.coding, Coding::Gzip | Coding::Zstd) {
                    return Err(self.lies());
                }
                (self.engine, self.ended) = (Engine::new(self.coding), false);
            }
            let Step { read, written, ended } = self.engine.step(piece, &mut self.out).ok_or_else(|| self.lies())?;
            take(self.out.get(..written).unwrap_or_default())?;
            piece = piece.get(read..).unwrap_or_default();
            self.ended = ended;
            let more = written == self.out.len() && !ended;
            if piece.is_empty() && !more {
                return Ok(());
            }
            if read == 0 && written == 0 && !ended {
                return Err(self.lies());
            }
        }
    }

    /// Whether it is whole.
    pub fn finish(&self) -> Result<(), Fault> {
        if self.ended { Ok(()) } else { Err(self.lies()) }
    }

    fn lies(&self) -> Fault {
        Fault::Lies(self.coding.name())
    }

    /// Many call deflate what has no frame, which is not what RFC 9110 section 8.4.1.2 means.
    fn decided<'a>(&mut self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        let Engine::Undecided(held) = &mut self.engine else { return piece.into() };
        held.extend_from_slice(piece);
        let (Some(first), Some(second)) = (held.first(), held.get(1)) else { return Cow::Borrowed(&[]) };
        let framed = first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31);
        let held = std::mem::take(held);
        self.engine = Engine::Flate(Decompress::new_with_window_bits(framed, WINDOW_BITS));
        held.into()
    }
}

impl Engine {
    fn new(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Flate(Decompress::new_gzip(WINDOW_BITS)),
            Coding::Deflate => Self::Undecided(Vec::new()),
            Coding::Br => {
                let alloc = StandardAlloc::default;
                Self::Br(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => {
                let mut decoder = Zstd::new().ok();
                let bound = decoder.as_mut().map(|it| it.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)));
                Self::Zstd(decoder.filter(|_| bound.is_some_and(|it| it.is_ok())))
            }
        }
    }

    /// Nothing where it is not what it says.
    fn step(&mut self, piece: &[u8], out: &mut [u8]) -> Option<Step> {
        match self {
            Self::Undecided(_) => None,
            Self::Flate(it) => {
                let before = (it.total_in(), it.total_out());
                let status = it.decompress(piece, out, FlushDecompress::None);
                let ended = match status {
                    Ok(Status::StreamEnd) => true,
                    Ok(Status::Ok | Status::BufError) => false,
                    Err(_) => return None,
                };
                let (read, written) = (it.total_in() - before.0, it.total_out() - before.1);
                Some(Step { read: usize::try_from(read).ok()?, written: usize::try_from(written).ok()?, ended })
            }
            Self::Br(it) => br(it, piece, out),
            Self::Zstd(it) => {
                let status = it.as_mut()?.run_on_buffers(piece, out).ok()?;
                // Nothing read and nothing written is no end of a frame.
                let moved = status.bytes_read > 0 || status.bytes_written > 0;
                Some(Step {
                    read: status.bytes_read,
                    written: status.bytes_written,
                    ended: status.remaining == 0 && moved,
                })
            }
        }
    }
}

fn br(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    piece: &[u8],
    out: &mut [u8],
) -> Option<Step> {
    let (mut left, mut read) = (piece.len(), 0);
    let (mut room, mut written, mut total) = (out.len(), 0, 0);
    let result = BrotliDecompressStream(&mut left, &mut read, piece, &mut room, &mut written, out, &mut total, state);
    let ended = match result {
        BrotliResult::ResultSuccess => true,
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => false,
        BrotliResult::ResultFailure => return None,
    };
    Some(Step { read, written, ended })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Br, Coding::Zstd];
    const LEVEL: flate2::Compression = flate2::Compression::new(6);

    fn coded(coding: Coding, text: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => written(flate2::write::GzEncoder::new(Vec::new(), LEVEL), text).finish().unwrap(),
            Coding::Deflate => written(flate2::write::ZlibEncoder::new(Vec::new(), LEVEL), text).finish().unwrap(),
            Coding::Br => written(brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22), text).into_inner(),
            Coding::Zstd => zstd::encode_all(text, 3).unwrap(),
        }
    }

    fn written<W: Write>(mut writer: W, text: &[u8]) -> W {
        writer.write_all(text).unwrap();
        writer
    }

    fn kept(got: &mut Vec<u8>, piece: &[u8]) -> Result<(), Fault> {
        got.extend_from_slice(piece);
        Ok(())
    }

    fn text() -> Vec<u8> {
        (0..20_000u32).flat_map(|it| (it.wrapping_mul(2_654_435_761) >> 20).to_string().into_bytes()).collect()
    }

    #[test]
    fn what_was_coded_is_read_wherever_it_is_cut() {
        let text = text();
        for coding in ALL {
            let coded = coded(coding, &text);
            assert_eq!(decode(coding, &coded, text.len()).unwrap(), text, "{coding:?}");
            for size in [1, 2, 7, 1000] {
                let (mut reader, mut got) = (Reader::new(coding), Vec::new());
                for piece in coded.chunks(size) {
                    reader.push(piece, &mut |it| kept(&mut got, it)).unwrap();
                }
                reader.finish().unwrap();
                assert!(got == text, "{coding:?} in pieces of {size}");
            }
        }
        let raw = written(flate2::write::DeflateEncoder::new(Vec::new(), LEVEL), &text).finish().unwrap();
        assert_eq!(decode(Coding::Deflate, &raw, text.len()).unwrap(), text, "without a frame");
        for coding in [Coding::Gzip, Coding::Zstd] {
            let two = [coded(coding, b"{\"a\""), coded(coding, b":1}")].concat();
            assert_eq!(decode(coding, &two, 100).unwrap(), "{\"a\":1}", "{coding:?}: one after the other");
        }
    }

    #[test]
    fn what_a_stream_has_said_so_far_is_there_at_once() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), LEVEL);
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        let (mut reader, mut got) = (Reader::new(Coding::Gzip), Vec::new());
        reader.push(encoder.get_ref(), &mut |it| kept(&mut got, it)).unwrap();
        assert_eq!(got, b"data: 1\n\n");
        assert_eq!(reader.finish(), Err(Fault::Lies("gzip")), "and it goes on");
    }

    #[test]
    fn what_is_small_and_says_much_is_left_when_it_is_enough() {
        let zeros = vec![0; 64 << 20];
        for coding in ALL {
            let bomb = coded(coding, &zeros);
            assert!(bomb.len() < zeros.len() / 500, "{coding:?}: {}", bomb.len());
            assert_eq!(decode(coding, &bomb, 1 << 20), Err(Fault::TooLarge), "{coding:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_is_something_else_is_not_whole() {
        let text = text();
        for coding in ALL {
            let coded = coded(coding, &text);
            let lies = Err(Fault::Lies(coding.name()));
            for end in [0, 1, 2, 9, coded.len() / 2, coded.len() - 1] {
                assert_eq!(decode(coding, &coded[..end], text.len()), lies, "{coding:?} cut at {end}");
            }
            for other in [&b"{\"model\":\"m\"}"[..], b"\x1f\x8b", &[coded.as_slice(), b"{}"].concat()] {
                assert_eq!(decode(coding, other, text.len()), lies, "{coding:?}");
            }
        }
        // A window of 128 MiB.
        let wide = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x03, 0x00, 0x00];
        assert_eq!(decode(Coding::Zstd, &wide, 1 << 20), Err(Fault::Lies("zstd")));
    }

    #[test]
    fn codings_are_known_by_name_alone() {
        assert_eq!([&b"GZIP"[..], b" br ", b"x-gzip"].map(Coding::of), [Some(ALL[0]), Some(ALL[2]), Some(ALL[0])]);
        for other in [&b"identity"[..], b"gzip, br", b"compress", b""] {
            assert_eq!(Coding::of(other), None);
        }
    }
}
