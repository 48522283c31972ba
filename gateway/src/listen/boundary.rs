//! Where one HTTP/1 request ends on the connection and the next begins.
//!
//! Pingora reads whatever the socket gives, and what it reads beyond a request's end it can neither give
//! back nor let us see: with it, a pipelined request either aborts the one before or hides in a private
//! field. So the stream stops at the end of the request by itself, and what follows waits its turn.
//!
//! Of heads this is no parser: Pingora's decides what a request is. If the two should disagree, either Pingora
//! waits for body bytes that do not come (and times out) or finds bytes behind the body (and closes): no byte
//! of one request can become part of another.
//!
//! Chunked coding is taken by the letter of RFC 9112 section 7.1, because Pingora's reader is lenient (a size
//! without digits is 0 to it) and the reader in front of us may not be.

/// Longest line of a chunk size with its extensions.
const CHUNK_LINE_BYTES_MAX: u32 = 16 << 10;

/// What fits into 64 bits.
const CHUNK_DIGITS_MAX: u8 = 16;

/// Most bytes behind the last chunk.
const TRAILER_BYTES_MAX: u32 = 64 << 10;

/// How the body is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// Up to the end of the connection: after `Upgrade: websocket` and CONNECT.
    Open,
}

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    Partial,
    Head {
        bytes: usize,
        framing: Framing,
    },
    /// No request begins like this.
    Malformed,
}

/// Looks for the end of a head in a buffer that grows; never looks at a line twice.
#[derive(Debug)]
pub(super) struct HeadScan {
    line: usize,
    begun: bool,
    connect: bool,
    upgrade: bool,
    chunked: bool,
    length: u64,
}

impl HeadScan {
    pub(super) fn new() -> Self {
        Self { line: 0, begun: false, connect: false, upgrade: false, chunked: false, length: 0 }
    }

    /// `buffer` is what the last call got, and perhaps more behind it.
    pub(super) fn scan(&mut self, buffer: &[u8]) -> Scan {
        while let Some(rest) = buffer.get(self.line..) {
            if !self.begun && rest.first().is_some_and(|it| !it.is_ascii_graphic() && !matches!(it, b'\r' | b'\n')) {
                return Scan::Malformed;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else { return Scan::Partial };
            let line = rest.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.line += end + 1;
            match (line.is_empty(), self.begun) {
                (true, true) => return Scan::Head { bytes: self.line, framing: self.framing() },
                // RFC 9112 section 2.2: empty lines before the request line are to be ignored.
                (true, false) => {}
                (false, true) => self.field(line),
                (false, false) => {
                    self.begun = true;
                    self.connect = line.starts_with(b"CONNECT ");
                }
            }
        }
        Scan::Partial
    }

    /// Whether the head scanned asks for a tunnel.
    pub(super) fn is_connect(&self) -> bool {
        self.connect
    }

    fn field(&mut self, line: &[u8]) {
        // Most fields end here.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T' | b'u' | b'U')) {
            return;
        }
        let Some(colon) = line.iter().position(|it| *it == b':') else { return };
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            self.length = std::str::from_utf8(value).ok().and_then(|it| it.parse().ok()).unwrap_or(0);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            // Other protocols are not switched to: such a request ends like any other.
            self.upgrade |= value.eq_ignore_ascii_case(b"websocket");
        }
    }

    fn framing(&self) -> Framing {
        // An upgrade that brings a body is served as the request it also is, see `proxy::request`.
        let bare = !self.chunked && self.length == 0;
        if self.connect || (self.upgrade && bare) {
            Framing::Open
        } else if self.chunked {
            Framing::Chunked
        } else {
            Framing::Length(self.length)
        }
    }
}

/// Counts a request's bytes down to its end.
#[derive(Debug)]
pub(super) struct Boundary {
    head: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Length(u64),
    Chunked(Chunks),
    Open,
}

impl Boundary {
    /// No end: everything is let through.
    pub(super) fn open() -> Self {
        Self { head: 0, body: Body::Open }
    }

