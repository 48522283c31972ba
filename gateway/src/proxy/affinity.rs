//! What a client is hashed by, where it is to stay on one endpoint.

use std::hash::{BuildHasher, Hasher};

use filters::field::{Lookup, Value};
use pingora_proxy::Session;

use super::ctx::Ctx;

/// Fixed seeds: every replica and every generation draws the same endpoint.
const HASHER: foldhash::quality::FixedState = foldhash::quality::FixedState::with_seed(0x6167_7765_6174_6579);

/// Hashes the affinity source of the request, if there is one and it is not empty.
pub(super) fn compute(session: &Session, ctx: &mut Ctx) {
    let Some(settings) = ctx.settings().cloned() else { return };
    let Some(policy) = settings.session_affinity() else { return };
    let asked = super::log::Asked { head: session.req_header(), ctx };
    let mut hasher = HASHER.build_hasher();
    match asked.get(&policy.source) {
        Some(Value::Text(text)) if !text.is_empty() => hasher.write(text.as_bytes()),
        Some(Value::Int(number)) => hasher.write_i64(number),
        _ => return,
    }
    ctx.affinity = Some(hasher.finish());
}
