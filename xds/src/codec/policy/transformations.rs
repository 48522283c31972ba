//! `transformations`: expressions travel as their text.

use std::collections::BTreeMap;

use filters::Scope;
use filters::expr::Expression;
use filters::transformations::{Config, Policy, Transform, TransformConfig};

use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::Transformations {
    let Policy { request, response } = it;
    pb::Transformations { request: request.as_ref().map(encode_one), response: response.as_ref().map(encode_one) }
}

fn encode_one(it: &Transform) -> pb::Transformation {
    let Transform { metadata, replace, add, set, remove, body, .. } = it;
    pb::Transformation {
        metadata: metadata.iter().map(|(name, it)| entry(name, it)).collect(),
        replace: replace.as_ref().map(text),
        add: add.iter().map(|(name, it)| entry(name.as_str(), it.expression())).collect(),
        set: set.iter().map(|(part, it)| entry(part.name(), it.expression())).collect(),
        remove: remove.iter().map(|it| it.as_str().to_owned()).collect(),
        body: body.as_ref().map(text),
    }
}

fn entry(name: &str, it: &Expression) -> pb::NamedExpression {
    pb::NamedExpression { name: name.to_owned(), expression: text(it) }
}

fn text(it: &Expression) -> String {
    it.text().to_owned()
}

pub(super) fn decode(it: pb::Transformations, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Transformations { request, response } = it;
    let before = scope.problems.len();
    let request = request.map(|it| scope.at("request", |scope| decode_one(it, scope)));
    let response = response.map(|it| scope.at("response", |scope| decode_one(it, scope)));
    Config { request, response }.lower(scope).filter(|_| scope.problems.len() == before)
}

fn decode_one(it: pb::Transformation, scope: &mut Scope<'_>) -> TransformConfig {
    let pb::Transformation { metadata, replace, add, set, remove, body } = it;
    TransformConfig {
        add: entries(scope, "add", add),
        set: entries(scope, "set", set),
        remove,
        replace,
        body,
        metadata: entries(scope, "metadata", metadata),
    }
}

/// A name that comes twice is a problem.
fn entries(scope: &mut Scope<'_>, key: &str, list: Vec<pb::NamedExpression>) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    for (position, pb::NamedExpression { name, expression }) in list.into_iter().enumerate() {
        if entries.insert(name, expression).is_some() {
            scope.at(key, |scope| scope.problem_at(&format!("[{position}]"), "the name is here twice"));
        }
    }
    entries
}
