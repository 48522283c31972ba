//! The next version of a document at the cost of what changed in it.
//!
//! The text is cut into sections and items ([`super::split`] says where, and why that is safe). An
//! item whose text stood in the same section before is the item it was, already expanded and
//! checked; only the others are parsed. Whenever the cut is not certain, or anything at all is
//! wrong with the syntax, the whole text is parsed as one, so what is reported never depends on
//! what was there before. This rests on the environment and the schema being constant, which they
//! are for as long as an [`Incremental`] lives.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::check::{Checker, Part};
use super::document::{Document, Entry, Item, Section};
use super::parse::{self, NODES_MAX};
use super::split::{self, Block, Chunk};
use super::{Key, Node, Place, Problem, Value, expand};

/// The most problems told of one text; nobody reads further.
pub const PROBLEMS_MAX: usize = 1_000;

/// Gives the value of an environment variable.
pub type Env = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The stages up to a checked document, and the memory of the last one.
pub struct Incremental {
    stages: Arc<Stages>,
    last: Option<Arc<Document>>,
}

/// What turns text into checked trees; constant for as long as it lives.
pub(super) struct Stages {
    pub(super) source: Arc<str>,
    checker: Arc<Checker>,
    env: Env,
}

impl std::fmt::Debug for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stages").field("source", &self.source).finish_non_exhaustive()
    }
}

type Known<'a> = HashMap<&'a str, &'a Arc<Item>, foldhash::fast::RandomState>;

impl Incremental {
    #[must_use]
    pub fn new(source_name: &str, checker: Arc<Checker>, env: Env) -> Self {
        let stages = Stages { source: Arc::from(source_name), checker, env };
        Self { stages: Arc::new(stages), last: None }
    }

    /// The document of this text. Items that have not changed since the last call are shared with
    /// the last document, even one that was refused.
    ///
    /// # Errors
    /// All problems of the text, in its order: of syntax, or of variables and the schema.
    pub fn update(&mut self, text: &str) -> Result<Arc<Document>, Vec<Problem>> {
        let document = match self.in_parts(text) {
            Some(document) => document,
            None => self.in_one(text)?,
        };
        let document = Arc::new(document);
        self.last = Some(Arc::clone(&document));
        if document.problems.is_empty() { Ok(document) } else { Err(document.problems.clone()) }
    }

    /// The document of this text, where it was the last one and could be parsed, whatever else is
    /// wrong with it.
    #[must_use]
    pub fn parsed(&self, text: &str) -> Option<Arc<Document>> {
        self.last.clone().filter(|it| *it.text == *text)
    }

    /// Forgets the last document; the next is made anew.
    pub fn forget(&mut self) {
        self.last = None;
    }

    fn in_parts(&self, text: &str) -> Option<Document> {
        if text.len() > parse::TEXT_BYTES_MAX || !self.stages.checker.has_sections() {
            return None;
        }
        let is_list = |key: &str| self.stages.checker.section(key).is_none_or(|it| it.items().is_some());
        let blocks = split::split(text, is_list)?;
        let at = blocks.first()?.0.at;
        let mut sections = Vec::with_capacity(blocks.len());
        let mut size = 1;
        for (key, block) in blocks {
            let section = self.section(text, &key, block)?;
            size += section.entries().iter().fold(2, |sum, it| sum + it.item.size);
            sections.push((key, section));
        }
        (size <= NODES_MAX).then(|| self.document(text, at, sections))
    }

    fn section(&self, text: &str, key: &Key, block: Block) -> Option<Section> {
        let known = self.known(&key.name);
        let part = self.stages.checker.section(&key.name);
        match block {
            Block::Whole(chunk) => {
                if let Some(section) = self.flow_list(text, key, &chunk, part) {
                    return Some(section);
                }
                let entry = Entry::of(text, chunk, &known, |text| {
                    let (node, size) = parse::parse_part(text, 0)?;
                    let Value::Map(entries) = node.value else { return None };
                    let [(found, node)] = <[(Key, Node); 1]>::try_from(entries).ok()?;
                    (found.name == key.name).then(|| self.item(node, part, size))
                });
                entry.map(Section::Whole)
            }
            Block::Items(items) => {
                let part = part.and_then(Part::items);
                let entry = |chunk| {
                    Entry::of(text, chunk, &known, |text| {
                        let (node, size) = one_item(text)?;
                        Some(self.item(node, part, size))
                    })
                };
                let entries = items.into_iter().map(entry).collect::<Option<Vec<_>>>()?;
                // As the parser has it: a list below its key begins with its first value.
                let at = entries.first().map(|it: &Entry| it.item.at.shifted(it.lines))?;
                Some(Section::Items { at, entries })
            }
        }
    }

    /// A list written in brackets: its items are like any others, but told apart by no text of
    /// their own.
    fn flow_list(&self, text: &str, key: &Key, chunk: &Chunk, part: Option<Part<'_>>) -> Option<Section> {
        let items = part.map(|it| it.items());
        if items.is_some_and(|it| it.is_none()) {
            return None;
        }
        let (node, size) = parse::parse_part(text.get(chunk.range.clone())?, 0)?;
        let Value::Map(entries) = node.value else { return None };
        let [(found, node)] = <[(Key, Node); 1]>::try_from(entries).ok()?;
        let Value::Seq(nodes) = node.value else { return None };
        if found.name != key.name {
            return None;
        }
        let share = size.div_ceil(nodes.len().max(1));
        let entry = |node| Entry { item: self.item(node, items.flatten(), share), lines: chunk.lines, text: 0..0 };
        Some(Section::Items { at: node.at.shifted(chunk.lines), entries: nodes.into_iter().map(entry).collect() })
    }

