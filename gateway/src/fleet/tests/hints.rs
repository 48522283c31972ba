//! How values look, where neither schema nor manual says it: by the definition that holds a key, and the key.
//! What is drawn badly is taken out again, so a hint makes a key frequent, not valid.

use std::path::Path;

/// What to do about a key that no accepted document holds.
pub(super) const CURE: &str = "say in gateway/src/fleet/tests/hints.rs how their values look (`texts`, `numbers`, \
     `keys`, `exactly_one`), and give the policy its codec in xds/src/codec/policy if it has none";

/// Keys that no document of this test can hold.
pub(super) const UNREACHABLE: &[&str] = &[
    // Credentials are looked for in a folder that the environment names.
    "FileRef.credential",
    "SecretValue.credential",
    // Known keys that this version refuses.
    "AccessLog.database",
    "AccessLog.otlp",
    "BackendTls.spiffe",
    // Refused by name: exchanges come later.
    "BackendAuth.crossAppAccess",
    "BackendAuth.oauthTokenExchange",
    // Programs are bound to the machine: they do not travel.
    "McpTarget.stdio",
    "McpStdio.cmd",
    "McpStdio.args",
    "McpStdio.env",
    "McpStdio.clear_env",
    "McpStdio.maxCpuSeconds",
    "McpStdio.maxInstances",
    "McpStdio.maxMemory",
    // Providers and ways that this version refuses by name.
    "AiBedrock.guardrailIdentifier",
    "AiBedrock.guardrailVersion",
    "AiProvider.tokenize",
    "AiProviderKind.copilot",
];

/// Whether a key is never drawn: it means nothing outside a file, or is refused beside what is good.
pub(super) fn stays(owner: &str, key: &str) -> bool {
    let refused = ["crossAppAccess", "oauthTokenExchange"];
    (owner, key) == ("McpTarget", "stdio") || owner == "BackendAuth" && refused.contains(&key)
}

/// Sections of a document that hold so many keys that every document has them.
pub(super) fn large(section: &str) -> bool {
    ["gateways", "policies"].contains(&section)
}

/// One in how many optional keys is written, where more of them go together than usual.
pub(super) fn share(owner: &str) -> Option<usize> {
    ["Gateway", "GatewayListener"].contains(&owner).then_some(4)
}

/// What a key is hardly ever good without.
pub(super) fn needs(owner: &str, key: &str) -> Option<&'static str> {
    match (owner, key) {
        ("Gateway" | "GatewayListener", "tls") => Some("protocol"),
        ("A2a", "relayUrl") => Some("pushNotifications"),
        ("BackendAuthGcp", "audience") => Some("type"),
        _ => None,
    }
}

/// Most items of a list that holds one of very many things.
pub(super) fn length(owner: &str, key: &str) -> Option<usize> {
    ((owner, key) == ("Document", "policies")).then_some(6)
}

