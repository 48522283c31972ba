//! Paths such as `routes[3].policies.cors.allowOrigins[0]`: built while descending, without
//! allocating until somebody asks, and resolved back to a place.

use std::fmt;

use super::{Node, Place, Value};

/// A path on the stack of whoever descends.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Within(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(super) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub(super) fn key(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(name) }
    }

    pub(super) fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// The root of a tree that stands under a top-level key. It prints as a root does.
    pub(super) fn within(name: &'a str) -> Self {
        Path { parent: None, step: Step::Within(name) }
    }

    /// Whether this path and then `name`, indices left out, end with the keys of `suffix`.
    pub(super) fn ends_with(&self, name: &str, suffix: &str) -> bool {
        let mut keys = suffix.rsplit('.');
        if keys.next() != Some(name) {
            return false;
        }
        let mut path = Some(self);
        keys.all(|key| {
            loop {
                let Some(here) = path else { return false };
                path = here.parent;
                if let Step::Key(name) | Step::Within(name) = here.step {
                    return name == key;
                }
            }
        })
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.step {
            Step::Root | Step::Within(_) => Ok(()),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(name) => {
                let glue = if parent.parent.is_none() { "" } else { "." };
                if is_simple(name) { write!(f, "{glue}{name}") } else { write!(f, "[{name:?}]") }
            }
        }
    }
}

/// Whether a key can be written after a dot; others are written `["like this"]`.
fn is_simple(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'<' | b'/'))
}

/// Where `path` was written: the key for a map's entry, the value for an element. A path that goes
/// further than the document does gives its deepest ancestor there is; none for no path at all.
#[must_use]
pub fn place_of(root: &Node, path: &str) -> Option<Place> {
    Some(resolve(root, &steps(path)?).unwrap_or(root.at))
}

/// The place of the deepest step there is; none when not even the first is.
pub(super) fn resolve(root: &Node, steps: &[Found]) -> Option<Place> {
    let (mut node, mut at) = (root, None);
    for step in steps {
        let found = match (step, &node.value) {
            (Found::Key(name), Value::Map(entries)) => {
                entries.iter().find(|(key, _)| key.name == *name).map(|(key, node)| (node, key.at))
            }
            (Found::Index(index), Value::Seq(nodes)) => nodes.get(*index).map(|node| (node, node.at)),
            _ => None,
        };
        let Some((next, place)) = found else { break };
        node = next;
        at = Some(place);
    }
    at
}

#[derive(Debug, PartialEq)]
pub(super) enum Found {
    Key(String),
    Index(usize),
}

/// None for what is not a path.
pub(super) fn steps(path: &str) -> Option<Vec<Found>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if rest.starts_with("[\"") {
            let inner = rest.strip_prefix('[')?;
            let mut stream = serde_json::Deserializer::from_str(inner).into_iter::<String>();
            let name = stream.next()?.ok()?;
            rest = inner.get(stream.byte_offset()..)?.strip_prefix(']')?;
            steps.push(Found::Key(name));
        } else if let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner.split_once(']')?;
            steps.push(Found::Index(index.parse().ok()?));
            rest = after;
        } else {
            let inner = rest.strip_prefix('.').unwrap_or(rest);
            let end = inner.find(['.', '[']).unwrap_or(inner.len());
            let (name, after) = inner.split_at_checked(end)?;
            if name.is_empty() {
                return None;
            }
            steps.push(Found::Key(name.to_owned()));
            rest = after;
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn a_path_leads_to_its_key_or_to_the_deepest_ancestor() {
        let root = parse("t", "a:\n  - b: 1\n    \"x.y\": 2\n  - 7\nc: {d: {}}\n").unwrap();
        for (path, line, column) in [
            ("", 1, 1),
            ("a", 1, 1),
            ("a[0]", 2, 5),
            ("a[0].b", 2, 5),
            ("a[0][\"x.y\"]", 3, 5),
            ("a[1]", 4, 5),
            ("a[9].b", 1, 1),
            ("c.d.e.f", 5, 5),
            ("nothing", 1, 1),
        ] {
            assert_eq!(place_of(&root, path), Some(Place { line, column }), "{path}");
        }
        for path in ["a[x]", "a[0", "a..b", "[\"x"] {
            assert_eq!(place_of(&root, path), None, "{path}");
        }
    }

    #[test]
    fn a_printed_path_can_be_read_back() {
        let root = Path::ROOT;
        let (a, hard) = (root.key("routes"), "x.y[\"");
        let b = a.index(3);
        let c = b.key(hard);
        let d = c.key("z");
        assert_eq!(d.to_string(), "routes[3][\"x.y[\\\"\"].z");
        let expected = [Found::Key("routes".into()), Found::Index(3), Found::Key(hard.into()), Found::Key("z".into())];
        assert_eq!(steps(&d.to_string()).unwrap(), expected);
    }
}
