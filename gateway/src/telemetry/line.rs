//! One log line under construction: logfmt-like text or JSON, straight into reused bytes.
//!
//! Values come from clients and are hostile: every byte that could end a value, a line, or drive a
//! terminal (control characters of both planes, line separators, bidirectional overrides) is
//! escaped; bytes that are not UTF-8 become U+FFFD; a value longer than [`VALUE_BYTES_MAX`] is cut
//! and ends in `…`.

use std::time::Duration;

use super::clock::Stamp;
use crate::statics::LogFormat;

/// Longest value written; clients choose paths and host names.
pub(super) const VALUE_BYTES_MAX: usize = 4096;

/// A line buffer, one per thread.
#[derive(Debug, Default)]
pub(super) struct Line {
    bytes: Vec<u8>,
    stamp: Stamp,
    json: bool,
}

impl Line {
    /// Starts a record: time, level and scope.
    pub(super) fn begin(&mut self, format: LogFormat, since_epoch: Duration, scope: &str) {
        self.bytes.clear();
        self.json = format == LogFormat::Json;
        if self.json {
            self.bytes.extend_from_slice(br#"{"level":"info","time":""#);
            self.stamp.push(&mut self.bytes, since_epoch);
            self.bytes.extend_from_slice(br#"","scope":""#);
            self.bytes.extend_from_slice(scope.as_bytes());
            self.bytes.push(b'"');
        } else {
            self.stamp.push(&mut self.bytes, since_epoch);
            self.bytes.extend_from_slice(b" info ");
            self.bytes.extend_from_slice(scope.as_bytes());
        }
    }

    /// Ends the record and shows its bytes, newline included.
    pub(super) fn end(&mut self) -> &[u8] {
        if self.json {
            self.bytes.push(b'}');
        }
        self.bytes.push(b'\n');
        &self.bytes
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.bytes_value(name, value.as_bytes());
    }

    /// A value of unknown encoding, such as a header.
    pub(super) fn bytes_value(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        let (value, cut) = truncated(value);
        let plain = value.iter().all(|byte| is_plain(*byte));
        if !self.json && !cut && plain && !value.is_empty() {
            self.bytes.extend_from_slice(value);
            return;
        }
        self.bytes.push(b'"');
        if plain {
            self.bytes.extend_from_slice(value);
        } else {
            push_escaped(&mut self.bytes, value);
        }
        if cut {
            self.bytes.extend_from_slice("…".as_bytes());
        }
        self.bytes.push(b'"');
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        push_padded(&mut self.bytes, value, 1);
    }

    pub(super) fn signed(&mut self, name: &str, value: i64) {
        self.name(name);
        if value < 0 {
            self.bytes.push(b'-');
        }
        push_padded(&mut self.bytes, value.unsigned_abs(), 1);
    }

    /// A duration in whole milliseconds: `12ms`.
    pub(super) fn millis(&mut self, name: &str, value: Duration) {
        self.name(name);
        if self.json {
            self.bytes.push(b'"');
        }
        push_padded(&mut self.bytes, u64::try_from(value.as_millis()).unwrap_or(u64::MAX), 1);
        self.bytes.extend_from_slice(if self.json { b"ms\"" } else { b"ms" });
    }

    /// The separator and the name; names are ours or the operator's.
    fn name(&mut self, name: &str) {
        if !self.json {
            self.bytes.push(b' ');
            match name.bytes().all(is_plain) {
                true => self.bytes.extend_from_slice(name.as_bytes()),
                // A name has nowhere to be quoted: what would break the line is replaced.
                false => self.bytes.extend(name.bytes().map(|byte| if is_plain(byte) { byte } else { b'_' })),
            }
            self.bytes.push(b'=');
            return;
        }
        self.bytes.extend_from_slice(b",\"");
        match name.bytes().all(is_plain) {
            true => self.bytes.extend_from_slice(name.as_bytes()),
            false => push_escaped(&mut self.bytes, name.as_bytes()),
        }
        self.bytes.extend_from_slice(b"\":");
    }
}

/// Decimal digits, at least `width` of them.
pub(super) fn push_padded(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        if value == 0 && used >= width {
            break;
        }
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// Bytes that stand for themselves in both formats, unquoted.
fn is_plain(byte: u8) -> bool {
    byte > b' ' && byte < 0x7f && !matches!(byte, b'"' | b'\\' | b'=')
}

fn truncated(value: &[u8]) -> (&[u8], bool) {
    if value.len() <= VALUE_BYTES_MAX {
        return (value, false);
    }
    let mut end = VALUE_BYTES_MAX;
    // Not inside a UTF-8 sequence.
    while end > VALUE_BYTES_MAX - 4 && value.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    (value.get(..end).unwrap_or_default(), true)
}

/// The inside of a quoted string; the escapes are JSON's, in both formats.
fn push_escaped(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        for symbol in chunk.valid().chars() {
            match symbol {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                _ if is_dangerous(symbol) => push_unicode(out, symbol),
                _ => out.extend_from_slice(symbol.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Controls, separators of lines, and characters that reorder what an operator sees.
fn is_dangerous(symbol: char) -> bool {
    symbol.is_control()
        || matches!(symbol, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}')
        || ('\u{202a}'..='\u{202e}').contains(&symbol)
        || ('\u{2066}'..='\u{2069}').contains(&symbol)
}

/// `\u001b`; every dangerous character is in the basic plane.
fn push_unicode(out: &mut Vec<u8>, symbol: char) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        let digit = u32::from(symbol) >> shift & 0xf;
        let digit = char::from_digit(digit, 16).unwrap_or('0');
        out.push(u8::try_from(digit).unwrap_or(b'0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &[u8], text: &str, json: &str) {
        for (format, expected) in [(LogFormat::Text, text), (LogFormat::Json, json)] {
            let mut line = Line::default();
            line.begin(format, Duration::ZERO, "t");
            line.bytes_value("k", value);
            let line = String::from_utf8(line.end().to_vec()).unwrap();
            assert!(line.contains(expected), "{line} must contain {expected}");
            assert_eq!(line.matches('\n').count(), 1, "{line:?} must be one line");
            if format == LogFormat::Json {
                let _: serde_json::Value = serde_json::from_str(&line).unwrap();
            }
        }
    }

    #[test]
    fn hostile_values_stay_inside_their_quotes() {
        check(b"/a", " k=/a\n", r#","k":"/a"}"#);
        check(b"", r#" k="""#, r#","k":"""#);
        check(b"/a b=c", r#" k="/a b=c""#, r#","k":"/a b=c""#);
        check(b"a\" evil=\"1", r#" k="a\" evil=\"1""#, r#","k":"a\" evil=\"1""#);
        check(b"a\\", r#" k="a\\""#, r#""a\\""#);
        check(b"a\r\nfake=1", r#" k="a\r\nfake=1""#, r#""a\r\nfake=1""#);
        check(b"\x1b[31m\x00", r#" k="\u001b[31m\u0000""#, r#""\u001b[31m\u0000""#);
        check("\u{9b}31m".as_bytes(), r#" k="\u009b31m""#, r#""\u009b31m""#);
        check("\u{202e}x\u{2028}".as_bytes(), r#" k="\u202ex\u2028""#, r#""\u202ex\u2028""#);
        check(b"a\xff\xfeb", " k=\"a\u{fffd}\u{fffd}b\"", "\"a\u{fffd}\u{fffd}b\"");
        check("grün".as_bytes(), " k=\"grün\"", "\"grün\"");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut value = "x".repeat(VALUE_BYTES_MAX - 1);
        value.push_str("ü and more");
        check(value.as_bytes(), "x…\"", "x…\"");
    }

    #[test]
    fn numbers_are_padded_to_their_width() {
        for (value, width, expected) in
            [(0, 1, "0"), (7, 3, "007"), (1234, 2, "1234"), (u64::MAX, 1, "18446744073709551615")]
        {
            let mut out = Vec::new();
            push_padded(&mut out, value, width);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn names_cannot_break_a_line() {
        let mut line = Line::default();
        line.begin(LogFormat::Text, Duration::ZERO, "t");
        line.signed("a b\n=", -3);
        line.millis("d", Duration::from_micros(12_900));
        assert!(line.end().ends_with(b" t a_b__=-3 d=12ms\n"));
    }
}
