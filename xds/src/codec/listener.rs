//! Binds, listeners, and their terms of TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use filters::{Scope, tls_terms};
use ir::listener::{KeyExchangeGroup, TlsVersion};
use ir::{Bind, BindAddress, BindKey, Hostname, Listener, ListenerKey, Origin, Protocol, Secret, ServerTls};

use super::read;
use crate::pb;

pub(super) fn encode_bind(it: &Bind) -> pb::Bind {
    let Bind { key, address, origin: _ } = it;
    let address = match address {
        BindAddress::Wildcard(port) => pb::bind::Address::Port((*port).into()),
        BindAddress::Socket(address) => pb::bind::Address::Socket(address.to_string()),
        // A path comes from a text, here as in local files.
        BindAddress::Unix(path) => pb::bind::Address::UnixPath(path.to_string_lossy().into_owned()),
    };
    pb::Bind { key: key.to_string(), address: Some(address) }
}

pub(super) fn decode_bind(it: pb::Bind, origin: &Origin, scope: &mut Scope<'_>) -> Option<Bind> {
    let pb::Bind { key, address } = it;
    let key = BindKey(read::text(scope, "key", &key));
    let address = match address {
        None => {
            scope.problem("no address: exactly one of `port`, `socket` and `unixPath`");
            None
        }
        Some(pb::bind::Address::Port(port)) => Some(BindAddress::Wildcard(read::number(scope, "port", port))),
        Some(pb::bind::Address::Socket(text)) => {
            let parsed = text.parse::<SocketAddr>();
            let parsed = parsed.map_err(|_| format!("`{}` is not `ip:port`", text.escape_debug()));
            scope.check("socket", parsed).map(BindAddress::Socket)
        }
        Some(pb::bind::Address::UnixPath(path)) => {
            if !path.starts_with('/') || path.contains('\0') {
                scope.problem_at("unixPath", "a unix socket needs an absolute path");
            }
            Some(BindAddress::Unix(PathBuf::from(path)))
        }
    };
    Some(Bind { key, address: address?, origin: origin.clone() })
}

pub(super) fn encode(it: &Listener) -> pb::Listener {
    let Listener { key, bind, gateway, name, hostname, protocol, tls, origin: _ } = it;
    let protocol = match protocol {
        Protocol::Http => pb::Protocol::Http,
        Protocol::Https => pb::Protocol::Https,
        Protocol::Tcp => pb::Protocol::Tcp,
        Protocol::Tls => pb::Protocol::Tls,
    };
    pb::Listener {
        key: key.to_string(),
        bind: bind.to_string(),
        gateway: Some(read::encode_name(gateway)),
        name: name.to_string(),
        hostname: hostname.to_string(),
        protocol: protocol.into(),
        tls: tls.as_ref().map(encode_tls),
    }
}

pub(super) fn decode(it: pb::Listener, origin: &Origin, scope: &mut Scope<'_>) -> Option<Listener> {
    let pb::Listener { key, bind, gateway, name, hostname, protocol, tls } = it;
    let protocol = match (read::choice(scope, "protocol", protocol), tls.is_some()) {
        (pb::Protocol::Unspecified | pb::Protocol::Http, false) => Protocol::Http,
        (pb::Protocol::Unspecified | pb::Protocol::Https, true) => Protocol::Https,
        (pb::Protocol::Tcp, false) => Protocol::Tcp,
        (pb::Protocol::Tls, _) => Protocol::Tls,
        (pb::Protocol::Http | pb::Protocol::Tcp, true) => {
            scope.problem_at("tls", "it goes with the protocols HTTPS and TLS only");
            Protocol::Tls
        }
        (pb::Protocol::Https, false) => {
            scope.problem_at("tls", "missing: HTTPS needs a certificate");
            Protocol::Https
        }
    };
    let hostname = scope.check("hostname", Hostname::parse(&hostname));
    Some(Listener {
        key: ListenerKey(read::text(scope, "key", &key)),
        bind: BindKey(read::text(scope, "bind", &bind)),
        gateway: read::object_name(scope, "gateway", gateway),
        name: read::text(scope, "name", &name),
        hostname: hostname.unwrap_or(Hostname::Any),
        protocol,
        tls: tls.map(|it| scope.at("tls", |scope| decode_tls(it, protocol, scope))),
        origin: origin.clone(),
    })
}