    pub(super) fn request(head: usize, framing: Framing) -> Self {
        let body = match framing {
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunks::default()),
            Framing::Open => Body::Open,
        };
        Self { head: head as u64, body }
    }

    pub(super) fn reached(&self) -> bool {
        self.head == 0
            && match &self.body {
                Body::Length(left) => *left == 0,
                Body::Chunked(chunks) => matches!(chunks.at, At::End),
                Body::Open => false,
            }
    }

    /// Whether another request may follow: the end was reached, or it is for Pingora alone to know.
    pub(super) fn may_follow(&self) -> bool {
        self.reached() || self.is_open()
    }

    /// The body is not coded as it says.
    pub(super) fn is_lost(&self) -> bool {
        matches!(&self.body, Body::Chunked(Chunks { at: At::Lost }))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.body, Body::Open)
    }

    /// How many of the bytes belong to this request; they count as given out.
    pub(super) fn admit(&mut self, bytes: &[u8]) -> usize {
        let head = bytes.len().min(usize::try_from(self.head).unwrap_or(usize::MAX));
        self.head -= head as u64;
        let rest = bytes.get(head..).unwrap_or_default();
        head + match &mut self.body {
            Body::Open => rest.len(),
            Body::Length(left) => {
                let count = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                count
            }
            Body::Chunked(chunks) => chunks.admit(rest),
        }
    }
}

/// Chunked coding (RFC 9112 section 7.1), read only as far as it takes to find the end.
#[derive(Debug, Default)]
struct Chunks {
    at: At,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the digits of a size: extensions.
    Extension {
        size: u64,
        line: u32,
    },
    /// Between the CR and the LF of a size.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// The CRLF behind the data.
    DataEnd {
        cr: bool,
    },
    /// Lines behind the last chunk.
    Trailer {
        empty: bool,
        cr: bool,
        bytes: u32,
    },
    End,
    /// Not chunked coding.
    Lost,
}

impl Default for At {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunks {
    fn admit(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|it| !it.is_empty()) {
            match &mut self.at {
                // What was good before is given out; only then comes the refusal.
                At::End | At::Lost => return taken,
                At::Data { left } => {
                    let count = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    taken += count;
                    if *left == 0 {
                        self.at = At::DataEnd { cr: false };
                    }
                }
                at => {
                    *at = at.step(rest.first().copied().unwrap_or_default());
                    taken += usize::from(!matches!(at, At::Lost));
                }
            }
        }
        taken
    }
}

