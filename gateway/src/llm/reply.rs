//! What the gateway itself says to a client of a language model, in the client's dialect.

use bytes::Bytes;
use filters::ai::Rejection;
use filters::{Reason, Reply};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use pingora_http::RequestHeader;
use protocols::json::quoted;
use protocols::llm::{Dialect, error_body, locate};

use super::Ai;
use super::choose::Nobody;
use super::examine::Refusal;
use crate::proxy::Ctx;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Says that an error is the gateway's and not the provider's, and which, whatever the dialect.
const ERROR: HeaderName = HeaderName::from_static("x-agentgateway-error");

/// Says that a count is not the provider's.
const ESTIMATED: HeaderName = HeaderName::from_static("x-agentgateway-llm-estimated");

/// What guards say.
pub(super) const REJECTED: &str = "content_rejected";
pub(super) const REJECTED_TEXT: &str = "what was said may not pass";

/// The refusal of a guard.
pub(super) fn rejection(dialect: Dialect, written: Option<&Rejection>) -> Reply {
    let status = written.map_or(403, |it| it.status);
    let mut reply = error(dialect, status, Reason::Authorization, (REJECTED, REJECTED_TEXT));
    let Some(Rejection { body, headers, .. }) = written else { return reply };
    if let Some(body) = body {
        reply.body = Bytes::from(body.to_string());
    }
    for (name, value) in headers {
        // Lowering has judged them.
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else { continue };
        reply.headers.retain(|(it, _)| *it != name);
        reply.headers.push((name, value));
    }
    reply
}

/// What a server has refused.
pub(super) fn refused(dialect: Dialect, refusal: &Refusal) -> Reply {
    let Refusal { status, code, text, rejection: own } = refusal;
    match own {
        Some(written) => rejection(dialect, Some(written)),
        None if *status == 503 => error(dialect, *status, Reason::ExtAuth, (code, text)),
        None => error(dialect, *status, Reason::Authorization, (code, text)),
    }
}

/// Why nobody was asked.
pub(super) fn refusal(dialect: Dialect, nobody: &Nobody) -> Reply {
    let Nobody { status, code, text } = nobody;
    let reason = match *status {
        403 => Reason::Authorization,
        404 => Reason::NotFound,
        413 => Reason::TooLarge,
        _ => Reason::InvalidRequest,
    };
    error(dialect, *status, reason, (code, text))
}

fn error(dialect: Dialect, status: u16, reason: Reason, (code, text): (&str, &str)) -> Reply {
    let (body, header) = error_body(dialect, status, code, text);
    let mut headers = vec![(CONTENT_TYPE, JSON)];
    headers.extend(HeaderValue::from_str(code).ok().map(|it| (ERROR, it)));
    if let Some((name, value)) = header {
        headers.push((HeaderName::from_static(name), HeaderValue::from_static(value)));
    }
    Reply { status, headers, body: Bytes::from(body), reason }
}

/// The dialect of a client that a route leads to language models.
pub(crate) fn dialect_of(ctx: &Ctx) -> Option<Dialect> {
    super::drawn(ctx).map(|_| locate(ctx.original.path.as_str()).operation.dialect())
}

/// A refusal of whatever policy or phase in the shape that the client reads. What is no error, or has a shape of its own,
/// stays.
pub(crate) fn in_dialect(dialect: Dialect, mut reply: Reply) -> Reply {
    let plain = |(name, value): &(HeaderName, HeaderValue)| {
        *name == CONTENT_TYPE && !value.as_bytes().starts_with(b"text/plain")
    };
    if reply.status < 400 || reply.reason == Reason::DirectResponse || reply.headers.iter().any(plain) {
        return reply;
    }
    let text = String::from_utf8_lossy(&reply.body).trim_end().to_owned();
    let mut own = error(dialect, reply.status, reply.reason, (code(reply.reason), &text));
    reply.headers.retain(|(name, _)| *name != CONTENT_TYPE);
    own.headers.append(&mut reply.headers);
    own
}

/// Stable, for programs.
fn code(reason: Reason) -> &'static str {
    match reason {
        Reason::JwtAuth | Reason::ApiKeyAuth | Reason::BasicAuth => "invalid_api_key",
        Reason::Authorization | Reason::IpAccess | Reason::ExtAuth | Reason::Csrf => "permission_denied",
        Reason::RateLimit | Reason::ConcurrencyLimit => "rate_limit_exceeded",
        Reason::TooLarge => "request_body_too_large",
        Reason::InvalidRequest => "invalid_request",
        Reason::NotFound | Reason::Misdirected => "not_found",
        Reason::Timeout => "upstream_timeout",
        Reason::NoBackend | Reason::NoHealthyBackend | Reason::Overflow => "no_provider_available",
        Reason::UpstreamFailure | Reason::Upstream => "upstream_error",
        Reason::Transformation
        | Reason::FaultInjected
        | Reason::Internal
        | Reason::ClientGone
        | Reason::DirectResponse => "internal_error",
    }
}

/// About how many tokens a request is, where no provider that it leads to counts them.
pub(super) fn counted(tokens: u64) -> Reply {
    let body = Bytes::from(format!("{{\"input_tokens\":{tokens}}}"));
    let headers = vec![(CONTENT_TYPE, JSON), (ESTIMATED, HeaderValue::from_static("true"))];
    Reply { status: 200, headers, body, reason: Reason::DirectResponse }
}

/// The models that can be asked for by name, or one of them.
pub(super) fn models(ai: &Ai, head: &RequestHeader, one: Option<&str>, may: &dyn Fn(&str) -> bool) -> Reply {
    let reply = |status, body: String| Reply {
        status,
        headers: vec![(CONTENT_TYPE, JSON)],
        body: Bytes::from(body),
        reason: Reason::DirectResponse,
    };
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return refusal(Dialect::OpenAi, &Nobody::new(405, "method_not_allowed", "models are read with GET"));
    }
    let named = ai.providers.iter().filter(|it| !it.internal).filter_map(|it| it.serves.exact());
    let mut names: Vec<&str> = named.chain(ai.virtual_models.iter().map(|(name, _)| &**name)).collect();
    names.retain(|it| may(it));
    names.sort_unstable();
    names.dedup();
    let shown = |name: &str| format!(r#"{{"id":{},"object":"model","created":0,"owned_by":"openai"}}"#, quoted(name));
    match one.map(|it| it.trim_matches('/')).filter(|it| !it.is_empty()) {
        Some(one) if names.contains(&one) => reply(200, shown(one)),
        Some(_) => refusal(Dialect::OpenAi, &Nobody::new(404, "model_not_found", "there is no such model")),
        None => {
            let list: Vec<_> = names.into_iter().map(shown).collect();
            reply(200, format!(r#"{{"object":"list","data":[{}]}}"#, list.join(",")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_any_policy_are_said_in_the_clients_dialect() {
        let reply = Reply::unauthorized(Reason::ApiKeyAuth, HeaderValue::from_static("Bearer"), "no key\n");
        let told = in_dialect(Dialect::Anthropic, reply);
        let body: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!((told.status, &body["error"]["type"]), (401, &"authentication_error".into()));
        assert_eq!(body["error"]["message"], "no key");
        assert!(told.headers.iter().any(|(name, _)| name == http::header::WWW_AUTHENTICATE));
        assert!(told.headers.iter().any(|(name, value)| *name == ERROR && value == "invalid_api_key"));
        let own = Reply::text(200, Reason::DirectResponse, "hello");
        assert_eq!(in_dialect(Dialect::OpenAi, own.clone()).body, own.body);
    }
}
