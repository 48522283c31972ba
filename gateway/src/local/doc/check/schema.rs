//! A JSON schema compiled once into what the walk needs: an arena of shapes, references resolved.
//!
//! Understood: `$ref` into `$defs`, `type`, `properties`, `required`, `additionalProperties`,
//! `unevaluatedProperties`, `patternProperties` (as the type of all further values), `items`,
//! `prefixItems`, `enum`, `const`, `minimum`, `maximum`, `format`, `oneOf`, `anyOf`, `allOf`. Everything
//! else, `pattern` and `format` included, is left to the reader of the value.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::super::{Node, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

/// A set of value kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOL: Self = Self(2);
    pub(super) const INT: Self = Self(4);
    pub(super) const FLOAT: Self = Self(8);
    pub(super) const STR: Self = Self(16);
    pub(super) const SEQ: Self = Self(32);
    pub(super) const MAP: Self = Self(64);
    pub(super) const ALL: Self = Self(127);

    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOL,
            Value::Int(_) | Value::UInt(_) => Self::INT,
            Value::Float(_) => Self::FLOAT,
            Value::Str(_) => Self::STR,
            Value::Seq(_) => Self::SEQ,
            Value::Map(_) => Self::MAP,
        }
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn named(name: &str) -> Self {
        match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOL,
            "integer" => Self::INT,
            "number" => Self::INT.or(Self::FLOAT),
            "string" => Self::STR,
            "array" => Self::SEQ,
            "object" => Self::MAP,
            _ => Self::ALL,
        }
    }

    fn of_json(value: &Json) -> Self {
        match value {
            Json::Null => Self::NULL,
            Json::Bool(_) => Self::BOOL,
            Json::Number(it) if it.is_f64() => Self::FLOAT,
            Json::Number(_) => Self::INT,
            Json::String(_) => Self::STR,
            Json::Array(_) => Self::SEQ,
            Json::Object(_) => Self::MAP,
        }
    }
}

/// One schema. A value must satisfy its own part and, of every group, one alternative.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// What the value may be, its groups considered.
    pub(super) kinds: Kinds,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    /// What a string means, by a name the checker may know.
    pub(super) format: Option<String>,
    /// The only values allowed; empty for no such restriction.
    pub(super) literals: Vec<Json>,
    pub(super) object: Option<Object>,
    pub(super) first_items: Vec<Id>,
    pub(super) items: Option<Id>,
    pub(super) groups: Vec<Vec<Id>>,
}

impl Default for Kinds {
    fn default() -> Self {
        Self::ALL
    }
}

#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) properties: HashMap<String, Id, foldhash::fast::RandomState>,
    /// The names of the properties in the order of the schema.
    pub(super) names: Vec<String>,
    pub(super) required: Vec<String>,
    pub(super) rest: Rest,
}

/// What becomes of keys that are no property.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) enum Rest {
    #[default]
    Allowed,
    Refused,
    Each(Id),
}

#[derive(Debug)]
pub(super) struct Schema {
    shapes: Vec<Shape>,
    pub(super) root: Id,
}

impl Schema {
    pub(super) fn new(root: &Json) -> Self {
        let mut compiler = Compiler { document: root, shapes: vec![Shape::default()], references: HashMap::new() };
        let id = compiler.shape(root);
        let mut shapes = compiler.shapes;
        let mut visits = vec![Visit::Ahead; shapes.len()];
        for id in 0..shapes.len() {
            cut_cycles(&mut shapes, id, &mut visits);
        }
        settle_kinds(&mut shapes);
        Self { shapes, root: id }
    }

    pub(super) fn shape(&self, id: Id) -> &Shape {
        static ANY: std::sync::LazyLock<Shape> = std::sync::LazyLock::new(Shape::default);
        self.shapes.get(id.0 as usize).unwrap_or_else(|| &ANY)
    }

    pub(super) fn admits(&self, id: Id, kind: Kinds) -> bool {
        self.shape(id).kinds.has(kind)
    }

    /// The shape itself, or the only alternative that is more than null.
    pub(super) fn without_option(&self, id: Id) -> Id {
        let shape = self.shape(id);
        let [group] = shape.groups.as_slice() else { return id };
        if shape.object.is_some() || shape.items.is_some() || !shape.literals.is_empty() {
            return id;
        }
        let mut others = group.iter().filter(|it| self.shape(**it).kinds != Kinds::NULL);
        match (others.next(), others.next()) {
            (Some(only), None) => self.without_option(*only),
            _ => id,
        }
    }

