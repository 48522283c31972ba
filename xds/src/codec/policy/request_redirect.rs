//! `requestRedirect`.

use filters::Scope;
use filters::request_redirect::{Config, Policy};

use super::destination::{decode_authority, decode_path, encode_authority, encode_path};
use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::RequestRedirect {
    let Policy { scheme, authority, path, status } = it;
    pb::RequestRedirect {
        scheme: scheme.as_ref().map(ToString::to_string),
        authority: authority.as_ref().map(encode_authority),
        path: path.as_ref().map(encode_path),
        status: Some((*status).into()),
    }
}

pub(super) fn decode(it: pb::RequestRedirect, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::RequestRedirect { scheme, authority, path, status } = it;
    let config = Config {
        scheme,
        authority: decode_authority(authority, scope),
        path: decode_path(path, scope),
        status: status.map_or(Config::default().status, |it| read::number(scope, "status", it)),
    };
    config.lower(scope)
}
