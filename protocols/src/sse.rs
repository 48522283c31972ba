//! Server-sent events (WHATWG HTML section 9.2): read as they come, written as they are.
//!
//! The reader takes bytes in any pieces and gives whole events; `\n`, `\r\n` and `\r` end lines, and a space after the
//! colon is optional. Data keeps its bytes, several lines are joined by `\n`. Comments are passed over. One event has
//! a limit; what is longer is a [`Fault`], and the stream of no use any more.

use bytes::{BufMut, Bytes, BytesMut};

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type, where it is not `message`.
    pub event: Option<String>,
    pub id: Option<String>,
    /// Milliseconds to wait before the stream is asked for again.
    pub retry: Option<u64>,
    pub data: Bytes,
}

/// An event is larger than the reader holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {0} bytes")]
pub struct Fault(pub usize);

/// See the file.
#[derive(Debug)]
pub struct Reader {
    bytes_max: usize,
    /// The line under way.
    line: BytesMut,
    event: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
    data: BytesMut,
    has_data: bool,
    /// The last line ended in `\r`: a `\n` belongs to it.
    after_return: bool,
    started: bool,
}

impl Reader {
    /// A reader of events of up to `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: BytesMut::new(),
            event: None,
            id: None,
            retry: None,
            data: BytesMut::new(),
            has_data: false,
            after_return: false,
            started: false,
        }
    }

    /// Takes a piece of the stream; whole events go to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut impl FnMut(Event)) -> Result<(), Fault> {
        let mut rest = piece;
        if self.after_return && !rest.is_empty() {
            self.after_return = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
            let (line, ending) = rest.split_at(at);
            self.extend(line)?;
            self.end_line(out);
            let is_return = ending.first() == Some(&b'\r');
            let after = ending.get(1..).unwrap_or_default();
            rest = if is_return { after.strip_prefix(b"\n").unwrap_or(after) } else { after };
            self.after_return = is_return && after.is_empty();
        }
        self.extend(rest)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.line.len() + self.data.len() + bytes.len() > self.bytes_max {
            return Err(Fault(self.bytes_max));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, out: &mut impl FnMut(Event)) {
        let line = self.line.split();
        let line = match self.started {
            true => &line[..],
            false => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line),
        };
        self.started = true;
        if line.is_empty() {
            return self.dispatch(out);
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"data" => {
                if self.has_data {
                    self.data.put_u8(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => self.event = Some(text()),
            b"id" if !value.contains(&0) => self.id = Some(text()),
            b"retry" => self.retry = text().parse().ok().or(self.retry),
            _ => {}
        }
    }

    fn dispatch(&mut self, out: &mut impl FnMut(Event)) {
        let data = self.data.split().freeze();
        let event = Event { event: self.event.take(), id: self.id.take(), retry: self.retry.take(), data };
        let is_something = std::mem::take(&mut self.has_data) || event.id.is_some() || event.retry.is_some();
        if is_something {
            out(event);
        }
    }
}

impl Event {
    /// An event of the default type that says only this.
    pub fn message(data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// As it goes over the wire. Line breaks in the data become lines of their own; elsewhere they cannot be said, and
    /// are left out.
    pub fn write(&self, out: &mut BytesMut) {
        let mut field = |name: &[u8], value: &[u8]| {
            out.reserve(name.len() + value.len() + 3);
            out.put_slice(name);
            out.put_slice(b": ");
            out.put_slice(value);
            out.put_u8(b'\n');
        };
        if let Some(event) = &self.event {
            field(b"event", one_line(event).as_bytes());
        }
        if let Some(id) = &self.id {
            field(b"id", one_line(id).as_bytes());
        }
        if let Some(retry) = self.retry {
            field(b"retry", retry.to_string().as_bytes());
        }
        let mut rest = &self.data[..];
        while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
            let (line, ending) = rest.split_at(at);
            field(b"data", line);
            let ending =
                ending.strip_prefix(b"\r").map_or(ending, |it| if it.starts_with(b"\n") { it } else { ending });
            rest = ending.get(1..).unwrap_or_default();
        }
        field(b"data", rest);
        out.put_u8(b'\n');
    }

    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.data.len() + 32);
        self.write(&mut out);
        out.freeze()
    }
}

/// A line that says nothing, and keeps timers of others from running out.
pub const COMMENT: &[u8] = b":\n\n";

fn one_line(text: &str) -> String {
    text.chars().filter(|it| !matches!(it, '\n' | '\r' | '\0')).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Event> {
        let mut reader = Reader::new(1024);
        let mut events = Vec::new();
        for piece in pieces {
            reader.push(piece, &mut |it| events.push(it)).unwrap();
        }
        events
    }

    fn event(event: &str, id: &str, data: &str) -> Event {
        let some = |it: &str| Some(it.to_owned()).filter(|it| !it.is_empty());
        Event { event: some(event), id: some(id), retry: None, data: Bytes::copy_from_slice(data.as_bytes()) }
    }

    #[test]
    fn lines_end_in_three_ways_and_the_space_is_optional() {
        let want = [event("message", "1", "{\"a\":1}\nb"), event("", "", "")];
        for text in [
            "event: message\nid: 1\ndata: {\"a\":1}\ndata: b\n\n: x\ndata:\n\n",
            "event:message\r\nid:1\r\ndata:{\"a\":1}\r\ndata:b\r\n\r\ndata\r\n\r\n",
            "\u{feff}event:message\rid: 1\rdata:{\"a\":1}\rdata: b\r\r:\r\rdata\r\rdata: unfinished\r",
        ] {
            assert_eq!(read(&[text.as_bytes()]), want, "{text:?}");
            let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
            assert_eq!(read(&bytes), want, "{text:?} byte by byte");
        }
    }

    #[test]
    fn an_event_without_data_still_says_its_id_and_retry() {
        let got = read(&[b"id: 7\nretry: 100\n\nevent: x\n\nretry: soon\ndata: a\n\n"]);
        let first = Event { id: Some("7".into()), retry: Some(100), ..Event::default() };
        assert_eq!(got, [first, event("", "", "a")]);
    }

    #[test]
    fn what_is_too_large_is_a_fault() {
        let mut reader = Reader::new(8);
        assert_eq!(reader.push(b"data: 123456789", &mut |_| {}), Err(Fault(8)));
        let mut reader = Reader::new(8);
        assert_eq!(reader.push(b"data: 12\ndata: 345678", &mut |_| {}), Err(Fault(8)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            data in "[a-z:\n {}\"]{0,20}", id in "[a-z0-9/=]{0,5}", name in "[a-z/]{0,5}", cut in 1_usize..9
        ) {
            let sent = event(&name, &id, &data);
            let bytes = sent.to_bytes();
            let pieces: Vec<_> = bytes.chunks(cut).collect();
            prop_assert_eq!(read(&pieces), [sent]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Reader::new(32).push(&bytes, &mut |_| {});
        }
    }
}
