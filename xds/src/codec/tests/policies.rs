//! Policies of every kind, as configuration makes them.

use std::time::Duration;

use filters::expr::Site;
use filters::lower::{Files, ServicePort, SimpleBackend, Span};
use filters::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::{admission, callouts, changes, tools};
use crate::codec::read::Doors;

/// A PEM file for every name.
struct Shelf;

impl Files for Shelf {
    fn read(&mut self, label: &FileRef) -> Result<Vec<u8>, String> {
        Ok(format!("-----BEGIN {label}-----\nAA==\n-----END {label}-----\n").into_bytes())
    }
}

/// What a configuration becomes; those that are refused are drawn again.
fn lowered<C: std::fmt::Debug + 'static, P: std::fmt::Debug + 'static>(
    site: Site,
    config: impl Strategy<Value = C> + 'static,
    lower: fn(C, &mut Scope<'_>) -> Option<P>,
    wrap: fn(P) -> Policy,
) -> BoxedStrategy<Policy> {
    let lowered = move |config| {
        let (mut shelf, mut doors) = (Shelf, Doors);
        let mut scope = Scope::new("policy", &mut shelf, &mut doors);
        scope.site = site;
        lower(config, &mut scope).map(wrap)
    };
    config.prop_filter_map("refused", lowered).boxed()
}

fn span() -> impl Strategy<Value = Span> {
    (0..4_000_000_000u64, 0..3u32).prop_map(|(ms, zero)| Span(Duration::from_millis(if zero == 0 { 0 } else { ms })))
}

fn seconds() -> impl Strategy<Value = Span> {
    (1..32_767u64).prop_map(|it| Span(Duration::from_secs(it)))
}

pub(super) fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(all, 0..=all.len()).prop_shuffle().prop_map(|list| list.into_iter().map(str::to_owned).collect())
}

pub(super) fn one_of(all: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(all).prop_map(str::to_owned)
}

