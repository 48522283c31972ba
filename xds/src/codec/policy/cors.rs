//! `cors`.

use std::time::Duration;

use filters::Scope;
use filters::cors::{Config, HostPattern, Listed, Origin, Policy, PortPattern};
use http::HeaderValue;

use crate::codec::read;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::Cors {
    let Policy { allow_origins, allow_methods, allow_headers, expose_headers, allow_credentials, max_age_seconds } = it;
    pb::Cors {
        allow_credentials: *allow_credentials,
        allow_headers: listed(allow_headers),
        allow_methods: listed(allow_methods),
        allow_origins: allow_origins.iter().map(origin).collect(),
        expose_headers: expose_headers.as_ref().map(names).unwrap_or_default(),
        max_age: max_age_seconds.map(|it| read::duration(Duration::from_secs(it))),
    }
}

pub(super) fn decode(it: pb::Cors, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Cors { allow_credentials, allow_headers, allow_methods, allow_origins, expose_headers, max_age } = it;
    let max_age = read::span(scope, "maxAge", max_age);
    Config { allow_credentials, allow_headers, allow_methods, allow_origins, expose_headers, max_age }.lower(scope)
}

fn listed(it: &Listed) -> Vec<String> {
    match it {
        Listed::Nothing => Vec::new(),
        Listed::Any => vec!["*".to_owned()],
        Listed::Names(joined) => names(joined),
    }
}

/// The names were joined by the policy, and a name holds no comma.
fn names(joined: &HeaderValue) -> Vec<String> {
    String::from_utf8_lossy(joined.as_bytes()).split(", ").map(str::to_owned).collect()
}

pub(super) fn origin(it: &Origin) -> String {
    let (scheme, host, port) = match it {
        Origin::Any => return "*".to_owned(),
        Origin::Exact(text) => return text.to_string(),
        Origin::Pattern { scheme, host, port } => (scheme, host, port),
    };
    let host = match host {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    };
    match port {
        PortPattern::Any => format!("{scheme}://{host}:*"),
        PortPattern::Absent => format!("{scheme}://{host}"),
        PortPattern::Exact(port) => format!("{scheme}://{host}:{port}"),
    }
}
