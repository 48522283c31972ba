//! Changes of single places of a document.

use std::ops::Range;

/// What is to stand in whose place. Ranges are of one document and do not overlap.
#[derive(Clone, Debug, Default)]
pub struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    pub fn replace(&mut self, range: Range<usize>, with: impl Into<String>) {
        self.0.push((range, with.into()));
    }

    /// Puts something in, before what is at `at`.
    pub fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.replace(at..at, text);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The part `within` of the document, changed; everything else is as it was.
    pub fn apply(mut self, document: &str, within: Range<usize>) -> String {
        self.0.sort_by_key(|(range, _)| range.start);
        let added: usize = self.0.iter().map(|(_, text)| text.len()).sum();
        let mut out = String::with_capacity(within.len() + added);
        let mut at = within.start;
        for (range, text) in &self.0 {
            if range.start < at || range.end > within.end {
                continue;
            }
            out.push_str(document.get(at..range.start).unwrap_or_default());
            out.push_str(text);
            at = range.end;
        }
        out.push_str(document.get(at..within.end).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_places_named_change_in_whatever_order_they_came() {
        let mut edits = Edits::default();
        edits.replace(5..6, "five");
        edits.insert(0, "<");
        edits.replace(2..4, "");
        edits.replace(9..30, "out of it");
        assert_eq!(edits.clone().apply("0123456789", 0..10), "<014five6789");
        assert_eq!(edits.apply("0123456789", 4..7), "4five6");
    }
}
