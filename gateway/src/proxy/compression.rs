//! Response compression by Pingora's module, under the `compression` policy.

use filters::compression::{self, Algorithm};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use pingora_core::modules::http::compression::ResponseCompression;
use pingora_core::protocols::http::compression::Algorithm as Wire;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::ctx::Ctx;

/// Lets the module see what the client accepts; it ran before the route was known.
pub(super) fn prepare(session: &mut Session, ctx: &Ctx) {
    let Some(policy) = ctx.settings().and_then(|it| it.compression()) else { return };
    if ctx.is_grpc || ctx.is_upgrade {
        return;
    }
    let head = session.downstream_session.req_header().clone();
    if let Some(module) = session.downstream_modules_ctx.get_mut::<ResponseCompression>() {
        for algorithm in &policy.algorithms {
            module.adjust_algorithm_level(wire(*algorithm), policy.level);
        }
        module.request_filter(&head);
    }
}

/// Turns the module off again for answers that are to be left alone.
pub(super) fn decide(session: &mut Session, head: &ResponseHeader, ctx: &Ctx) {
    let Some(policy) = ctx.settings().and_then(|it| it.compression()) else { return };
    if !suits(policy, head)
        && let Some(module) = session.downstream_modules_ctx.get_mut::<ResponseCompression>()
    {
        module.adjust_level(0);
    }
}

fn suits(policy: &compression::Policy, head: &ResponseHeader) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    if kind == b"text/event-stream" || kind.starts_with(b"application/grpc") {
        return false;
    }
    let listed = policy.content_types.iter().any(|it| {
        let it = it.as_bytes();
        if it.ends_with(b"/") { kind.starts_with(it) } else { kind == it }
    });
    let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    listed && length.is_none_or(|length| length >= policy.bytes_min)
}

fn wire(algorithm: Algorithm) -> Wire {
    match algorithm {
        Algorithm::Gzip => Wire::Gzip,
        Algorithm::Br => Wire::Brotli,
        Algorithm::Zstd => Wire::Zstd,
    }
}