/// Key sets, keys and users, as they are written and as files hold them.
const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
/// A key of nobody's, on P-256.
const SIGNING_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfbLd+IRV3CkYlhrS\nESVOVFAqzuUXMkzN463OtQXtXMOhRANCAATU+RQ2RG/4nsX9rGF7kKl7S0oi9yHL\noQcZTMsQU7bWMK04w7PpOcaKwueQEBrUSyc6ladRC5/Ay37DB+dIZGOc\n-----END PRIVATE KEY-----";
/// A credential of nobody's.
const GOOGLE: &str = r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}"#;
const PINS: &str = r#"{"version":1}"#;
const API: &str = r#"{"openapi":"3.0.3","paths":{"/a":{"get":{"operationId":"a"}}}}"#;
const USERS: &str = "a:{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A certificate and its key, for files that must hold some, and what files of credentials hold.
pub(super) fn identity(folder: &Path) {
    std::fs::write(folder.join("jwks.json"), JWKS).unwrap();
    std::fs::write(folder.join("users"), USERS).unwrap();
    std::fs::write(folder.join("keys"), "key-of-a-file\n").unwrap();
    std::fs::write(folder.join("pins.json"), PINS).unwrap();
    std::fs::write(folder.join("api.json"), API).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["a.example.com".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// Of these optional keys exactly one is written.
pub(super) fn exactly_one<'a>(owner: &str, optional: &[&'a String]) -> Option<Vec<&'a String>> {
    // The terms of an entry are those of the policy.
    let beside: &[&str] = match owner.strip_prefix("Conditional").unwrap_or(owner) {
        "RouteBackend" => &["weight", "policies"],
        "ActiveHealth" => &["interval", "timeout", "unhealthyThreshold", "healthyThreshold"],
        "DetachedContent" | "AnyPolicies" | "AuthPolicies" => &[],
        "ApiKeyEntry" => &["metadata", "allowedModels"],
        "ExtAuthz" => {
            &["policies", "protocol", "failureMode", "includeRequestHeaders", "includeRequestBody", "mode", "cache"]
        }
        "NetworkExtAuthz" => &["policies", "protocol", "failureMode", "mode", "cache"],
        "RemoteRateLimit" => &["policies", "failureMode", "mode"],
        "McpTarget" => &["policies"],
        "McpPlace" => &["port", "path"],
        "McpOpenApi" => &["port", "path", "schema"],
        "BackendAuth" => &["credentials"],
        "McpApiSchema" | "AiGuardRule" | "BackendAuthAzure" | "AzureExplicitConfig" | "AwsSessionTag" => &[],
        "AiGuard" => &["scope", "rejection", "mode"],
        "AiGuardWebhookTarget" => &["policies"],
        "McpProcessor" => &["policies", "metadata", "failureMode"],
        _ => return None,
    };
    Some(optional.iter().copied().filter(|it| !beside.contains(&it.as_str()) && *it != "condition").collect())
}

/// Optional keys that are always written: what holds them is hardly ever good without.
pub(super) fn always(owner: &str) -> &'static [&'static str] {
    match owner {
        "ServerTls" => &["cert", "key"],
        "RateLimitRule" | "ConditionalRateLimitRule" => &["maxTokens", "tokensPerFill"],
        "JwtAuth" => &["issuer", "jwks"],
        "ApiKeyAuth" => &["keys"],
        "BackendAuthAws" => &["accessKeyId", "secretAccessKey", "sessionToken"],
        _ => &[],
    }
}

/// A key beside which only some others may stand.
pub(super) fn alone(owner: &str) -> Option<(&'static str, &'static [&'static str])> {
    match owner {
        "Gateway" => Some(("listeners", &["port", "address"])),
        "HostRedirect" => Some(("host", &[])),
        "BackendAuthAws" => Some(("assumeRole", &["region", "serviceName"])),
        // Requests that go on as they came are not changed.
        "LlmModel" => Some(("passthrough", &["id", "matches", "visibility", "params", "authorization", "guardrails"])),
        // Providers stand in groups, or their keys here, and those are many.
        "AiBackend" => Some(("groups", &[])),
        "JwtAuth" => Some(("providers", &["mode", "location", "forward", "claimsToHeaders"])),
        _ => None,
    }
}

/// Keys of maps.
pub(super) fn keys(owner: &str, key: &str) -> &'static [&'static str] {
    match (owner, key) {
        ("Document", "gateways") => &["default", "g1", "g2", "tcp"],
        ("McpProcessor", "methods{}") => &["tools/call", "*/list"],
        ("JwtAuth", _) => &["x-user", "x-mail"],
        ("Ai", "modelAliases") => &["fast", "gpt-*"],
        ("Service", _) | (_, "services{}") => &["80", "8080", "443"],
        ("Workload", _) => &["default/a.example.com", "ns/b.example.com"],
        _ => &["x-a", "X-B", "accept", "authorization"],
    }
}

