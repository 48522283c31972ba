//! The tree: values, and where they were written.

/// A position in the text, both counted from one; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

impl Place {
    pub const START: Self = Self { line: 1, column: 1 };

    /// The same place when the text it was measured in begins `lines` further down.
    #[must_use]
    pub fn shifted(self, lines: u32) -> Self {
        Self { line: self.line.saturating_add(lines), column: self.column }
    }
}

/// A key of a map. Keys that look like numbers or booleans keep the text they were written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub name: String,
    pub at: Place,
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: Value,
    pub at: Place,
    /// Whether a scalar was quoted or a block scalar, and so is a string whatever it looks like.
    pub quoted: bool,
    /// What was written, where printing the number would give something else (`007`, `1.10`).
    pub raw: Option<Box<str>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Only for what does not fit [`Value::Int`].
    UInt(u64),
    Float(f64),
    Str(String),
    Seq(Vec<Node>),
    /// In the order written; names are unique.
    Map(Vec<(Key, Node)>),
}

impl Node {
    #[must_use]
    pub fn new(value: Value, at: Place) -> Self {
        Self { value, at, quoted: false, raw: None }
    }

    /// The value under `name`, when this is a map that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
            _ => None,
        }
    }

    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The number as it was written; none for what is not a number.
    pub(super) fn number_text(&self) -> Option<String> {
        let printed = match self.value {
            Value::Int(it) => it.to_string(),
            Value::UInt(it) => it.to_string(),
            Value::Float(it) => it.to_string(),
            _ => return None,
        };
        Some(self.raw.as_deref().map_or(printed, str::to_owned))
    }

    /// How many nodes this tree has, itself included.
    pub(super) fn size(&self) -> usize {
        match &self.value {
            Value::Seq(nodes) => nodes.iter().fold(1, |sum, it| sum + it.size()),
            Value::Map(entries) => entries.iter().fold(1, |sum, (_, it)| sum + it.size()),
            _ => 1,
        }
    }

    /// How many levels of collections this tree has; a scalar has none.
    pub(super) fn height(&self) -> usize {
        match &self.value {
            Value::Seq(nodes) => 1 + nodes.iter().map(Self::height).max().unwrap_or(0),
            Value::Map(entries) => 1 + entries.iter().map(|(_, it)| it.height()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Moves the whole tree `lines` further down.
    pub(super) fn shift(&mut self, lines: u32) {
        self.at = self.at.shifted(lines);
        match &mut self.value {
            Value::Seq(nodes) => nodes.iter_mut().for_each(|it| it.shift(lines)),
            Value::Map(entries) => {
                for (key, node) in entries {
                    key.at = key.at.shifted(lines);
                    node.shift(lines);
                }
            }
            _ => {}
        }
    }
}
