//! What rules of limits by key are told: the key, how many of them, and whether it counts.

use super::{KEYS_MAX, key};
use crate::Scope;
use crate::expr::Expression;

/// The bounds and the expression of a rule, looked at alike for every limit.
pub(crate) fn lower(key: Option<String>, keys_max: usize, scope: &mut Scope<'_>) -> Option<Expression> {
    if !(1..=KEYS_MAX).contains(&keys_max) {
        scope.problem_at("maxKeys", format!("write 1 to {KEYS_MAX}"));
    }
    let site = scope.site;
    key.and_then(|text| scope.check("key", key::parse(&text, site)))
}

/// Most rules of one policy.
pub(crate) const RULES_MAX: usize = 16;

/// Lowers each rule in the light of those before it; reports that there is none, or too many.
pub(crate) fn each<C, R>(
    written: Vec<C>,
    scope: &mut Scope<'_>,
    lower: impl Fn(C, &[R], &mut Scope<'_>) -> Option<R>,
) -> Option<Vec<R>> {
    let before = scope.problems.len();
    if written.is_empty() {
        scope.problem("write at least one limit");
    }
    if written.len() > RULES_MAX {
        scope.problem(format!("more than {RULES_MAX} limits"));
    }
    let mut rules: Vec<R> = Vec::with_capacity(written.len().min(RULES_MAX));
    for (position, config) in written.into_iter().enumerate() {
        let rule = scope.at(format!("[{position}]"), |scope| lower(config, &rules, scope));
        rules.extend(rule);
    }
    (scope.problems.len() == before).then_some(rules)
}

pub(crate) fn keys_default() -> usize {
    super::KEYS_DEFAULT
}