/// Numbers that mean something.
pub(super) fn numbers(owner: &str, key: &str) -> Option<&'static [u64]> {
    Some(match (owner.strip_prefix("Conditional").unwrap_or(owner), key) {
        ("RateLimitRule" | "ConcurrencyLimitRule", "maxKeys") => &[1, 100_000],
        ("RateLimitRule", "maxTokens" | "tokensPerFill") | ("ConcurrencyLimitRule", "maxInFlight") => &[1, 5, 100],
        ("AiPromptGuard", "holdBack") => &[16, 4096],
        ("AiGuardRejection", "status") => &[403, 451],
        ("McpToolsSearch", "results") => &[1, 50],
        ("ConcurrencyLimitRule", "status") => &[429, 503],
        ("Retry", "codes[]") => &[429, 500, 503],
        ("HttpProbe", "expectedStatuses[]") => &[200, 204, 404],
        ("FaultAbort", "status") => &[400, 503],
        ("DirectResponse", "status") => &[200, 404, 503],
        ("ExtAuthzFailureMode", "denyWithStatus") => &[401, 503],
        ("ExtAuthzCache", "maxEntries") => &[1, 10_000],
        ("BodyOptions", "maxRequestBytes") => &[0, 1024],
        ("RequestRedirect", "status") => &[301, 302, 307, 308],
        ("Bind" | "Gateway", "port") => &[0, 3000, 8443, 15001, 20001, 30001],
        ("McpPlace" | "McpOpenApi", "port") => &[80, 8000],
        ("CircuitBreaker", _) => &[1, 2, 100],
        ("Compression", "level") => &[1, 6, 9],
        ("Eviction", "consecutiveFailures") => &[1, 5],
        ("FrontendHttp", "http2FrameSize") => &[16_384, 65_536],
        ("FrontendHttp", "http2WindowSize" | "http2ConnectionWindowSize") => &[65_535, 1 << 20],
        ("FrontendHttp", "trustedHops") => &[0, 1, 3],
        ("FrontendHttp", _) => &[2048, 65_536, 100_000],
        ("KeepaliveConfig", "retries") => &[1, 9, 127],
        ("ServicePort" | "ServiceTarget" | "GatewayTarget", "port") => &[80, 443, 8080],
        _ => return None,
    })
}

const HOSTS: &[&str] = &["a.example.com:8080", "127.0.0.1:80", "[::1]:443", "unix:/run/a.sock"];
const HOSTNAMES: &[&str] = &["a.example.com", "*.example.com", "B.example.com", "c.test", "*"];
const NAMES: &[&str] = &["a", "b", "c", "d-1", "e.f", "g", "h", "i", "j", "k", "l", "m"];
const NAMESPACES: &[&str] = &["default", "ns"];
const HEADERS: &[&str] = &["x-a", "X-B", "accept"];
const SUITES: &[&str] = &["TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256"];
const GROUPS: &[&str] = &["X25519", "P-256", "P-384", "X25519_MLKEM768"];
const ALPN: &[&str] = &["h2", "http/1.1"];
const REGEXES: &[&str] = &["/[a-z]+", "a|b", ".*"];
/// Valid wherever rules stand, before a request is known too.
const RULES: &[&str] = &["source.address == \"10.0.0.1\"", "source.port > 1024"];
const CONDITIONS: &[&str] = &["response.code >= 500", "request.path == \"/login\" && !(response.code < 400)"];
const FIELDS: &[&str] = &["request.headers[\"x-user\"]", "source.address", "request.path"];

const VALUES: &[&str] = &["request.path", "'a'", "{'a': request.method}"];
/// Valid before a route is selected, and after.
const WHENS: &[&str] = &["request.path == '/a'", "source.port > 1024", "has(jwt.sub)"];

