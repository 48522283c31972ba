//! `ipAccess`.

use filters::Scope;
use filters::ip_access::{Config, Policy};

use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::IpAccess {
    let Policy { allow, deny } = it;
    pb::IpAccess {
        allow: allow.iter().map(ToString::to_string).collect(),
        deny: deny.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn decode(it: pb::IpAccess, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::IpAccess { allow, deny } = it;
    Config { allow, deny }.lower(scope)
}
