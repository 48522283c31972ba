//! The check of a tree against a schema, done before any type is read, so that an operator gets
//! all problems of a file at once, each with its line and often with what was meant.
//!
//! Besides telling problems the check settles spelling, so that what follows needs no leniency:
//! values of enumerations get their canonical letter case, a plain number where only a string may
//! stand becomes the string that was written, `1.0` becomes `1` where a whole number is asked
//! for, and an explicit null under an optional key is removed.
//!
//! The schema is what schemars 1 writes for serde types; [`schema`] says which keywords count.

mod branch;
mod map;
mod schema;
mod words;

use std::collections::HashMap;

use serde_json::Value as Json;

use super::path::Path;
use super::{Node, Problem, Value};
use schema::{Id, Kinds, Rest, Schema, matching_literal};

/// A compiled schema. Build once, check often; checking shares nothing and can run anywhere.
#[derive(Debug)]
pub struct Checker {
    schema: Schema,
    unsupported: Vec<(String, String)>,
    moved: Vec<(String, String)>,
    formats: HashMap<&'static str, Format, foldhash::fast::RandomState>,
    /// For each key of the schema, the keys under which it may stand.
    owners: HashMap<String, Vec<String>, foldhash::fast::RandomState>,
}

/// Why a text is not of a format; nothing where it is.
pub type Format = fn(&str) -> Option<String>;

/// What one part of a document is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    checker: &'a Checker,
    id: Id,
    is_optional: bool,
    /// The top-level key it stands under, or nothing.
    section: &'a str,
}

impl Checker {
    /// Keywords the check does not know are ignored, and so are references that lead nowhere.
    #[must_use]
    pub fn new(schema: &Json) -> Self {
        let schema = Schema::new(schema);
        let owners = owners(&schema);
        Self { schema, unsupported: Vec::new(), moved: Vec::new(), formats: HashMap::default(), owners }
    }

    /// Keys that are known but do nothing in this version, each with a hint (or an empty one). A
    /// key is given alone or as the end of a path without indices: `policies.jwtAuth`.
    #[must_use]
    pub fn with_unsupported(mut self, keys: &[(&str, &str)]) -> Self {
        self.unsupported = keys.iter().map(|(path, hint)| ((*path).to_owned(), (*hint).to_owned())).collect();
        self
    }

    /// Keys that stand elsewhere now, each with where that is. Given as unsupported ones are.
    #[must_use]
    pub fn with_moved(mut self, keys: &[(&str, &str)]) -> Self {
        self.moved = keys.iter().map(|(path, hint)| ((*path).to_owned(), (*hint).to_owned())).collect();
        self
    }

    /// What strings of a `format` must be. Formats not named here are not checked.
    #[must_use]
    pub fn with_format(mut self, name: &'static str, format: Format) -> Self {
        self.formats.insert(name, format);
        self
    }

    /// Checks a whole document in place. The problems are in the order of the file.
    #[must_use]
    pub fn check(&self, root: &mut Node) -> Vec<Problem> {
        Part { checker: self, id: self.schema.root, is_optional: false, section: "" }.check(root)
    }

    /// What stands under a top-level key; none when the schema has no such key.
    #[must_use]
    pub fn section(&self, key: &str) -> Option<Part<'_>> {
        let root = self.schema.shape(self.schema.root).object.as_ref()?;
        let (section, id) = root.properties.get_key_value(key)?;
        Some(Part { checker: self, id: *id, is_optional: !root.required.contains(section), section })
    }

    /// Whether sections may be checked apart: the root is a plain map, its keys independent.
    pub(super) fn has_sections(&self) -> bool {
        let root = self.schema.shape(self.schema.root);
        root.groups.is_empty() && root.object.as_ref().is_some_and(|it| !matches!(it.rest, Rest::Each(_)))
    }
}

impl<'a> Part<'a> {
    /// Checks a tree in place; paths and places are the tree's own.
    #[must_use]
    pub fn check(self, node: &mut Node) -> Vec<Problem> {
        let mut walk = Walk { checker: self.checker, schema: &self.checker.schema, problems: Vec::new() };
        walk.node(node, self.id, &Path::within(self.section));
        let mut problems = walk.problems;
        Problem::sort(&mut problems);
        problems
    }