/// Of who somebody is, and how the gateway says who it is.
fn credentials(owner: &str, key: &str) -> Option<&'static [&'static str]> {
    Some(match (owner, key) {
        ("JwtAuth" | "JwtProvider" | "A2aCardVerify", "jwks") => &[JWKS],
        ("JwtAuth" | "JwtProvider", "file") => &["{dir}/jwks.json"],
        ("JwtAuth" | "JwtProvider", "url") => &["https://issuer.example/keys", "http://a.test:8080/?a=b"],
        ("JwtAuth" | "JwtProvider", "issuer") => &["https://issuer.example/", "a"],
        ("JwtAuth", "claimsToHeaders{}") => &["sub", "realm.roles"],
        ("AuthorizationLocation" | "JwtAuth" | "ApiKeyAuth" | "BasicAuth", "expression") => &["request.headers['x-a']"],
        ("ApiKeyEntry", "key") => &["k-1", "k-2", "k-3"],
        ("ApiKeyEntry", "keyHash") => &["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
        ("ApiKeyAuth", "file") => &["{dir}/keys"],
        ("BasicAuth", "htpasswd") => &[USERS],
        ("BasicAuth", "file") => &["{dir}/users"],
        ("BackendAuthJwtSign" | "A2aCardSign", "signingKey") => &[SIGNING_KEY],
        ("BackendAuthJwtSign" | "A2aCardSign", "alg") => &["ES256"],
        ("BackendAuthJwtSign", "ttl") => &["1s", "5m"],
        ("BackendAuthGcp", "credential") => &[GOOGLE],
        ("BackendAuthGcp", "audience") => &["https://run.example.com"],
        ("AwsAssumeRole", "roleArn") => &["arn:aws:iam::123456789012:role/agents"],
        ("AwsAssumeRole", "sessionName") => &["agents", "a.b@c"],
        ("AwsSessionName" | "AwsSessionTag", "expression") => &["jwt.sub", "request.path"],
        ("AwsSessionTag", _) => &["team", "red"],
        ("AzureClientSecret", _) => &["t.example.com", "c"],
        ("AzureUserAssignedIdentity", _) => &["one", "two"],
        ("BackendAuthAws", "region") => &["us-east-1"],
        ("BackendAuthAws", "serviceName") => &["bedrock", "s3"],
        ("BackendAuthAws", _) => &["AKIDEXAMPLE", "a/b+c="],
        ("BackendAuth" | "BackendAuthKey" | "BackendAuthCredential" | "SecretValue", "file") => &["{dir}/keys"],
        _ => return None,
    })
}

/// Of MCP.
fn mcp(owner: &str, key: &str) -> Option<&'static [&'static str]> {
    Some(match (owner, key) {
        ("McpAuthentication", "issuer") => &["https://issuer.example/v1/apps/agentic/p/s"],
        ("McpAuthentication", "jwks") => &[JWKS],
        ("McpAuthentication", "resourceMetadata{}") => &["T"],
        ("McpAuthentication", "file") => &["{dir}/jwks.json"],
        ("McpAuthentication", "url") => &["https://issuer.example/keys"],
        ("McpAuthentication", "audiences[]" | "clientId") => &["tools"],
        ("McpAuthentication", "expression") => &["request.headers['x-a']"],
        ("McpAuthentication", "requiredScopes[]") | ("McpStepUp", "scopes[]") => &["a", "b:c"],
        ("McpStepUp", "when") => &["has(mcp.tool)", "mcp.tool.name == 'a'"],
        ("McpProcessor", "metadata{}") => &["jwt.sub", "mcp.tool.name"],
        ("McpPinning" | "McpApprovals", "approvals") => &[PINS],
        ("McpPinning" | "McpApprovals", "file") => &["{dir}/pins.json"],
        ("McpToolsTarget", "target") => &["a", "b.c"],
        ("McpToolsTarget", _) => &["a", "list_x"],
        ("McpToolsSlim", "members[]") => &["title", "_meta"],
        ("McpToolsSlim", "keywords[]") => &["title", "examples"],
        ("McpToolsSearch", "keep[]") => &["a_x"],
        ("McpOpenApi", "host") => &["api.internal", "a.example.com"],
        ("McpOpenApi", "path") => &["/", "/v1"],
        ("McpApiSchema", "file") => &["{dir}/api.json"],
        ("McpApiSchema", "inline") => &[API],
        ("A2a", "relayUrl") => &["https://gw.example:8443"],
        ("McpApiSchema", "url") => &["https://a.example/api.json"],
        _ => return None,
    })
}

