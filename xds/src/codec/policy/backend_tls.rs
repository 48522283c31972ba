//! `backendTLS`. In files it names files; here their content travels.

use filters::backend_tls::{Config, Policy};
use filters::lower::Files;
use filters::{FileRef, Scope};
use ir::Secret;
use ir::listener::KeyExchangeGroup;

use crate::codec::listener::{decode_groups, encode_groups};
use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::BackendTls {
    let Policy {
        client_certificate,
        client_key,
        roots,
        hostname,
        insecure,
        insecure_host,
        alpn,
        subject_alt_names,
        key_exchange_groups,
    } = it;
    pb::BackendTls {
        cert: client_certificate.clone(),
        key: client_key.as_ref().map(|it| it.expose().to_vec()),
        root: roots.clone(),
        hostname: hostname.as_ref().map(ToString::to_string),
        insecure: *insecure,
        insecure_host: *insecure_host,
        alpn: read::texts(alpn),
        subject_alt_names: read::texts(subject_alt_names),
        key_exchange_groups: encode_groups(key_exchange_groups),
    }
}

/// Files by the field that holds them.
struct Held {
    cert: Option<Vec<u8>>,
    key: Option<Secret>,
    root: Option<Vec<u8>>,
}

impl Files for Held {
    fn read(&mut self, field: &FileRef) -> Result<Vec<u8>, String> {
        let FileRef::Path(field) = field else { return Err("credentials do not travel".to_owned()) };
        let held = match field.as_str() {
            "cert" => self.cert.take(),
            "key" => self.key.take().map(|it| it.expose().to_vec()),
            "root" => self.root.take(),
            _ => None,
        };
        held.ok_or_else(|| "files do not travel".to_owned())
    }
}

pub(super) fn decode(it: pb::BackendTls, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::BackendTls {
        cert,
        key,
        root,
        hostname,
        insecure,
        insecure_host,
        alpn,
        subject_alt_names,
        key_exchange_groups,
    } = it;
    let named = |field: &str, there: bool| there.then(|| FileRef::Path(field.to_owned()));
    let config = Config {
        cert: named("cert", cert.is_some()),
        key: named("key", key.is_some()),
        root: named("root", root.is_some()),
        hostname,
        insecure,
        insecure_host,
        alpn: read::listed(alpn),
        subject_alt_names: read::listed(subject_alt_names),
        key_exchange_groups: read::listed(groups(scope, &key_exchange_groups)),
        spiffe: None,
    };
    let mut held = Held { cert, key: key.map(Secret::new), root };
    let mut inner = Scope::new(scope.path(), &mut held, &mut *scope.backends);
    let policy = config.lower(&mut inner);
    let mut problems = inner.problems;
    scope.problems.append(&mut problems);
    policy
}

/// Groups by the names that configuration has for them.
pub(super) fn groups(scope: &mut Scope<'_>, numbers: &[i32]) -> Vec<String> {
    let name = |it: KeyExchangeGroup| match it {
        KeyExchangeGroup::X25519 => "X25519",
        KeyExchangeGroup::P256 => "P-256",
        KeyExchangeGroup::P384 => "P-384",
        KeyExchangeGroup::X25519Mlkem768 => "X25519_MLKEM768",
    };
    decode_groups(scope, numbers).into_iter().map(|it| name(it).to_owned()).collect()
}
