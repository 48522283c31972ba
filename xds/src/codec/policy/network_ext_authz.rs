//! `networkExtAuthz`.

use filters::Scope;
use filters::expr::{Expression, Site};
use filters::ext_authz::{Config, Failure, FailureConfig, Http, HttpConfig, Protocol, ProtocolConfig};
use filters::network_ext_authz::Policy;

use super::{callout, ext_authz, mode};
use crate::codec::read;
use crate::pb;
use crate::pb::ext_authz::FailureMode;

pub(super) fn encode(it: &Policy) -> pb::NetworkExtAuthz {
    let Policy(it) = it;
    let text = |it: &Option<Expression>| it.as_ref().map(|it| it.text().to_owned());
    let http = match &it.protocol {
        Protocol::Http(http) => http,
        // There is no other for connections.
        Protocol::Grpc(_) => &Http::default(),
    };
    let headers = http.request_headers.iter();
    pb::NetworkExtAuthz {
        target: Some(callout::encode(&it.target)),
        path: text(&http.path),
        body: text(&http.body),
        add_request_headers: headers.map(|(name, it)| (name.as_str().to_owned(), it.text().to_owned())).collect(),
        failure_mode: match it.failure {
            Failure::Allow => FailureMode::Allow,
            Failure::Deny(_) => FailureMode::Deny,
        }
        .into(),
        mode: mode::encode(it.mode),
        cache: it.cache.as_ref().map(ext_authz::encode_cache),
    }
}

pub(super) fn decode(it: pb::NetworkExtAuthz, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::NetworkExtAuthz { target, path, body, add_request_headers, failure_mode, mode, cache } = it;
    let target = scope.at("target", |scope| callout::decode(target, scope));
    let failure_mode = match read::choice(scope, "failureMode", failure_mode) {
        FailureMode::Allow => FailureConfig::Allow,
        FailureMode::Unspecified | FailureMode::Deny => FailureConfig::Deny,
    };
    let config = Config {
        protocol: ProtocolConfig::Http(HttpConfig { path, body, add_request_headers, ..HttpConfig::default() }),
        failure_mode,
        mode: mode::decode(scope, mode),
        cache: cache.map(ext_authz::decode_cache),
        ..Config::default()
    };
    config.asking(target, Site::Connection, scope).map(Policy)
}