/// Of language models.
fn models(owner: &str, key: &str) -> Option<&'static [&'static str]> {
    Some(match (owner, key) {
        ("AiBackend" | "AiProvider", "hostOverride") => &["https://a.example", "b.test:8443"],
        ("AiBackend" | "AiProvider", "pathOverride" | "pathPrefix") => &["/v1", "/v1/x"],
        ("LlmModel", "name") => &["m", "a*", "*"],
        ("LlmPriority" | "LlmWeight" | "LlmCase", "model") => &["m"],
        ("LlmCase", "when") => &["llmRequest.stream == true", "request.path == '/a'"],
        ("AiGuardWebhook", "headers{}") => FIELDS,
        ("AiPrompt", "content") => &["be brief", "say \"a\""],
        ("AiFormat", "path") => &["/v1/chat/completions", "/v2/{model}"],
        _ => return None,
    })
}

/// Of what other servers are asked.
fn asked(owner: &str, key: &str) -> Option<&'static [&'static str]> {
    Some(match (owner.strip_prefix("Conditional").unwrap_or(owner), key) {
        ("NetworkExtAuthzHttp", "path" | "body" | "addRequestHeaders{}") => &["'/' + string(source.address)"],
        ("ExtAuthzCache", "key[]") => &["string(source.address)", "destination.port"],
        ("ExtAuthzHttp", "path" | "redirect" | "body") => VALUES,
        ("ExtAuthzHttp", "addRequestHeaders{}" | "metadata{}") | ("ExtAuthzGrpc", "metadata{}") => VALUES,
        ("ExtAuthzHttp", "includeResponseHeaders[]") | ("ExtAuthz", "includeRequestHeaders[]") => HEADERS,
        ("ExtAuthzCache", "ttl") => &["duration('30s')", "1800000000"],
        ("RateLimitEntry", "key") | ("RemoteRateLimit", "domain") => &["user", "path"],
        ("RateLimitEntry", "value") => VALUES,
        ("RateLimitDescriptor", "cost") => &["2", "size(request.path)"],
        ("RateLimitDescriptor", "limitOverride") => &["{'unit': 'hour', 'requestsPerUnit': 9}"],
        ("RateLimitDescriptor", "type") => &["requests", "tokens"],
        _ => return None,
    })
}

