//! MCP servers behind one endpoint.

use std::collections::BTreeSet;

use filters::Scope;
use filters::lower::fetched_url;
use ir::mcp::TARGETS_MAX;
use ir::{McpApi, McpBackend, McpDocument, McpPrefix, McpReach, McpTarget, McpUrl};
use protocols::mcp::name;
use protocols::openapi::Api;

use super::{backend, read};
use crate::pb;
use pb::mcp_backend::Prefix;
use pb::mcp_target::Transport;
use pb::mcp_target::open_api::Document;

pub(super) fn encode(it: &McpBackend) -> pb::McpBackend {
    let McpBackend { targets, stateless, prefix, fail_open, local_only } = it;
    let prefix = match prefix {
        McpPrefix::Conditional => Prefix::Conditional,
        McpPrefix::Always => Prefix::Always,
        McpPrefix::Never => Prefix::Never,
    };
    pb::McpBackend {
        targets: targets.iter().map(encode_target).collect(),
        stateless: *stateless,
        prefix: prefix.into(),
        fail_open: *fail_open,
        dns_rebinding_protection: *local_only,
    }
}

fn encode_target(it: &McpTarget) -> pb::McpTarget {
    let McpTarget { name, reach } = it;
    let (url, transport, openapi) = match reach {
        McpReach::Http(url) => (url, Transport::StreamableHttp, None),
        McpReach::Sse(url) => (url, Transport::Sse, None),
        McpReach::OpenApi(McpApi { url, document }) => (url, Transport::Unspecified, Some(encode_api(document))),
        // A program of one machine is none of another; it is refused where it arrives, by its missing backend.
        McpReach::Stdio(_) => return pb::McpTarget { name: name.to_string(), ..pb::McpTarget::default() },
    };
    let McpUrl { backend, path } = url;
    pb::McpTarget {
        name: name.to_string(),
        backend: Some(backend::encode_ref(backend)),
        path: path.to_string(),
        transport: transport.into(),
        openapi,
    }
}

fn encode_api(it: &McpDocument) -> pb::mcp_target::OpenApi {
    let document = match it {
        McpDocument::Text(text) => Document::Inline(text.to_string()),
        McpDocument::Url(url) => Document::Url(url.to_string()),
    };
    pb::mcp_target::OpenApi { document: Some(document) }
}

fn decode_api(it: pb::mcp_target::OpenApi, url: McpUrl, scope: &mut Scope<'_>) -> Option<McpApi> {
    let document = match it.document {
        Some(Document::Inline(text)) => {
            scope.check("inline", Api::parse(text.as_bytes()))?;
            McpDocument::Text(text.into())
        }
        Some(Document::Url(url)) => McpDocument::Url(scope.check("url", fetched_url(&url))?),
        None => {
            scope.problem("missing: `inline` or `url`");
            return None;
        }
    };
    Some(McpApi { url, document })
}

pub(super) fn decode(it: pb::McpBackend, scope: &mut Scope<'_>) -> Option<McpBackend> {
    let pb::McpBackend { targets, stateless, prefix, fail_open, dns_rebinding_protection } = it;
    if targets.is_empty() || targets.len() > TARGETS_MAX {
        scope.problem_at("targets", format!("1 to {TARGETS_MAX} targets"));
    }
    let mut names = BTreeSet::new();
    let decoded = scope.at("targets", |scope| {
        let targets = targets.into_iter().enumerate().filter_map(|(position, it)| {
            scope.at(format!("[{position}]"), |scope| {
                if !names.insert(it.name.clone()) {
                    scope.problem_at("name", format!("`{}` is already there", it.name));
                }
                decode_target(it, scope)
            })
        });
        targets.collect()
    });
    let prefix = match read::choice(scope, "prefix", prefix) {
        Prefix::Unspecified | Prefix::Conditional => McpPrefix::Conditional,
        Prefix::Always => McpPrefix::Always,
        Prefix::Never => McpPrefix::Never,
    };
    Some(McpBackend { targets: decoded, stateless, prefix, fail_open, local_only: dns_rebinding_protection })
}

fn decode_target(it: pb::McpTarget, scope: &mut Scope<'_>) -> Option<McpTarget> {
    let pb::McpTarget { name, backend, path, transport, openapi } = it;
    scope.check("name", name::check_target(&name));
    let transport = read::choice(scope, "transport", transport);
    let path = match (path.as_str(), transport) {
        ("", _) if openapi.is_some() => "/",
        ("", Transport::Sse) => "/sse",
        ("", _) => "/mcp",
        (path, _) => path,
    };
    if !path.starts_with('/') {
        scope.problem_at("path", format!("`{path}` does not begin with `/`"));
    }
    let Some(backend) = backend else {
        scope.problem_at("backend", "missing; programs (`stdio`) do not travel, they belong into local configuration");
        return None;
    };
    let backend = scope.at("backend", |scope| backend::decode_ref(backend, scope))?;
    let url = McpUrl { backend, path: path.into() };
    if let Some(openapi) = openapi {
        let api = scope.at("openapi", |scope| decode_api(openapi, url, scope))?;
        return Some(McpTarget { name: name.into(), reach: McpReach::OpenApi(api) });
    }
    let reach = if transport == Transport::Sse { McpReach::Sse(url) } else { McpReach::Http(url) };
    Some(McpTarget { name: name.into(), reach })
}
