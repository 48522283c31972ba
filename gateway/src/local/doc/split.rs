//! Where a text can be cut into parts that mean alone what they mean together.
//!
//! Parts are the sections of the root map (a plain key at column one) and, in a section that is a
//! block list, its items (a dash at the column of the first). The cut looks at lines only, so it
//! may fall inside a quoted text or a bracket; then the part before it does not parse alone, and
//! the caller gives up cutting. Why a part that does parse alone means the same in its place:
//!
//! - what can go on over lines is plain text and block scalars, which end before a line that is
//!   indented no more than their parent, as every cut is; or quotes and brackets, which have an
//!   end of their own, without which the part does not parse;
//! - so the scanner is between tokens at each cut, in a state that only depends on the indentation
//!   of the open collections, which is that of a fresh text for lines indented at least as much;
//! - anchors, the only thing that reaches from part to part, make the caller give up, and so do
//!   directives, document markers (but for one `---` at the very top), tabs and carriage returns.

use std::ops::Range;

use super::{Key, Place};

/// A text with more sections is not worth cutting; sections are looked up one by one.
const SECTIONS_MAX: usize = 256;

/// A part of the text, and how many lines stand before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chunk {
    pub(super) range: Range<usize>,
    pub(super) lines: u32,
}

#[derive(Debug, PartialEq)]
pub(super) enum Block {
    /// The text of each item, its indentation included; there is at least one.
    Items(Vec<Chunk>),
    /// The text of the section, its key included.
    Whole(Chunk),
}

/// The sections of the text, or none if it cannot be cut. `is_list` says which may have items.
pub(super) fn split(text: &str, is_list: impl Fn(&str) -> bool) -> Option<Vec<(Key, Block)>> {
    if text.contains(['\t', '\r', '\0']) {
        return None;
    }
    let mut cutter = Cutter { sections: Vec::new(), open: None, is_list };
    let mut offset = 0;
    let mut number = 0_u32;
    let mut has_marker = false;
    for line in text.split_inclusive('\n') {
        let content = line.strip_suffix('\n').unwrap_or(line);
        let indent = content.bytes().take_while(|it| *it == b' ').count();
        let line = Line { offset, number, indent, content: content.get(indent..).unwrap_or_default() };
        offset += content.len() + 1;
        number = number.checked_add(1)?;
        if line.content.is_empty() || line.content.starts_with('#') {
            continue;
        }
        if content == "---" && !has_marker && cutter.open.is_none() {
            has_marker = true;
            continue;
        }
        cutter.line(&line)?;
    }
    cutter.close(text.len());
    let mut names: Vec<&str> = cutter.sections.iter().map(|(key, _)| key.name.as_str()).collect();
    names.sort_unstable();
    let is_unique = names.windows(2).all(|it| it.first() != it.last());
    (is_unique && !names.is_empty()).then_some(cutter.sections)
}

struct Line<'a> {
    offset: usize,
    number: u32,
    indent: usize,
    content: &'a str,
}

impl Line<'_> {
    fn is_entry(&self) -> bool {
        self.content == "-" || self.content.starts_with("- ")
    }

    fn place(&self) -> Place {
        Place { line: self.number + 1, column: u32::try_from(self.indent).unwrap_or(u32::MAX).saturating_add(1) }
    }

    fn chunk(&self) -> Chunk {
        Chunk { range: self.offset..self.offset, lines: self.number }
    }

    /// The plain key the line begins with, and whether nothing but a comment follows.
    fn key(&self) -> Option<(&str, bool)> {
        let (name, rest) = self.content.split_once(':')?;
        let is_name = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
        let is_plain = !name.is_empty() && !name.starts_with('-') && name.bytes().all(is_name);
        let is_separated = rest.is_empty() || rest.starts_with(' ');
        let value = rest.trim_start_matches(' ');
        (is_plain && is_separated).then_some((name, value.is_empty() || value.starts_with('#')))
    }
}

struct Open {
    key: Key,
    whole: Chunk,
    /// Nothing follows the key in its line.
    is_bare: bool,
    list: List,
}

enum List {
    Undecided,
    Items { indent: usize, items: Vec<Chunk> },
    No,
}

struct Cutter<F> {
    sections: Vec<(Key, Block)>,
    open: Option<Open>,
    is_list: F,
}

impl<F: Fn(&str) -> bool> Cutter<F> {
    fn line(&mut self, line: &Line<'_>) -> Option<()> {
        if line.indent == 0 && !line.is_entry() {
            if self.sections.len() >= SECTIONS_MAX {
                return None;
            }
            let (name, is_bare) = line.key()?;
            self.close(line.offset);
            let key = Key { name: name.to_owned(), at: line.place() };
            let list = if is_bare && (self.is_list)(name) { List::Undecided } else { List::No };
            self.open = Some(Open { key, whole: line.chunk(), is_bare, list });
            return Some(());
        }
        let open = self.open.as_mut()?;
        match &mut open.list {
            List::Undecided if line.is_entry() && open.is_bare => {
                open.list = List::Items { indent: line.indent, items: vec![line.chunk()] };
            }
            List::Items { indent, items, .. } if line.indent == *indent && line.is_entry() => {
                if let Some(last) = items.last_mut() {
                    last.range.end = line.offset;
                }
                items.push(line.chunk());
            }
            List::Items { indent, .. } if line.indent > *indent => {}
            _ => open.list = List::No,
        }
        Some(())
    }

    fn close(&mut self, end: usize) {
        let Some(mut open) = self.open.take() else { return };
        open.whole.range.end = end;
        let block = match open.list {
            List::Items { mut items, .. } => {
                if let Some(last) = items.last_mut() {
                    last.range.end = end;
                }
                Block::Items(items)
            }
            List::Undecided | List::No => Block::Whole(open.whole),
        };
        self.sections.push((open.key, block));
    }
}
