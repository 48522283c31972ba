//! Texts of requests, answers and streams looked through for what must not pass, whatever the dialect: found, masked in
//! place, or refused. What the rules are is not known here: see [`Find`].
//!
//! [`judge`] looks at a whole document; [`Stream`] at server-sent events while they pass, of which it holds back only
//! what a match may still grow from. Places that nobody writes text in (ids, roles, pictures) are left alone; a block of
//! a kind that nobody knows yet is looked through.

mod escapes;
mod frames;
mod messages;
mod said;
mod stream;
mod walk;
mod whole;
mod windows;
#[cfg(test)]
pub(super) mod words;

use std::ops::Range;
use std::sync::Arc;

pub use frames::FrameStream;
pub use messages::Messages;
pub use said::{Said, said};
pub use stream::{Refused, Stream};
pub use whole::{Judged, judge, judge_event};
pub use windows::Windows;

/// Whose text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    System,
    Message,
    /// What a tool is called with.
    ToolInput,
    /// What a tool gave.
    ToolOutput,
}

/// What becomes of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// This stands in its place.
    Mask(Arc<str>),
    Reject,
    /// It is only counted.
    Note,
}

/// A match in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub range: Range<usize>,
    /// Which rule found it.
    pub rule: usize,
    pub action: Action,
}

/// The rules.
pub trait Find {
    /// Matches of this text, in any order.
    fn find(&self, part: Part, text: &str) -> Vec<Found>;

    /// The last place up to which a text that may go on is surely judged, before which no match can still grow: what is
    /// behind it waits. `from` has been judged already.
    fn settled(&self, text: &str, from: usize) -> usize;

    /// Whether any match changes or ends anything: otherwise nothing waits.
    fn enforces(&self) -> bool;
}

/// Masks in order that do not overlap: of two that do, the one that begins first stands, and goes on to the end of both.
fn masks(found: &[Found]) -> Vec<(Range<usize>, Arc<str>)> {
    let mut masks: Vec<(Range<usize>, Arc<str>)> = Vec::new();
    let mut sorted: Vec<_> = found.iter().collect();
    sorted.sort_by_key(|it| (it.range.start, std::cmp::Reverse(it.range.end)));
    for it in sorted {
        let Action::Mask(with) = &it.action else { continue };
        match masks.last_mut() {
            Some((last, _)) if it.range.start < last.end => last.end = last.end.max(it.range.end),
            _ => masks.push((it.range.clone(), with.clone())),
        }
    }
    masks
}
