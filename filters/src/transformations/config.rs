//! Transformations as written.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{Part, Policy, Side, Transform, Value};
use crate::expr::{Expression, Site, Vocabulary};
use crate::{Scope, head};

/// Most entries of one kind.
const ENTRIES_MAX: usize = 64;

/// Changes of requests and responses by expressions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Transformations")]
pub struct Config {
    /// Changes of requests.
    pub request: Option<TransformConfig>,
    /// Changes of responses.
    pub response: Option<TransformConfig>,
}

/// Changes of one message: `metadata`, `replace`, `add`, `set`, `remove`, `body`, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Transformation")]
pub struct TransformConfig {
    /// Headers written beside those of the same name; values are CEL.
    pub add: BTreeMap<String, String>,
    /// Headers written in place of those of the same name; values are CEL. On requests also `host` (or `:authority`),
    /// `:path` and `:method`, on responses `:status`.
    pub set: BTreeMap<String, String>,
    /// Headers taken away.
    pub remove: Vec<String>,
    /// CEL that gives a map: its entries replace all headers.
    pub replace: Option<String>,
    /// CEL that gives the new body: text or bytes, anything else becomes JSON.
    pub body: Option<String>,
    /// Values for later expressions (`metadata.NAME`), each CEL.
    pub metadata: BTreeMap<String, String>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { request, response } = self;
        if request.is_none() && response.is_none() {
            scope.problem("write `request`, `response` or both");
            return None;
        }
        let before = scope.problems.len();
        let request = request.map(|it| scope.at("request", |scope| it.lower(Side::Request, scope)));
        let response = response.map(|it| scope.at("response", |scope| it.lower(Side::Response, scope)));
        (scope.problems.len() == before).then_some(Policy { request, response })
    }
}

impl TransformConfig {
    fn lower(self, side: Side, scope: &mut Scope<'_>) -> Transform {
        let Self { add, set, remove, replace, body, metadata } = self;
        for (key, count) in
            [("add", add.len()), ("set", set.len()), ("remove", remove.len()), ("metadata", metadata.len())]
        {
            if count > ENTRIES_MAX {
                scope.problem_at(key, format!("more than {ENTRIES_MAX} entries"));
            }
        }
        let vocabulary = Vocabulary::of(match side {
            Side::Request => scope.site,
            Side::Response => Site::Response,
        });
        let one = |scope: &mut Scope<'_>, key: &str, text: Option<String>| {
            let text = text?;
            scope.check(key, Expression::parse(&text, &vocabulary))
        };
        let metadata = scope.at("metadata", |scope| {
            let entry = |(name, text): (String, String)| {
                let expression = scope.check(&name, named(&name).and_then(|()| Expression::parse(&text, &vocabulary)));
                expression.map(|it| (name.into(), it))
            };
            metadata.into_iter().filter_map(entry).collect()
        });
        let replace = one(scope, "replace", replace);
        let add = scope.at("add", |scope| {
            let name = |name: &str| one_host(name).and_then(|()| head::parse_name(name)).map(Part::Header);
            entries(add, name, &vocabulary, scope)
        });
        let add = add.into_iter().filter_map(|(part, value)| Some((part.header()?, value))).collect();
        let set = scope.at("set", |scope| {
            let set = entries(set, |name| Part::parse(name, side), &vocabulary, scope);
            if set.iter().filter(|(part, _)| *part == Part::Authority).count() > 1 {
                scope.problem("`host` and `:authority` are the same: write one");
            }
            set
        });
        let remove = scope.each("remove", &remove, |name| one_host(name).and_then(|()| head::parse_name(name)));
        let body = one(scope, "body", body);
        Transform::new(Transform { metadata, replace, add, set, remove, body, ..Transform::default() })
    }
}

/// Parts with their values, in one order, whatever the letter case they were written in.
fn entries(
    written: BTreeMap<String, String>,
    part: impl Fn(&str) -> Result<Part, String>,
    vocabulary: &Vocabulary,
    scope: &mut Scope<'_>,
) -> Vec<(Part, Value)> {
    let mut seen = BTreeSet::new();
    let mut lowered = Vec::with_capacity(written.len());
    for (name, text) in written {
        if !seen.insert(name.to_ascii_lowercase()) {
            scope.problem_at(&name, format!("`{name}` is here twice, in different case"));
        }
        let part = scope.check(&name, part(&name));
        let expression = scope.check(&name, Expression::parse(&text, vocabulary));
        let Some((part, expression)) = part.zip(expression) else { continue };
        let value = Value::new(expression, &part);
        lowered.extend(scope.check(&name, value).map(|value| (part, value)));
    }
    lowered.sort_by(|left, right| left.0.name().cmp(right.0.name()));
    lowered
}

/// A name that expressions can write after a dot.
fn named(name: &str) -> Result<(), String> {
    let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        return Err("a name is of up to 64 letters, digits, `_`, `-` and `.`".to_owned());
    }
    Ok(())
}

fn one_host(name: &str) -> Result<(), String> {
    if name.eq_ignore_ascii_case("host") || name.starts_with(':') {
        return Err(format!("a message has exactly one `{name}`: use `set`"));
    }
    Ok(())
}
