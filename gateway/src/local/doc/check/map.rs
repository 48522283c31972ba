//! The check of a map: which keys it may have, which it must have, and what was meant by others.

use super::super::path::Path;
use super::super::{Key, Node, Place, Problem, Value};
use super::branch::{self, Entries};
use super::schema::{Id, Kinds, Object, Rest};
use super::{Checker, Walk, words};

/// In one map, no more unknown keys than this are told what may have been meant.
const HINTS_MAX: usize = 32;

/// The objects a map has to satisfy together: its own, and those of the alternatives chosen.
type Objects<'a> = Vec<&'a Object>;

impl Checker {
    /// Unknown and missing keys of the root, for a document whose sections are checked apart.
    pub(in super::super) fn check_keys(&self, keys: &[&Key], at: Place) -> Vec<Problem> {
        let mut walk = Walk { checker: self, schema: &self.schema, problems: Vec::new() };
        let Some(object) = &self.schema.shape(self.schema.root).object else { return Vec::new() };
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        let is_unknown = |key: &&&Key| object.rest == Rest::Refused && !object.properties.contains_key(&key.name);
        let unknown: Vec<&Key> = keys.iter().filter(is_unknown).copied().collect();
        walk.all_unknown(&unknown, self.schema.root, &names, &Path::ROOT);
        walk.required(&[object], |name| names.contains(&name), at, &Path::ROOT);
        walk.problems
    }
}

impl<'a> Walk<'a> {
    pub(super) fn map(&mut self, node: &mut Node, id: Id, path: &Path<'_>) {
        let shape = self.schema.shape(id);
        if let (None, [group]) = (&shape.object, shape.groups.as_slice()) {
            return self.one_of_maps(node, group, path);
        }
        let at = node.at;
        let Value::Map(entries) = &mut node.value else { return };
        let mut objects = Objects::new();
        let mut open_choices = Vec::new();
        self.objects(id, entries, &mut objects, &mut open_choices);
        for choice in &open_choices {
            let message = words::expected_any(self.schema, choice);
            self.problems.push(Problem::new(at, path.to_string(), message));
        }
        self.entries(entries, id, &objects, path);
        let is_present = |name: &str| entries.iter().any(|(key, _)| key.name == name);
        self.required(&objects, is_present, at, path);
    }

    /// A map where one of several shapes may stand.
    fn one_of_maps(&mut self, node: &mut Node, group: &[Id], path: &Path<'_>) {
        let candidates = branch::admitting(self.schema, group, Kinds::MAP);
        let Value::Map(entries) = &node.value else { return };
        if candidates.len() < 2 {
            return match candidates.first() {
                Some(only) => self.node(node, *only, path),
                None => self.alternatives(node, group, path),
            };
        }
        if candidates.iter().all(|it| branch::tag_key(self.schema, *it).is_some()) {
            return self.tagged(node, group, &candidates, path);
        }
        match branch::best(self.schema, &candidates, entries).0.as_slice() {
            [only] => self.node(node, *only, path),
            several => self.try_each(node, several, path),
        }
    }

    /// How serde writes enums: the one key there may be says which variant it is.
    fn tagged(&mut self, node: &mut Node, group: &[Id], candidates: &[Id], path: &Path<'_>) {
        let Value::Map(entries) = &node.value else { return };
        let present = |with_null: bool| -> Vec<Id> {
            let is_present =
                |name: &str| entries.iter().any(|(key, node)| key.name == name && (with_null || !node.is_null()));
            let tag = |it: &Id| branch::tag_key(self.schema, *it).is_some_and(is_present);
            candidates.iter().copied().filter(tag).collect()
        };
        let mut chosen = present(false);
        if chosen.is_empty() {
            chosen = present(true);
        }
        match chosen.as_slice() {
            [] => self.no_tag(node, group, candidates, path),
            [only] => self.node(node, *only, path),
            _ => self.two_tags(entries, candidates, path),
        }
    }

