//! `networkAuthorization`: the message of `authorization`, for connections.

use filters::Scope;
use filters::network_authorization::Policy;

use super::authorization;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::Authorization {
    authorization::encode(&it.0)
}

pub(super) fn decode(it: pb::Authorization, scope: &mut Scope<'_>) -> Option<Policy> {
    Policy::lower(authorization::config(it, scope)?, scope)
}
