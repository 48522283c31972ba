//! Streams of events that pass: data is looked at event by event, and everything that need not change goes on as it
//! came, comments and fields nobody knows with it.
//!
//! An event goes on when its empty line has come, a comment between events with its own line: nothing waits for more.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::sse;

/// Why a stream cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault<F> {
    #[error("an event is larger than {0} bytes")]
    Size(usize),
    #[error("{0}")]
    Refused(F),
}

/// Asked about the data of every event; may give other data.
pub type Change<'c, F> = &'c mut dyn FnMut(&[u8]) -> Result<Option<String>, F>;

/// See the file.
#[derive(Debug)]
pub struct Events {
    bytes_max: usize,
    /// The event under way.
    held: BytesMut,
    /// Where in it the line under way begins.
    line: usize,
}

impl Events {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: BytesMut::new(), line: 0 }
    }

    /// Takes a piece of the stream; what may go on is put into `out`. `change` may give other data for an event's.
    pub fn push<F>(&mut self, piece: &[u8], out: &mut BytesMut, change: Change<'_, F>) -> Result<(), Fault<F>> {
        self.held.extend_from_slice(piece);
        while let Some((text, whole)) = next_line(self.held.get(self.line..).unwrap_or_default()) {
            let is_comment = self.line == 0 && self.held.first() == Some(&b':');
            let end = self.line + whole;
            if text == 0 || is_comment {
                let event = self.held.split_to(end);
                self.line = 0;
                if is_comment {
                    out.put_slice(&event);
                } else {
                    changed(&event, out, change).map_err(Fault::Refused)?;
                }
            } else {
                self.line = end;
            }
        }
        if self.held.len() > self.bytes_max { Err(Fault::Size(self.bytes_max)) } else { Ok(()) }
    }

    /// What is left when the stream ends: an event without its empty line, which nobody takes for one.
    pub fn rest(&mut self) -> Bytes {
        self.line = 0;
        self.held.copy_to_bytes(self.held.len())
    }
}

/// The length of the first line without and with its ending, once that is there for certain.
fn next_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let at = memchr::memchr2(b'\n', b'\r', bytes)?;
    match (bytes.get(at)?, bytes.get(at + 1)) {
        (b'\n', _) => Some((at, at + 1)),
        (_, Some(b'\n')) => Some((at, at + 2)),
        (_, Some(_)) => Some((at, at + 1)),
        // A line feed may follow.
        (_, None) => None,
    }
}

/// One event with its empty line.
fn changed<F>(event: &[u8], out: &mut BytesMut, change: Change<'_, F>) -> Result<(), F> {
    let mut data = None;
    let mut reader = sse::Reader::new(event.len() + 1);
    // It is as large as the event at most.
    let _ = reader.push(event, &mut |it: sse::Event| data = Some(it.data));
    let other = match data.filter(|it| !it.is_empty()) {
        Some(data) => change(&data)?,
        None => None,
    };
    let Some(other) = other else {
        out.put_slice(event);
        return Ok(());
    };
    let mut rest = event;
    let mut other = Some(other);
    while let Some((text, whole)) = next_line(rest).or((!rest.is_empty()).then_some((rest.len(), rest.len()))) {
        let (line, after) = rest.split_at_checked(whole).unwrap_or((rest, &[]));
        let (text, ending) = line.split_at_checked(text).unwrap_or((line, &[]));
        rest = after;
        if !is_data(text) {
            out.put_slice(line);
        } else if let Some(other) = other.take() {
            for part in other.split('\n') {
                out.put_slice(b"data: ");
                out.put_slice(part.trim_end_matches('\r').as_bytes());
                out.put_slice(ending);
            }
        }
    }
    Ok(())
}

fn is_data(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    line.strip_prefix(b"data").is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b':'))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn passed(stream: &str, size: usize) -> String {
        let mut events = Events::new(64);
        let mut out = BytesMut::new();
        let mut change = |data: &[u8]| {
            let text = String::from_utf8_lossy(data).into_owned();
            Ok::<_, Infallible>(text.contains("id").then(|| text.replace("id", "ID")))
        };
        for piece in stream.as_bytes().chunks(size) {
            events.push(piece, &mut out, &mut change).unwrap();
        }
        out.extend_from_slice(&events.rest());
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn only_data_that_changes_is_written_anew() {
        for (stream, expected) in [
            ("data: id\n\n", "data: ID\n\n"),
            ("data:x\n\n", "data:x\n\n"),
            (": ping\n\ndata: id\r\n\r\n", ": ping\n\ndata: ID\r\n\r\n"),
            ("event: e\nid: 7\ndata: {\ndata: id}\nodd\n\n", "event: e\nid: 7\ndata: {\ndata: ID}\nodd\n\n"),
            ("retry: 1\n\ndata\n\n", "retry: 1\n\ndata\n\n"),
            ("data: id", "data: id"),
        ] {
            for size in 1..=stream.len() {
                assert_eq!(passed(stream, size), expected, "{stream:?} by {size}");
            }
        }
    }

    #[test]
    fn what_is_whole_goes_on_at_once() {
        let mut events = Events::new(64);
        let mut change = |_: &[u8]| Ok::<_, Infallible>(None);
        for (piece, expected) in [
            ("data: a\n", ""),
            ("\n", "data: a\n\n"),
            (": ping\n", ": ping\n"),
            ("\n", "\n"),
            ("data: b\r\n\r\n", "data: b\r\n\r\n"),
        ] {
            let mut out = BytesMut::new();
            events.push(piece.as_bytes(), &mut out, &mut change).unwrap();
            assert_eq!(out, expected.as_bytes(), "{piece:?}");
        }
    }

    #[test]
    fn an_event_without_end_is_cut() {
        let mut events = Events::new(8);
        let mut out = BytesMut::new();
        let mut change = |_: &[u8]| Err(());
        assert_eq!(events.push(b"data: 123456789", &mut out, &mut change), Err(Fault::Size(8)));
        let mut events = Events::new(64);
        assert_eq!(events.push(b"data: 1\n\n", &mut out, &mut change), Err(Fault::Refused(())));
    }
}
