//! `compression`.

use filters::Scope;
use filters::compression::{Algorithm, Config, Policy};

use crate::codec::read;
use crate::pb;
use crate::pb::compression as wire;

pub(super) fn encode(it: &Policy) -> pb::Compression {
    let Policy { level, algorithms, content_types, bytes_min } = it;
    let algorithm = |it: &Algorithm| match it {
        Algorithm::Gzip => wire::Algorithm::Gzip,
        Algorithm::Br => wire::Algorithm::Br,
        Algorithm::Zstd => wire::Algorithm::Zstd,
    };
    pb::Compression {
        algorithms: algorithms.iter().map(|it| algorithm(it).into()).collect(),
        level: Some(*level),
        content_types: content_types.clone(),
        min_bytes: Some(*bytes_min as u64),
    }
}

pub(super) fn decode(it: pb::Compression, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Compression { algorithms, level, content_types, min_bytes } = it;
    let mut config = Config::default();
    if !algorithms.is_empty() {
        let name = |it: wire::Algorithm| match it {
            wire::Algorithm::Gzip => "gzip",
            wire::Algorithm::Br => "br",
            wire::Algorithm::Zstd => "zstd",
            // Lowering says that it is none, at its place.
            wire::Algorithm::Unspecified => "unspecified",
        };
        let known: Vec<wire::Algorithm> = read::choices(scope, "algorithms", &algorithms);
        config.algorithms = known.into_iter().map(|it| name(it).to_owned()).collect();
    }
    if !content_types.is_empty() {
        config.content_types = content_types;
    }
    config.level = level.unwrap_or(config.level);
    config.min_bytes = min_bytes.map_or(config.min_bytes, |it| read::number(scope, "minBytes", it));
    config.lower(scope)
}
