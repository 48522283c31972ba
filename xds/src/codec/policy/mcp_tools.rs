//! `mcpTools`.

use std::collections::BTreeMap;

use filters::Scope;
use filters::mcp_tools::{Config, Policy, Search, SearchConfig, Shape, SlimConfig, TargetConfig};
use ir::Text;
use protocols::mcp::slim::Slim;

use crate::codec::read;
use crate::pb;
use crate::pb::mcp_tools as wire;

pub(super) fn encode(it: &Policy) -> pb::McpTools {
    let Policy { targets, slim, sort, search } = it;
    let Slim { description_bytes, parameter_bytes, members, keywords } = slim;
    let bytes = |it: &Option<usize>| it.map(|it| u64::try_from(it).unwrap_or(u64::MAX));
    pb::McpTools {
        targets: targets.iter().map(encode_target).collect(),
        description_bytes: bytes(description_bytes),
        parameter_bytes: bytes(parameter_bytes),
        members: members.iter().map(|it| it.to_string()).collect(),
        keywords: keywords.iter().map(|it| it.to_string()).collect(),
        sort: *sort,
        search: search.as_ref().map(|Search { keep, results }| wire::Search {
            keep: read::texts(keep),
            results: u32::try_from(*results).unwrap_or(u32::MAX),
        }),
    }
}

fn encode_target((name, shape): (&Text, &Shape)) -> wire::Target {
    let Shape { include, exclude, rename, describe } = shape;
    let pairs = |map: &BTreeMap<Text, Text>| map.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
    wire::Target {
        target: name.to_string(),
        include: read::texts(include),
        exclude: read::texts(exclude),
        rename: pairs(rename),
        describe: pairs(describe),
    }
}

pub(super) fn decode(it: pb::McpTools, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::McpTools { targets, description_bytes, parameter_bytes, members, keywords, sort, search } = it;
    let bytes = |it: Option<u64>| it.map(|it| usize::try_from(it).unwrap_or(usize::MAX));
    let target = |it: wire::Target| {
        let wire::Target { target, include, exclude, rename, describe } = it;
        TargetConfig { target: Some(target).filter(|it| !it.is_empty()), include, exclude, rename, describe }
    };
    let config = Config {
        targets: targets.into_iter().map(target).collect(),
        slim: Some(SlimConfig {
            description_bytes: bytes(description_bytes),
            parameter_bytes: bytes(parameter_bytes),
            members,
            keywords,
        }),
        sort,
        search: search.map(|wire::Search { keep, results }| SearchConfig {
            keep,
            results: Some(usize::try_from(results).unwrap_or(usize::MAX)).filter(|it| *it > 0),
        }),
    };
    config.lower(scope)
}