    /// What every item is checked against, when a list and nothing else may stand here.
    #[must_use]
    pub fn items(self) -> Option<Part<'a>> {
        let schema = &self.checker.schema;
        let shape = schema.shape(schema.without_option(self.id));
        let is_list = shape.kinds.without(Kinds::NULL) == Kinds::SEQ;
        let id = shape.items.filter(|_| is_list && shape.first_items.is_empty() && shape.groups.is_empty())?;
        Some(Part { id, is_optional: false, ..self })
    }

    /// Whether a null here says that the key is absent.
    #[must_use]
    pub fn drops_null(self) -> bool {
        self.is_optional && !self.checker.schema.admits(self.id, Kinds::NULL)
    }
}

struct Walk<'a> {
    checker: &'a Checker,
    schema: &'a Schema,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn report(&mut self, node: &Node, path: &Path<'_>, message: impl Into<String>) {
        self.problems.push(Problem::new(node.at, path.to_string(), message));
    }

    fn node(&mut self, node: &mut Node, id: Id, path: &Path<'_>) {
        let schema = self.schema;
        let shape = schema.shape(id);
        if !shape.kinds.has(Kinds::of(&node.value)) && !coerce(node, shape.kinds) {
            return self.wrong_kind(node, id, path);
        }
        if !shape.literals.is_empty() && !self.literal(node, id, path) {
            return;
        }
        match &node.value {
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => self.range(node, id, path),
            Value::Seq(_) => self.items(node, id, path),
            Value::Map(_) => return self.map(node, id, path),
            Value::Str(text) => {
                let format = shape.format.as_deref().and_then(|it| self.checker.formats.get(it));
                if let Some(reason) = format.and_then(|fault| fault(text)) {
                    self.report(node, path, reason);
                }
            }
            _ => {}
        }
        for group in &shape.groups {
            self.alternatives(node, group, path);
        }
    }

    fn wrong_kind(&mut self, node: &Node, id: Id, path: &Path<'_>) {
        let message = format!("{}, found {}", words::expected(self.schema, id), words::found(node));
        let kinds = self.schema.shape(id).kinds;
        let problem = Problem::new(node.at, path.to_string(), message);
        let problem = match &node.value {
            Value::Bool(_) if kinds.has(Kinds::STR) => problem.hint("quote it to make it a string"),
            Value::Str(text) if node.quoted && kinds.has(Kinds::INT) && super::scalar::number(text).is_some() => {
                problem.hint("remove the quotes to make it a number")
            }
            Value::Float(_) if kinds.has(Kinds::INT) => {
                let found = node.number_text().unwrap_or_default();
                Problem { message: format!("expected a whole number, found {found}"), ..problem }
            }
            _ => problem,
        };
        self.problems.push(problem);
    }

    /// Settles the spelling of an enumeration's value; whether it is one.
    fn literal(&mut self, node: &mut Node, id: Id, path: &Path<'_>) -> bool {
        let literals = &self.schema.shape(id).literals;
        match matching_literal(literals, node) {
            Some(Json::String(canonical)) => {
                if !matches!(&node.value, Value::Str(text) if text == canonical) {
                    node.value = Value::Str(canonical.clone());
                }
                true
            }
            Some(_) => true,
            None => {
                let message = format!("{}, found {}", words::expected(self.schema, id), words::echo(node));
                let mut problem = Problem::new(node.at, path.to_string(), message);
                if let Value::Str(text) = &node.value
                    && let Some(near) = words::nearest(text, literals.iter().filter_map(Json::as_str))
                {
                    problem = problem.hint(format!("did you mean `{near}`?"));
                }
                self.problems.push(problem);
                false
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "limits beyond 2^53 are not worth another type")]
    fn range(&mut self, node: &Node, id: Id, path: &Path<'_>) {
        let shape = self.schema.shape(id);
        let value = match node.value {
            Value::Int(it) => it as f64,
            Value::UInt(it) => it as f64,
            Value::Float(it) => it,
            _ => return,
        };
        let is_below = shape.minimum.is_some_and(|it| value < it);
        let is_above = shape.maximum.is_some_and(|it| value > it);
        if !is_below && !is_above {
            return;
        }
        let found = node.number_text().unwrap_or_default();
        let message = match (shape.minimum, shape.maximum) {
            (Some(minimum), Some(maximum)) => format!("expected a number from {minimum} to {maximum}, found {found}"),
            (Some(minimum), None) => format!("expected a number of at least {minimum}, found {found}"),
            (None, Some(maximum)) => format!("expected a number of at most {maximum}, found {found}"),
            (None, None) => return,
        };
        self.report(node, path, message);
    }

    fn items(&mut self, node: &mut Node, id: Id, path: &Path<'_>) {
        let shape = self.schema.shape(id);
        let Value::Seq(nodes) = &mut node.value else { return };
        for (index, node) in nodes.iter_mut().enumerate() {
            if let Some(item) = shape.first_items.get(index).copied().or(shape.items) {
                self.node(node, item, &path.index(index));
            }
        }
        let (given, wanted) = (nodes.len(), shape.first_items.len());
        if given < wanted || (wanted > 0 && given > wanted && shape.items.is_none()) {
            self.report(node, path, format!("expected {wanted} items, found {given}"));
        }
    }

    /// One alternative has to hold. Undecided ones are tried on a copy, the first that holds wins.
    fn alternatives(&mut self, node: &mut Node, group: &[Id], path: &Path<'_>) {
        let mut candidates = branch::admitting(self.schema, group, Kinds::of(&node.value));
        if candidates.is_empty() {
            candidates = group.iter().copied().filter(|it| coerces(node, self.schema.shape(*it).kinds)).collect();
        }
        match candidates.as_slice() {
            [] => {
                let message = format!("{}, found {}", words::expected_any(self.schema, group), words::found(node));
                self.report(node, path, message);
            }
            [only] => self.node(node, *only, path),
            several => self.try_each(node, several, path),
        }
    }

    fn try_each(&mut self, node: &mut Node, candidates: &[Id], path: &Path<'_>) {
        let mut fewest: Option<(Node, Vec<Problem>)> = None;
        for candidate in candidates {
            let mut attempt = node.clone();
            let mut walk = Walk { checker: self.checker, schema: self.schema, problems: Vec::new() };
            walk.node(&mut attempt, *candidate, path);
            if walk.problems.is_empty() {
                *node = attempt;
                return;
            }
            if fewest.as_ref().is_none_or(|(_, it)| walk.problems.len() < it.len()) {
                fewest = Some((attempt, walk.problems));
            }
        }
        let Some((attempt, problems)) = fewest else { return };
        if matches!(node.value, Value::Map(_) | Value::Seq(_)) {
            *node = attempt;
            self.problems.extend(problems);
        } else {
            let message = format!("{}, found {}", words::expected_any(self.schema, candidates), words::echo(node));
            self.report(node, path, message);
        }
    }
}