fn at_least_one(all: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<String>>> {
    some_of(all).prop_map(|list| Some(list).filter(|it| !it.is_empty()))
}

pub(super) const HEADERS: &[&str] = &["X-B", "x-a", "Authorization", "x-Long-name", "set-cookie", "ETag"];
const FIELDS: &[&str] = &[
    "request.headers[\"x-user\"]",
    "request.cookies.Sid",
    "request.query['a b']",
    "source.address",
    "request.path",
    "request.headers.host",
];
const PREDICATES: &[&str] = &[
    "response.code >= 500",
    "!(response.code < 400) && request.path == \"/login\"",
    "!!!true || request.headers['x'] != 'it\\'s \"x\"'",
    "(response.code == 1 || response.code == 2) && !false",
];
pub(super) const VALUES: &[&str] =
    &["request.path", "'a' + \"b\"", "{'a': [1, request.method]}", "string(size(request.path))"];
const GROUPS: &[&str] = &["X25519", "P-256", "P-384", "X25519_MLKEM768"];

fn authority() -> impl Strategy<Value = destination::AuthorityConfig> {
    use destination::AuthorityConfig as It;
    prop_oneof![
        one_of(&["A.example.com:8443", "b", "[::1]:80"]).prop_map(It::Full),
        one_of(&["A.example.com", "[::1]"]).prop_map(It::Host),
        (1..=u16::MAX).prop_map(It::Port),
        Just(It::Auto),
        Just(It::None),
    ]
}

fn path() -> impl Strategy<Value = destination::PathConfig> {
    prop_oneof![
        one_of(&["/", "/a/b", "/%20x"]).prop_map(destination::PathConfig::Full),
        one_of(&["", "/", "/a/"]).prop_map(destination::PathConfig::Prefix),
    ]
}

pub(super) fn headers() -> impl Strategy<Value = header_modifier::Config> {
    let set = select(&["host", ":method", ":path", "X-Set", "x-another"][..]).prop_map(|name| {
        let value = match name {
            "host" => "b.internal:81",
            ":method" => "PATCH",
            ":path" => "/b?x=1",
            _ => " a b ",
        };
        (name.to_owned(), value.to_owned())
    });
    let plain = (one_of(HEADERS), one_of(&["", "1", "Bearer x", "é"]));
    (vec(plain, 0..4), vec(set, 0..4), some_of(HEADERS)).prop_map(|(add, set, remove)| header_modifier::Config {
        add: add.into_iter().collect(),
        set: set.into_iter().collect(),
        remove,
    })
}

pub(super) fn keepalives() -> impl Strategy<Value = backend_tcp::KeepalivesConfig> {
    (any::<bool>(), seconds(), seconds(), 1..=127u32).prop_map(|(enabled, time, interval, retries)| {
        backend_tcp::KeepalivesConfig { enabled, time, interval, retries }
    })
}

fn rewrite() -> impl Strategy<Value = url_rewrite::Config> {
    (option::of(authority()), option::of(path())).prop_map(|(authority, path)| url_rewrite::Config { authority, path })
}

fn own_headers() -> impl Strategy<Value = header_modifier::Config> {
    headers().prop_map(|mut it| {
        it.set.retain(|name, _| name.starts_with(['X', 'x']));
        it
    })
}

fn affinity() -> impl Strategy<Value = session_affinity::Config> {
    one_of(FIELDS).prop_map(|source| session_affinity::Config { source })
}

/// A policy of one kind, with expressions of such a place. The compiler lists the kinds that are missing.
pub(super) fn of(kind: Kind, site: Site) -> BoxedStrategy<Policy> {
    match kind {
        Kind::IpAccess => lowered(site, ip_access(), ip_access::Config::lower, Policy::IpAccess),
        Kind::Cors => lowered(site, cors(), cors::Config::lower, Policy::Cors),
        Kind::JwtAuth => lowered(site, jwt_auth(), jwt_auth::Config::lower, Policy::JwtAuth),
        Kind::McpAuthentication => mcp_authentication(site),
        Kind::McpGuardrails => lowered(site, tools::guardrails(), mcp_guardrails::Config::lower, Policy::McpGuardrails),
        Kind::McpPinning => lowered(site, tools::pinning(), mcp_pinning::Config::lower, Policy::McpPinning),
        Kind::McpTools => lowered(site, tools::tools(), mcp_tools::Config::lower, Policy::McpTools),
        Kind::BasicAuth => lowered(site, basic_auth(), basic_auth::Config::lower, Policy::BasicAuth),
        Kind::ApiKey => lowered(site, api_key(), api_key::Config::lower, Policy::ApiKey),
        Kind::Authorization => {
            lowered(site, admission::requests(), authorization::Config::lower, Policy::Authorization)
        }
        Kind::McpAuthorization => {
            lowered(site, admission::tools(), mcp_authorization::Policy::lower, Policy::McpAuthorization)
        }
        Kind::NetworkExtAuthz => {
            lowered(site, callouts::network_ext_authz(), network_ext_authz::Policy::lower, Policy::NetworkExtAuthz)
        }
        Kind::NetworkAuthorization => {
            lowered(site, admission::connections(), network_authorization::Policy::lower, Policy::NetworkAuthorization)
        }
        Kind::LocalRateLimit => {
            lowered(site, admission::rates(), local_rate_limit::Config::lower, Policy::LocalRateLimit)
        }
        Kind::ConcurrencyLimit => {
            lowered(site, admission::places(), concurrency_limit::Config::lower, Policy::ConcurrencyLimit)
        }
        Kind::Csrf => lowered(site, admission::csrf(), csrf::Config::lower, Policy::Csrf),
        Kind::Delay => lowered(site, admission::delay(), delay::Config::lower, Policy::Delay),
        Kind::Fault => lowered(site, admission::fault(), fault::Config::lower, Policy::Fault),
        Kind::RequestHeaderModifier => {
            lowered(site, headers(), header_modifier::Config::lower_request, Policy::RequestHeaderModifier)
        }
        Kind::ResponseHeaderModifier => {
            lowered(site, own_headers(), header_modifier::Config::lower_response, Policy::ResponseHeaderModifier)
        }
        Kind::UrlRewrite => lowered(site, rewrite(), url_rewrite::Config::lower, Policy::UrlRewrite),
        Kind::RequestRedirect => lowered(site, redirect(), request_redirect::Config::lower, Policy::RequestRedirect),
        Kind::DirectResponse => {
            lowered(site, changes::answer(), direct_response::Config::lower, Policy::DirectResponse)
        }
        Kind::Ai => lowered(site, changes::ai(), ai::Config::lower, Policy::Ai),
        Kind::A2a => lowered(site, changes::a2a(), a2a::Config::lower, Policy::A2a),
        Kind::AccessLog => lowered(site, access_log(), access_log::Config::lower, Policy::AccessLog),
        Kind::BackendHttp => lowered(site, backend_http(), backend_http::Config::lower, Policy::BackendHttp),
        Kind::BackendTcp => lowered(site, backend_tcp(), backend_tcp::Config::lower, Policy::BackendTcp),
        Kind::BackendTls => lowered(site, backend_tls(), backend_tls::Config::lower, Policy::BackendTls),
        Kind::Buffer => lowered(site, buffer(), buffer::Config::lower, Policy::Buffer),
        Kind::CircuitBreaker => lowered(site, breaker(), circuit_breaker::Config::lower, Policy::CircuitBreaker),
        Kind::Compression => lowered(site, compression(), compression::Config::lower, Policy::Compression),
        Kind::ExtAuthz => lowered(site, callouts::ext_authz(), ext_authz::Config::lower, Policy::ExtAuthz),
        Kind::RemoteRateLimit => {
            lowered(site, callouts::remote_rate_limit(), remote_rate_limit::Config::lower, Policy::RemoteRateLimit)
        }
        Kind::FrontendHttp => lowered(site, frontend_http(), frontend_http::Config::lower, Policy::FrontendHttp),
        Kind::FrontendTcp => lowered(site, frontend_tcp(), frontend_tcp::Config::lower, Policy::FrontendTcp),
        Kind::FrontendTls => lowered(site, frontend_tls(), frontend_tls::Config::lower, Policy::FrontendTls),
        Kind::Health => lowered(site, health(), health::Config::lower, Policy::Health),
        Kind::ProxyProtocol => lowered(site, proxy(), proxy_protocol::Config::lower, Policy::ProxyProtocol),
        Kind::RequestMirror => lowered(site, mirror(), request_mirror::Config::lower, Policy::RequestMirror),
        Kind::Retry => lowered(site, retry(), retry::Config::lower, Policy::Retry),
        Kind::SessionAffinity => lowered(site, affinity(), session_affinity::Config::lower, Policy::SessionAffinity),
        Kind::Transformations => {
            lowered(site, changes::transformations(), transformations::Config::lower, Policy::Transformations)
        }
        Kind::BackendAuth => lowered(site, changes::backend_auth(), backend_auth::Config::lower, Policy::BackendAuth),
        Kind::Timeout => lowered(site, timeout(), timeout::Config::lower, Policy::Timeout),
    }
}

/// Kinds that may have conditions.
pub(super) const CONDITIONAL: &[Kind] =
    &[Kind::DirectResponse, Kind::ExtAuthz, Kind::LocalRateLimit, Kind::RemoteRateLimit, Kind::Transformations];

/// A policy of one of these kinds with conditions.
pub(super) fn conditional(site: Site) -> impl Strategy<Value = Policy> {
    let condition = subsequence(&["has(jwt.sub)", "request.path == '/a'", "true"][..], 1..=3);
    let parts = (select(CONDITIONAL), any::<bool>(), condition);
    parts.prop_flat_map(move |(kind, always, conditions)| {
        let count = conditions.len() + usize::from(always);
        vec(of(kind, site), count).prop_map(move |policies| {
            let conditions = conditions.iter().map(|it| Some((*it).to_owned())).chain([None]);
            let (mut shelf, mut doors) = (Shelf, Doors);
            let mut scope = Scope::new("policy", &mut shelf, &mut doors);
            scope.site = site;
            let entries = conditions.zip(policies).collect();
            let policy = conditional::Policy::lower(kind, entries, &mut scope, |it, _| Some(it));
            Policy::Conditional(policy.expect("the entries are good"))
        })
    })
}

fn mode() -> impl Strategy<Value = credential::Mode> {
    use credential::Mode::{Optional, Permissive, Strict};
    select(&[Strict, Optional, Permissive][..])
}

fn location() -> impl Strategy<Value = Option<credential::Config>> {
    use credential::{Config, HeaderConfig, NameConfig};
    let header = (one_of(HEADERS), option::of(one_of(&["Bearer ", "key:"])))
        .prop_map(|(name, prefix)| Config::Header(HeaderConfig { name, prefix }));
    let name = |it: &'static str| NameConfig { name: it.to_owned() };
    let cel = Config::Expression("request.headers['x-a']".to_owned());
    let others = prop_oneof![Just(Config::QueryParameter(name("a.b"))), Just(Config::Cookie(name("sid"))), Just(cel)];
    option::of(prop_oneof![header, others])
}

pub(super) const JWKS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn jwt_auth() -> impl Strategy<Value = jwt_auth::Config> {
    use jwt_auth::{Config, JwksConfig, OptionsConfig, ProviderConfig};
    let jwks = prop_oneof![
        Just(JwksConfig::Inline(JWKS.to_owned())),
        Just(JwksConfig::Url { url: "https://issuer.example/keys?a=1".to_owned() }),
    ];
    let skew = option::of((0..600u64).prop_map(|it| Span(Duration::from_secs(it))));
    let options = (option::of(some_of(&["exp", "sub", "a b"])), subsequence(jwt::Algorithm::ALL, 0..3), skew);
    let options = options.prop_map(|(required_claims, algorithms, clock_skew)| OptionsConfig {
        required_claims,
        algorithms,
        clock_skew,
    });
    let provider = (one_of(&["a", "https://b/"]), at_least_one(&["x", "y"]), jwks, options);
    let provider = provider.prop_map(|(issuer, audiences, jwks, jwt_validation_options)| ProviderConfig {
        issuer,
        audiences,
        jwks,
        jwt_validation_options,
    });
    let claims = btree_map(one_of(&["x-user", "X-Mail"]), one_of(&["sub", "a.b"]), 0..3);
    let parts = (mode(), location(), any::<bool>(), claims, vec(provider, 1..3));
    parts.prop_map(|(mode, location, forward, claims_to_headers, providers)| Config {
        mode,
        location,
        forward,
        claims_to_headers,
        providers,
        ..Config::default()
    })
}

fn mcp_authentication(site: Site) -> BoxedStrategy<Policy> {
    use mcp_authentication::{Config, Empty, ProviderConfig, StepUpConfig};
    let provider = option::of(prop_oneof![
        Just(ProviderConfig::Auth0(Empty {})),
        Just(ProviderConfig::Keycloak(Empty {})),
        Just(ProviderConfig::Okta(Empty {})),
        Just(ProviderConfig::Authentik(Empty {})),
        Just(ProviderConfig::Entra(Empty {})),
    ]);
    let jwks = option::of(Just(jwt_auth::JwksConfig::Inline(JWKS.to_owned())));
    let metadata = select(&[r#"{}"#, r#"{"resource_name":"é","x":[1]}"#][..]);
    let step = (select(&["has(mcp.tool)", "mcp.tool.name == 'a'"][..]), at_least_one(&["a", "b:c"]));
    let step = step
        .prop_filter_map("no scopes", |(when, scopes)| Some(StepUpConfig { when: when.to_owned(), scopes: scopes? }));
    let client = option::of(one_of(&["agents", "é"]));
    let parts = (provider, jwks, mode(), location(), metadata, some_of(&["a", "b"]), vec(step, 0..3), client);
    let config = (parts, any::<bool>()).prop_map(
        |((provider, jwks, mode, location, metadata, required_scopes, step_up, client_id), secret)| {
            let secret = secret && client_id.is_some() && matches!(provider, Some(ProviderConfig::Entra(_)));
            Config {
                issuer: "https://issuer.example/tenant/v2.0".to_owned(),
                audiences: vec!["api".to_owned()],
                resource_metadata: serde_json::from_str(metadata).unwrap(),
                provider,
                jwks,
                mode,
                authorization_location: location,
                required_scopes,
                step_up,
                client_id,
                client_secret: secret
                    .then(|| backend_auth::ValueConfig::Inline(backend_auth::SecretText("hunter2".to_owned()))),
                ..Config::default()
            }
        },
    );
    lowered(site, config, Config::lower, Policy::McpAuthentication)
}

fn api_key() -> impl Strategy<Value = api_key::Config> {
    use api_key::{Config, EntryConfig};
    let metadata = select(&[r#"{}"#, r#"{"a":1}"#, r#"{"owner":"é","groups":["x",{"y":null}]}"#][..]);
    let models = option::of(vec(one_of(&["gpt-*", "claude"]), 0..3));
    let key = one_of(&["one", "two", "three", "four"]);
    let entry = (key, metadata, models).prop_map(|(key, metadata, allowed_models)| EntryConfig {
        key: Some(lower::Sensitive::new(key)),
        key_hash: None,
        metadata: serde_json::from_str(metadata).unwrap(),
        allowed_models,
    });
    (mode(), location(), any::<bool>(), vec(entry, 1..4)).prop_map(|(mode, location, forward, keys)| Config {
        mode,
        location,
        forward,
        keys,
        file: None,
    })
}

fn basic_auth() -> impl Strategy<Value = basic_auth::Config> {
    use basic_auth::Config;
    let lines = some_of(&["a:{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "b c:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ."]);
    let parts = (lines, option::of(one_of(&["Restricted", "x y"])), mode(), location(), any::<bool>());
    parts.prop_map(|(lines, realm, mode, authorization_location, forward)| Config {
        htpasswd: lower::FileOrInline::Inline(lower::Sensitive::new(lines.join("\n"))),
        realm,
        mode,
        authorization_location,
        forward,
    })
}

fn ip_access() -> impl Strategy<Value = ip_access::Config> {
    let networks = || some_of(&["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::ffff:10.0.0.0/104", "0.0.0.0/0"]);
    (networks(), networks()).prop_map(|(allow, deny)| ip_access::Config { allow, deny })
}

fn cors() -> impl Strategy<Value = cors::Config> {
    let origins = some_of(&[
        "https://App.example.com",
        "https://*.example.org",
        "http://localhost:*",
        "http://*:8080",
        "https://a:443",
        "null",
        "https://[::1]:8443",
        "*",
    ]);
    let names = || some_of(&["X-A", "content-type", "*"]);
    (any::<bool>(), names(), some_of(&["GET", "post", "*"]), origins, some_of(HEADERS), option::of(span())).prop_map(
        |(allow_credentials, allow_headers, allow_methods, allow_origins, expose_headers, max_age)| cors::Config {
            allow_credentials,
            allow_headers,
            allow_methods,
            allow_origins,
            expose_headers,
            max_age,
        },
    )
}

fn redirect() -> impl Strategy<Value = request_redirect::Config> {
    let parts = (option::of(one_of(&["http", "HTTPS"])), option::of(authority()), option::of(path()));
    (parts, select(&[301u16, 302, 303, 307, 308][..]))
        .prop_map(|((scheme, authority, path), status)| request_redirect::Config { scheme, authority, path, status })
}

fn access_log() -> impl Strategy<Value = access_log::Config> {
    let add = btree_map(one_of(&["user", "a.b", "Z"]), one_of(FIELDS), 0..3);
    (option::of(one_of(PREDICATES)), add, some_of(&["source.port", "x"]))
        .prop_map(|(filter, add, remove)| access_log::Config { filter, add, remove, otlp: None, database: None })
}

pub(super) fn backend_http() -> impl Strategy<Value = backend_http::Config> {
    let version = option::of(one_of(&["1.1", "h2"]));
    (version, option::of(span()), option::of(1..9u32), option::of(span())).prop_map(
        |(version, request_timeout, max_concurrent_streams, pool_idle_timeout)| backend_http::Config {
            version,
            request_timeout,
            max_concurrent_streams,
            pool_idle_timeout,
        },
    )
}

fn backend_tcp() -> impl Strategy<Value = backend_tcp::Config> {
    (option::of(keepalives()), option::of(seconds()))
        .prop_map(|(keepalives, connect_timeout)| backend_tcp::Config { keepalives, connect_timeout })
}

pub(super) fn backend_tls() -> impl Strategy<Value = backend_tls::Config> {
    let shown = any::<bool>();
    let lists =
        (at_least_one(&["h2", "http/1.1"]), at_least_one(&["A.example.com", "spiffe://Td/Ns"]), at_least_one(GROUPS));
    (shown, option::of(Just("CERTIFICATE")), option::of(one_of(&["A.internal"])), 0..4u8, lists).prop_map(
        |(shown, root, hostname, switch, (alpn, subject_alt_names, key_exchange_groups))| backend_tls::Config {
            cert: shown.then(|| FileRef::Path("CERTIFICATE".to_owned())),
            key: shown.then(|| FileRef::Path("PRIVATE KEY".to_owned())),
            root: root.map(|it| FileRef::Path(it.to_owned())),
            hostname,
            insecure: switch == 0,
            insecure_host: switch == 1,
            alpn,
            subject_alt_names,
            key_exchange_groups,
            spiffe: None,
        },
    )
}

fn buffer() -> impl Strategy<Value = buffer::Config> {
    let mode = select(&[buffer::FailureMode::FailClosed, buffer::FailureMode::FailOpen][..]);
    let body = (option::of(1..usize::MAX), mode)
        .prop_map(|(max_bytes, failure_mode)| buffer::BodyConfig { max_bytes, failure_mode });
    (option::of(body.clone()), option::of(body)).prop_map(|(request, response)| buffer::Config { request, response })
}

fn breaker() -> impl Strategy<Value = circuit_breaker::Config> {
    let limit = || option::of(0..9u32);
    (limit(), limit(), limit(), limit()).prop_map(
        |(max_connections, max_pending_requests, max_parallel_requests, max_parallel_retries)| {
            circuit_breaker::Config {
                max_connections,
                max_pending_requests,
                max_parallel_requests,
                max_parallel_retries,
            }
        },
    )
}

fn compression() -> impl Strategy<Value = compression::Config> {
    let types = some_of(&["text/", "Application/JSON"]);
    (some_of(&["gzip", "brotli", "zstd"]), 1..=9u32, types, any::<usize>()).prop_map(
        |(algorithms, level, content_types, min_bytes)| compression::Config {
            algorithms,
            level,
            content_types,
            min_bytes,
        },
    )
}

fn frontend_http() -> impl Strategy<Value = frontend_http::Config> {
    let sizes = (1..1usize << 32, option::of(1..4096usize), 1024..1usize << 20, 0..=32usize);
    let spans = (seconds(), seconds(), seconds(), option::of(span()), option::of(span()), option::of(span()));
    let h2 = (option::of(1..9u32), option::of(65_535..99_999u32), option::of(16_384..99_999u32), 1..9u32);
    (sizes, spans, h2, any::<bool>(), option::of(1024..9999u32)).prop_map(|(sizes, spans, h2, yes, header_size)| {
        frontend_http::Config {
            max_buffer_size: sizes.0,
            http1_max_headers: sizes.1,
            http1_idle_timeout: spans.0,
            http1_header_case: if yes {
                frontend_http::HeaderCase::Preserve
            } else {
                frontend_http::HeaderCase::Lowercase
            },
            max_header_bytes: sizes.2,
            request_header_timeout: spans.1,
            request_body_idle_timeout: spans.2,
            http2_window_size: h2.0,
            http2_connection_window_size: h2.1,
            http2_frame_size: h2.2,
            http2_max_header_size: header_size,
            http2_max_concurrent_streams: h2.3,
            http2_keepalive_interval: spans.3,
            http2_keepalive_timeout: spans.4,
            max_connection_duration: spans.5,
            trusted_hops: sizes.3,
            forwarded: yes,
        }
    })
}

fn frontend_tcp() -> impl Strategy<Value = frontend_tcp::Config> {
    (keepalives(), option::of(1..9u32), span(), option::of(span())).prop_map(
        |(keepalives, max_connections, idle_timeout, drain_timeout)| frontend_tcp::Config {
            keepalives,
            max_connections,
            idle_timeout,
            drain_timeout,
        },
    )
}

fn frontend_tls() -> impl Strategy<Value = frontend_tls::Config> {
    let version = || option::of(one_of(&["TLS_V1_2", "tls_v1_3"]));
    let lists = (at_least_one(&["h2", "http/1.1"]), at_least_one(&tls_terms::CIPHER_SUITES), at_least_one(GROUPS));
    (seconds(), 1..9u32, version(), version(), lists).prop_map(
        |(handshake_timeout, max_concurrent_handshakes, min_version, max_version, lists)| frontend_tls::Config {
            handshake_timeout,
            max_concurrent_handshakes,
            alpn: lists.0,
            min_version,
            max_version,
            cipher_suites: lists.1,
            key_exchange_groups: lists.2,
        },
    )
}

fn health() -> impl Strategy<Value = health::Config> {
    let score = || option::of(0.0..=1.0f64);
    let eviction = (option::of(seconds()), option::of(span()), score(), option::of(1..9u32), score()).prop_map(|it| {
        health::EvictionConfig {
            duration: it.0,
            max_duration: it.1,
            restore_health: it.2,
            consecutive_failures: it.3,
            health_threshold: it.4,
        }
    });
    let statuses = vec(200..600u16, 1..3);
    let http = (one_of(&["/", "/healthz?x"]), option::of(one_of(&["h:1"])), statuses)
        .prop_map(|(path, host, expected_statuses)| health::HttpProbeConfig { path, host, expected_statuses });
    let grpc = one_of(&["", "a.B"]).prop_map(|service| health::GrpcProbeConfig { service });
    let active = (http, grpc, any::<Index>(), seconds(), seconds(), 1..9u32, 1..9u32).prop_map(|it| {
        let probe = it.2.index(3);
        health::ActiveConfig {
            http: Some(it.0).filter(|_| probe == 0),
            tcp: (probe == 1).then_some(health::TcpProbeConfig {}),
            grpc: Some(it.1).filter(|_| probe == 2),
            interval: it.3,
            timeout: it.4,
            unhealthy_threshold: it.5,
            healthy_threshold: it.6,
        }
    });
    (option::of(one_of(PREDICATES)), option::of(eviction), option::of(active))
        .prop_map(|(unhealthy_expression, eviction, active)| health::Config { unhealthy_expression, eviction, active })
}

fn proxy() -> impl Strategy<Value = proxy_protocol::Config> {
    use proxy_protocol::{Mode, Version};
    let version = select(&[Version::V1, Version::V2, Version::All][..]);
    (version, select(&[Mode::Strict, Mode::Optional][..]))
        .prop_map(|(version, mode)| proxy_protocol::Config { version, mode })
}

fn mirror() -> impl Strategy<Value = request_mirror::Config> {
    let service =
        (1..=u16::MAX).prop_map(|port| SimpleBackend::Service(ServicePort { name: "ns/host".to_owned(), port }));
    let backend = prop_oneof![Just(SimpleBackend::Backend("b".to_owned())), service];
    (backend, 0.0..=1.0f64, any::<usize>()).prop_map(|(backend, percentage, max_body_bytes)| request_mirror::Config {
        backend,
        percentage,
        max_body_bytes,
    })
}

fn retry() -> impl Strategy<Value = retry::Config> {
    let condition = option::of(one_of(PREDICATES));
    let precondition = option::of(one_of(&["request.method == 'GET'", "has(jwt.sub)"]));
    let spans = (option::of(span()), option::of(span()), option::of(span()));
    (1..=255u8, spans, vec(400..600u16, 1..5), precondition, condition).prop_map(
        |(attempts, (backoff, backoff_max, per_try_timeout), codes, precondition, condition)| retry::Config {
            attempts,
            backoff,
            backoff_max,
            codes,
            per_try_timeout,
            precondition,
            condition,
        },
    )
}

fn timeout() -> impl Strategy<Value = timeout::Config> {
    (option::of(span()), option::of(span())).prop_map(|(request_timeout, backend_request_timeout)| timeout::Config {
        request_timeout,
        backend_request_timeout,
    })
}
