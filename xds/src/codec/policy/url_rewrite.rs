//! `urlRewrite`.

use filters::Scope;
use filters::url_rewrite::{Config, Policy};

use super::destination::{decode_authority, decode_path, encode_authority, encode_path};
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::UrlRewrite {
    let Policy { authority, path } = it;
    pb::UrlRewrite { authority: authority.as_ref().map(encode_authority), path: path.as_ref().map(encode_path) }
}

pub(super) fn decode(it: pb::UrlRewrite, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::UrlRewrite { authority, path } = it;
    Config { authority: decode_authority(authority, scope), path: decode_path(path, scope) }.lower(scope)
}
