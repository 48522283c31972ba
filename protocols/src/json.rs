//! JSON read in place: a document is checked once, and its parts are then slices of it. No tree is built, and what is
//! not changed goes on byte by byte.
//!
//! Values that are looked into are few (an id, a method, a name); payloads of megabytes are only passed over.
//! Numbers keep their text. Objects with a key twice are the caller's to refuse: see [`Raw::member`].

mod check;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Deepest nesting of objects and arrays.
pub const DEPTH_MAX: usize = 128;

/// Why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("not JSON: a wrong byte at offset {0}")]
    Syntax(usize),
    #[error("not JSON: it ends too early")]
    End,
    #[error("not JSON: not UTF-8")]
    Encoding,
    #[error("nested deeper than {DEPTH_MAX}")]
    Depth,
}

/// The key is there twice: which of the two counts is not for us to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is there twice")]
pub struct Twice;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// A value inside a checked document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a> {
    document: &'a str,
    start: usize,
    end: usize,
}

/// Checks a whole document.
pub fn parse(bytes: &[u8]) -> Result<Raw<'_>, Fault> {
    outline(bytes, |_, _| {})
}

/// Checks a whole document, and shows the members of its outermost object on the way, so that nobody walks them again.
pub fn outline<'a>(bytes: &'a [u8], mut member: impl FnMut(Raw<'a>, Raw<'a>)) -> Result<Raw<'a>, Fault> {
    let document = std::str::from_utf8(bytes).map_err(|_| Fault::Encoding)?;
    let raw = |it: Range<usize>| Raw { document, start: it.start, end: it.end };
    check::document(document.as_bytes(), |key, value| member(raw(key), raw(value))).map(raw)
}

impl<'a> Raw<'a> {
    /// What is at a place of a document where a value was found before.
    pub(crate) fn at(document: &'a str, range: &Range<usize>) -> Self {
        Self { document, start: range.start, end: range.end }
    }

    /// As it is written.
    pub fn text(self) -> &'a str {
        self.document.get(self.start..self.end).unwrap_or_default()
    }

    /// Where it is in the document.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    pub fn kind(self) -> Kind {
        match self.text().as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// The text of a string.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inside = self.text().strip_prefix('"')?.strip_suffix('"')?;
        Some(match inside.contains('\\') {
            true => Cow::Owned(unescape(inside)),
            false => Cow::Borrowed(inside),
        })
    }

    pub fn as_bool(self) -> Option<bool> {
        match self.text() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Its text with these changes, which are of the whole document.
    pub fn edited(self, edits: crate::mcp::Edits) -> String {
        edits.apply(self.document, self.range())
    }

    /// Members of an object, in their order; nothing for other values.
    pub fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Raw<'a>)> {
        let mut walk = Walk::into(self, Kind::Object);
        std::iter::from_fn(move || {
            let key = walk.next_value()?;
            let value = walk.next_value()?;
            Some((key.as_str()?, value))
        })
    }

    /// Elements of an array; nothing for other values.
    pub fn elements(self) -> impl Iterator<Item = Raw<'a>> {
        let mut walk = Walk::into(self, Kind::Array);
        std::iter::from_fn(move || walk.next_value())
    }

    /// Elements of an array in one walk, each with its members: where elements are asked for and then looked into, each
    /// is walked twice. What is no object has no members.
    pub fn records<E>(self, mut each: impl FnMut(&mut Members<'a>) -> Result<(), E>) -> Result<(), E> {
        let mut walk = Walk::into(self, Kind::Array);
        while walk.separators().is_some() {
            let mut members = Members::enter(walk);
            each(&mut members)?;
            members.by_ref().for_each(drop);
            walk = members.walk;
        }
        Ok(())
    }

    /// The first member of this name. Not for what decides: see [`Self::member`].
    pub fn get(self, name: &str) -> Option<Raw<'a>> {
        self.members().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The one member of this name.
    pub fn member(self, name: &str) -> Result<Option<Raw<'a>>, Twice> {
        let mut found = self.members().filter(|(key, _)| key == name).map(|(_, value)| value);
        let first = found.next();
        match found.next() {
            Some(_) => Err(Twice),
            None => Ok(first),
        }
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({})", self.text())
    }
}

/// Text as a JSON string, with its quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            it if u32::from(it) < 0x20 => {
                // Writing to a String cannot fail.
                let _ = fmt::Write::write_fmt(&mut out, format_args!("\\u{:04x}", u32::from(it)));
            }
            it => out.push(it),
        }
    }
    out.push('"');
    out
}

/// Escapes resolved; half of a surrogate pair becomes U+FFFD.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.push_str(plain);
        let (character, after) = escape(escaped);
        out.push(character);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What follows a backslash, and what comes then.
fn escape(text: &str) -> (char, &str) {
    let mut characters = text.chars();
    let plain = match characters.next() {
        Some('u') => return unicode(characters.as_str()),
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some(it) => it,
        None => char::REPLACEMENT_CHARACTER,
    };
    (plain, characters.as_str())
}

