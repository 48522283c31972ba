//! `accessLog`.

use std::collections::BTreeMap;

use filters::Scope;
use filters::access_log::{Config, Policy};

use crate::pb;
use crate::pb::access_log::Field;

pub(super) fn encode(it: &Policy) -> pb::AccessLog {
    let Policy { filter, add, remove } = it;
    let field = |(name, field): &(String, filters::expr::Expression)| Field {
        name: name.clone(),
        expression: field.to_string(),
    };
    pb::AccessLog {
        filter: filter.as_ref().map(ToString::to_string),
        add: add.iter().map(field).collect(),
        remove: remove.clone(),
    }
}

pub(super) fn decode(it: pb::AccessLog, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::AccessLog { filter, add: list, remove } = it;
    let mut add = BTreeMap::new();
    for (position, Field { name, expression }) in list.into_iter().enumerate() {
        if add.insert(name, expression).is_some() {
            scope.at("add", |scope| scope.problem_at(&format!("[{position}]"), "the name is here twice"));
        }
    }
    Config { filter, add, remove, otlp: None, database: None }.lower(scope)
}
