//! The grammar of RFC 8259, and nothing else: bytes are looked at once, strings sixteen bytes at a time.

use std::ops::Range;

use super::{DEPTH_MAX, Fault, eight, quotes, zeros};

/// Where the value of a document is. `member` hears where key and value of each member of its outermost object are.
pub(super) fn document(
    bytes: &[u8],
    mut member: impl FnMut(Range<usize>, Range<usize>),
) -> Result<Range<usize>, Fault> {
    let mut check = Check { bytes, at: 0 };
    check.space();
    let start = check.at;
    match check.peek() {
        Some(b'{') => check.list(b'}', |it| {
            let key = it.at;
            let key = key..it.key()?;
            let value = it.at;
            it.value(1)?;
            member(key, value..it.at);
            Ok(())
        })?,
        _ => check.value(0)?,
    }
    let end = check.at;
    check.space();
    if check.at == bytes.len() { Ok(start..end) } else { Err(Fault::Syntax(check.at)) }
}

/// How many of the first bytes stand for themselves in a string: no quote, no backslash, no control character.
pub(super) fn plain(bytes: &[u8]) -> usize {
    let ends = |byte: u8| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
    let any = |group: &[u8; 16]| group.iter().fold(false, |any, byte| any | ends(*byte));
    let marks = |word: u64| {
        // As [`zeros`] finds what is less than one, this finds what is less than a space.
        let control = word.wrapping_sub(eight(b' ')) & !word & eight(0x80);
        quotes(word) | zeros(word ^ eight(b'\\')) | control
    };
    super::first(bytes, any, marks).unwrap_or(bytes.len())
}

struct Check<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Check<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn fault(&self) -> Fault {
        if self.at >= self.bytes.len() { Fault::End } else { Fault::Syntax(self.at) }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        match self.peek() {
            Some(it) if it == byte => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.fault()),
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{' | b'[') if depth >= DEPTH_MAX => Err(Fault::Depth),
            Some(b'{') => self.list(b'}', |it| {
                it.key()?;
                it.value(depth + 1)
            }),
            Some(b'[') => self.list(b']', |it| it.value(depth + 1)),
            Some(b'"') => self.string(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.fault()),
        }
    }

    fn list(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            item(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(it) if it == close => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.fault()),
            }
            self.space();
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        word.iter().try_for_each(|byte| self.expect(*byte))
    }

    /// Where the key ends; what comes next is its value.
    fn key(&mut self) -> Result<usize, Fault> {
        self.string()?;
        let end = self.at;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(end)
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.expect(b'"')?;
        loop {
            self.at += plain(self.bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.fault()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|it| it.is_ascii_hexdigit()) {
                        return Err(self.fault());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.fault()),
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|it| it.is_ascii_digit()) {
            return Err(self.fault());
        }
        while self.peek().is_some_and(|it| it.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }
}
