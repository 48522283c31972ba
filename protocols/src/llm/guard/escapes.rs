//! A text of JSON as whoever parses it will read it: what its escapes stand for, and where that came from.
//!
//! What a tool is called with comes as a text of JSON, piece by piece, and `\u0073ecret` in it is `secret` there. Rules look
//! at such a text as it is written and as it is read; what they find is masked where it is written.

use std::ops::Range;

/// JSON in strings in JSON: so many times escapes are read.
const NESTED_MAX: usize = 4;

/// A text with its escapes read once or more.
#[derive(Debug)]
pub(super) struct View {
    pub(super) text: String,
    /// For each byte where what it stands for begins in the text as written.
    begins: Vec<usize>,
    /// For each byte where that ends.
    ends: Vec<usize>,
    /// Where an escape begins that goes on behind the text's end; else the text's length as written.
    pub(super) open: usize,
}

/// How a text may be read, besides as it is written. `over` says that it does not go on.
pub(super) fn views(text: &str, over: bool) -> Vec<View> {
    let mut views: Vec<View> = Vec::new();
    for _ in 0..NESTED_MAX {
        let Some(next) = (match views.last() {
            None => read(text, over),
            Some(last) => read(&last.text, over).map(|it| it.behind(last)),
        }) else {
            break;
        };
        views.push(next);
    }
    views
}

impl View {
    /// A range of this as written.
    pub(super) fn written(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.begins.get(range.start).copied().unwrap_or(self.open);
        let end = range.end.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(start);
        start..end.max(start)
    }

    /// A place of the text as written in this: the first byte that does not stand before it.
    pub(super) fn read_at(&self, written: usize) -> usize {
        let at = self.begins.partition_point(|it| *it < written);
        (at..=self.text.len()).find(|it| self.text.is_char_boundary(*it)).unwrap_or(self.text.len())
    }

    /// This, of which `outer` is what it was read from.
    fn behind(self, outer: &Self) -> Self {
        let Self { text, begins, ends, open } = self;
        let begin = |it: usize| outer.begins.get(it).copied().unwrap_or(outer.open);
        let end = |it: usize| it.checked_sub(1).and_then(|it| outer.ends.get(it)).copied().unwrap_or(0);
        Self {
            text,
            begins: begins.into_iter().map(begin).collect(),
            ends: ends.into_iter().map(end).collect(),
            open: begin(open).min(outer.open),
        }
    }
}

/// Reads the escapes of a text; nothing where it has none.
fn read(text: &str, over: bool) -> Option<View> {
    memchr::memchr(b'\\', text.as_bytes())?;
    let length = text.len();
    let mut view = View {
        text: String::with_capacity(length),
        begins: Vec::with_capacity(length),
        ends: Vec::with_capacity(length),
        open: length,
    };
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|it| !it.is_empty()) {
        let Some(found) = memchr::memchr(b'\\', rest.as_bytes()) else {
            view.plain(rest, at);
            break;
        };
        view.plain(rest.get(..found).unwrap_or_default(), at);
        at += found;
        match escape(text.get(at..).unwrap_or_default()) {
            Escape::Is(read, bytes) => {
                view.stands_for(read, at..at + bytes);
                at += bytes;
            }
            Escape::Cut if !over => {
                view.open = at;
                break;
            }
            // It is none: the parser will say so.
            Escape::Cut | Escape::None => {
                view.plain("\\", at);
                at += 1;
            }
        }
    }
    Some(view)
}

impl View {
    fn plain(&mut self, text: &str, at: usize) {
        self.text.push_str(text);
        // Of a character of several bytes each stands for itself: ranges begin and end at characters.
        self.begins.extend(at..at + text.len());
        self.ends.extend(at + 1..=at + text.len());
    }

    fn stands_for(&mut self, read: char, written: Range<usize>) {
        self.text.push(read);
        for _ in 0..read.len_utf8() {
            self.begins.push(written.start);
            self.ends.push(written.end);
        }
    }
}

enum Escape {
    /// What it stands for, and its length.
    Is(char, usize),
    /// It goes on behind the end.
    Cut,
    None,
}

/// The escape that a text begins with.
fn escape(text: &str) -> Escape {
    let read = match text.as_bytes().get(1) {
        None => return Escape::Cut,
        Some(b'u') => return unicode(text),
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(it @ (b'"' | b'\\' | b'/')) => char::from(*it),
        Some(_) => return Escape::None,
    };
    Escape::Is(read, 2)
}

/// `\u` and four digits, or two such that are one character.
fn unicode(text: &str) -> Escape {
    let unit = |at: usize| text.get(at + 2..at + 6).and_then(|it| u16::from_str_radix(it, 16).ok());
    let cut = |at: usize| {
        let rest = text.as_bytes().get(at..).unwrap_or_default();
        rest.len() < 6
            && rest.iter().enumerate().all(|(position, it)| match position {
                0 => *it == b'\\',
                1 => *it == b'u',
                _ => it.is_ascii_hexdigit(),
            })
    };
    let Some(first) = unit(0) else { return if cut(0) { Escape::Cut } else { Escape::None } };
    if let Some(single) = char::from_u32(u32::from(first)) {
        return Escape::Is(single, 6);
    }
    // The first half of two.
    let second = text.get(6..8).filter(|it| *it == "\\u").and_then(|_| unit(6));
    match second.and_then(|second| char::decode_utf16([first, second]).next()?.ok()) {
        Some(pair) => Escape::Is(pair, 12),
        None if (0xd800..0xdc00).contains(&first) && cut(6) => Escape::Cut,
        None => Escape::Is(char::REPLACEMENT_CHARACTER, 6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_a_parser_reads_them_and_lead_back() {
        let text = r#"{"a":"x\u0073\n\ud83d\ude00ä\"z"}"#;
        let views = views(text, true);
        let view = &views[0];
        assert_eq!(view.text, "{\"a\":\"xs\n😀ä\"z\"}");
        for (read, written) in [("s", r"\u0073"), ("😀", r"\ud83d\ude00"), ("ä\"", "ä\\\""), ("xs\n", r"x\u0073\n")]
        {
            let at = view.text.find(read).unwrap();
            assert_eq!(&text[view.written(&(at..at + read.len()))], written);
        }
        assert_eq!(view.open, text.len());
    }

    #[test]
    fn what_is_escaped_twice_is_read_twice() {
        let text = r#"{"a":"{\"b\":\"\\u0073ecret\"}"}"#;
        let views = views(text, true);
        assert!(views.len() == 2 && views[1].text.contains("secret"), "{views:?}");
        let at = views[1].text.find("secret").unwrap();
        assert_eq!(&text[views[1].written(&(at..at + 6))], r"\\u0073ecret");
    }

    #[test]
    fn an_escape_that_is_cut_is_open_wherever_it_is() {
        let text = r"ab\ud83d\ude00";
        for end in 3..text.len() {
            let view = views(&text[..end], false).remove(0);
            assert_eq!((view.text.as_str(), view.open), ("ab", 2), "{}", &text[..end]);
        }
        assert_eq!(views(r"ab\u12", true)[0].text, r"ab\u12");
        assert_eq!(views(r"\ud83dx\uzz\x", false)[0].text, "\u{fffd}x\\uzz\\x");
        assert!(views("plain", false).is_empty());
    }
}
