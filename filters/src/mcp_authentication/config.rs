//! Protected MCP endpoints as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::policy::{Policy, StepUp};
use super::provider::Provider;
use crate::Scope;
use crate::backend_auth::ValueConfig;
use crate::credential::{self, Mode};
use crate::expr::{Expression, Site, Vocabulary};
use crate::jwt_auth::{self, JwksConfig, OptionsConfig};
use crate::keep::Slot;

/// Scopes of one list.
const SCOPES_MAX: usize = 64;
/// Entries of `stepUp`.
const STEPS_MAX: usize = 64;

/// An MCP endpoint as a protected resource of an authorization server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "McpAuthentication")]
pub struct Config {
    /// The issuer of tokens, exactly as in the claim `iss`.
    pub issuer: String,
    /// Audiences that are meant for this endpoint; one at least.
    pub audiences: Vec<String>,
    /// Members of the document about this endpoint (RFC 9728), beside `resource` and `authorization_servers`.
    #[serde(default)]
    pub resource_metadata: Map<String, Value>,
    /// What kind of authorization server it is, where it needs help.
    #[serde(default)]
    pub provider: Option<ProviderConfig>,
    /// The issuer's keys; where the provider has them unless written.
    #[serde(default)]
    pub jwks: Option<JwksConfig>,
    /// What happens to requests without a valid token.
    #[serde(default)]
    pub mode: Mode,
    /// Where the token is written; `Authorization: Bearer` unless set.
    #[serde(default)]
    pub authorization_location: Option<credential::Config>,
    /// Further terms for tokens.
    #[serde(default)]
    pub jwt_validation_options: Option<OptionsConfig>,
    /// Scopes that every token must have.
    #[serde(default)]
    pub required_scopes: Vec<String>,
    /// Further scopes for some messages.
    #[serde(default)]
    pub step_up: Vec<StepUpConfig>,
    /// The client that everybody who registers gets.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Its secret, added where the gateway passes requests for tokens on (entra).
    #[serde(default)]
    pub client_secret: Option<ValueConfig>,
}

/// A kind of authorization server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "McpProvider")]
pub enum ProviderConfig {
    /// Tokens are asked for with the first audience.
    Auth0(Empty),
    /// Clients register through the gateway.
    Keycloak(Empty),
    /// Tokens are asked for with the first audience, and clients register through the gateway.
    Okta(Empty),
    /// Clients register through the gateway, at an agentic issuer.
    Descope(Empty),
    /// Clients do not register there: write `clientId`.
    Authentik(Empty),
    /// Clients get codes and tokens through the gateway, and do not register: write `clientId`.
    Entra(Empty),
}

/// Nothing more is to be said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "McpProviderTerms")]
pub struct Empty {}

/// Scopes that some messages need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "McpStepUp")]
pub struct StepUpConfig {
    /// A CEL expression over the message. Where it fails, the scopes are needed.
    pub when: String,
    /// The scopes; one at least.
    pub scopes: Vec<String>,
}

impl ProviderConfig {
    fn lower(&self) -> Provider {
        match self {
            Self::Auth0(Empty {}) => Provider::Auth0,
            Self::Keycloak(Empty {}) => Provider::Keycloak,
            Self::Okta(Empty {}) => Provider::Okta,
            Self::Descope(Empty {}) => Provider::Descope,
            Self::Authentik(Empty {}) => Provider::Authentik,
            Self::Entra(Empty {}) => Provider::Entra,
        }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let before = scope.problems.len();
        let Self { issuer, audiences, resource_metadata, provider, jwks, mode, .. } = self;
        let Self { authorization_location, jwt_validation_options, required_scopes, step_up, .. } = self;
        let Self { client_id, client_secret, .. } = self;
        let provider = provider.map_or(Provider::None, |it| it.lower());
        let is_url = scope.check("issuer", check_issuer(&issuer)).is_some();
        if audiences.is_empty() {
            scope.problem_at("audiences", "whom are tokens meant for? Write this endpoint's audience");
        }
        let derived = provider.jwks(&issuer);
        if jwks.is_none() && derived.is_none() && is_url {
            scope.problem_at("jwks", "cannot be told from this issuer: write where its keys are");
        }
        let jwt = jwt_auth::Config {
            mode,
            location: authorization_location,
            issuer: Some(issuer.clone()),
            audiences: Some(audiences),
            jwks: jwks.or(derived.map(|url| JwksConfig::Url { url })),
            jwt_validation_options,
            ..jwt_auth::Config::default()
        };
        // Without keys there is a problem already.
        let jwt = jwt.jwks.is_some().then(|| jwt.lower(scope)).flatten();
        let required_scopes = scopes(&required_scopes, "requiredScopes", scope);
        let step_up = steps(step_up, scope);
        let client_secret = client_secret.and_then(|it| scope.at("clientSecret", |scope| it.lower(scope)));
        if client_id.as_deref() == Some("") {
            scope.problem_at("clientId", "is empty");
        }
        if client_secret.is_some() && (client_id.is_none() || provider != Provider::Entra) {
            scope.problem_at("clientSecret", "is sent for `clientId` with the provider `entra` only");
        }
        if scope.problems.len() > before {
            return None;
        }
        Some(Policy {
            jwt: jwt?,
            issuer: issuer.into(),
            provider,
            resource_metadata,
            required_scopes,
            step_up,
            client_id: client_id.map(Into::into),
            client_secret,
            state: Slot::default(),
        })
    }
}

/// Documents are fetched from there: it is a URL.
fn check_issuer(issuer: &str) -> Result<(), String> {
    let help = || format!("`{}` is not the URL of an issuer: write `https://host/path`", issuer.escape_debug());
    let parsed: http::Uri = issuer.parse().map_err(|_| help())?;
    let authority = parsed.authority().ok_or_else(help)?;
    let plain = matches!(parsed.scheme_str(), Some("https" | "http")) && !authority.as_str().contains('@');
    // RFC 8414 section 2.
    if plain && parsed.query().is_none() { Ok(()) } else { Err(help()) }
}

fn steps(written: Vec<StepUpConfig>, scope: &mut Scope<'_>) -> Vec<StepUp> {
    if written.len() > STEPS_MAX {
        scope.problem_at("stepUp", format!("more than {STEPS_MAX} entries"));
        return Vec::new();
    }
    let vocabulary = Vocabulary::rule(Site::Mcp);
    scope.at("stepUp", |scope| {
        let entries = written.into_iter().enumerate();
        let entries = entries.filter_map(|(at, StepUpConfig { when, scopes: written })| {
            scope.at(format!("[{at}]"), |scope| {
                let when = scope.check("when", Expression::parse(&when, &vocabulary));
                if written.is_empty() {
                    scope.problem_at("scopes", "write at least one scope");
                }
                Some(StepUp { scopes: scopes(&written, "scopes", scope), when: when? })
            })
        });
        entries.collect()
    })
}

/// RFC 6749 section 3.3: visible ASCII without quote and backslash, so that they stand in a header as they are.
fn scopes(written: &[String], key: &str, scope: &mut Scope<'_>) -> Vec<ir::Text> {
    if written.len() > SCOPES_MAX {
        scope.problem_at(key, format!("more than {SCOPES_MAX} scopes"));
        return Vec::new();
    }
    scope.each(key, written, |it| {
        let fits = |byte: u8| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~');
        match !it.is_empty() && it.len() <= 256 && it.bytes().all(fits) {
            true => Ok(it.into()),
            false => Err(format!("`{}` is not one scope: no spaces, quotes and backslashes", it.escape_debug())),
        }
    })
}
