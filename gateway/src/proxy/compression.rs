//! Response compression by Pingora's module, under the `compression` policy.

use std::sync::LazyLock;

use filters::compression::{self, Algorithm};
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use pingora_core::modules::http::HttpModules;
use pingora_core::modules::http::compression::{ResponseCompression, ResponseCompressionBuilder};
use pingora_core::protocols::http::compression::Algorithm as Wire;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::ctx::Ctx;

/// The modules of a session whose answer is to be compressed: off, until levels are set.
static COMPRESSING: LazyLock<HttpModules> = LazyLock::new(|| {
    let mut modules = HttpModules::new();
    modules.add_module(ResponseCompressionBuilder::enable(0));
    modules
});

/// Puts the module in where the route wants it, and lets it see what the client accepts.
pub(super) fn prepare(session: &mut Session, ctx: &Ctx) {
    let Some(policy) = ctx.settings().and_then(|it| it.compression()) else { return };
    if ctx.is_grpc || ctx.is_upgrade {
        return;
    }
    let Some(chosen) = negotiate(session.downstream_session.req_header(), policy) else { return };
    let mut head = session.downstream_session.req_header().clone();
    // Pingora does not look at weights: it gets to see what is left of them.
    if head.insert_header(ACCEPT_ENCODING, chosen).is_err() {
        return;
    }
    session.downstream_modules_ctx = COMPRESSING.build_ctx();
    if let Some(module) = session.downstream_modules_ctx.get_mut::<ResponseCompression>() {
        for algorithm in &policy.algorithms {
            module.adjust_algorithm_level(wire(*algorithm), policy.level);
        }
        module.request_filter(&head);
    }
}

/// What the client likes best of what the policy has; among equals, what the policy names first.
fn negotiate(head: &RequestHeader, policy: &compression::Policy) -> Option<&'static str> {
    let values = head.headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let accepted: Vec<(&str, u16)> = values.flat_map(|value| value.split(',')).map(weighed).collect();
    let weight = |name: &str| {
        let named = accepted.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        named.or_else(|| accepted.iter().find(|(it, _)| *it == "*")).map_or(0, |(_, weight)| *weight)
    };
    let mut best = None;
    for name in policy.algorithms.iter().map(|it| label(*it)) {
        let weight = weight(name);
        if weight > best.map_or(0, |(_, most)| most) {
            best = Some((name, weight));
        }
    }
    best.map(|(name, _)| name)
}

/// One coding with its weight in thousandths (RFC 9110 section 12.4.2).
fn weighed(item: &str) -> (&str, u16) {
    let (name, rest) = item.split_once(';').unwrap_or((item, ""));
    let weight = rest.split(';').find_map(|it| it.trim().strip_prefix("q=").or(it.trim().strip_prefix("Q=")));
    let weight = weight.map_or(Some(1.0), |it| it.trim().parse::<f32>().ok()).unwrap_or(0.0);
    (name.trim(), (weight.clamp(0.0, 1.0) * 1000.0) as u16)
}

fn label(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Gzip => "gzip",
        Algorithm::Br => "br",
        Algorithm::Zstd => "zstd",
    }
}

/// Turns the module off for an answer.
pub(super) fn off(session: &mut Session) {
    if let Some(module) = session.downstream_modules_ctx.get_mut::<ResponseCompression>() {
        module.adjust_level(0);
    }
}

/// Turns the module off again for answers that are to be left alone.
pub(super) fn decide(session: &mut Session, head: &ResponseHeader, ctx: &Ctx) {
    let Some(policy) = ctx.settings().and_then(|it| it.compression()) else { return };
    if !suits(policy, head) {
        off(session);
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
