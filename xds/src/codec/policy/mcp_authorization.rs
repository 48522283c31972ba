//! `mcpAuthorization`: the message of `authorization`, for what messages of MCP name.

use filters::Scope;
use filters::mcp_authorization::Policy;

use super::authorization;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::Authorization {
    authorization::encode(&it.0)
}

pub(super) fn decode(it: pb::Authorization, scope: &mut Scope<'_>) -> Option<Policy> {
    Policy::lower(authorization::config(it, scope)?, scope)
}
