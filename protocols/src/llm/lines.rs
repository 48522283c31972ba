//! Data of server-sent events in passing: no event is held, however long it is. See `sse.rs` for reading them whole.

/// What a stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// More of the data of the event under way.
    Data(&'a [u8]),
    /// The event is over.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the name of a field; so many of its bytes are those of `data`.
    Name(usize),
    /// Behind the colon: a space here is not part of the value.
    Begin,
    Data,
    Other,
}

#[derive(Debug)]
pub(super) struct Lines {
    state: State,
    /// The last line ended in `\r`: a `\n` belongs to it.
    after_return: bool,
    has_data: bool,
}

const NAME: &[u8] = b"data";

impl Lines {
    pub(super) fn new() -> Self {
        Self { state: State::Name(0), after_return: false, has_data: false }
    }

    pub(super) fn push(&mut self, piece: &[u8], out: &mut impl FnMut(Piece<'_>)) {
        let mut rest = piece;
        while let Some(&byte) = rest.first() {
            let was_return = std::mem::take(&mut self.after_return);
            if was_return && byte == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            match self.state {
                State::Data | State::Other => {
                    let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                    let (line, after) = rest.split_at(end);
                    if self.state == State::Data && !line.is_empty() {
                        out(Piece::Data(line));
                    }
                    rest = after;
                    if let Some(byte) = after.first() {
                        self.line_ends(*byte);
                        rest = after.get(1..).unwrap_or_default();
                    }
                }
                State::Begin => {
                    self.state = State::Data;
                    rest = rest.strip_prefix(b" ").unwrap_or(rest);
                }
                State::Name(matched) => {
                    rest = rest.get(1..).unwrap_or_default();
                    self.name(byte, matched, out);
                }
            }
        }
    }

    fn name(&mut self, byte: u8, matched: usize, out: &mut impl FnMut(Piece<'_>)) {
        match byte {
            b'\n' | b'\r' => {
                if matched == 0 && std::mem::take(&mut self.has_data) {
                    out(Piece::End);
                }
                self.line_ends(byte);
            }
            b':' if matched == NAME.len() => {
                if std::mem::replace(&mut self.has_data, true) {
                    out(Piece::Data(b"\n"));
                }
                self.state = State::Begin;
            }
            byte if NAME.get(matched) == Some(&byte) => self.state = State::Name(matched + 1),
            // The mark of the byte order, which only a whole stream begins with.
            0xef | 0xbb | 0xbf if matched == 0 => {}
            _ => self.state = State::Other,
        }
    }

    fn line_ends(&mut self, byte: u8) {
        self.state = State::Name(0);
        self.after_return = byte == b'\r';
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::sse::Reader;

    fn events(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut out, mut data) = (Lines::new(), Vec::new(), Vec::new());
        for piece in pieces {
            lines.push(piece, &mut |it| match it {
                Piece::Data(more) => data.extend_from_slice(more),
                Piece::End => out.push(std::mem::take(&mut data)),
            });
        }
        out
    }

    #[test]
    fn data_passes_and_events_end_at_empty_lines() {
        let text = "\u{feff}event: x\ndata: {\"a\":1}\ndata:b\n\n: c\n\ndata\r\rdatas: no\r\ndata:  y\r\n\r\ndata: unfinished\n";
        let want = [&b"{\"a\":1}\nb"[..], b" y"];
        assert_eq!(events(&[text.as_bytes()]), want);
        let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(events(&bytes), want);
    }

    proptest! {
        #[test]
        fn it_sees_what_the_whole_reader_sees(text in "(data: ?|event: x|[ab:{}]{1,3}|\r\n|\n|\r){0,30}", cut in 1_usize..9) {
            let mut whole = Vec::new();
            Reader::new(1 << 20).push(text.as_bytes(), &mut |it| whole.push(it.data)).unwrap();
            let pieces: Vec<_> = text.as_bytes().chunks(cut).collect();
            let seen: Vec<_> = events(&pieces).into_iter().map(Bytes::from).collect();
            // Events without data have nothing to be seen here.
            let some = |list: Vec<Bytes>| list.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>();
            prop_assert_eq!(some(seen), some(whole));
        }
    }
}
