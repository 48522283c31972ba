//! What rewrites and redirects share: authorities and paths.

use filters::Scope;
use filters::destination::{Authority, AuthorityConfig, PathChange, PathConfig};

use crate::codec::read;
use crate::pb;
use crate::pb::{authority, path_change};

pub(super) fn encode_authority(it: &Authority) -> pb::Authority {
    use authority::Kind;
    let kind = match it {
        Authority::Full { host, port: Some(port) } => Kind::Full(format!("{host}:{port}")),
        Authority::Full { host, port: None } => Kind::Full(host.to_string()),
        Authority::Host(host) => Kind::Host(host.to_string()),
        Authority::Port(port) => Kind::Port((*port).into()),
        Authority::Auto => Kind::Auto(pb::Unit {}),
        Authority::None => Kind::None(pb::Unit {}),
    };
    pb::Authority { kind: Some(kind) }
}

pub(super) fn decode_authority(it: Option<pb::Authority>, scope: &mut Scope<'_>) -> Option<AuthorityConfig> {
    use authority::Kind;
    let it = it?;
    scope.at("authority", |scope| match it.kind {
        None => {
            scope.problem("no kind: exactly one of `full`, `host`, `port`, `auto` and `none`");
            None
        }
        Some(Kind::Full(text)) => Some(AuthorityConfig::Full(text)),
        Some(Kind::Host(text)) => Some(AuthorityConfig::Host(text)),
        Some(Kind::Port(port)) => Some(AuthorityConfig::Port(read::port(scope, "port", port))),
        Some(Kind::Auto(pb::Unit {})) => Some(AuthorityConfig::Auto),
        Some(Kind::None(pb::Unit {})) => Some(AuthorityConfig::None),
    })
}

pub(super) fn encode_path(it: &PathChange) -> pb::PathChange {
    let kind = match it {
        PathChange::Full(text) => path_change::Kind::Full(text.to_string()),
        PathChange::Prefix(text) => path_change::Kind::Prefix(text.to_string()),
    };
    pb::PathChange { kind: Some(kind) }
}

pub(super) fn decode_path(it: Option<pb::PathChange>, scope: &mut Scope<'_>) -> Option<PathConfig> {
    match it?.kind {
        None => {
            scope.problem_at("path", "no kind: exactly one of `full` and `prefix`");
            None
        }
        Some(path_change::Kind::Full(text)) => Some(PathConfig::Full(text)),
        Some(path_change::Kind::Prefix(text)) => Some(PathConfig::Prefix(text)),
    }
}