/// Whether [`coerce`] would make the node one of `kinds`.
fn coerces(node: &Node, kinds: Kinds) -> bool {
    match node.value {
        Value::Float(it) if kinds.has(Kinds::INT) && whole(it).is_some() => true,
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => kinds.has(Kinds::STR),
        _ => false,
    }
}

/// Makes a number what was asked for, where nothing is lost: a string of the same text, or whole.
fn coerce(node: &mut Node, kinds: Kinds) -> bool {
    if !coerces(node, kinds) {
        return false;
    }
    match node.value {
        Value::Float(it) if kinds.has(Kinds::INT) && whole(it).is_some() => {
            node.value = Value::Int(whole(it).unwrap_or_default());
        }
        _ => {
            let Some(text) = node.number_text() else { return false };
            *node = Node::new(Value::Str(text), node.at);
        }
    }
    true
}

#[expect(clippy::cast_possible_truncation, reason = "only what is exact is cast")]
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i64)
}

/// Which keys own which, over the whole schema.
fn owners(schema: &Schema) -> HashMap<String, Vec<String>, foldhash::fast::RandomState> {
    let mut owners: HashMap<String, Vec<String>, foldhash::fast::RandomState> = HashMap::default();
    for (owner, id) in schema.objects().flat_map(|it| it.names.iter().map(|name| (name, it.properties.get(name)))) {
        let Some(id) = id else { continue };
        let id = schema.without_option(*id);
        let id = schema.shape(id).items.unwrap_or(id);
        let mut names = Vec::new();
        schema.all_names(id, &mut names);
        for name in names {
            let list = owners.entry(name.to_owned()).or_default();
            if !list.contains(owner) {
                list.push(owner.clone());
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests;
