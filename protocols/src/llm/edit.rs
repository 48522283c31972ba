//! Changes of single places of a body that is held once: what is not changed stays the same memory.

use std::ops::Range;

use bytes::Bytes;

/// What is to stand in whose place. Ranges are of one body and do not overlap; what does is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits(Vec<(Range<usize>, Bytes)>);

impl Edits {
    pub fn replace(&mut self, range: Range<usize>, with: impl Into<Bytes>) {
        self.0.push((range, with.into()));
    }

    /// Puts something in, before what is at `at`, and behind what was put in there before.
    pub fn insert(&mut self, at: usize, text: impl Into<Bytes>) {
        self.replace(at..at, text);
    }

    /// Takes those of a part that begins at `offset`.
    pub(in crate::llm) fn append_moved(&mut self, other: Self, offset: usize) {
        let moved = other.0.into_iter().map(|(range, text)| (range.start + offset..range.end + offset, text));
        self.0.extend(moved);
    }

    /// Whether something is put in there already.
    pub(super) fn inserts_at(&self, at: usize) -> bool {
        self.0.iter().any(|(range, _)| *range == (at..at))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The body in pieces, in order: slices of what it was, and what was put in. Nothing is copied.
    pub fn apply(mut self, body: &Bytes) -> Vec<Bytes> {
        self.0.sort_by_key(|(range, _)| range.start);
        let mut out = Vec::with_capacity(self.0.len() * 2 + 1);
        let mut at = 0;
        for (range, text) in self.0 {
            if range.start < at || range.start > range.end || range.end > body.len() {
                continue;
            }
            out.push(body.slice(at..range.start));
            out.push(text);
            at = range.end;
        }
        out.push(body.slice(at..));
        out.retain(|it| !it.is_empty());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_places_named_change_in_whatever_order_they_came() {
        let body = Bytes::from_static(b"0123456789");
        let mut edits = Edits::default();
        edits.replace(5..6, "five");
        edits.insert(0, "<");
        edits.replace(2..4, "");
        edits.replace(9..30, "out of it");
        edits.insert(10, "a");
        edits.insert(10, "b");
        assert_eq!(edits.apply(&body).concat(), b"<014five6789ab");
    }

    #[test]
    fn with_no_edit_the_body_is_the_same_memory() {
        let body = Bytes::from(vec![b'x'; 4096]);
        let out = Edits::default().apply(&body);
        assert_eq!((out.len(), out[0].as_ptr()), (1, body.as_ptr()));
    }
}
