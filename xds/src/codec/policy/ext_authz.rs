//! `extAuthz`.

use std::collections::BTreeMap;

use filters::Scope;
use filters::callout::Headers;
use filters::expr::{Expression, Site};
use filters::ext_authz::{
    Body, BodyConfig, Cache, CacheConfig, Config, ContextConfig, Failure, FailureConfig, Grpc, Http, HttpConfig,
    Policy, Protocol, ProtocolConfig,
};
use ir::Text;

use super::{callout, mode};
use crate::codec::read;
use crate::pb;
use crate::pb::ext_authz::{FailureMode, Protocol as Wire};

/// Answers kept unless written.
const ENTRIES_DEFAULT: u32 = 10_000;

pub(super) fn encode(it: &Policy) -> pb::ExtAuthz {
    let Policy { target, protocol, failure, headers, body, mode, cache } = it;
    let (failure_mode, status) = match failure {
        Failure::Allow => (FailureMode::Allow, None),
        Failure::Deny(status) => (FailureMode::Deny, Some(u32::from(*status))),
    };
    let names = match headers {
        Headers::All => Vec::new(),
        Headers::These { names } => names.clone(),
    };
    pb::ExtAuthz {
        target: Some(callout::encode(target)),
        protocol: Some(match protocol {
            Protocol::Grpc(it) => Wire::Grpc(encode_grpc(it)),
            Protocol::Http(it) => Wire::Http(encode_http(it)),
        }),
        failure_mode: failure_mode.into(),
        status_on_error: status,
        include_request_headers: names,
        include_request_body: body.as_ref().map(encode_body),
        cache: cache.as_ref().map(encode_cache),
        mode: mode::encode(*mode),
    }
}

fn encode_grpc(it: &Grpc) -> pb::ext_authz::Grpc {
    let Grpc { context, metadata } = it;
    let context = context.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    pb::ext_authz::Grpc { context, metadata: texts(metadata) }
}

fn encode_http(it: &Http) -> pb::ext_authz::Http {
    let Http { response_headers, path, redirect, body, request_headers, metadata } = it;
    let text = |it: &Option<Expression>| it.as_ref().map(|it| it.text().to_owned());
    pb::ext_authz::Http {
        include_response_headers: response_headers.iter().map(|it| it.as_str().to_owned()).collect(),
        path: text(path),
        redirect: text(redirect),
        body: text(body),
        add_request_headers: request_headers
            .iter()
            .map(|(name, it)| (name.as_str().to_owned(), it.text().to_owned()))
            .collect(),
        metadata: texts(metadata),
    }
}

fn texts(expressions: &BTreeMap<Text, Expression>) -> BTreeMap<String, String> {
    expressions.iter().map(|(name, it)| (name.to_string(), it.text().to_owned())).collect()
}

fn encode_body(it: &Body) -> pb::ext_authz::BodyOptions {
    let Body { bytes_max, partial, packed } = *it;
    let max_request_bytes = u32::try_from(bytes_max).unwrap_or(u32::MAX);
    pb::ext_authz::BodyOptions { max_request_bytes, allow_partial_message: partial, pack_as_bytes: packed }
}

pub(super) fn encode_cache(it: &Cache) -> pb::ext_authz::Cache {
    let Cache { key, ttl, entries_max, .. } = it;
    pb::ext_authz::Cache {
        key: key.iter().map(|it| it.text().to_owned()).collect(),
        ttl: ttl.text().to_owned(),
        max_entries: u32::try_from(*entries_max).ok(),
    }
}

pub(super) fn decode(it: pb::ExtAuthz, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::ExtAuthz {
        target,
        protocol,
        failure_mode,
        status_on_error,
        include_request_headers,
        include_request_body,
        cache,
        mode,
    } = it;
    let target = scope.at("target", |scope| callout::decode(target, scope));
    let failure_mode = match read::choice(scope, "failureMode", failure_mode) {
        FailureMode::Allow => FailureConfig::Allow,
        FailureMode::Unspecified | FailureMode::Deny => match status_on_error {
            None => FailureConfig::Deny,
            Some(status) => FailureConfig::DenyWithStatus(read::number(scope, "statusOnError", status)),
        },
    };
    let config = Config {
        protocol: match protocol {
            None => ProtocolConfig::default(),
            Some(Wire::Grpc(it)) => {
                let pb::ext_authz::Grpc { context, metadata } = it;
                ProtocolConfig::Grpc(ContextConfig { context, metadata })
            }
            Some(Wire::Http(it)) => ProtocolConfig::Http(decode_http(it)),
        },
        failure_mode,
        mode: mode::decode(scope, mode),
        include_request_headers,
        include_request_body: include_request_body.map(|it| {
            let pb::ext_authz::BodyOptions { max_request_bytes, allow_partial_message, pack_as_bytes } = it;
            BodyConfig { max_request_bytes, allow_partial_message, pack_as_bytes }
        }),
        cache: cache.map(decode_cache),
        ..Config::default()
    };
    config.asking(target, Site::Request, scope)
}

pub(super) fn decode_cache(it: pb::ext_authz::Cache) -> CacheConfig {
    let pb::ext_authz::Cache { key, ttl, max_entries } = it;
    CacheConfig { key, ttl, max_entries: max_entries.unwrap_or(ENTRIES_DEFAULT) }
}

fn decode_http(it: pb::ext_authz::Http) -> HttpConfig {
    let pb::ext_authz::Http { include_response_headers, path, redirect, body, add_request_headers, metadata } = it;
    HttpConfig { include_response_headers, path, redirect, body, add_request_headers, metadata }
}
