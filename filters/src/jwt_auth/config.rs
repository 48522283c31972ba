//! Tokens as written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ir::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{ClaimHeader, Policy};
use crate::credential::{self, Location, Mode};
use crate::jwt::{Algorithm, KeySet, KeySource, Provider};
use crate::keep::Slot;
use crate::lower::{Span, fetched_url};
use crate::{FileRef, Scope, head};

/// Providers of one policy.
const PROVIDERS_MAX: usize = 16;
/// Furthest that clocks may differ.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(600);
/// How far they may differ unless configured.
const CLOCK_SKEW_DEFAULT: Duration = Duration::from_secs(60);

/// Tokens that issuers have signed (JWT): who may enter, and what is known of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "JwtAuth")]
pub struct Config {
    /// What happens to requests without a valid token: `strict` refuses them, `optional` refuses
    /// wrong tokens only, `permissive` nothing.
    pub mode: Mode,
    /// Where the token is written; `Authorization: Bearer` unless set.
    pub location: Option<credential::Config>,
    /// Whether the backend gets the token too.
    pub forward: bool,
    /// Headers that the backend gets, each with the claim it holds: a name, or a path with dots.
    pub claims_to_headers: BTreeMap<String, String>,
    /// The issuer, where there is only one: exactly as in the claim `iss`.
    pub issuer: Option<String>,
    /// Audiences of that issuer's tokens that are meant for us; any if empty.
    pub audiences: Option<Vec<String>>,
    /// Keys of that issuer.
    pub jwks: Option<JwksConfig>,
    /// Further terms for that issuer's tokens.
    pub jwt_validation_options: Option<OptionsConfig>,
    /// Several issuers, in place of `issuer`.
    pub providers: Vec<ProviderConfig>,
}

/// An issuer of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "JwtProvider")]
pub struct ProviderConfig {
    /// The issuer, exactly as in the claim `iss`.
    pub issuer: String,
    /// Audiences that are meant for us; any if empty.
    #[serde(default)]
    pub audiences: Option<Vec<String>>,
    /// The issuer's keys.
    pub jwks: JwksConfig,
    /// Further terms.
    #[serde(default)]
    pub jwt_validation_options: OptionsConfig,
}

/// A key set: its text, a file, or a URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Jwks")]
pub enum JwksConfig {
    /// The JSON Web Key Set itself.
    Inline(String),
    File {
        /// A file that holds the key set. It is watched.
        file: FileRef,
    },
    Url {
        /// Where the key set is fetched from, in the background.
        url: String,
    },
}

/// Terms for tokens beyond issuer and audience.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "JwtValidationOptions")]
pub struct OptionsConfig {
    /// Claims that must be there; `[exp]` unless set.
    pub required_claims: Option<Vec<String>>,
    /// Algorithms accepted; unless set, all that a key allows.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may differ; 60 s unless set, at most 10 min.
    pub clock_skew: Option<Span>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self {
            mode,
            location,
            forward,
            claims_to_headers,
            issuer,
            audiences,
            jwks,
            jwt_validation_options,
            mut providers,
        } = self;
        let before = scope.problems.len();
        let location = match location {
            Some(location) => scope.at("location", |scope| location.lower(scope)),
            None => Some(Location::authorization("Bearer")),
        };
        let headers = claim_headers(claims_to_headers, scope);
        let options = jwt_validation_options.unwrap_or_default();
        let listed = !providers.is_empty();
        match (issuer, jwks) {
            (None, None) if listed && audiences.is_none() && options == OptionsConfig::default() => {}
            (Some(issuer), Some(jwks)) if !listed => {
                providers.push(ProviderConfig { issuer, audiences, jwks, jwt_validation_options: options });
            }
            _ if listed => scope.problem("write either `providers`, or `issuer` and `jwks` of a single one"),
            _ => scope.problem("whose tokens are accepted? Write `issuer` and `jwks`, or `providers`"),
        }
        if providers.len() > PROVIDERS_MAX {
            scope.problem_at("providers", format!("more than {PROVIDERS_MAX} providers"));
        }
        let mut lowered = Vec::new();
        for (position, provider) in providers.into_iter().enumerate() {
            let provider = match listed {
                true => scope.at("providers", |scope| scope.at(format!("[{position}]"), |scope| provider.lower(scope))),
                false => provider.lower(scope),
            };
            lowered.extend(provider);
        }
        (scope.problems.len() == before).then_some(Policy {
            mode,
            location: location?,
            forward,
            headers,
            providers: lowered,
            state: Slot::default(),
        })
    }
}

impl ProviderConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Provider> {
        let Self { issuer, audiences, jwks, jwt_validation_options } = self;
        let OptionsConfig { required_claims, algorithms, clock_skew } = jwt_validation_options;
        if issuer.is_empty() {
            scope.problem_at("issuer", "an issuer has a name: write the `iss` of its tokens");
        }
        let skew = clock_skew.map_or(CLOCK_SKEW_DEFAULT, |Span(it)| it);
        if skew > CLOCK_SKEW_MAX {
            scope.at("jwtValidationOptions", |scope| scope.problem_at("clockSkew", "at most 10m"));
        }
        let keys = scope.at("jwks", |scope| jwks.lower(scope));
        let texts = |list: Vec<String>| list.into_iter().map(Text::from).collect();
        Some(Provider {
            issuer: issuer.into(),
            audiences: texts(audiences.unwrap_or_default()),
            keys: keys?,
            required_claims: texts(required_claims.unwrap_or_else(|| vec!["exp".to_owned()])),
            algorithms,
            clock_skew: skew,
        })
    }
}

impl JwksConfig {
    pub(crate) fn lower(self, scope: &mut Scope<'_>) -> Option<KeySource> {
        let text = match self {
            Self::Url { url } => return scope.check("url", fetched_url(&url)).map(KeySource::Url),
            Self::Inline(text) => text.into_bytes(),
            Self::File { file } => scope.file("file", &file)?,
        };
        match KeySet::parse(&text) {
            Ok(keys) => {
                let text = String::from_utf8_lossy(&text).into();
                Some(KeySource::Inline { text, keys: Arc::new(keys) })
            }
            Err(reason) => {
                scope.problem(format!("not a usable key set: {reason}"));
                None
            }
        }
    }
}

fn claim_headers(wanted: BTreeMap<String, String>, scope: &mut Scope<'_>) -> Vec<ClaimHeader> {
    scope.at("claimsToHeaders", |scope| {
        let mut headers: Vec<ClaimHeader> = Vec::new();
        for (name, claim) in wanted {
            let Some(parsed) = scope.check(&name, identity_name(&name)) else { continue };
            if claim.is_empty() {
                scope.problem_at(&name, "which claim? Write its name");
            }
            if headers.iter().any(|it| it.name == parsed) {
                scope.problem_at(&name, "this header is here twice");
            }
            headers.push(ClaimHeader { name: parsed, claim: claim.into() });
        }
        headers
    })
}

/// A header that says who it is; those with a meaning of their own stay what they are.
fn identity_name(name: &str) -> Result<HeaderName, String> {
    let parsed = head::parse_name(name)?;
    match parsed.as_str() {
        "host" | "cookie" | "authorization" | "proxy-authorization" | "forwarded" => {
            Err(format!("`{name}` has a meaning of its own; choose a name such as `x-user`"))
        }
        it if it.starts_with("x-forwarded-") => {
            Err(format!("`{name}` has a meaning of its own; choose a name such as `x-user`"))
        }
        _ => Ok(parsed),
    }
}