fn encode_tls(it: &ServerTls) -> pb::ServerTls {
    let ServerTls {
        certificate,
        key,
        client_roots,
        min_version,
        max_version,
        cipher_suites,
        key_exchange_groups,
        alpn,
    } = it;
    pb::ServerTls {
        certificate: certificate.clone(),
        key: key.expose().to_vec(),
        client_roots: client_roots.clone(),
        min_version: encode_version(Some(*min_version)).into(),
        max_version: encode_version(Some(*max_version)).into(),
        cipher_suites: read::texts(cipher_suites),
        key_exchange_groups: encode_groups(key_exchange_groups),
        alpn: read::texts(alpn),
    }
}

fn decode_tls(it: pb::ServerTls, protocol: Protocol, scope: &mut Scope<'_>) -> ServerTls {
    let pb::ServerTls {
        certificate,
        key,
        client_roots,
        min_version,
        max_version,
        cipher_suites,
        key_exchange_groups,
        alpn,
    } = it;
    for (field, pem) in
        [("certificate", Some(&certificate)), ("key", Some(&key)), ("clientRoots", client_roots.as_ref())]
    {
        if pem.is_some_and(Vec::is_empty) {
            scope.problem_at(field, "missing");
        }
    }
    let min_version = decode_version(scope, "minVersion", min_version).unwrap_or(TlsVersion::V1_2);
    let max_version = decode_version(scope, "maxVersion", max_version).unwrap_or(TlsVersion::V1_3);
    scope.check("minVersion", tls_terms::range(Some(min_version), Some(max_version)));
    let mut alpn = scope.each("alpn", &alpn, tls_terms::alpn);
    if alpn.is_empty() && protocol == Protocol::Https {
        alpn = vec!["h2".into(), "http/1.1".into()];
    }
    ServerTls {
        certificate,
        key: Secret::new(key),
        client_roots,
        min_version,
        max_version,
        cipher_suites: scope.each("cipherSuites", &cipher_suites, tls_terms::cipher_suite),
        key_exchange_groups: decode_groups(scope, &key_exchange_groups),
        alpn,
    }
}

pub(super) fn encode_version(it: Option<TlsVersion>) -> pb::TlsVersion {
    match it {
        None => pb::TlsVersion::Unspecified,
        Some(TlsVersion::V1_2) => pb::TlsVersion::TlsVersion12,
        Some(TlsVersion::V1_3) => pb::TlsVersion::TlsVersion13,
    }
}

pub(super) fn decode_version(scope: &mut Scope<'_>, key: &str, number: i32) -> Option<TlsVersion> {
    match read::choice(scope, key, number) {
        pb::TlsVersion::Unspecified => None,
        pb::TlsVersion::TlsVersion12 => Some(TlsVersion::V1_2),
        pb::TlsVersion::TlsVersion13 => Some(TlsVersion::V1_3),
    }
}

pub(super) fn encode_groups(list: &[KeyExchangeGroup]) -> Vec<i32> {
    let encode = |it: &KeyExchangeGroup| match it {
        KeyExchangeGroup::X25519 => pb::KeyExchangeGroup::X25519,
        KeyExchangeGroup::P256 => pb::KeyExchangeGroup::P256,
        KeyExchangeGroup::P384 => pb::KeyExchangeGroup::P384,
        KeyExchangeGroup::X25519Mlkem768 => pb::KeyExchangeGroup::X25519Mlkem768,
    };
    list.iter().map(|it| encode(it).into()).collect()
}

pub(super) fn decode_groups(scope: &mut Scope<'_>, numbers: &[i32]) -> Vec<KeyExchangeGroup> {
    let key = "keyExchangeGroups";
    let mut groups = Vec::with_capacity(numbers.len());
    for (position, it) in read::choices(scope, key, numbers).into_iter().enumerate() {
        groups.push(match it {
            pb::KeyExchangeGroup::X25519 => KeyExchangeGroup::X25519,
            pb::KeyExchangeGroup::P256 => KeyExchangeGroup::P256,
            pb::KeyExchangeGroup::P384 => KeyExchangeGroup::P384,
            pb::KeyExchangeGroup::X25519Mlkem768 => KeyExchangeGroup::X25519Mlkem768,
            pb::KeyExchangeGroup::Unspecified => {
                scope.at(key, |scope| scope.problem_at(&format!("[{position}]"), "no group"));
                continue;
            }
        });
    }
    groups
}