impl At {
    fn step(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Size { size, digits }, _) => Self::size(size, digits, byte),
            (Self::Extension { line: CHUNK_LINE_BYTES_MAX.., .. }, _) => Self::Lost,
            (Self::Extension { size, .. }, b'\r') => Self::SizeEnd { size },
            (Self::Extension { size, line }, b'\t' | b' '..=b'~' | 0x80..) => Self::Extension { size, line: line + 1 },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer { empty: true, cr: false, bytes: 0 },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataEnd { cr: false }, b'\r') => Self::DataEnd { cr: true },
            (Self::DataEnd { cr: true }, b'\n') => Self::default(),
            (Self::Trailer { bytes: TRAILER_BYTES_MAX.., .. }, _) => Self::Lost,
            (Self::Trailer { empty: true, cr: true, .. }, b'\n') => Self::End,
            (Self::Trailer { cr: true, bytes, .. }, b'\n') => Self::Trailer { empty: true, cr: false, bytes },
            (Self::Trailer { empty, cr: false, bytes }, b'\r') => Self::Trailer { empty, cr: true, bytes },
            (Self::Trailer { cr: false, bytes, .. }, b'\t' | b' '..=b'~' | 0x80..) => {
                Self::Trailer { empty: false, cr: false, bytes: bytes + 1 }
            }
            (Self::End, _) => Self::End,
            _ => Self::Lost,
        }
    }

    fn size(size: u64, digits: u8, byte: u8) -> Self {
        match (char::from(byte).to_digit(16), byte) {
            (Some(digit), _) if digits < CHUNK_DIGITS_MAX => {
                let size = size.checked_mul(16).and_then(|it| it.checked_add(u64::from(digit)));
                size.map_or(Self::Lost, |size| Self::Size { size, digits: digits + 1 })
            }
            (None, b'\r') if digits > 0 => Self::SizeEnd { size },
            (None, b';' | b' ' | b'\t') if digits > 0 => Self::Extension { size, line: 0 },
            _ => Self::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Scan {
        let mut scan = HeadScan::new();
        // Byte by byte must give what all at once gives.
        let mut last = Scan::Partial;
        for end in 0..=text.len() {
            last = scan.scan(&text.as_bytes()[..end]);
            if last != Scan::Partial {
                break;
            }
        }
        assert_eq!(last, HeadScan::new().scan(text.as_bytes()), "{text:?}");
        last
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let cases = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", 27, Framing::Length(0)),
            ("\r\nGET / HTTP/1.1\nHost: a\n\n", 26, Framing::Length(0)),
            ("POST / HTTP/1.1\r\ncontent-LENGTH: 12 \r\n\r\n", 42, Framing::Length(12)),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 67, Framing::Chunked),
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 38, Framing::Open),
            ("CONNECT a:1 HTTP/1.1\r\n\r\n", 24, Framing::Open),
        ];
        for (text, bytes, framing) in cases {
            assert_eq!(scan(text), Scan::Head { bytes: bytes.min(text.len()), framing }, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_request_is_known_from_its_first_byte() {
        assert_eq!(scan("\u{16}\u{3}\u{1}"), Scan::Malformed);
        assert_eq!(scan("\r\n\r\n"), Scan::Partial);
        assert_eq!(scan("GET / HTTP/1.1\r\nHost"), Scan::Partial);
    }

    fn admitted(framing: Framing, bytes: &str) -> (usize, bool) {
        let mut whole = Boundary::request(0, framing);
        let all = whole.admit(bytes.as_bytes());
        let mut one = Boundary::request(0, framing);
        let single: usize = bytes.as_bytes().chunks(1).map(|it| one.admit(it)).sum();
        assert_eq!((all, whole.reached()), (single, one.reached()), "{bytes:?}");
        (all, whole.reached())
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        assert_eq!(admitted(Framing::Length(3), "abcGET"), (3, true));
        assert_eq!(admitted(Framing::Length(9), "abc"), (3, false));
        assert_eq!(admitted(Framing::Length(0), "GET"), (0, true));
        assert_eq!(admitted(Framing::Open, "abc"), (3, false));
        assert_eq!(admitted(Framing::Chunked, "3\r\nabc\r\n0\r\n\r\nGET"), (13, true));
        assert_eq!(admitted(Framing::Chunked, "A;x=y\r\n0123456789\r\n0\r\na: b\r\n\r\nGET"), (30, true));
        assert_eq!(admitted(Framing::Chunked, "3\r\nabc\r\n0\r\n"), (11, false));
    }

    #[test]
    fn what_is_not_chunked_coding_by_the_letter_is_lost() {
        let cases = [
            "fffffffffffffffffffff\r\nGET",
            "\r\nabc\r\n0\r\n\r\n",
            ";x\r\n",
            " 3\r\n",
            "3\nabc",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n",
            "3;a\rb\r\n",
            "0\r\n\n",
            "0\r\na: b\rc: d\r\n",
        ];
        for bytes in cases {
            let mut boundary = Boundary::request(0, Framing::Chunked);
            boundary.admit(bytes.as_bytes());
            assert!(boundary.is_lost(), "{bytes:?}");
        }
    }

    #[test]
    fn the_head_counts_before_the_body() {
        let mut boundary = Boundary::request(4, Framing::Length(2));
        assert_eq!(boundary.admit(b"head"), 4);
        assert!(!boundary.reached());
        assert_eq!(boundary.admit(b"boGET"), 2);
        assert!(boundary.reached());
    }
}