    fn no_tag(&mut self, node: &Node, group: &[Id], candidates: &[Id], path: &Path<'_>) {
        let Value::Map(entries) = &node.value else { return };
        let message = words::expected_any(self.schema, group);
        let Some((key, _)) = entries.first() else { return self.report(node, path, message) };
        let message = format!("{message}, found `{}`", key.name);
        let mut problem = Problem::new(key.at, path.to_string(), message);
        if let Some((text, hint)) = self.known(&key.name, path) {
            problem = Problem::new(key.at, path.key(&key.name).to_string(), text);
            problem.hint = hint;
        } else if let Some(near) =
            words::nearest(&key.name, candidates.iter().filter_map(|it| branch::tag_key(self.schema, *it)))
        {
            problem = problem.hint(format!("did you mean `{near}`?"));
        }
        self.problems.push(problem);
    }

    fn two_tags(&mut self, entries: &Entries, candidates: &[Id], path: &Path<'_>) {
        let tags: Vec<&Key> = entries
            .iter()
            .filter(|(key, _)| candidates.iter().any(|it| self.schema.has_name(*it, &key.name)))
            .map(|(key, _)| key)
            .collect();
        if let [first, second, ..] = tags.as_slice() {
            let message = format!("`{}` cannot be combined with `{}`", second.name, first.name);
            self.problems.push(Problem::new(second.at, path.to_string(), message));
        }
    }

    /// Gathers what the map has to satisfy; groups of which nothing is present go to `open`.
    fn objects(&self, id: Id, entries: &Entries, out: &mut Objects<'a>, open: &mut Vec<&'a [Id]>) {
        let schema = self.schema;
        let shape = schema.shape(id);
        out.extend(&shape.object);
        for group in &shape.groups {
            let candidates = branch::admitting(schema, group, Kinds::MAP);
            let (best, fit) = branch::best(schema, &candidates, entries);
            // Of several that fit alike, the one whose key comes first in the file was meant.
            let named = |it: &&Id| entries.iter().position(|(key, _)| schema.has_name(**it, &key.name));
            let chosen = best.iter().min_by_key(|it| named(it).unwrap_or(usize::MAX));
            match (chosen, fit) {
                (Some(_), Some(fit)) if !fit.is_complete && fit.known == 0 && candidates.len() > 1 => open.push(group),
                (Some(chosen), _) => self.objects(*chosen, entries, out, open),
                (None, _) => {}
            }
        }
    }

    fn entries(&mut self, entries: &mut Vec<(Key, Node)>, id: Id, objects: &Objects<'a>, path: &Path<'_>) {
        let schema = self.schema;
        let is_closed = objects.iter().any(|it| it.rest == Rest::Refused);
        let rest = objects.iter().find_map(|it| if let Rest::Each(id) = it.rest { Some(id) } else { None });
        let mut absent = false;
        let mut unknown = Vec::new();
        for (index, (key, node)) in entries.iter_mut().enumerate() {
            let Some(property) = objects.iter().find_map(|it| it.properties.get(&key.name)).copied() else {
                match rest {
                    Some(rest) => self.node(node, rest, &path.key(&key.name)),
                    None if is_closed => unknown.push(index),
                    None => {}
                }
                continue;
            };
            let is_required = || objects.iter().any(|it| it.required.contains(&key.name));
            if node.is_null() && !schema.admits(property, Kinds::NULL) && !is_required() {
                absent = true;
                continue;
            }
            self.node(node, property, &path.key(&key.name));
        }
        if !unknown.is_empty() {
            let names: Vec<&str> = entries.iter().map(|(key, _)| key.name.as_str()).collect();
            let unknown: Vec<&Key> = unknown.into_iter().filter_map(|it| entries.get(it)).map(|(key, _)| key).collect();
            self.all_unknown(&unknown, id, &names, path);
        }
        if absent {
            let is_absent = |key: &Key, node: &Node| {
                let property = objects.iter().find_map(|it| it.properties.get(&key.name));
                node.is_null()
                    && property.is_some_and(|it| !schema.admits(*it, Kinds::NULL))
                    && !objects.iter().any(|it| it.required.contains(&key.name))
            };
            entries.retain(|(key, node)| !is_absent(key, node));
        }
    }