    /// Every property a map of this shape could have, whatever the alternatives.
    pub(super) fn all_names<'a>(&'a self, id: Id, out: &mut Vec<&'a str>) {
        let shape = self.shape(id);
        if let Some(object) = &shape.object {
            out.extend(object.names.iter().map(String::as_str));
        }
        for alternative in shape.groups.iter().flatten() {
            self.all_names(*alternative, out);
        }
    }

    pub(super) fn has_name(&self, id: Id, name: &str) -> bool {
        self.property(id, name).is_some()
    }

    /// The shape of a property, of whichever alternative.
    pub(super) fn property(&self, id: Id, name: &str) -> Option<Id> {
        let shape = self.shape(id);
        let own = shape.object.as_ref().and_then(|it| it.properties.get(name)).copied();
        own.or_else(|| shape.groups.iter().flatten().find_map(|it| self.property(*it, name)))
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.shapes.iter().filter_map(|it| it.object.as_ref())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    Ahead,
    Open,
    Done,
}

/// An alternative that is the very schema it is an alternative of says nothing. Without such ones,
/// descending through alternatives comes to an end, on which everything here relies.
fn cut_cycles(shapes: &mut [Shape], id: usize, visits: &mut [Visit]) {
    match visits.get_mut(id) {
        Some(visit @ Visit::Ahead) => *visit = Visit::Open,
        _ => return,
    }
    let mut groups = shapes.get_mut(id).map(|it| std::mem::take(&mut it.groups)).unwrap_or_default();
    for group in &mut groups {
        group.retain(|it| {
            cut_cycles(shapes, it.0 as usize, visits);
            visits.get(it.0 as usize) == Some(&Visit::Done)
        });
    }
    groups.retain(|it| !it.is_empty());
    if let Some(shape) = shapes.get_mut(id) {
        shape.groups = groups;
    }
    if let Some(visit) = visits.get_mut(id) {
        *visit = Visit::Done;
    }
}

/// A map in an alternative narrows the kinds of the whole; references may be cyclic, so narrowing
/// repeats until nothing changes. Bounded, because a degenerate cycle narrows nothing.
fn settle_kinds(shapes: &mut [Shape]) {
    for _ in 0..16 {
        let before: Vec<Kinds> = shapes.iter().map(|it| it.kinds).collect();
        let kinds_of = |id: &Id| before.get(id.0 as usize).copied().unwrap_or(Kinds::ALL);
        let mut is_settled = true;
        for shape in shapes.iter_mut() {
            for group in &shape.groups {
                let group = group.iter().map(kinds_of).fold(Kinds::NONE, Kinds::or);
                let narrowed = shape.kinds.and(group);
                is_settled &= narrowed == shape.kinds;
                shape.kinds = narrowed;
            }
        }
        if is_settled {
            return;
        }
    }
}

struct Compiler<'a> {
    document: &'a Json,
    shapes: Vec<Shape>,
    references: HashMap<&'a str, Id>,
}

impl<'a> Compiler<'a> {
    /// The first shape of the arena admits everything.
    const ANY: Id = Id(0);

    fn shape(&mut self, schema: &'a Json) -> Id {
        match schema {
            Json::Bool(false) => self.push(Shape { kinds: Kinds::NONE, ..Shape::default() }),
            Json::Object(keywords) => match keywords.get("$ref").and_then(Json::as_str) {
                Some(reference) if keywords.keys().all(|it| !is_constraint(it)) => self.reference(reference),
                _ => {
                    let shape = self.keywords(keywords);
                    self.push(shape)
                }
            },
            _ => Self::ANY,
        }
    }

    fn push(&mut self, shape: Shape) -> Id {
        let id = Id(u32::try_from(self.shapes.len()).unwrap_or(0));
        self.shapes.push(shape);
        id
    }

    /// A place in the arena is taken before the target is compiled, because it may refer to itself.
    fn reference(&mut self, reference: &'a str) -> Id {
        if let Some(id) = self.references.get(reference) {
            return *id;
        }
        let target = match reference.strip_prefix('#') {
            Some(pointer) => self.document.pointer(pointer),
            None => None,
        };
        let id = self.push(Shape::default());
        self.references.insert(reference, id);
        let shape = match target {
            Some(Json::Object(keywords)) => self.keywords(keywords),
            Some(Json::Bool(false)) => Shape { kinds: Kinds::NONE, ..Shape::default() },
            _ => Shape::default(),
        };
        if let Some(slot) = self.shapes.get_mut(id.0 as usize) {
            *slot = shape;
        }
        id
    }

