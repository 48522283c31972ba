//! A whole document looked through.

use super::walk::{self, Leaf};
use super::{Action, Find, Found, Part, masks};
use crate::json::{self, Raw};
use crate::llm::Edits;

/// Of JSON in strings in JSON.
const NESTED_MAX: usize = 4;

/// What was found in a document.
#[derive(Debug, Default)]
pub struct Judged {
    /// Masks, in the document's own places.
    pub edits: Edits,
    /// Rules that found something, once for each time.
    pub found: Vec<usize>,
    /// The first rule that refuses.
    pub refused: Option<usize>,
}

/// Looks a request or an answer through.
pub fn judge(document: &[u8], is_request: bool, rules: &dyn Find) -> Result<Judged, json::Fault> {
    let document = json::parse(document)?;
    let mut judged = Judged::default();
    let mut look = |leaf: Leaf<'_>| judged.leaf(&leaf, rules);
    match is_request {
        true => walk::request(document, &mut look),
        false => walk::answer(document, &mut look),
    }
    Ok(judged)
}

/// Looks through what a client says in a session of realtime.
pub fn judge_event(event: &[u8], rules: &dyn Find) -> Result<Judged, json::Fault> {
    let event = json::parse(event)?;
    let mut judged = Judged::default();
    walk::client_event(event, &mut |leaf| judged.leaf(&leaf, rules));
    Ok(judged)
}

impl Judged {
    pub(super) fn leaf(&mut self, leaf: &Leaf<'_>, rules: &dyn Find) {
        let Leaf { value, part, .. } = *leaf;
        if leaf.is_tokens {
            if rules.enforces() {
                self.edits.replace(value.range(), "null");
            }
            return;
        }
        let Some(text) = value.as_str() else { return };
        if let Some(text) = self.text(&text, part, rules, 0) {
            self.edits.replace(value.range(), json::quoted(&text));
        }
    }

    /// The text as it may pass, where that is another one.
    fn text(&mut self, text: &str, part: Part, rules: &dyn Find, depth: usize) -> Option<String> {
        let is_json = matches!(part, Part::ToolInput | Part::ToolOutput) && text.trim_start().starts_with(['{', '[']);
        if is_json
            && depth < NESTED_MAX
            && let Ok(document) = json::parse(text.as_bytes())
        {
            return self.nested(document, text, part, rules, depth);
        }
        let found = rules.find(part, text);
        self.note(&found);
        apply(text, &found)
    }

    /// JSON in a string: text in it may be escaped once more.
    fn nested(&mut self, document: Raw<'_>, text: &str, part: Part, rules: &dyn Find, depth: usize) -> Option<String> {
        let mut leaves = Vec::new();
        walk::free(document, part, &mut |leaf| leaves.push(leaf.value));
        let mut edits = Edits::default();
        for value in leaves {
            let Some(inner) = value.as_str() else { continue };
            if let Some(changed) = self.text(&inner, part, rules, depth + 1) {
                edits.replace(value.range(), json::quoted(&changed));
            }
        }
        if edits.is_empty() {
            return None;
        }
        let pieces = edits.apply(&bytes::Bytes::copy_from_slice(text.as_bytes()));
        String::from_utf8(pieces.concat()).ok()
    }

    pub(super) fn note(&mut self, found: &[Found]) {
        self.found.extend(found.iter().map(|it| it.rule));
        let refuses = found.iter().find(|it| it.action == Action::Reject).map(|it| it.rule);
        self.refused = self.refused.or(refuses);
    }
}

/// The text with its masks; nothing where there are none.
fn apply(text: &str, found: &[Found]) -> Option<String> {
    let masks = masks(found);
    if masks.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (range, with) in masks {
        out.push_str(text.get(at..range.start)?);
        out.push_str(&with);
        at = range.end;
    }
    out.push_str(text.get(at..)?);
    Some(out)
}
