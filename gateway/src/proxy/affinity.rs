//! What a client is hashed by, where it is to stay on one endpoint.

use std::cell::OnceCell;

use filters::expr::{Inputs, Value};
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::inputs;
use crate::random;
use crate::upstream::Affinity;

/// Hashes the affinity source of the request, if there is one and it is not empty.
pub(super) fn compute(session: &Session, ctx: &mut Ctx) {
    if let Some(endpoint) = ctx.a2a.as_ref().and_then(|it| it.endpoint()) {
        ctx.affinity = Some(Affinity::Endpoint(endpoint));
        return;
    }
    let gathered = OnceCell::new();
    let inputs = || gathered.get_or_init(|| inputs::request(session.req_header(), ctx));
    ctx.affinity = sticks_to(ctx, inputs).map(Affinity::Hash);
}

/// The hash of the affinity source: the same for all requests that are to go one way. `inputs` are asked for where there
/// is one.
pub(crate) fn sticks_to<'a>(ctx: &Ctx, inputs: impl FnOnce() -> &'a Inputs<'a>) -> Option<u64> {
    let policy = ctx.settings()?.session_affinity()?;
    match policy.source.evaluate(inputs()) {
        Ok(Value::String(text)) if !text.is_empty() => Some(random::affinity_key(text.as_bytes())),
        Ok(Value::Secret(text)) if !text.is_empty() => Some(random::affinity_key(text.as_bytes())),
        Ok(Value::Bytes(bytes)) if !bytes.is_empty() => Some(random::affinity_key(&bytes)),
        Ok(Value::Int(number)) => Some(random::affinity_key(&number.to_be_bytes())),
        Ok(Value::Uint(number)) => Some(random::affinity_key(&number.to_be_bytes())),
        _ => None,
    }
}