    fn keywords(&mut self, keywords: &'a serde_json::Map<String, Json>) -> Shape {
        let mut shape = Shape {
            kinds: kinds(keywords),
            minimum: keywords.get("minimum").and_then(Json::as_f64),
            maximum: keywords.get("maximum").and_then(Json::as_f64),
            format: keywords.get("format").and_then(Json::as_str).map(str::to_owned),
            object: self.object(keywords),
            ..Shape::default()
        };
        if let Some(literals) = keywords.get("enum").and_then(Json::as_array) {
            shape.literals.clone_from(literals);
        }
        if let Some(literal) = keywords.get("const") {
            shape.literals = vec![literal.clone()];
        }
        if !shape.literals.is_empty() {
            shape.kinds = shape.kinds.and(shape.literals.iter().map(Kinds::of_json).fold(Kinds::NONE, Kinds::or));
        }
        if let Some(items) = keywords.get("items") {
            shape.items = Some(self.shape(items));
        }
        if let Some(items) = keywords.get("prefixItems").and_then(Json::as_array) {
            shape.first_items = items.iter().map(|it| self.shape(it)).collect();
        }
        if let Some(reference) = keywords.get("$ref").and_then(Json::as_str) {
            shape.groups.push(vec![self.reference(reference)]);
        }
        for all in keywords.get("allOf").and_then(Json::as_array).into_iter().flatten() {
            let id = self.shape(all);
            shape.groups.push(vec![id]);
        }
        for name in ["oneOf", "anyOf"] {
            if let Some(alternatives) = keywords.get(name).and_then(Json::as_array) {
                let alternatives: Vec<_> = alternatives.iter().map(|it| self.shape(it)).collect();
                shape.groups.push(alternatives);
            }
        }
        self.join_literals(&mut shape);
        shape
    }

    fn object(&mut self, keywords: &'a serde_json::Map<String, Json>) -> Option<Object> {
        let is_object =
            ["properties", "required", "additionalProperties", "unevaluatedProperties", "patternProperties"]
                .iter()
                .any(|it| keywords.contains_key(*it));
        if !is_object {
            return None;
        }
        let mut object = Object::default();
        for (name, schema) in keywords.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let id = self.shape(schema);
            object.properties.insert(name.clone(), id);
            object.names.push(name.clone());
        }
        for name in keywords.get("required").and_then(Json::as_array).into_iter().flatten() {
            object.required.extend(name.as_str().map(str::to_owned));
        }
        object.rest = match keywords.get("additionalProperties").or_else(|| keywords.get("unevaluatedProperties")) {
            Some(Json::Bool(false)) => Rest::Refused,
            Some(schema @ Json::Object(_)) => Rest::Each(self.shape(schema)),
            _ => Rest::Allowed,
        };
        let patterns = keywords.get("patternProperties").and_then(Json::as_object);
        if let Some(schema) = patterns.and_then(|it| it.values().next()) {
            object.rest = Rest::Each(self.shape(schema));
        }
        Some(object)
    }

    /// An enumeration whose values carry descriptions comes as alternatives of one value each.
    /// Joined, a wrong value is told all of them.
    fn join_literals(&mut self, shape: &mut Shape) {
        for group in &mut shape.groups {
            let is_literal = |id: &Id| {
                self.shapes.get(id.0 as usize).is_some_and(|it| {
                    it.kinds == Kinds::STR && !it.literals.is_empty() && it.groups.is_empty() && it.object.is_none()
                })
            };
            let (mut literal, others): (Vec<Id>, Vec<Id>) = group.iter().partition(|it| is_literal(it));
            if literal.len() < 2 {
                continue;
            }
            let literals: Vec<Json> = literal
                .drain(..)
                .filter_map(|it| self.shapes.get(it.0 as usize))
                .flat_map(|it| it.literals.iter().cloned())
                .collect();
            let joined = Id(u32::try_from(self.shapes.len()).unwrap_or(0));
            self.shapes.push(Shape { kinds: Kinds::STR, literals, ..Shape::default() });
            *group = std::iter::once(joined).chain(others).collect();
        }
    }
}

fn kinds(keywords: &serde_json::Map<String, Json>) -> Kinds {
    match keywords.get("type") {
        Some(Json::String(name)) => Kinds::named(name),
        Some(Json::Array(names)) => {
            names.iter().filter_map(Json::as_str).map(Kinds::named).fold(Kinds::NONE, Kinds::or)
        }
        _ => Kinds::ALL,
    }
}

/// Whether a keyword beside `$ref` restricts the value, rather than describing it.
fn is_constraint(keyword: &str) -> bool {
    matches!(
        keyword,
        "type"
            | "properties"
            | "required"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "patternProperties"
            | "items"
            | "prefixItems"
            | "enum"
            | "const"
            | "minimum"
            | "maximum"
            | "oneOf"
            | "anyOf"
            | "allOf"
    )
}

/// Whether a value is one of the literals, letter case aside; gives the canonical one.
pub(super) fn matching_literal<'a>(literals: &'a [Json], node: &Node) -> Option<&'a Json> {
    let exact = |it: &&Json| match (it, &node.value) {
        (Json::String(a), Value::Str(b)) => a == b,
        (Json::Null, Value::Null) => true,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::Number(a), Value::Int(b)) => a.as_i64() == Some(*b),
        (Json::Number(a), Value::UInt(b)) => a.as_u64() == Some(*b),
        (Json::Number(a), Value::Float(b)) => a.as_f64() == Some(*b),
        _ => false,
    };
    let folded = |it: &&Json| match (it, &node.value) {
        (Json::String(a), Value::Str(b)) => a.eq_ignore_ascii_case(b),
        _ => false,
    };
    literals.iter().find(exact).or_else(|| literals.iter().find(folded))
}
