//! Which alternative of a `oneOf` or `anyOf` the operator meant.
//!
//! Decided by the kind of the value first, then for maps by the keys present: a tag whose value
//! names the alternative outweighs everything, then having all required keys, then the number of
//! keys known. What remains undecided is tried in order.

use super::super::{Key, Node, Value};
use super::schema::{Id, Kinds, Schema, matching_literal};

pub(super) type Entries = [(Key, Node)];

/// How well a map fits an alternative; greater is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fit {
    tags: i32,
    pub(super) is_complete: bool,
    pub(super) known: usize,
}

pub(super) fn fit(schema: &Schema, id: Id, entries: &Entries) -> Fit {
    let known = entries.iter().filter(|(key, node)| !node.is_null() && schema.has_name(id, &key.name)).count();
    Fit { tags: tags(schema, id, entries), is_complete: is_complete(schema, id, entries), known }
}

/// Those of the best fit, in the order of the schema.
pub(super) fn best(schema: &Schema, alternatives: &[Id], entries: &Entries) -> (Vec<Id>, Option<Fit>) {
    let fits: Vec<(Id, Fit)> = alternatives.iter().map(|it| (*it, fit(schema, *it, entries))).collect();
    let best = fits.iter().map(|(_, it)| *it).max();
    (fits.into_iter().filter(|(_, it)| Some(*it) == best).map(|(id, _)| id).collect(), best)
}

/// The alternatives that admit values of this kind.
pub(super) fn admitting(schema: &Schema, alternatives: &[Id], kind: Kinds) -> Vec<Id> {
    alternatives.iter().copied().filter(|it| schema.admits(*it, kind)).collect()
}

/// The key whose presence alone selects the alternative: how serde writes enums. None for others.
pub(super) fn tag_key(schema: &Schema, id: Id) -> Option<&str> {
    let shape = schema.shape(id);
    let object = shape.object.as_ref()?;
    match (object.required.as_slice(), object.names.as_slice()) {
        ([tag], [name]) if tag == name && shape.groups.is_empty() => Some(tag),
        _ => None,
    }
}

fn is_complete(schema: &Schema, id: Id, entries: &Entries) -> bool {
    let shape = schema.shape(id);
    let has = |name: &String| entries.iter().any(|(key, node)| key.name == *name && !node.is_null());
    shape.object.as_ref().is_none_or(|it| it.required.iter().all(has))
        && shape.groups.iter().all(|group| group.iter().any(|it| is_complete(schema, *it, entries)))
}

/// Tags that match less tags that do not.
fn tags(schema: &Schema, id: Id, entries: &Entries) -> i32 {
    let Some(object) = &schema.shape(id).object else { return 0 };
    let mut sum = 0;
    for (key, node) in entries {
        let Some(property) = object.properties.get(&key.name) else { continue };
        let literals = &schema.shape(*property).literals;
        if literals.len() == 1 && matches!(node.value, Value::Str(_)) {
            sum += if matching_literal(literals, node).is_some() { 1 } else { -1 };
        }
    }
    sum
}
