//! What a client is hashed by, where it is to stay on one endpoint.

use filters::field::{Lookup, Value};
use pingora_proxy::Session;

use super::ctx::Ctx;
use crate::random;

/// Hashes the affinity source of the request, if there is one and it is not empty.
pub(super) fn compute(session: &Session, ctx: &mut Ctx) {
    let Some(settings) = ctx.settings().cloned() else { return };
    let Some(policy) = settings.session_affinity() else { return };
    let asked = super::log::Asked { head: session.req_header(), ctx };
    ctx.affinity = match asked.get(&policy.source) {
        Some(Value::Text(text)) if !text.is_empty() => Some(random::affinity_key(text.as_bytes())),
        Some(Value::Int(number)) => Some(random::affinity_key(&number.to_be_bytes())),
        _ => None,
    };
}
