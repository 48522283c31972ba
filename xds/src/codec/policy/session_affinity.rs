//! `sessionAffinity`.

use filters::Scope;
use filters::session_affinity::{Config, Policy};

use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::SessionAffinity {
    let Policy { source } = it;
    pb::SessionAffinity { source: source.to_string() }
}

pub(super) fn decode(it: pb::SessionAffinity, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::SessionAffinity { source } = it;
    Config { source }.lower(scope)
}
