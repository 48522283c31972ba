//! A document in the parts it was written in, so that what did not change can be told apart.
//!
//! An item does not know where it stands: its lines count from its own first line, and the entry
//! that holds it says how many lines come before. So the same item serves in the next document,
//! further up or down, and whoever keeps something made of an item finds it again by [`Item::id`].
//!
//! Trees weigh more than what they become. Once they have been used, [`Document::forget_trees`] lets
//! them go; an item that is asked for its tree again makes it anew from its text.

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use parking_lot::Mutex;

use super::cache::Stages;
use super::path::{Found, Path, resolve, steps};
use super::{Key, Node, Place, Problem, Value, read};

/// A parsed, expanded and checked document.
#[derive(Debug, Clone)]
pub struct Document {
    pub(super) stages: Arc<Stages>,
    /// What the ranges of the entries refer to.
    pub(super) text: Arc<str>,
    pub(super) at: Place,
    pub(super) sections: Vec<(Key, Section)>,
    pub(super) problems: Vec<Problem>,
}

/// What stands under a top-level key.
#[derive(Debug, Clone)]
pub enum Section {
    /// A list whose items live on their own.
    Items { at: Place, entries: Vec<Entry> },
    /// Anything else.
    Whole(Entry),
}

/// An item where it stands.
#[derive(Debug, Clone)]
pub struct Entry {
    pub item: Arc<Item>,
    /// How many lines stand before the item's own first line.
    pub lines: u32,
    pub(super) text: Range<usize>,
}

/// A tree that may be part of several documents, one after the other.
#[derive(Debug)]
pub struct Item {
    pub(super) id: u64,
    /// Where the tree begins, from the item's first line.
    pub(super) at: Place,
    pub(super) is_null: bool,
    pub(super) is_named: bool,
    /// Absent once it was forgotten.
    pub(super) tree: Mutex<Option<Arc<Node>>>,
    pub(super) problems: Vec<Problem>,
    pub(super) size: usize,
}

impl Item {
    /// Never given twice in a process, unlike an address. Items of one id are the same item, which
    /// may stand at several places of a list when its text does.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it is a map with a `name` that is not null.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.is_named
    }
}

