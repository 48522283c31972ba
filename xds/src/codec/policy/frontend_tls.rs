//! `frontendPolicies.tls`.

use filters::Scope;
use filters::frontend_tls::{Config, Policy};
use ir::listener::TlsVersion;

use super::backend_tls::groups;
use crate::codec::listener::{decode_version, encode_groups, encode_version};
use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::FrontendTls {
    let Policy {
        handshake_timeout,
        max_concurrent_handshakes,
        alpn,
        min_version,
        max_version,
        cipher_suites,
        key_exchange_groups,
    } = it;
    pb::FrontendTls {
        handshake_timeout: Some(read::duration(*handshake_timeout)),
        max_concurrent_handshakes: Some(*max_concurrent_handshakes),
        alpn: read::texts(alpn.iter().flatten()),
        min_version: encode_version(*min_version).into(),
        max_version: encode_version(*max_version).into(),
        cipher_suites: read::texts(cipher_suites.iter().flatten()),
        key_exchange_groups: encode_groups(key_exchange_groups.as_deref().unwrap_or_default()),
    }
}

pub(super) fn decode(it: pb::FrontendTls, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::FrontendTls {
        handshake_timeout,
        max_concurrent_handshakes,
        alpn,
        min_version,
        max_version,
        cipher_suites,
        key_exchange_groups,
    } = it;
    let base = Config::default();
    let config = Config {
        handshake_timeout: read::span(scope, "handshakeTimeout", handshake_timeout).unwrap_or(base.handshake_timeout),
        max_concurrent_handshakes: max_concurrent_handshakes.unwrap_or(base.max_concurrent_handshakes),
        alpn: read::listed(alpn),
        min_version: decode_version(scope, "minVersion", min_version).map(version),
        max_version: decode_version(scope, "maxVersion", max_version).map(version),
        cipher_suites: read::listed(cipher_suites),
        key_exchange_groups: read::listed(groups(scope, &key_exchange_groups)),
    };
    config.lower(scope)
}

/// A version by the name that configuration has for it.
fn version(it: TlsVersion) -> String {
    match it {
        TlsVersion::V1_2 => "TLS_V1_2",
        TlsVersion::V1_3 => "TLS_V1_3",
    }
    .to_owned()
}
