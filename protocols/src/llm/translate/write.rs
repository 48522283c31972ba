//! JSON written straight into a buffer, and text that goes from one document to another without being read.

use std::borrow::Cow;

use crate::json::Raw;

/// The inside of a JSON string as it is written: its escapes stay what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// Of a value that is a string.
    pub(super) fn of(value: Raw<'a>) -> Option<Self> {
        value.text().strip_prefix('"')?.strip_suffix('"').map(|it| Self(Cow::Borrowed(it)))
    }

    /// Of text that is not written as JSON yet.
    pub(super) fn plain(text: &str) -> Text<'static> {
        let mut out = Vec::with_capacity(text.len());
        escape(&mut out, text);
        // Escaping takes whole characters of UTF-8 apart nowhere.
        Text(Cow::Owned(String::from_utf8(out).unwrap_or_default()))
    }

    /// A part of one that has no escapes there.
    pub(super) fn part(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    pub(super) fn written(&self) -> &str {
        &self.0
    }

    /// With escapes resolved.
    pub(super) fn read(&self) -> Cow<'_, str> {
        match self.0.contains('\\') {
            true => Cow::Owned(crate::json::unescape(&self.0)),
            false => Cow::Borrowed(&self.0),
        }
    }

    /// The text of the document, where it has no escapes.
    pub(super) fn unescaped(&self) -> Option<&'a str> {
        match &self.0 {
            Cow::Borrowed(text) if !text.contains('\\') => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.read() == text
    }

    pub(super) fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }

    pub(super) fn borrowed(&self) -> Text<'_> {
        Text(Cow::Borrowed(&self.0))
    }

    pub(super) fn push(&mut self, other: &Text<'_>) {
        self.0.to_mut().push_str(&other.0);
    }
}

/// Writes what follows the last byte: commas come by themselves.
pub(super) struct Writer<'o>(pub(super) &'o mut Vec<u8>);

impl Writer<'_> {
    /// A value at the beginning of a document.
    pub(super) fn begin(&mut self) {
        self.0.push(b'{');
    }

    fn comma(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':' | b',')) {
            self.0.push(b',');
        }
    }

    pub(super) fn key(&mut self, key: &str) {
        self.comma();
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// An object as the value of a key.
    pub(super) fn object(&mut self, key: &str) {
        self.key(key);
        self.0.push(b'{');
    }

    pub(super) fn array(&mut self, key: &str) {
        self.key(key);
        self.0.push(b'[');
    }

    /// An object as an element.
    pub(super) fn item(&mut self) {
        self.comma();
        self.0.push(b'{');
    }

    pub(super) fn end(&mut self) {
        self.0.push(b'}');
    }

    pub(super) fn end_array(&mut self) {
        self.0.push(b']');
    }

    pub(super) fn text(&mut self, key: &str, text: &Text<'_>) {
        self.key(key);
        self.quoted(text.written());
    }

    /// A word that needs no escapes.
    pub(super) fn word(&mut self, key: &str, word: &str) {
        self.key(key);
        self.quoted(word);
    }

    fn quoted(&mut self, written: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(written.as_bytes());
        self.0.push(b'"');
    }

    /// A string as an element.
    pub(super) fn text_item(&mut self, text: &Text<'_>) {
        self.comma();
        self.quoted(text.written());
    }

    /// JSON as it is, as an element.
    pub(super) fn raw_item(&mut self, json: &str) {
        self.comma();
        self.0.extend_from_slice(json.as_bytes());
    }

    /// JSON as it is.
    pub(super) fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.0.extend_from_slice(json.as_bytes());
    }

    /// JSON as a string.
    pub(super) fn escaped(&mut self, key: &str, text: &str) {
        self.key(key);
        self.0.push(b'"');
        escape(self.0, text);
        self.0.push(b'"');
    }

    pub(super) fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        digits(self.0, number);
    }

    pub(super) fn bool(&mut self, key: &str, it: bool) {
        self.raw(key, if it { "true" } else { "false" });
    }
}

/// A number in digits.
pub(super) fn digits(out: &mut Vec<u8>, number: u64) {
    let mut held = [0_u8; 20];
    let (mut rest, mut length) = (number, 0);
    for slot in held.iter_mut().rev() {
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(held.get(held.len() - length..).unwrap_or_default());
}

/// Text as the inside of a JSON string.
pub(super) fn escape(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|it| *it < 0x20 || matches!(it, b'"' | b'\\')) {
        let (plain, after) = rest.split_at(at);
        out.extend_from_slice(plain);
        match after.first() {
            Some(b'\n') => out.extend_from_slice(b"\\n"),
            Some(b'\r') => out.extend_from_slice(b"\\r"),
            Some(b'\t') => out.extend_from_slice(b"\\t"),
            Some(byte @ (b'"' | b'\\')) => out.extend_from_slice(&[b'\\', *byte]),
            Some(byte) => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            None => {}
        }
        rest = after.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_is_the_same_when_it_is_read_again(text in "\\PC{0,8}[\"\\\\\n\r\t\u{1}a\u{e4}\u{1f600}]{0,8}", number in any::<u64>()) {
            let mut out = Vec::new();
            let mut json = Writer(&mut out);
            json.begin();
            json.escaped("a", &text);
            json.text("b", &Text::plain(&text));
            json.number("c", number);
            json.array("d");
            json.text_item(&Text::plain(&text));
            json.text_item(&Text::part("x"));
            json.end_array();
            json.end();
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&read["a"], &text);
            prop_assert_eq!(&read["b"], &text);
            prop_assert_eq!(&read["c"], &serde_json::json!(number));
            prop_assert_eq!(&read["d"], &serde_json::json!([text, "x"]));
            let parsed = crate::json::parse(&out).unwrap();
            let again = Text::of(parsed.get("b").unwrap()).unwrap();
            prop_assert_eq!(again.read(), text);
        }
    }
}
