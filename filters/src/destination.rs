//! Where a rewritten or redirected request goes: the parts that `urlRewrite` and
//! `requestRedirect` share.

use http::Uri;
use http::uri::PathAndQuery;
use ir::{Hostname, Text};
use pingora_http::RequestHeader;
use protocols::http::uri::replace_prefix;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;

/// What becomes of the authority, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HostRedirect")]
pub enum AuthorityConfig {
    /// Replace all of it: `name` or `name:port`.
    Full(String),
    /// Replace the host, keep the port.
    Host(String),
    /// Replace the port, keep the host.
    Port(u16),
    /// Follow the backend's host name (rewrites only; a redirect leaves the authority alone).
    Auto,
    /// Leave the authority as the client sent it.
    None,
}

/// What becomes of the path, as written. The query is always kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PathRedirect")]
pub enum PathConfig {
    /// Replace the whole path.
    Full(String),
    /// Replace the part that the route's `pathPrefix` matched.
    Prefix(String),
}

/// What becomes of the authority. Hosts are lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Authority {
    Full { host: Text, port: Option<u16> },
    Host(Text),
    Port(u16),
    Auto,
    None,
}

/// What becomes of the path. Both texts start with `/` (or are empty, for a prefix) and hold
/// neither query nor fragment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathChange {
    Full(Text),
    Prefix(Text),
}

impl AuthorityConfig {
    /// The policy part, or the problem at the current path.
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Authority> {
        match self {
            Self::Full(text) => {
                let (host, port) = scope.check("full", split(&text))?;
                Some(Authority::Full { host, port })
            }
            Self::Host(text) => scope.check("host", host(&text)).map(Authority::Host),
            Self::Port(0) => {
                scope.problem_at("port", "port 0 cannot be asked for: write 1 to 65535");
                None
            }
            Self::Port(port) => Some(Authority::Port(port)),
            Self::Auto => Some(Authority::Auto),
            Self::None => Some(Authority::None),
        }
    }
}

impl PathConfig {
    /// The policy part, or the problem at the current path.
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<PathChange> {
        let (key, text) = match &self {
            Self::Full(text) => ("full", text),
            Self::Prefix(text) => ("prefix", text),
        };
        // An empty prefix is how Gateway API says "cut the prefix off".
        let valid = text.is_empty() && key == "prefix"
            || text.starts_with('/') && !text.contains(['?', '#']) && text.parse::<PathAndQuery>().is_ok();
        if !valid {
            let reason = format!("`{}` is not a path: write `/path`, without query", text.escape_debug());
            scope.problem_at(key, reason);
            return None;
        }
        Some(match self {
            Self::Full(text) => PathChange::Full(text.into()),
            Self::Prefix(text) => PathChange::Prefix(text.into()),
        })
    }
}

impl PathChange {
    /// The new path; `matched` is how many bytes of `path` the route's prefix covered.
    pub fn apply(&self, path: &str, matched: usize) -> String {
        match self {
            Self::Full(text) => text.to_string(),
            // A match that is no prefix covers nothing.
            Self::Prefix(prefix) => replace_prefix(path, path.get(..matched).unwrap_or_default(), prefix),
        }
    }
}

/// Replaces path and query and leaves the rest of the request target alone: over HTTP/2 it also
/// holds scheme and authority.
pub(crate) fn set_target(request: &mut RequestHeader, target: PathAndQuery) {
    let mut parts = request.uri.clone().into_parts();
    if parts.authority.is_none() {
        parts.scheme = None;
    }
    parts.path_and_query = Some(target);
    if let Ok(uri) = Uri::from_parts(parts) {
        request.set_uri(uri);
    }
}

/// `path` with the query of `request`, as a request target; `None` if it cannot be one.
pub(crate) fn with_query(request: &RequestHeader, path: &str) -> Option<PathAndQuery> {
    let target = match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)).ok()
}

/// The port that the client's own authority names.
pub(crate) fn port_of(request: &RequestHeader) -> Option<u16> {
    let host = request.headers.get(http::header::HOST).and_then(|value| value.to_str().ok());
    let text = host.or_else(|| request.uri.authority().map(|authority| authority.as_str()))?;
    let (_, port) = text.rsplit_once(':')?;
    port.parse().ok()
}

/// `host` or `host:port`, as an authority.
pub(crate) fn join(host: &str, port: Option<u16>) -> String {
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    let host = if bare_v6 { format!("[{host}]") } else { host.to_owned() };
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// A host name or address, lower case.
fn host(text: &str) -> Result<Text, String> {
    match Hostname::parse(text) {
        Ok(Hostname::Exact(host)) => Ok(host),
        _ => Err(format!("`{}` is not a host: write `name.example.com` or an address", text.escape_debug())),
    }
}

fn split(text: &str) -> Result<(Text, Option<u16>), String> {
    let help = || format!("`{}` is not an authority: write `name` or `name:port`", text.escape_debug());
    match text.rsplit_once(':') {
        Some((name, port)) if !text.ends_with(']') => {
            let port: u16 = port.parse().map_err(|_| help())?;
            if port == 0 {
                return Err(help());
            }
            Ok((host(name)?, Some(port)))
        }
        _ => Ok((host(text)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of Gateway API, `HTTPPathModifier.replacePrefixMatch`.
    #[test]
    fn a_prefix_is_replaced_element_wise() {
        for (path, matched, prefix, want) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo", "/foo", "/xyz/", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/bar", "", "/xyz", "/xyz/bar"),
            ("/", "", "/xyz", "/xyz/"),
        ] {
            let got = PathChange::Prefix(prefix.into()).apply(path, matched.len());
            assert_eq!(got, want, "{path}: {matched} -> {prefix:?}");
        }
    }

    #[test]
    fn a_match_longer_than_the_path_replaces_nothing_and_does_not_panic() {
        assert_eq!(PathChange::Prefix("/x".into()).apply("/é", 2), "/x/é");
        assert_eq!(PathChange::Prefix("/x".into()).apply("/a", 9), "/x/a");
    }

    #[test]
    fn authorities_are_split_into_host_and_port() {
        assert_eq!(split("API.example.com:8443"), Ok(("api.example.com".into(), Some(8443))));
        assert_eq!(split("[::1]"), Ok(("[::1]".into(), None)));
        assert_eq!(split("[::1]:80"), Ok(("[::1]".into(), Some(80))));
        for text in ["", "a b", "a:0", "a:x", "*", "*.example.com", "http://a", "a/b"] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_new_target_leaves_scheme_and_authority_in_place() {
        for (uri, want) in [("/a?q=1", "/b?q=1"), ("https://h:8/a?q=1", "https://h:8/b?q=1"), ("/a", "/b")] {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.set_uri(uri.parse().unwrap());
            let target = with_query(&request, "/b").unwrap();
            set_target(&mut request, target);
            assert_eq!(request.uri.to_string(), want);
        }
    }
}