/// Texts that mean something.
pub(super) fn texts(owner: &str, key: &str) -> Option<&'static [&'static str]> {
    if let Some(texts) =
        credentials(owner, key).or_else(|| asked(owner, key)).or_else(|| mcp(owner, key)).or_else(|| models(owner, key))
    {
        return Some(texts);
    }
    // The terms of an entry are those of the policy.
    Some(match (owner.strip_prefix("Conditional").unwrap_or(owner), key) {
        (_, "condition") if owner.starts_with("Conditional") => WHENS,
        ("Retry", "condition") => CONDITIONS,
        ("Retry", "precondition") => &["request.method == 'GET'"],
        ("DirectResponse", "bodyExpression") | ("Transformation", "body") => VALUES,
        ("Transformation", "replace") => &["{'x-a': request.path}"],
        ("Transformation", "add{}" | "set{}" | "metadata{}") => &["request.path", "'a'"],
        ("RateLimitRule" | "ConcurrencyLimitRule", "key") => &["source.address", "jwt.sub"],
        ("RateLimitRule", "fillInterval") => &["1s", "250ms", "24h"],
        ("Authorization" | "AuthorizationRule" | "AuthorizationEffect", "rules[]" | "allow" | "deny" | "require") => {
            RULES
        }
        ("Delay", "duration") => &["250ms", "1s", "int(request.query.ms)"],
        ("Bind" | "Gateway", "address") => &["127.0.0.1", "::1", "unix:/run/gateway.sock"],
        ("McpPlace", "host") => &["mcp.internal", "a.example.com:8080", "http://localhost:8000/mcp", "https://b.test"],
        ("ServerTls", "minTLSVersion" | "minTlsVersion") => &["TLS_V1_2"],
        ("ServerTls", "maxTLSVersion" | "maxTlsVersion") => &["TLS_V1_3"],
        ("HostRedirect", "host") => &["a.example.com"],
        (_, "cert" | "root") => &["{dir}/cert.pem"],
        (_, "key") => &["{dir}/key.pem"],
        (_, "cipherSuites[]") => SUITES,
        (_, "keyExchangeGroups[]") => GROUPS,
        (_, "alpn[]") => ALPN,
        ("FrontendTls", "minVersion" | "maxVersion") => &["TLS_V1_2", "TLS_V1_3"],
        ("BackendHttp", "version") => &["1.1", "2", "HTTP/2.0"],
        ("PathMatch" | "PathRedirect" | "HttpProbe", "exact" | "pathPrefix" | "full" | "prefix" | "path") => {
            &["/", "/a", "/a/b/", "/é?"]
        }
        ("HostRedirect", "full") => &["a.example.com:8443", "b"],
        (_, "regex") => REGEXES,
        ("ValueMatch", "exact") => &["v", "é", ""],
        ("AiGuardRule", "pattern") => &["secret", "[0-9]{4}"],
        ("Ai", "modelAliases{}") => &["m", "gpt-5"],
        ("AiGuardRejection", "headers{}") => &["v", "a b"],
        ("ApiKeyEntry", "allowedModels[]") => &["gpt-*", "claude"],
        ("Match", "method") => &["GET", "POST", "PURGE"],
        ("HeaderMatch", "name") => &["x-a", ":method", ":path", ":authority", ":scheme"],
        ("HeaderModifier", "add{}" | "set{}") => &["v", "a b", ""],
        ("HeaderModifier", "remove[]") | ("Cors", "allowHeaders[]" | "exposeHeaders[]") => HEADERS,
        ("RequestRedirect", "scheme") => &["http", "https"],
        (_, "full" | "host") => HOSTS,
        ("DirectResponse", "body") => &["", "gone", "é\n"],
        ("DirectResponse", "headers{}") => &["'text/html'", "\"a b\""],
        ("Cors", "allowMethods[]") => &["GET", "PUT", "*"],
        ("Cors", "allowOrigins[]") => &["*", "https://a.example.com", "https://*.example.com", "http://localhost:*"],
        ("IpAccess", _) => &["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"],
        ("BackendTls", "subjectAltNames[]") => &["a.example.com", "spiffe://td/ns"],
        ("Compression", "algorithms[]") => &["gzip", "br", "zstd"],
        ("Compression", "contentTypes[]") => &["text/", "application/json"],
        ("Health", "unhealthyExpression") | ("AccessLog", "filter") => CONDITIONS,
        ("AccessLog", "add{}") | ("SessionAffinity", "source") => FIELDS,
        ("AccessLog", "remove[]") => &["source.port", "user"],
        ("AttachedTcpRoute", "gateways" | "gateways[]") => &["tcp"],
        (_, "gateways" | "gateways[]") => &["default", "g1", "tcp"],
        ("ServicePort", "name") => &["default/a.example.com", "ns/b.example.com"],
        ("Service", "vips[]") => &["/10.0.0.1"],
        ("Service", "appProtocols{}") => &["http", "http2", "grpc", "tls"],
        ("Workload", "workloadIps[]") => &["10.0.0.1", "2001:db8::1"],
        (_, "backend" | "routeGroup" | "name" | "ruleName" | "gatewayName" | "listenerName") => NAMES,
        (_, "namespace" | "gatewayNamespace") => NAMESPACES,
        (_, "hostname" | "hostnames[]") => HOSTNAMES,
        _ => return None,
    })
}
