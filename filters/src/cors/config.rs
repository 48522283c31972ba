//! Cross-origin rules as written.

use http::{HeaderValue, Method};
use ir::Hostname;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{HostPattern, Listed, Origin, Policy, PortPattern, default_port};
use crate::lower::Span;
use crate::{Scope, head};

/// Cross-origin resource sharing: which origins' scripts may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Cors")]
pub struct Config {
    /// Whether scripts may send cookies and other credentials. Together with the origin `*`,
    /// every site may: name the origins instead.
    pub allow_credentials: bool,
    /// Request headers allowed; `*` allows (and echoes) whatever is asked for.
    pub allow_headers: Vec<String>,
    /// Methods allowed; `*` allows (and echoes) whatever is asked for.
    pub allow_methods: Vec<String>,
    /// Origins allowed: `*`, `https://app.example.com`, or with wildcards in host and port:
    /// `https://*.example.com`, `http://localhost:*`.
    pub allow_origins: Vec<String>,
    /// Response headers that scripts may read.
    pub expose_headers: Vec<String>,
    /// How long browsers may remember the answer to a preflight.
    pub max_age: Option<Span>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { allow_credentials, allow_headers, allow_methods, allow_origins, expose_headers, max_age } = self;
        let before = scope.problems.len();
        let origins = scope.each("allowOrigins", &allow_origins, origin);
        let methods = scope.each("allowMethods", &allow_methods, |text| {
            let method = Method::from_bytes(text.as_bytes()).map(|method| method.to_string());
            method.map_err(|_| format!("`{}` is not a method", text.escape_debug()))
        });
        let name = |text: &str| head::any_name(text).map(|name| name.as_str().to_owned());
        let headers = scope.each("allowHeaders", &allow_headers, name);
        let exposed = scope.each("exposeHeaders", &expose_headers, name);
        (scope.problems.len() == before).then(|| Policy {
            allow_origins: if origins.contains(&Origin::Any) { vec![Origin::Any] } else { origins },
            allow_methods: listed(&methods),
            allow_headers: listed(&headers),
            expose_headers: joined(&exposed),
            allow_credentials,
            max_age_seconds: max_age.map(|Span(age)| age.as_secs()),
        })
    }
}

fn listed(names: &[String]) -> Listed {
    if names.iter().any(|name| name == "*") {
        return Listed::Any;
    }
    joined(names).map_or(Listed::Nothing, Listed::Names)
}

fn joined(names: &[String]) -> Option<HeaderValue> {
    // Method and header names are tokens, so the join is a header value.
    HeaderValue::try_from(names.join(", ")).ok().filter(|value| !value.is_empty())
}

/// Reads an origin, or a pattern of some.
pub(crate) fn origin(text: &str) -> Result<Origin, String> {
    let help = || {
        let text = text.escape_debug();
        format!(
            "`{text}` is not an origin: write `*`, `https://name`, `https://*.name` or `http://name:*`, without path"
        )
    };
    let text = text.to_ascii_lowercase();
    match text.as_str() {
        "*" => return Ok(Origin::Any),
        "null" => return Ok(Origin::Exact("null".into())),
        _ => {}
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(help)?;
    let scheme_valid = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !rest.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    if !scheme_valid || host.is_empty() {
        return Err(help());
    }
    let port = match port {
        None => PortPattern::Absent,
        Some("*") => PortPattern::Any,
        Some(port) => match port.parse().map_err(|_| help())? {
            port if Some(port) == default_port(scheme) => PortPattern::Absent,
            port => PortPattern::Exact(port),
        },
    };
    let host = match Hostname::parse(host).map_err(|_| help())? {
        Hostname::Any => HostPattern::Any,
        Hostname::Exact(name) => HostPattern::Exact(name),
        Hostname::Suffix(suffix) => HostPattern::Suffix(suffix),
    };
    Ok(match (&host, port) {
        (HostPattern::Exact(name), PortPattern::Absent) => Origin::Exact(format!("{scheme}://{name}").into()),
        (HostPattern::Exact(name), PortPattern::Exact(port)) => {
            Origin::Exact(format!("{scheme}://{name}:{port}").into())
        }
        _ => Origin::Pattern { scheme: scheme.into(), host, port },
    })
}
