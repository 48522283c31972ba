//! YAML 1.2 text (JSON is a subset) to a tree.
//!
//! The dialect: one document whose root is a map; keys are scalars; anchors, aliases and `<<`
//! merge keys work; the tags `!!str`, `!!int`, `!!float`, `!!bool`, `!!null`, `!!map` and `!!seq`
//! are understood and others refused. Everything that could grow has a limit, so that a hostile
//! file ("billion laughs", ten thousand brackets) is a problem and not an outage.
//!
//! The events come from `saphyr-parser`; the tree is built with a stack of our own, no recursion.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::{Key, Node, Place, Problem, Value, scalar};

/// The longest text that is looked at.
pub const TEXT_BYTES_MAX: usize = 64 << 20;
/// The most nodes a document may have, copies made by aliases included.
pub const NODES_MAX: usize = 4_000_000;
/// The most nodes that may be made by copying what an anchor marks.
pub const ALIAS_NODES_MAX: usize = 100_000;
/// The most collections within one another. Everything downstream recurses, and relies on this.
pub const DEPTH_MAX: usize = 100;

/// The document as a tree. An empty document is an empty map.
///
/// # Errors
/// All duplicate keys and misplaced tags, or the first syntax error, with their places.
pub fn parse(source_name: &str, text: &str) -> Result<Node, Vec<Problem>> {
    let mut builder = Builder::new(0);
    if let Err(problem) = builder.run(text) {
        builder.problems.push(problem);
    }
    let Builder { mut problems, root, .. } = builder;
    let root = match root {
        Some(node) if node.is_null() => Node::new(Value::Map(Vec::new()), Place::START),
        Some(node) => node,
        None => Node::new(Value::Map(Vec::new()), Place::START),
    };
    if problems.is_empty() && !matches!(root.value, Value::Map(_)) {
        problems.push(Problem::new(root.at, "", "the document is not a map of keys to values"));
    }
    if problems.is_empty() {
        return Ok(root);
    }
    let source: Arc<str> = Arc::from(source_name);
    problems.iter_mut().for_each(|it| it.source = Arc::clone(&source));
    Problem::sort(&mut problems);
    Err(problems)
}

/// A part of a document that stands alone, `depth` collections down, and its number of nodes. None
/// whenever it is not certain to mean the same as in its document: any problem, any anchor, an item whose place only
/// its list can tell.
pub(super) fn parse_part(text: &str, depth: usize) -> Option<(Node, usize)> {
    let mut builder = Builder::new(depth);
    builder.run(text).ok()?;
    if !builder.problems.is_empty() || builder.is_bound {
        return None;
    }
    Some((builder.root?, builder.nodes))
}

struct Builder {
    open: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, Node, foldhash::fast::RandomState>,
    /// Whether something would not be the same in a part of the text alone.
    is_bound: bool,
    nodes: usize,
    alias_nodes: usize,
    depth: usize,
    problems: Vec<Problem>,
}

struct Frame {
    at: Place,
    anchor: usize,
    body: Body,
}

enum Body {
    Seq(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<PendingKey>, merges: Vec<Node> },
}

struct PendingKey {
    key: Key,
    is_merge: bool,
}

impl Builder {
    fn new(depth: usize) -> Self {
        Self {
            open: Vec::new(),
            root: None,
            anchors: HashMap::default(),
            is_bound: false,
            nodes: 0,
            alias_nodes: 0,
            depth,
            problems: Vec::new(),
        }
    }

