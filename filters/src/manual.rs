//! The YAML on the manual page of each unit is lowered as a test: an example that is refused
//! teaches the wrong thing. Every unit has a schema whose fields are all documented.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Scope;
use crate::testing::try_lower;

/// Lowers the example under `key` on a page, and checks the schema.
fn check<C, P>(page: &str, key: &str, lower: impl FnOnce(C, &mut Scope<'_>) -> Option<P>)
where
    C: DeserializeOwned + Serialize + JsonSchema,
{
    let example = yaml(&fence(page)).get(key).cloned().unwrap_or_else(|| panic!("no `{key}` in the example"));
    assert!(page.contains("//! **Merging.** "), "{key}: the page does not say how policies of several levels meet");
    let (policy, problems) = try_lower(example, lower);
    assert!(policy.is_some(), "{key}: {problems:?}");
    let schema = serde_json::to_value(schemars::schema_for!(C)).unwrap();
    documented(&schema, key);
}

/// The first ```yaml block of a page, files replaced by those of the test shelf.
fn fence(page: &str) -> String {
    let page: Vec<&str> = page.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let block = page.iter().skip_while(|line| line.trim() != "```yaml").skip(1).take_while(|line| line.trim() != "```");
    let text = block.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
    text.replace("/etc/ssl/gateway.key", "pem:PRIVATE KEY")
        .replace("/etc/ssl/internal-ca.pem", "pem:CERTIFICATE")
        .replace("/etc/ssl/gateway.pem", "pem:CERTIFICATE")
        .replace("/etc/gateway/api-keys", "api-keys")
        .replace("/etc/gateway/htpasswd", "htpasswd")
        .replace("/etc/gateway/jwks.json", "jwks")
        .replace("/run/secrets/backend-key", "text:hunter2")
}

fn documented(schema: &Value, at: &str) {
    match schema {
        Value::Object(parts) => {
            if let Some(Value::Object(properties)) = parts.get("properties") {
                // A variant of an enum is an object of one property; its comment is the object's.
                let variant = properties.len() == 1 && parts.contains_key("description");
                for (name, property) in properties {
                    let said = variant || property.get("description").is_some();
                    assert!(said, "{at}.{name} is not documented");
                }
            }
            for (name, part) in parts {
                documented(part, &format!("{at}.{name}"));
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| documented(part, at)),
        _ => {}
    }
}

/// Enough YAML for the examples: nested maps by indentation, flow lists, scalars.
fn yaml(text: &str) -> Value {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| (line.len() - line.trim_start().len(), line.trim()))
        .collect();
    map(&lines)
}

fn map(lines: &[(usize, &str)]) -> Value {
    let mut entries = serde_json::Map::new();
    let mut rest = lines;
    while let Some(((depth, line), below)) = rest.split_first() {
        let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("not `key: value`: {line}"));
        let listed = |line: &str| line.starts_with("- ");
        let inner = below.iter().take_while(|(inner, text)| inner > depth || (inner == depth && listed(text))).count();
        let value = match below.first() {
            Some((_, first)) if inner > 0 && listed(first) => list(&below[..inner]),
            _ if inner > 0 => map(&below[..inner]),
            _ => scalar(value.trim()),
        };
        entries.insert(key.trim().to_owned(), value);
        rest = &below[inner..];
    }
    Value::Object(entries)
}

/// Items that begin with `- `: maps, or scalars.
fn list(lines: &[(usize, &str)]) -> Value {
    let mut items = Vec::new();
    let mut rest = lines;
    while let Some(((depth, line), below)) = rest.split_first() {
        let item = line.strip_prefix("- ").unwrap_or_else(|| panic!("not an item: {line}"));
        let inner = below.iter().take_while(|(inner, _)| inner > depth).count();
        let is_map = item.split_once(':').is_some_and(|(key, _)| key.chars().all(char::is_alphanumeric));
        if is_map {
            let entry: Vec<_> = std::iter::once((depth + 2, item)).chain(below[..inner].iter().copied()).collect();
            items.push(map(&entry));
        } else {
            items.push(scalar(item));
        }
        rest = &below[inner..];
    }
    Value::Array(items)
}

fn scalar(text: &str) -> Value {
    // What is written as JSON is YAML, too.
    if let (true, Ok(value)) = (text.starts_with(['[', '{']), serde_json::from_str(text)) {
        return value;
    }
    if let Some(list) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return list.split(',').map(|item| scalar(item.trim())).collect();
    }
    if let Some(text) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return Value::String(text.to_owned());
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

macro_rules! pages {
    ($( $test:ident: $file:literal, $key:literal, $config:ty, $lower:path; )*) => {
        $( #[test]
        fn $test() {
            check::<$config, _>(include_str!($file), $key, $lower);
        } )*
    };
}

mod the_example_on_the_page_of {
    use super::check;
    use crate::*;

    type Limits = conditional::Config<local_rate_limit::Config, local_rate_limit::RuleConfig>;

    fn limits(config: Limits, scope: &mut Scope<'_>) -> Option<Policy> {
        let plain = |it: local_rate_limit::Config, scope: &mut Scope<'_>| it.lower(scope).map(Policy::LocalRateLimit);
        let entry =
            |it: local_rate_limit::RuleConfig, scope: &mut Scope<'_>| it.lower_alone(scope).map(Policy::LocalRateLimit);
        config.lower(Kind::LocalRateLimit, scope, plain, entry)
    }

    pages! {
        a2a: "a2a/mod.rs", "a2a", a2a::Config, a2a::Config::lower;
        access_log: "access_log.rs", "accessLog", access_log::Config, access_log::Config::lower;
        ai: "ai/mod.rs", "ai", ai::Config, ai::Config::lower;
        api_key: "api_key/mod.rs", "apiKey", api_key::Config, api_key::Config::lower;
        authorization: "authorization/mod.rs", "authorization", authorization::Config, authorization::Config::lower;
        backend_auth: "backend_auth/mod.rs", "backendAuth", backend_auth::Config, backend_auth::Config::lower;
        backend_http: "backend_http.rs", "http", backend_http::Config, backend_http::Config::lower;
        backend_tcp: "backend_tcp.rs", "tcp", backend_tcp::Config, backend_tcp::Config::lower;
        backend_tls: "backend_tls.rs", "backendTLS", backend_tls::Config, backend_tls::Config::lower;
        basic_auth: "basic_auth/mod.rs", "basicAuth", basic_auth::Config, basic_auth::Config::lower;
        buffer: "buffer.rs", "buffer", buffer::Config, buffer::Config::lower;
        circuit_breaker: "circuit_breaker.rs", "circuitBreaker", circuit_breaker::Config, circuit_breaker::Config::lower;
        conditional: "conditional.rs", "localRateLimit", Limits, limits;
        compression: "compression.rs", "compression", compression::Config, compression::Config::lower;
        cors: "cors/mod.rs", "cors", cors::Config, cors::Config::lower;
        concurrency_limit: "concurrency_limit/mod.rs", "concurrencyLimit", concurrency_limit::Config, concurrency_limit::Config::lower;
        csrf: "csrf.rs", "csrf", csrf::Config, csrf::Config::lower;
        delay: "delay.rs", "delay", delay::Config, delay::Config::lower;
        direct_response: "direct_response/mod.rs", "directResponse", direct_response::Config, direct_response::Config::lower;
        fault: "fault.rs", "fault", fault::Config, fault::Config::lower;
        ext_authz: "ext_authz/mod.rs", "extAuthz", ext_authz::Config, ext_authz::Config::lower;
        frontend_http: "frontend_http.rs", "http", frontend_http::Config, frontend_http::Config::lower;
        frontend_tcp: "frontend_tcp.rs", "tcp", frontend_tcp::Config, frontend_tcp::Config::lower;
        frontend_tls: "frontend_tls.rs", "tls", frontend_tls::Config, frontend_tls::Config::lower;
        header_modifier_of_requests: "header_modifier/mod.rs", "requestHeaderModifier",
            header_modifier::Config, header_modifier::Config::lower_request;
        header_modifier_of_responses: "header_modifier/mod.rs", "responseHeaderModifier",
            header_modifier::Config, header_modifier::Config::lower_response;
        health: "health.rs", "health", health::Config, health::Config::lower;
        ip_access: "ip_access.rs", "ipAccess", ip_access::Config, ip_access::Config::lower;
        jwt_auth: "jwt_auth/mod.rs", "jwtAuth", jwt_auth::Config, jwt_auth::Config::lower;
        local_rate_limit: "local_rate_limit/mod.rs", "localRateLimit", local_rate_limit::Config, local_rate_limit::Config::lower;
        network_ext_authz: "network_ext_authz.rs", "networkExtAuthz", network_ext_authz::Config, network_ext_authz::Policy::lower;
        mcp_authentication: "mcp_authentication/mod.rs", "mcpAuthentication", mcp_authentication::Config, mcp_authentication::Config::lower;
        mcp_guardrails: "mcp_guardrails.rs", "mcpGuardrails", mcp_guardrails::Config, mcp_guardrails::Config::lower;
        mcp_pinning: "mcp_pinning/mod.rs", "mcpPinning", mcp_pinning::Config, mcp_pinning::Config::lower;
        mcp_tools: "mcp_tools/mod.rs", "mcpTools", mcp_tools::Config, mcp_tools::Config::lower;
        network_authorization: "network_authorization.rs", "networkAuthorization", network_authorization::Config, network_authorization::Policy::lower;
        proxy_protocol: "proxy_protocol.rs", "proxyProtocol", proxy_protocol::Config, proxy_protocol::Config::lower;
        remote_rate_limit: "remote_rate_limit/mod.rs", "remoteRateLimit",
            remote_rate_limit::Config, remote_rate_limit::Config::lower;
        request_mirror: "request_mirror.rs", "requestMirror", request_mirror::Config, request_mirror::Config::lower;
        request_redirect: "request_redirect/mod.rs", "requestRedirect", request_redirect::Config, request_redirect::Config::lower;
        retry: "retry.rs", "retry", retry::Config, retry::Config::lower;
        session_affinity: "session_affinity.rs", "sessionAffinity", session_affinity::Config, session_affinity::Config::lower;
        timeout: "timeout.rs", "timeout", timeout::Config, timeout::Config::lower;
        transformations: "transformations/mod.rs", "transformations", transformations::Config, transformations::Config::lower;
        url_rewrite: "url_rewrite/mod.rs", "urlRewrite", url_rewrite::Config, url_rewrite::Config::lower;
    }
}
