//! `delay`. The duration is a text, as in files, since it may be an expression.

use filters::Scope;
use filters::delay::{Config, Length, Policy};

use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::Delay {
    let Policy { duration, fraction } = it;
    let duration = match duration {
        Length::Fixed(duration) => format!("{}ns", duration.as_nanos()),
        Length::Computed(expression) => expression.text().to_owned(),
    };
    pb::Delay { duration, percentage: Some(*fraction) }
}

pub(super) fn decode(it: pb::Delay, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Delay { duration, percentage } = it;
    Config { duration, percentage: percentage.unwrap_or(1.0) }.lower(scope)
}