fn unicode(text: &str) -> (char, &str) {
    let (first, rest) = hex4(text);
    if (0xd800..0xdc00).contains(&first)
        && let Some((second, after)) = rest.strip_prefix("\\u").map(hex4)
        && (0xdc00..0xe000).contains(&second)
    {
        let pair = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER), after);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest)
}

fn hex4(text: &str) -> (u32, &str) {
    match text.split_at_checked(4) {
        Some((digits, rest)) => (u32::from_str_radix(digits, 16).unwrap_or(0xfffd), rest),
        None => (0xfffd, ""),
    }
}

/// Steps through the values of a checked object or array; keys are values as well.
struct Walk<'a> {
    document: &'a str,
    at: usize,
    end: usize,
}

impl<'a> Walk<'a> {
    fn into(raw: Raw<'a>, kind: Kind) -> Self {
        let inside = if raw.kind() == kind { raw.start + 1..raw.end - 1 } else { 0..0 };
        Self { document: raw.document, at: inside.start, end: inside.end }
    }

    /// The byte that what comes next begins with.
    fn separators(&mut self) -> Option<u8> {
        let bytes = self.document.as_bytes().get(..self.end)?;
        loop {
            match *bytes.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => self.at += 1,
                it => return Some(it),
            }
        }
    }

    fn next_value(&mut self) -> Option<Raw<'a>> {
        self.separators()?;
        let start = self.at;
        self.at = skip(self.document.as_bytes().get(..self.end)?, start);
        Some(Raw { document: self.document, start, end: self.at })
    }
}

/// Members of an element, see [`Raw::records`].
pub struct Members<'a> {
    walk: Walk<'a>,
    is_open: bool,
}

impl<'a> Members<'a> {
    fn enter(mut walk: Walk<'a>) -> Self {
        let is_open = walk.separators() == Some(b'{');
        match is_open {
            true => walk.at += 1,
            false => drop(walk.next_value()),
        }
        Self { walk, is_open }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if !self.is_open {
            return None;
        }
        if self.walk.separators() == Some(b'}') {
            self.walk.at += 1;
            self.is_open = false;
            return None;
        }
        let key = self.walk.next_value()?;
        let value = self.walk.next_value()?;
        Some((key.as_str()?, value))
    }
}

/// The end of the checked value that begins at `start`.
fn skip(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = skip_string(bytes, at + 1);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return if depth == 0 { at } else { at + 1 },
            b'}' | b']' => depth -= 1,
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Bytes that are looked at in place. Behind them, a search that is faster once it runs is worth its beginning.
const NEAR: usize = 64;

/// The same byte eight times.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The highest bit of each byte that is zero, up to the first one; what is said of those behind it may be wrong.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(eight(1)) & !word & eight(0x80)
}

/// Quotes, as [`zeros`] says it.
const fn quotes(word: u64) -> u64 {
    zeros(word ^ eight(b'"'))
}

/// The first byte that is marked, of eight at once. `any`: whether there is one among sixteen, without branches.
fn first(bytes: &[u8], any: impl Fn(&[u8; 16]) -> bool, marks: impl Fn(u64) -> u64) -> Option<usize> {
    let word = |it: &[u8]| {
        // A space is never looked for.
        let mut held = [b' '; 8];
        held.iter_mut().zip(it).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(held)
    };
    let place = |at: usize, eight: u64| {
        let marked = marks(eight);
        (marked != 0).then(|| at + (marked.trailing_zeros() / 8) as usize)
    };
    let (groups, rest) = bytes.as_chunks::<16>();
    for (position, group) in groups.iter().enumerate() {
        if any(group) {
            let at = position * 16;
            let both = u128::from_le_bytes(*group);
            return place(at, both as u64).or_else(|| place(at + 8, (both >> 64) as u64));
        }
    }
    let at = groups.len() * 16;
    let (near, far) = rest.split_at(rest.len().min(8));
    place(at, word(near)).or_else(|| place(at + 8, word(far)))
}

/// Where the next quote is.
fn quote(bytes: &[u8]) -> Option<usize> {
    let near = bytes.get(..NEAR).unwrap_or(bytes);
    let any = |group: &[u8; 16]| group.iter().fold(false, |any, byte| any | (*byte == b'"'));
    match first(near, any, quotes) {
        Some(found) => Some(found),
        None => memchr::memchr(b'"', bytes.get(near.len()..)?).map(|found| near.len() + found),
    }
}

/// Behind the quote that ends the string whose inside begins at `start`. In a checked string the one that an odd number of
/// backslashes precedes is part of it.
fn skip_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = bytes.get(at..).and_then(quote) {
        at += found;
        let before = bytes.get(start..at).unwrap_or_default();
        let escapes = before.iter().rev().take_while(|it| **it == b'\\').count();
        at += 1;
        if escapes % 2 == 0 {
            return at;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
