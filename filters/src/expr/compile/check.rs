//! What is known of types before an evaluation, which is little: enough to refuse
//! `response.code == "500"` and a filter that is a number.

use super::Compiler;
use crate::expr::node::{Kind, Node, truths};
use crate::expr::types::Type;
use crate::expr::value::Value;

impl Compiler<'_> {
    pub(super) fn check_comparable(&mut self, at: u32, left: &Node, right: &Node) {
        if self.vocabulary.declared.unchecked || self.vocabulary.declared.alone {
            return;
        }
        let (left, right) = (type_of(left), type_of(right));
        if !left.compares(right) {
            self.problem(at, format!("{} and {} cannot be compared", left.label(), right.label()));
        }
    }

    /// Operands of `&&` and `||`.
    pub(super) fn check_truths(&mut self, parts: &[Node]) {
        if self.vocabulary.declared.unchecked || self.vocabulary.declared.alone {
            return;
        }
        for part in parts {
            let of = type_of(part);
            if !of.compares(Type::Bool) {
                self.problem(part.at, format!("true or false is wanted, and this is {}", of.label()));
            }
        }
    }
}

pub(super) fn type_of(node: &Node) -> Type {
    match &node.kind {
        Kind::Const(value) => match value {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Uint(_) => Type::Uint,
            Value::Double(_) => Type::Double,
            Value::String(_) => Type::String,
            Value::Bytes(_) => Type::Bytes,
            Value::List(_) => Type::List,
            Value::Map(_) => Type::Map,
            Value::Duration(_) => Type::Duration,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Type(_) | Value::Optional(_) | Value::Ip(_) | Value::Cidr(_) | Value::Secret(_) => Type::Dyn,
        },
        Kind::Attribute(_, of) => *of,
        Kind::Object(_) | Kind::Map(_) => Type::Map,
        Kind::List(_) => Type::List,
        Kind::Cookie(_) | Kind::Parameter(_) | Kind::Replace(..) => Type::String,
        truths!() => Type::Bool,
        Kind::Let(parts) => {
            let [_, body] = &**parts;
            type_of(body)
        }
        Kind::Choice(parts) => {
            let [_, yes, no] = &**parts;
            let (yes, no) = (type_of(yes), type_of(no));
            if yes == no { yes } else { Type::Dyn }
        }
        _ => Type::Dyn,
    }
}