    fn in_one(&self, text: &str) -> Result<Document, Vec<Problem>> {
        let mut root = parse::parse(&self.stages.source, text)?;
        let at = root.at;
        if !self.stages.checker.has_sections() {
            return Ok(self.unsectioned(text, root));
        }
        let Value::Map(entries) = std::mem::replace(&mut root.value, Value::Null) else {
            return Ok(self.document(text, at, Vec::new()));
        };
        let sections = entries.into_iter().map(|(key, node)| {
            let part = self.stages.checker.section(&key.name);
            let section = match (node.value, part.is_none_or(|it| it.items().is_some())) {
                (Value::Seq(nodes), true) => {
                    let part = part.and_then(Part::items);
                    let entry = |node| Entry::whole(self.item(node, part, 0));
                    Section::Items { at: node.at, entries: nodes.into_iter().map(entry).collect() }
                }
                (value, _) => Section::Whole(Entry::whole(self.item(Node { value, ..node }, part, 0))),
            };
            (key, section)
        });
        let sections = sections.collect();
        Ok(self.document(text, at, sections))
    }

    /// A schema whose root is not a plain map is checked as a whole, and its parts not at all.
    fn unsectioned(&self, text: &str, mut root: Node) -> Document {
        let mut problems = expand(&mut root, &self.stages.env);
        if problems.is_empty() {
            problems = self.stages.checker.check(&mut root);
        }
        let at = root.at;
        let entries = if let Value::Map(entries) = root.value { entries } else { Vec::new() };
        let section = |node| Section::Whole(Entry::whole(Arc::new(Item::new(node, Vec::new(), 0))));
        let sections = entries.into_iter().map(|(key, node)| (key, section(node))).collect();
        let mut document =
            Document { stages: Arc::clone(&self.stages), text: Arc::from(text), at, sections, problems: Vec::new() };
        document.problems = self.told(problems);
        document
    }

    /// Puts the parts together: what concerns the root alone is checked here.
    fn document(&self, text: &str, at: Place, mut sections: Vec<(Key, Section)>) -> Document {
        let is_absent = |key: &Key, section: &Section| {
            matches!(section, Section::Whole(entry) if entry.item.is_null)
                && self.stages.checker.section(&key.name).is_some_and(Part::drops_null)
        };
        let keys: Vec<&Key> = sections.iter().map(|(key, _)| key).collect();
        let mut problems = self.stages.checker.check_keys(&keys, at);
        sections.retain(|(key, section)| !is_absent(key, section));
        let mut document =
            Document { stages: Arc::clone(&self.stages), text: Arc::from(text), at, sections, problems: Vec::new() };
        problems.extend(document.collect_problems());
        document.problems = self.told(problems);
        document
    }

    fn told(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        problems.iter_mut().for_each(|it| it.source = Arc::clone(&self.stages.source));
        Problem::sort(&mut problems);
        problems.truncate(PROBLEMS_MAX);
        problems
    }

    /// What stood in a section before, by its text.
    fn known(&self, section: &str) -> Known<'_> {
        let Some(last) = &self.last else { return Known::default() };
        let entries = last.section(section).map(Section::entries).unwrap_or_default();
        let text = |entry: &Entry| last.text.get(entry.text.clone()).filter(|it| !it.is_empty());
        entries.iter().filter_map(|entry| Some((text(entry)?, &entry.item))).collect()
    }

    /// Expands and checks; an item with undefined variables is not checked, for what it lacks
    /// would only be told twice.
    fn item(&self, mut node: Node, part: Option<Part<'_>>, size: usize) -> Arc<Item> {
        let problems = self.stages.finish(&mut node, part);
        Arc::new(Item::new(node, problems, size))
    }
}

impl Stages {
    /// Expands and checks.
    fn finish(&self, node: &mut Node, part: Option<Part<'_>>) -> Vec<Problem> {
        let mut problems = expand(node, &self.env);
        if let Some(part) = part.filter(|it| problems.is_empty() && !(node.is_null() && it.drops_null())) {
            problems = part.check(node);
        }
        problems
    }

    /// The tree of a list item that was good, from its text.
    pub(super) fn tree_again(&self, section: &str, text: &str) -> Option<Node> {
        let (mut node, _) = one_item(text)?;
        self.finish(&mut node, self.checker.section(section).and_then(Part::items));
        Some(node)
    }
}

/// The only item of a list, and how many nodes it has.
fn one_item(text: &str) -> Option<(Node, usize)> {
    let (node, size) = parse::parse_part(text, 1)?;
    let Value::Seq(nodes) = node.value else { return None };
    let [node] = <[Node; 1]>::try_from(nodes).ok()?;
    Some((node, size))
}

impl Item {
    fn new(node: Node, problems: Vec<Problem>, size: usize) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            id: LAST.fetch_add(1, Ordering::Relaxed),
            at: node.at,
            is_null: node.is_null(),
            is_named: node.get("name").is_some_and(|it| !it.is_null()),
            tree: Mutex::new(Some(Arc::new(node))),
            problems,
            size,
        }
    }
}

impl Entry {
    /// The item this text was before, or a new one.
    fn of(text: &str, chunk: Chunk, known: &Known<'_>, make: impl FnOnce(&str) -> Option<Arc<Item>>) -> Option<Self> {
        let part = text.get(chunk.range.clone())?;
        let item = match known.get(part) {
            Some(item) => Arc::clone(item),
            None => make(part)?,
        };
        Some(Self { item, lines: chunk.lines, text: chunk.range })
    }

    /// An item with its true lines, never to be recognised in a later text.
    fn whole(item: Arc<Item>) -> Self {
        Self { item, lines: 0, text: 0..0 }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