    fn run(&mut self, text: &str) -> Result<(), Problem> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Problem::new(Place::START, "", format!("the text is longer than {TEXT_BYTES_MAX} bytes")));
        }
        // The scanner takes NUL for the end of the text, which would hide all that follows.
        if let Some(index) = text.find('\0') {
            return Err(Problem::new(place_at(text, index), "", "the character U+0000 is not allowed"));
        }
        let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| syntax(&error))?;
            self.event(event, place(&span.start))?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, at: Place) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Problem::new(at, "", "a second document begins here, and only one is allowed"))
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(Scalar { text: &text, style, tag: tag.as_deref() }, anchor, at)
            }
            Event::SequenceStart(anchor, tag) => {
                self.only_tag(tag.as_deref(), "seq", at);
                self.begin(Frame { at, anchor, body: Body::Seq(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                self.only_tag(tag.as_deref(), "map", at);
                let body = Body::Map { entries: Vec::new(), key: None, merges: Vec::new() };
                self.begin(Frame { at, anchor, body })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, at),
        }
    }

    fn begin(&mut self, frame: Frame) -> Result<(), Problem> {
        if self.open.len() + self.depth >= DEPTH_MAX {
            return Err(too_deep(frame.at));
        }
        if let Some(Frame { body: Body::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(Problem::new(frame.at, "", "a key must be a single word or a quoted text"));
        }
        self.count(1, frame.at)?;
        self.open.push(frame);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        let Some(Frame { at, anchor, body }) = self.open.pop() else { return Ok(()) };
        let value = match body {
            // The tree is kept for as long as the document is in force, and most lists hold one thing.
            Body::Seq(mut nodes) => {
                nodes.shrink_to_fit();
                Value::Seq(nodes)
            }
            Body::Map { mut entries, merges, .. } => {
                self.refuse_duplicates(&entries);
                merge(&mut entries, merges);
                entries.shrink_to_fit();
                Value::Map(entries)
            }
        };
        self.node(Node::new(value, at), anchor)
    }

    fn scalar(&mut self, scalar: Scalar<'_>, anchor: usize, at: Place) -> Result<(), Problem> {
        self.count(1, at)?;
        if let Some(Frame { body: Body::Map { key: key @ None, .. }, .. }) = self.open.last_mut() {
            let is_plain = scalar.style == ScalarStyle::Plain;
            if is_plain && scalar.text.is_empty() {
                return Err(Problem::new(at, "", "a key is missing before the colon"));
            }
            let is_merge = is_plain && scalar.text == "<<";
            *key = Some(PendingKey { key: Key { name: scalar.text.to_owned(), at }, is_merge });
            if anchor == 0 {
                return Ok(());
            }
            let node = Node { quoted: true, ..Node::new(Value::Str(scalar.text.to_owned()), at) };
            return self.remember(anchor, &node);
        }
        let at = if scalar.is_blank_block() {
            // An item of the outermost list: the place of that list is that of its first item.
            self.is_bound |= matches!(self.open.as_slice(), [Frame { body: Body::Seq(_), .. }]);
            self.place_of_owner().unwrap_or(at)
        } else {
            at
        };
        let node = match scalar.node(at) {
            Ok(node) => node,
            Err(problem) => {
                self.problems.push(problem);
                Node::new(Value::Null, at)
            }
        };
        self.node(node, anchor)
    }

    /// A finished node goes to whoever waits for it.
    fn node(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor != 0 {
            self.remember(anchor, &node)?;
        }
        self.place_list_below(&node);
        match self.open.last_mut().map(|it| &mut it.body) {
            None => self.root = Some(node),
            Some(Body::Seq(nodes)) => nodes.push(node),
            Some(Body::Map { entries, key, merges }) => match key.take() {
                Some(PendingKey { is_merge: true, .. }) => merge_sources(node, merges)?,
                Some(PendingKey { key, .. }) => entries.push((key, node)),
                None => return Err(Problem::new(node.at, "", "a key must be a single word or a quoted text")),
            },
        }
        Ok(())
    }

    /// A list in the lines below its key begins with its first value. The scanner's place for it
    /// depends on how the dashes are indented, and may be neither the dash nor the value.
    fn place_list_below(&mut self, first: &Node) {
        if let [.., Frame { body: Body::Map { key: Some(PendingKey { key, .. }), .. }, .. }, list] =
            self.open.as_mut_slice()
            && list.at.line > key.at.line
            && matches!(&list.body, Body::Seq(nodes) if nodes.is_empty())
        {
            list.at = first.at;
        }
    }

    fn place_of_owner(&self) -> Option<Place> {
        Some(match self.open.last()? {
            Frame { body: Body::Map { key: Some(it), .. }, .. } => it.key.at,
            frame => frame.at,
        })
    }

    fn remember(&mut self, anchor: usize, node: &Node) -> Result<(), Problem> {
        self.is_bound = true;
        self.count_copies(node.size(), node.at)?;
        self.anchors.insert(anchor, node.clone());
        Ok(())
    }

    /// A copy of what the anchor marks. Its root is where the alias stands; what is inside keeps
    /// the place where it was written.
    fn alias(&mut self, anchor: usize, at: Place) -> Result<(), Problem> {
        self.is_bound = true;
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Problem::new(at, "", "an alias stands within the node it refers to"));
        };
        let (size, height) = (node.size(), node.height());
        let node = Node { at, ..node.clone() };
        if self.open.len() + self.depth + height > DEPTH_MAX {
            return Err(too_deep(at));
        }
        self.count_copies(size, at)?;
        if let (Some(Frame { body: Body::Map { key: key @ None, .. }, .. }), Value::Str(text)) =
            (self.open.last_mut(), &node.value)
        {
            *key = Some(PendingKey { key: Key { name: text.clone(), at }, is_merge: false });
            return Ok(());
        }
        self.node(node, 0)
    }

    fn count(&mut self, nodes: usize, at: Place) -> Result<(), Problem> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(Problem::new(at, "", format!("the document has more than {NODES_MAX} values")));
        }
        Ok(())
    }

    fn count_copies(&mut self, nodes: usize, at: Place) -> Result<(), Problem> {
        self.alias_nodes += nodes;
        if self.alias_nodes > ALIAS_NODES_MAX {
            return Err(Problem::new(at, "", format!("anchors and aliases make more than {ALIAS_NODES_MAX} values")));
        }
        self.count(nodes, at)
    }

    fn refuse_duplicates(&mut self, entries: &[(Key, Node)]) {
        let mut duplicate = |first: &Key, second: &Key| {
            let message = format!("the key `{}` is here twice", second.name);
            let hint = format!("first at line {}, column {}", first.at.line, first.at.column);
            self.problems.push(Problem::new(second.at, second.name.as_str(), message).hint(hint));
        };
        if entries.len() <= 16 {
            for (index, (key, _)) in entries.iter().enumerate() {
                if let Some((first, _)) = entries.iter().take(index).find(|(it, _)| it.name == key.name) {
                    duplicate(first, key);
                }
            }
            return;
        }
        let mut seen: HashMap<&str, &Key, foldhash::fast::RandomState> = HashMap::default();
        for (key, _) in entries {
            match seen.get(key.name.as_str()) {
                Some(first) => duplicate(first, key),
                None => drop(seen.insert(&key.name, key)),
            }
        }
    }

    fn only_tag(&mut self, tag: Option<&Tag>, allowed: &str, at: Place) {
        if let Some(tag) = tag.filter(|it| !(it.is_yaml_core_schema() && it.suffix == allowed)) {
            self.problems.push(unknown_tag(tag, at));
        }
    }
}

