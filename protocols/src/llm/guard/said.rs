//! Texts taken out of a document for somebody else to judge, and what that says put in their places.

use std::ops::Range;

use super::Part;
use super::walk::{self, Leaf};
use crate::json;
use crate::llm::Edits;

/// A text, and who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub part: Part,
    /// `system`, `user`, `assistant` or `tool`.
    pub role: &'static str,
    pub text: String,
    place: Range<usize>,
}

/// Texts of a request or an answer, in their order.
pub fn said(document: &[u8], is_request: bool) -> Result<Vec<Said>, json::Fault> {
    let document = json::parse(document)?;
    let mut all = Vec::new();
    let mut take = |leaf: Leaf<'_>| {
        let Some(text) = leaf.value.as_str().filter(|it| !leaf.is_tokens && !it.is_empty()) else { return };
        let Leaf { value, part, role, .. } = leaf;
        all.push(Said { part, role, text: text.into_owned(), place: value.range() });
    };
    match is_request {
        true => walk::request(document, &mut take),
        false => walk::answer(document, &mut take),
    }
    Ok(all)
}

impl Said {
    /// Puts another text in its place.
    pub fn becomes(&self, text: &str, edits: &mut Edits) {
        if text != self.text {
            edits.replace(self.place.clone(), json::quoted(text));
        }
    }
}
