//! Which of the endpoint's documents a request is for, and what the endpoint is called from outside.

use http::HeaderMap;
use http::header::HOST;
use pingora_http::RequestHeader;

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVERS: [&str; 2] = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];

/// What is asked for beside the endpoint itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The document about the endpoint.
    Resource,
    /// The document about the authorization server.
    Server,
    Registration,
    Authorize,
    Token,
}

/// A wish, and the path of the endpoint that it is about: empty, or with a `/` in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) wish: Wish,
    pub(super) endpoint: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn of(path: &'a str) -> Option<Self> {
        if !path.contains("/.well-known/o") {
            return None;
        }
        if let Some(endpoint) = after(path, RESOURCE) {
            return Some(Self { wish: Wish::Resource, endpoint });
        }
        if let Some(endpoint) = path.strip_suffix(RESOURCE) {
            return Some(Self { wish: Wish::Resource, endpoint });
        }
        for known in SERVERS {
            let Some(rest) = after(path, known) else {
                if let Some(endpoint) = path.strip_suffix(known) {
                    return Some(Self { wish: Wish::Server, endpoint });
                }
                continue;
            };
            let ends = [
                ("/client-registration", Wish::Registration),
                ("/authorize", Wish::Authorize),
                ("/token", Wish::Token),
            ];
            let found = ends.into_iter().find_map(|(end, wish)| Some((rest.strip_suffix(end)?, wish)));
            let (endpoint, wish) = found.unwrap_or((rest, Wish::Server));
            return Some(Self { wish, endpoint });
        }
        None
    }
}

/// What follows a beginning, where it ends there or goes on with `/`.
fn after<'a>(path: &'a str, beginning: &str) -> Option<&'a str> {
    path.strip_prefix(beginning).filter(|rest| rest.is_empty() || rest.starts_with('/')).map(trimmed)
}

fn trimmed(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// Scheme and host as clients know them.
pub(super) fn base(request: &RequestHeader, tls: bool) -> Option<String> {
    let host = request.uri.authority().map(|it| it.as_str());
    let host = host.or_else(|| request.headers.get(HOST)?.to_str().ok())?;
    // It goes into headers and documents: nothing but a host has its place there.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if host.is_empty() || !host.bytes().all(fits) {
        return None;
    }
    Some(format!("{}://{host}", scheme(&request.headers, tls)))
}

fn scheme(headers: &HeaderMap, tls: bool) -> &'static str {
    match headers.get("x-forwarded-proto").map(|it| it.as_bytes().trim_ascii()) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ if tls => "https",
        _ => "http",
    }
}

/// The URL of the document about an endpoint.
pub(super) fn resource_document(base: &str, path: &str) -> String {
    // What a quoted text could not hold is left away: the document of the whole host is as good.
    let path = if path.bytes().all(|it| it.is_ascii_graphic() && !matches!(it, b'"' | b'\\')) { path } else { "" };
    format!("{base}{RESOURCE}{}", trimmed(path))
}

/// Where the gateway stands in front of the authorization server.
pub(super) fn server_document(base: &str, endpoint: &str) -> String {
    let [oauth, _] = SERVERS;
    format!("{base}{oauth}{endpoint}")
}