struct Scalar<'a> {
    text: &'a str,
    style: ScalarStyle,
    tag: Option<&'a Tag>,
}

impl Scalar<'_> {
    /// The scanner has a block scalar begin with its text. Where there is none it gives the next
    /// token's place, which may be anywhere.
    fn is_blank_block(&self) -> bool {
        matches!(self.style, ScalarStyle::Literal | ScalarStyle::Folded) && self.text.bytes().all(|it| it == b'\n')
    }

    fn node(&self, at: Place) -> Result<Node, Problem> {
        let string = || Node { quoted: true, ..Node::new(Value::Str(self.text.to_owned()), at) };
        let Some(tag) = self.tag else {
            return Ok(if self.style == ScalarStyle::Plain { scalar::plain(self.text, at) } else { string() });
        };
        if tag.handle.is_empty() && tag.suffix == "!" {
            return Ok(string());
        }
        if !tag.is_yaml_core_schema() {
            return Err(unknown_tag(tag, at));
        }
        let node = scalar::plain(self.text, at);
        match (tag.suffix.as_str(), &node.value) {
            ("str", _) => Ok(string()),
            ("int", Value::Int(_) | Value::UInt(_))
            | ("float", Value::Float(_))
            | ("bool", Value::Bool(_))
            | ("null", Value::Null) => Ok(node),
            ("float", Value::Int(_) | Value::UInt(_)) => Ok(match self.text.parse() {
                Ok(it) => Node::new(Value::Float(it), at),
                Err(_) => node,
            }),
            ("int" | "float" | "bool" | "null", _) => {
                Err(Problem::new(at, "", format!("the value does not fit its tag `!!{}`", tag.suffix)))
            }
            _ => Err(unknown_tag(tag, at)),
        }
    }
}

fn unknown_tag(tag: &Tag, at: Place) -> Problem {
    Problem::new(at, "", format!("the tag `{tag}` is not known here"))
}

fn too_deep(at: Place) -> Problem {
    Problem::new(at, "", format!("more than {DEPTH_MAX} collections stand within one another"))
}

/// What `<<` brings: one map, or several of which the earlier wins.
fn merge_sources(node: Node, merges: &mut Vec<Node>) -> Result<(), Problem> {
    let refused = |at| Err(Problem::new(at, "", "`<<` takes a map or a list of maps"));
    match node.value {
        Value::Map(_) => merges.push(node),
        Value::Seq(nodes) => {
            for node in nodes {
                if !matches!(node.value, Value::Map(_)) {
                    return refused(node.at);
                }
                merges.push(node);
            }
        }
        _ => return refused(node.at),
    }
    Ok(())
}

/// Keys written in the map itself win over merged ones, wherever `<<` stands.
fn merge(entries: &mut Vec<(Key, Node)>, merges: Vec<Node>) {
    for node in merges {
        let Value::Map(incoming) = node.value else { continue };
        let mut known: std::collections::HashSet<String, foldhash::fast::RandomState> =
            entries.iter().map(|(key, _)| key.name.clone()).collect();
        entries.extend(incoming.into_iter().filter(|(key, _)| known.insert(key.name.clone())));
    }
}

fn syntax(error: &ScanError) -> Problem {
    let info = error.info();
    let problem = Problem::new(place(error.marker()), "", format!("the text is not YAML: {info}"));
    if info.contains("tab") { problem.hint("indent with spaces") } else { problem }
}

fn place(mark: &Marker) -> Place {
    let narrow = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    Place { line: narrow(mark.line()).max(1), column: narrow(mark.col()).saturating_add(1) }
}

fn place_at(text: &str, index: usize) -> Place {
    let before = text.get(..index).unwrap_or(text);
    let line = before.bytes().filter(|it| *it == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    let narrow = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    Place { line: narrow(line), column: narrow(column) }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
