//! Coded bodies are read the same in whatever pieces they come, within their bound, or refused.

#![no_main]

use protocols::http::coding::{Coding, Fault, Reader, decode};

const BYTES_MAX: usize = 256 << 10;

fn by_pieces(coding: Coding, bytes: &[u8], piece: usize) -> Result<Vec<u8>, Fault> {
    let (mut reader, mut plain) = (Reader::new(coding), Vec::new());
    for piece in bytes.chunks(piece) {
        reader.push(piece, &mut |out| {
            if plain.len() + out.len() > BYTES_MAX {
                return Err(Fault::TooLarge);
            }
            plain.extend_from_slice(out);
            Ok(())
        })?;
    }
    reader.finish().map(|()| plain)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let coding = [Coding::Gzip, Coding::Deflate, Coding::Br, Coding::Zstd][usize::from(*choice) % 4];
    let whole = decode(coding, bytes, BYTES_MAX);
    for piece in [1, 7] {
        match (&whole, by_pieces(coding, bytes, piece)) {
            (Ok(whole), Ok(plain)) => assert_eq!(whole[..], plain[..]),
            // Which of the two is said first depends on how far one has read.
            (Err(_), Err(_)) => {}
            // Of br the decoder takes some malformed streams for whole, where they come in one piece. It stays in bounds.
            (Ok(_), Err(Fault::Lies(_))) if coding == Coding::Br => {}
            (whole, pieces) => panic!("{whole:?} whole, {pieces:?} by {piece}"),
        }
    }
});
