//! Kinds of authorization servers, and the help that each needs.

use http::Uri;
use serde::Serialize;
use serde_json::{Map, Value};

const WELL_KNOWN_OAUTH: &str = "/.well-known/oauth-authorization-server";
const WELL_KNOWN_OPENID: &str = "/.well-known/openid-configuration";

/// A kind of authorization server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Provider {
    /// One that follows the specifications.
    #[default]
    None,
    Auth0,
    Keycloak,
    Okta,
    Descope,
    Authentik,
    Entra,
}

impl Provider {
    /// Where its document is: in this order, until one is there.
    pub fn documents(self, issuer: &str) -> Vec<String> {
        let trimmed = issuer.trim_end_matches('/');
        let appended = format!("{trimmed}{WELL_KNOWN_OPENID}");
        let Some((origin, path)) = origin(trimmed) else { return vec![appended] };
        match self {
            Self::Keycloak | Self::Okta | Self::Descope | Self::Authentik => vec![appended],
            Self::Entra => match tenant(&origin, &path) {
                Some(base) => vec![format!("{base}/v2.0{WELL_KNOWN_OPENID}")],
                None => Vec::new(),
            },
            Self::None | Self::Auth0 => {
                let mut urls =
                    vec![format!("{origin}{WELL_KNOWN_OAUTH}{path}"), format!("{origin}{WELL_KNOWN_OPENID}{path}")];
                if !path.is_empty() {
                    urls.push(appended);
                }
                urls
            }
        }
    }

    /// Where its keys are.
    pub fn jwks(self, issuer: &str) -> Option<String> {
        let trimmed = issuer.trim_end_matches('/');
        let (origin, path) = origin(trimmed)?;
        Some(match self {
            Self::None | Self::Auth0 => format!("{trimmed}/.well-known/jwks.json"),
            Self::Keycloak => format!("{trimmed}/protocol/openid-connect/certs"),
            Self::Okta => format!("{trimmed}/v1/keys"),
            Self::Authentik => format!("{trimmed}/jwks/"),
            // Agentic issuers: `/v1/apps/agentic/<project>/<server>`.
            Self::Descope => {
                let (project, _) = agentic(&path)?;
                format!("{origin}/{project}/.well-known/jwks.json")
            }
            Self::Entra => format!("{}/discovery/v2.0/keys", tenant(&origin, &path)?),
        })
    }

    /// Where it registers clients, for those that are asked on a client's behalf.
    pub fn registration(self, issuer: &str) -> Option<String> {
        let trimmed = issuer.trim_end_matches('/');
        let (origin, path) = origin(trimmed)?;
        match self {
            Self::Okta => Some(format!("{origin}/oauth2/v1/clients")),
            Self::Keycloak => Some(format!("{trimmed}/clients-registrations/openid-connect")),
            Self::Descope => {
                let (project, server) = agentic(&path)?;
                Some(format!("{origin}/v1/mgmt/mcp/client/{project}/{server}/register"))
            }
            Self::None | Self::Auth0 | Self::Authentik | Self::Entra => None,
        }
    }

    /// Whether a document may be about another issuer than the one that is configured.
    pub fn has_many_issuers(self) -> bool {
        self == Self::Entra
    }

    /// Whether clients are sent to the gateway for codes and tokens.
    pub fn is_fronted(self) -> bool {
        self == Self::Entra
    }

    /// Changes the document to what clients are to see of it.
    pub fn edit(self, document: &mut Map<String, Value>, audience: &str) {
        match self {
            Self::Auth0 | Self::Okta => {
                if let Some(Value::String(endpoint)) = document.get_mut("authorization_endpoint") {
                    let mark = if endpoint.contains('?') { '&' } else { '?' };
                    *endpoint = format!("{endpoint}{mark}audience={}", encoded(audience));
                }
            }
            Self::Entra => {
                document.insert("code_challenge_methods_supported".to_owned(), Value::from(vec!["S256"]));
            }
            Self::None | Self::Keycloak | Self::Descope | Self::Authentik => {}
        }
    }
}

/// Scheme and authority, and the path.
pub(super) fn origin(url: &str) -> Option<(String, String)> {
    let parsed: Uri = url.parse().ok()?;
    let path = parsed.path().trim_end_matches('/').to_owned();
    Some((format!("{}://{}", parsed.scheme_str()?, parsed.authority()?), path))
}

/// The tenant's base, of either form of its issuers.
fn tenant(origin: &str, path: &str) -> Option<String> {
    let tenant = path.trim_start_matches('/').split('/').next().filter(|it| !it.is_empty())?;
    let origin = if origin == "https://sts.windows.net" { "https://login.microsoftonline.com" } else { origin };
    Some(format!("{origin}/{tenant}"))
}

fn agentic(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v1/apps/agentic/")?;
    rest.split_once('/').filter(|(project, server)| !project.is_empty() && !server.is_empty() && !server.contains('/'))
}

/// Percent-encoding of everything that is not unreserved (RFC 3986 section 2.3).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
