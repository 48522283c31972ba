//! `csrf`.

use filters::Scope;
use filters::csrf::{Config, Policy};

use super::cors;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::Csrf {
    let Policy { additional_origins } = it;
    pb::Csrf { additional_origins: additional_origins.iter().map(cors::origin).collect() }
}

pub(super) fn decode(it: pb::Csrf, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Csrf { additional_origins } = it;
    Config { additional_origins }.lower(scope)
}