    fn required(&mut self, objects: &[&Object], is_present: impl Fn(&str) -> bool, at: Place, path: &Path<'_>) {
        let mut told: Vec<&str> = Vec::new();
        for name in objects.iter().flat_map(|it| &it.required) {
            if !is_present(name) && !told.contains(&name.as_str()) {
                told.push(name);
                self.problems.push(Problem::new(at, path.to_string(), format!("the key `{name}` is missing")));
            }
        }
    }

    fn all_unknown(&mut self, keys: &[&Key], id: Id, siblings: &[&str], path: &Path<'_>) {
        let (first, others) = keys.split_at_checked(HINTS_MAX).unwrap_or((keys, &[]));
        for key in first {
            self.unknown(key, id, siblings, path);
        }
        for key in others {
            let here = path.key(&key.name).to_string();
            self.problems.push(Problem::new(key.at, here, format!("unknown key `{}`", key.name)));
        }
    }

    /// A key nothing was declared for. `siblings` are all keys of its map.
    fn unknown(&mut self, key: &Key, id: Id, siblings: &[&str], path: &Path<'_>) {
        let name = key.name.as_str();
        let here = path.key(name).to_string();
        if let Some((message, hint)) = self.known(name, path) {
            self.problems.push(Problem { hint, ..Problem::new(key.at, here, message) });
            return;
        }
        let mut known = Vec::new();
        self.schema.all_names(id, &mut known);
        if known.contains(&name) {
            let other = siblings.iter().find(|it| **it != name && self.is_exclusive(id, it, name));
            let message = match other {
                Some(other) => format!("`{name}` cannot be combined with `{other}`"),
                None => format!("`{name}` cannot be combined with the other keys here"),
            };
            self.problems.push(Problem::new(key.at, here, message));
            return;
        }
        let problem = Problem::new(key.at, here, format!("unknown key `{name}`"));
        let owners = self.checker.owners.get(name).map_or(&[][..], Vec::as_slice);
        let child = owners.iter().find(|it| known.contains(&it.as_str()));
        let near = words::nearest(name, known.iter().copied().filter(|it| !siblings.contains(it)));
        let at_root = self.schema.has_name(self.schema.root, name);
        let hint = match (child, near, owners) {
            (Some(child), _, _) => Some(format!("`{name}` belongs under `{child}`")),
            (None, Some(near), _) => Some(format!("did you mean `{near}`?")),
            (None, None, _) if at_root => Some(format!("`{name}` belongs at the top level")),
            (None, None, [first, others @ ..]) if others.len() < 3 => {
                let others: String = others.iter().map(|it| format!(" or `{it}`")).collect();
                Some(format!("`{name}` belongs under `{first}`{others}"))
            }
            _ => None,
        };
        self.problems.push(Problem { hint, ..problem });
    }

    /// Whether two keys stand in different alternatives of one group, and in no common one.
    fn is_exclusive(&self, id: Id, a: &str, b: &str) -> bool {
        let schema = self.schema;
        schema.shape(id).groups.iter().any(|group| {
            let has = |name: &str| group.iter().any(|it| schema.has_name(*it, name));
            let together = group.iter().find(|it| schema.has_name(**it, a) && schema.has_name(**it, b));
            has(a) && has(b) && together.is_none_or(|it| self.is_exclusive(*it, a, b))
        })
    }

    /// What is wrong with a key of the language that this version does not take, or not here.
    fn known(&self, name: &str, path: &Path<'_>) -> Option<(String, Option<String>)> {
        let told = |keys: &[(String, String)]| {
            let (_, hint) = keys.iter().find(|(suffix, _)| path.ends_with(name, suffix))?;
            Some(Some(hint.clone()).filter(|it| !it.is_empty()))
        };
        if let Some(hint) = told(&self.checker.moved) {
            return Some((format!("`{name}` has moved"), hint));
        }
        Some((format!("`{name}` is not supported by this version yet"), told(&self.checker.unsupported)?))
    }
}