impl Document {
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.stages.source
    }

    /// Lets the trees of list items go; they are made again from the text where they are asked for.
    pub fn forget_trees(&self) {
        for (_, section) in &self.sections {
            let Section::Items { entries, .. } = section else { continue };
            // What has no text of its own cannot be made again.
            for entry in entries.iter().filter(|it| it.is_good() && !it.text.is_empty()) {
                *entry.item.tree.lock() = None;
            }
        }
    }

    /// The tree of an entry, its lines counted from the item's first.
    fn tree(&self, key: &str, entry: &Entry) -> Arc<Node> {
        if let Some(tree) = entry.item.tree.lock().as_ref() {
            return Arc::clone(tree);
        }
        let text = self.text.get(entry.text.clone()).unwrap_or_default();
        Arc::new(self.stages.tree_again(key, text).unwrap_or_else(|| Node::new(Value::Null, entry.item.at)))
    }

    /// In the order written. Keys that hold an explicit null in place of an optional value are not
    /// among them.
    #[must_use]
    pub fn sections(&self) -> &[(Key, Section)] {
        &self.sections
    }

    #[must_use]
    pub fn section(&self, key: &str) -> Option<&Section> {
        self.sections.iter().find(|(it, _)| it.name == key).map(|(_, section)| section)
    }

    /// The items of a list, or nothing where there is none.
    #[must_use]
    pub fn items(&self, key: &str) -> &[Entry] {
        match self.section(key) {
            Some(Section::Items { entries, .. }) => entries,
            _ => &[],
        }
    }

    /// Whether nothing is wrong in what stands under a key; true where nothing does.
    #[must_use]
    pub fn is_good(&self, key: &str) -> bool {
        self.section(key).is_none_or(|it| it.entries().iter().all(Entry::is_good))
    }

    /// Reads what stands under a key; none when nothing does. Lists are better read item by item.
    ///
    /// # Errors
    /// See [`read()`].
    pub fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Problem> {
        let Some(section) = self.section(key) else { return Ok(None) };
        let value = match section {
            Section::Whole(entry) => {
                read(&self.tree(key, entry)).map_err(|it| it.under(&section_path(key), entry.lines))
            }
            Section::Items { .. } => {
                read(&self.section_node(key, section)).map_err(|it| it.under(&section_path(key), 0))
            }
        };
        value.map(Some).map_err(|it| it.from_source(self.source()))
    }

    /// Reads one item of a list; `index` is its place in the list, and only tells problems.
    ///
    /// # Errors
    /// See [`read()`].
    pub fn read_item<T: DeserializeOwned>(&self, key: &str, index: usize, entry: &Entry) -> Result<T, Problem> {
        read(&self.tree(key, entry))
            .map_err(|it| it.under(&item_path(key, index), entry.lines).from_source(self.source()))
    }

    /// As [`super::place_of`], over the whole document.
    #[must_use]
    pub fn place_of(&self, path: &str) -> Option<Place> {
        let steps = steps(path)?;
        let Some(Found::Key(name)) = steps.first() else { return Some(self.at) };
        let Some((key, section)) = self.sections.iter().find(|(key, _)| key.name == *name) else {
            return Some(self.at);
        };
        let (entry, used) = match (section, steps.get(1)) {
            (Section::Whole(entry), _) => (entry, 1),
            (Section::Items { entries, .. }, Some(Found::Index(index))) => match entries.get(*index) {
                Some(entry) => (entry, 2),
                None => return Some(key.at),
            },
            (Section::Items { .. }, _) => return Some(key.at),
        };
        let tree = self.tree(&key.name, entry);
        let place = resolve(&tree, steps.get(used..).unwrap_or_default());
        Some(match place {
            Some(place) => place.shifted(entry.lines),
            None if used == 1 => key.at,
            None => entry.item.at.shifted(entry.lines),
        })
    }

    /// A problem that a later stage found at a path.
    #[must_use]
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let place = self.place_of(path).unwrap_or(self.at);
        Problem::new(place, path, message).from_source(self.source())
    }

    /// The whole document as one tree with its true lines. A copy: for tests and dumps.
    #[must_use]
    pub fn to_node(&self) -> Node {
        let entries = self.sections.iter().map(|(key, section)| (key.clone(), self.section_node(&key.name, section)));
        let entries = entries.collect();
        Node::new(Value::Map(entries), self.at)
    }

    fn section_node(&self, key: &str, section: &Section) -> Node {
        let node = |entry: &Entry| {
            let mut node = Node::clone(&self.tree(key, entry));
            node.shift(entry.lines);
            node
        };
        match section {
            Section::Whole(entry) => node(entry),
            Section::Items { at, entries } => Node::new(Value::Seq(entries.iter().map(node).collect()), *at),
        }
    }

    /// All problems of the parts, with their true paths and lines.
    pub(super) fn collect_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, section) in &self.sections {
            match section {
                Section::Whole(entry) => entry.problems(&mut problems, || section_path(&key.name)),
                Section::Items { entries, .. } => {
                    for (index, entry) in entries.iter().enumerate() {
                        entry.problems(&mut problems, || item_path(&key.name, index));
                    }
                }
            }
        }
        problems
    }
}

impl Section {
    pub(super) fn entries(&self) -> &[Entry] {
        match self {
            Self::Whole(entry) => std::slice::from_ref(entry),
            Self::Items { entries, .. } => entries,
        }
    }
}

impl Entry {
    /// Whether the item is as the schema has it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.item.problems.is_empty()
    }

    fn problems(&self, out: &mut Vec<Problem>, prefix: impl Fn() -> String) {
        out.extend(self.item.problems.iter().map(|it| it.clone().under(&prefix(), self.lines)));
    }
}

fn section_path(key: &str) -> String {
    Path::ROOT.key(key).to_string()
}

fn item_path(key: &str, index: usize) -> String {
    Path::ROOT.key(key).index(index).to_string()
}
