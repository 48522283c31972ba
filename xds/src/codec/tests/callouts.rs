//! Policies that ask servers, as configuration makes them.

use filters::quota::mode::ModeConfig;
use filters::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::changes;
use super::policies::{HEADERS, backend_http, backend_tls, headers, keepalives, one_of, some_of};

fn modes() -> impl Strategy<Value = ModeConfig> {
    select(&[ModeConfig::Enforce, ModeConfig::Shadow][..])
}

fn terms() -> impl Strategy<Value = callout::Terms> {
    let tcp = option::of(keepalives()).prop_map(|keepalives| backend_tcp::Config { keepalives, connect_timeout: None });
    let changes = changes::transformations().prop_map(|mut it| {
        it.response = None;
        if let Some(request) = &mut it.request {
            request.body = None;
        }
        it
    });
    let own = (option::of(changes), option::of(changes::backend_auth())).boxed();
    let plain = (option::of(backend_tls()), option::of(backend_http()), option::of(tcp)).boxed();
    (option::of(headers()), own, plain).prop_map(
        |(request_header_modifier, (transformations, backend_auth), (backend_tls, http, tcp))| callout::Terms {
            request_header_modifier,
            transformations,
            backend_auth,
            backend_tls,
            http,
            tcp,
        },
    )
}

const EXPRESSIONS: &[&str] = &["request.path", "jwt.sub", "request.headers['x'] + '/'", "source.address"];

fn expressions() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    btree_map(one_of(&["x-a", "x-b", "authorization"]), one_of(EXPRESSIONS), 0..3)
}

pub(super) fn ext_authz() -> impl Strategy<Value = ext_authz::Config> {
    use ext_authz::{BodyConfig, CacheConfig, Config, ContextConfig, FailureConfig, HttpConfig, ProtocolConfig};
    let grpc = (btree_map(one_of(&["a", "b"]), one_of(&["", "1"]), 0..3), expressions());
    let grpc = grpc.prop_map(|(context, metadata)| ProtocolConfig::Grpc(ContextConfig { context, metadata }));
    let one = || option::of(one_of(EXPRESSIONS));
    let http = (some_of(HEADERS), one(), one(), one(), expressions(), expressions()).prop_map(
        |(include_response_headers, path, redirect, body, add_request_headers, metadata)| {
            let http = HttpConfig { include_response_headers, path, redirect, body, add_request_headers, metadata };
            ProtocolConfig::Http(http)
        },
    );
    let failure = prop_oneof![
        Just(FailureConfig::Allow),
        Just(FailureConfig::Deny),
        (400..600u16).prop_map(FailureConfig::DenyWithStatus),
    ];
    let body = (0..10_000u32, any::<bool>(), any::<bool>()).prop_map(|(max, partial, packed)| BodyConfig {
        max_request_bytes: max,
        allow_partial_message: partial,
        pack_as_bytes: packed,
    });
    let cache = (vec(one_of(EXPRESSIONS), 1..3), one_of(&["duration('1m')", "1800000000"]), 1..1_000_000u32)
        .prop_map(|(key, ttl, max_entries)| CacheConfig { key, ttl, max_entries });
    let names = some_of(&[":method", ":path", "X-A", "authorization", "host"]);
    let parts =
        (option::of(terms()), prop_oneof![grpc, http], failure, names, option::of(body), option::of(cache), modes());
    parts.boxed().prop_map(
        |(policies, protocol, failure_mode, include_request_headers, include_request_body, cache, mode)| Config {
            backend: Some("b".to_owned()),
            policies,
            protocol,
            failure_mode,
            include_request_headers,
            include_request_body,
            cache,
            mode,
            ..Config::default()
        },
    )
}

pub(super) fn remote_rate_limit() -> impl Strategy<Value = remote_rate_limit::Config> {
    use remote_rate_limit::{Config, DescriptorConfig, EntryConfig, FailureMode, Type};
    let entry = (one_of(&["user", "path"]), one_of(EXPRESSIONS)).prop_map(|(key, value)| EntryConfig { key, value });
    let kind = select(&[Type::Requests, Type::Tokens][..]);
    let limit = option::of(one_of(&["{'unit': 'hour', 'requestsPerUnit': 9}"]));
    let descriptor = (vec(entry, 1..4), option::of(one_of(&["2", "size(request.path)"])), limit, kind);
    let descriptor = descriptor.prop_map(|(entries, cost, limit_override, kind)| DescriptorConfig {
        entries,
        kind,
        cost,
        limit_override,
    });
    let mode = select(&[FailureMode::FailClosed, FailureMode::FailOpen][..]);
    (option::of(terms()), vec(descriptor, 0..4), mode, modes()).boxed().prop_map(
        |(policies, descriptors, failure_mode, mode)| Config {
            backend: Some("b".to_owned()),
            policies,
            domain: "d".to_owned(),
            descriptors,
            failure_mode,
            mode,
            ..Config::default()
        },
    )
}

pub(super) fn network_ext_authz() -> impl Strategy<Value = network_ext_authz::Config> {
    use network_ext_authz::{Config, NetworkFailureMode, NetworkHttpConfig, NetworkProtocolConfig};
    const CONNECTION: &[&str] = &["string(source.address)", "'/' + source.subjectCn"];
    let one = || option::of(one_of(CONNECTION));
    let headers = btree_map(one_of(&["x-a", "x-b"]), one_of(CONNECTION), 0..3);
    let http = (one(), one(), headers).prop_map(|(path, body, add_request_headers)| {
        NetworkProtocolConfig::Http(NetworkHttpConfig { path, body, add_request_headers })
    });
    let cache = (vec(one_of(CONNECTION), 1..3), 1..1_000_000u32)
        .prop_map(|(key, max_entries)| ext_authz::CacheConfig { key, ttl: "duration('1m')".to_owned(), max_entries });
    let failure = select(&[NetworkFailureMode::Deny, NetworkFailureMode::Allow][..]);
    (option::of(terms()), http, failure, modes(), option::of(cache)).boxed().prop_map(
        |(policies, protocol, failure_mode, mode, cache)| Config {
            backend: Some("b".to_owned()),
            policies,
            protocol,
            failure_mode,
            mode,
            cache,
            ..Config::default()
        },
    )
}
