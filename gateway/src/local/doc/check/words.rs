//! How the check says what it expected, and what the operator may have meant.

use serde_json::Value as Json;

use super::super::{Node, Value};
use super::branch::tag_key;
use super::schema::{Id, Kinds, Schema};

/// Values longer than this are not repeated in messages.
const ECHO_CHARS_MAX: usize = 40;

/// `expected a string`, `expected one of `a`, `b``.
pub(super) fn expected(schema: &Schema, id: Id) -> String {
    let mut nouns = Vec::new();
    collect(schema, id, &mut nouns, 0);
    nouns.dedup();
    sentence(&nouns)
}

pub(super) fn expected_any(schema: &Schema, ids: &[Id]) -> String {
    let mut nouns = Vec::new();
    for id in ids {
        collect(schema, *id, &mut nouns, 0);
    }
    nouns.dedup();
    sentence(&nouns)
}

fn sentence(nouns: &[String]) -> String {
    match nouns {
        [] => "expected nothing here".to_owned(),
        [only] => format!("expected {only}"),
        [..] if nouns.iter().all(|it| it.starts_with('`')) => format!("expected one of {}", nouns.join(", ")),
        [others @ .., last] => format!("expected {} or {last}", others.join(", ")),
    }
}

fn collect(schema: &Schema, id: Id, out: &mut Vec<String>, depth: usize) {
    let mut push = |noun: String| {
        if !out.contains(&noun) {
            out.push(noun);
        }
    };
    let shape = schema.shape(id);
    if !shape.literals.is_empty() {
        shape.literals.iter().for_each(|it| push(literal(it)));
        return;
    }
    if let Some(tag) = tag_key(schema, id) {
        push(format!("`{tag}`"));
        return;
    }
    let kinds = shape.kinds.without(Kinds::NULL);
    if shape.object.is_none() && !shape.groups.is_empty() && depth < 8 {
        for alternative in shape.groups.iter().flatten().filter(|it| schema.shape(**it).kinds != Kinds::NULL) {
            collect(schema, *alternative, out, depth + 1);
        }
        return;
    }
    if kinds == Kinds::ALL.without(Kinds::NULL) {
        push("any value".to_owned());
        return;
    }
    for (kind, noun) in [
        (Kinds::BOOL, "true or false"),
        (Kinds::INT, "a number"),
        (Kinds::FLOAT, "a number"),
        (Kinds::STR, "a string"),
        (Kinds::SEQ, "a list"),
        (Kinds::MAP, "a map"),
    ] {
        if kinds.has(kind) {
            push(noun.to_owned());
        }
    }
}

pub(super) fn literal(it: &Json) -> String {
    match it {
        Json::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

pub(super) fn found(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
        Value::Str(_) => "a string",
        Value::Seq(_) => "a list",
        Value::Map(_) => "a map",
    }
}

/// A short text as it was written, for comparison with the texts allowed.
pub(super) fn echo(node: &Node) -> String {
    match &node.value {
        Value::Str(text) if text.chars().count() <= ECHO_CHARS_MAX => format!("`{text}`"),
        _ => found(node).to_owned(),
    }
}

/// The candidate that differs least from `name`, if it differs little.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = match name.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    if name.len() > 64 {
        return None;
    }
    let folded = fold(name);
    let candidates: Vec<&str> = candidates.into_iter().filter(|it| it.len() <= 64).collect();
    let closest = candidates
        .iter()
        .copied()
        .map(|it| (distance(&folded, &fold(it)), it))
        .filter(|(distance, it)| *distance <= most && *distance < it.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it);
    // `request` for `requestTimeout`: half of a name is often what is remembered.
    let begun = |it: &&str| folded.len() >= 4 && fold(it).starts_with(&folded);
    closest.or_else(|| candidates.iter().copied().find(begun))
}

/// Letter case and separators are what people get wrong most; they count for nothing.
fn fold(name: &str) -> Vec<char> {
    name.chars().filter(|it| !matches!(it, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Levenshtein's distance, a swap of neighbours counting as two.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (to, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let cost = (diagonal + usize::from(from != to)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, cost);
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_forgives_case_separators_and_a_few_letters() {
        let keys = ["hostnames", "matches", "backends", "policies", "tls", "name"];
        for (name, expected) in [
            ("hostname", Some("hostnames")),
            ("host_names", Some("hostnames")),
            ("Matches", Some("matches")),
            ("polices", Some("policies")),
            ("nmae", Some("name")),
            ("tsl", Some("tls")),
            ("zzz", None),
            ("x", None),
            ("poli", Some("policies")),
            ("pol", None),
        ] {
            assert_eq!(nearest(name, keys), expected, "{name}");
        }
    }

    #[test]
    fn distance_counts_single_edits() {
        for (a, b, expected) in [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            let chars = |it: &str| it.chars().collect::<Vec<_>>();
            assert_eq!(distance(&chars(a), &chars(b)), expected, "{a} {b}");
        }
    }
}
