//! Credentials for backends as written.

use std::fmt;

use ir::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::aws::AwsConfig;
use super::azure::AzureConfig;
use super::gcp::{Gcp, Kind};
use super::policy::{Credential, Policy, Primary, READ_ONLY};
use super::sign::{Algorithm, Sign, TTL_DEFAULT, Terms};
use crate::credential::{self, Location};
use crate::lower::Span;
use crate::{FileRef, Scope};

/// Most credentials beside the primary one.
const CREDENTIALS_MAX: usize = 16;

/// Credentials that a backend gets from the gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "BackendAuth")]
pub struct Config {
    /// A fixed key, sent as `Authorization: Bearer` unless a location is written.
    pub key: Option<KeyConfig>,
    /// The client's own token, once `jwtAuth` has verified it.
    pub passthrough: Option<PassthroughConfig>,
    /// Further keys.
    pub credentials: Vec<CredentialConfig>,
    /// Tokens of Google.
    pub gcp: Option<GcpConfig>,
    /// Signatures of AWS over the whole message.
    pub aws: Option<AwsConfig>,
    /// Tokens of Microsoft Entra.
    pub azure: Option<AzureConfig>,
    /// Tokens that the gateway signs itself.
    pub jwt_sign: Option<SignConfig>,
    /// Tokens exchanged for the client's (RFC 8693). Not supported by this version yet.
    pub oauth_token_exchange: Option<Value>,
    /// Tokens of another application. Not supported by this version yet.
    pub cross_app_access: Option<Value>,
}

/// A key, with or without a place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(rename = "BackendAuthKey")]
pub enum KeyConfig {
    Plain(ValueConfig),
    Placed {
        /// The key.
        value: ValueConfig,
        /// Where it is written; `Authorization: Bearer` unless set.
        #[serde(default)]
        location: Option<credential::Config>,
    },
}

/// A secret: the text itself, a file, or a credential of the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(rename = "SecretValue")]
pub enum ValueConfig {
    Inline(SecretText),
    File {
        /// The file that holds it. It is watched.
        file: FileRef,
    },
    Credential {
        /// Name of a credential of the service (systemd's `LoadCredential=`).
        credential: String,
    },
}

/// Sends the verified token of the client on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "BackendAuthPassthrough")]
pub struct PassthroughConfig {
    /// Where it is written; `Authorization: Bearer` unless set.
    pub location: Option<credential::Config>,
}

/// Tokens that the gateway signs itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "BackendAuthJwtSign")]
pub struct SignConfig {
    /// The private key in PEM: PKCS#8, PKCS#1 or SEC 1.
    pub signing_key: ValueConfig,
    /// Signature algorithm.
    #[serde(default)]
    pub alg: Algorithm,
    /// Key id, for the header of the token.
    #[serde(default)]
    pub kid: Option<String>,
    /// Claims besides `iat` and `exp`, which are the gateway's.
    #[serde(default)]
    pub claims: Map<String, Value>,
    /// Lifetime, 300 s unless written.
    #[serde(default)]
    pub ttl: Option<Span>,
    /// Where it is written; `Authorization: Bearer` unless set.
    #[serde(default)]
    pub location: Option<credential::Config>,
}

/// Tokens of Google.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "BackendAuthGcp")]
pub struct GcpConfig {
    /// Which kind of token the backend wants.
    pub r#type: Kind,
    /// Of an id token: whom it is for; `https://` and the host that is sent unless written.
    pub audience: Option<String>,
    /// A credential of Google's, in JSON. Without it that of the process, or of the machine, serves.
    pub credential: Option<ValueConfig>,
}

/// A further key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "BackendAuthCredential")]
pub struct CredentialConfig {
    /// Where it is written.
    pub location: credential::Config,
    /// The key.
    pub key: ValueConfig,
}

/// A text that prints as stars.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let before = scope.problems.len();
        self.refuse_unsupported(scope);
        let Self { key, passthrough, jwt_sign, aws, gcp, azure, credentials, .. } = self;
        let kinds = [
            ("key", key.is_some()),
            ("passthrough", passthrough.is_some()),
            ("jwtSign", jwt_sign.is_some()),
            ("aws", aws.is_some()),
            ("gcp", gcp.is_some()),
            ("azure", azure.is_some()),
        ];
        for (name, _) in kinds.into_iter().filter(|(_, written)| *written).skip(1) {
            scope.problem_at(
                name,
                "there is one primary credential: write `key`, `passthrough`, `jwtSign`, `aws`, `gcp` or `azure`",
            );
        }
        let key = key.and_then(|key| scope.at("key", |scope| key.lower(scope)));
        let passthrough = passthrough.and_then(|it| scope.at("passthrough", |scope| place(it.location, scope)));
        let sign = jwt_sign.and_then(|it| scope.at("jwtSign", |scope| it.lower(scope)));
        let aws = aws.and_then(|it| scope.at("aws", |scope| it.lower(scope)));
        let primary = key.map(Primary::Key).or(passthrough.map(Primary::Passthrough));
        let gcp = gcp.and_then(|it| scope.at("gcp", |scope| it.lower(scope)));
        let azure = azure.and_then(|it| scope.at("azure", |scope| it.lower(scope)));
        let primary = primary.or(sign.map(Primary::JwtSign)).or(aws.map(Primary::Aws)).or(gcp.map(Primary::Gcp));
        let primary = primary.or(azure.map(Primary::Azure));
        let further = |scope: &mut Scope<'_>, (at, it): (usize, CredentialConfig)| {
            scope.at(format!("[{at}]"), |scope| {
                let location = scope.at("location", |scope| it.location.lower(scope));
                let key = scope.at("key", |scope| it.key.lower(scope));
                Some((location?, key?)).and_then(|(location, key)| sendable(location, key, scope))
            })
        };
        let credentials: Vec<Credential> = scope.at("credentials", |scope| {
            credentials.into_iter().enumerate().filter_map(|it| further(scope, it)).collect()
        });
        if scope.problems.len() > before {
            return None;
        }
        Policy::lower(primary, credentials, scope)
    }

    fn refuse_unsupported(&self, scope: &mut Scope<'_>) {
        for (key, written) in
            [("oauthTokenExchange", &self.oauth_token_exchange), ("crossAppAccess", &self.cross_app_access)]
        {
            if written.is_some() {
                scope.problem_at(key, "not supported by this version yet");
            }
        }
    }
}

impl Policy {
    /// From its parts, as configuration of any form has them; reports all problems.
    pub fn lower(primary: Option<Primary>, credentials: Vec<Credential>, scope: &mut Scope<'_>) -> Option<Self> {
        let before = scope.problems.len();
        if primary.is_none() && credentials.is_empty() {
            scope.problem(
                "no credential: write `key`, `passthrough`, `jwtSign`, `aws`, `gcp`, `azure` or `credentials`",
            );
        }
        match &primary {
            Some(Primary::Passthrough(Location::Header { name, .. })) if *name == http::header::HOST => {
                scope.problem_at("passthrough", "a credential is no `host`");
            }
            Some(Primary::Passthrough(Location::Expression(_))) => scope.problem_at("passthrough", READ_ONLY),
            _ => {}
        }
        if credentials.len() > CREDENTIALS_MAX {
            scope.problem_at("credentials", format!("more than {CREDENTIALS_MAX}"));
        }
        let policy = Self { primary, credentials };
        if policy.has_one_place_twice() {
            scope.problem_at("credentials", "two credentials at one place: only one could be there");
        }
        (scope.problems.len() == before).then_some(policy)
    }
}

impl SignConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Sign> {
        let Self { signing_key, alg, kid, claims, ttl, location } = self;
        let key = scope.at("signingKey", |scope| signing_key.lower(scope));
        let location = place(location, scope);
        let ttl = ttl.map_or(TTL_DEFAULT, |Span(it)| it);
        let terms = Terms { location: location?, key: key?, algorithm: alg, key_id: kid.map(Into::into), claims, ttl };
        match Sign::new(terms) {
            Ok(sign) => Some(sign),
            Err((key, reason)) => {
                scope.problem_at(key, reason);
                None
            }
        }
    }
}

impl GcpConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Gcp> {
        let Self { r#type, audience, credential } = self;
        let credential = match credential {
            Some(it) => Some(scope.at("credential", |scope| it.lower(scope))?),
            None => None,
        };
        let gcp = Gcp::lower(r#type, audience.map(Into::into), credential);
        gcp.map_err(|(key, reason)| scope.problem_at(key, reason)).ok()
    }
}

impl KeyConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Credential> {
        let (key, location) = match self {
            Self::Plain(value) => (value.lower(scope), place(None, scope)),
            Self::Placed { value, location } => (scope.at("value", |scope| value.lower(scope)), place(location, scope)),
        };
        sendable(location?, key?, scope)
    }
}

impl ValueConfig {
    pub(crate) fn lower(self, scope: &mut Scope<'_>) -> Option<Secret> {
        let text = match self {
            Self::Inline(SecretText(text)) => text.into_bytes(),
            Self::File { file } => scope.file("file", &file)?,
            Self::Credential { credential } => scope.file("credential", &FileRef::Credential { credential })?,
        };
        Some(Secret::new(text.trim_ascii()))
    }
}

fn place(location: Option<credential::Config>, scope: &mut Scope<'_>) -> Option<Location> {
    match location {
        Some(location) => scope.at("location", |scope| location.lower(scope)),
        None => Some(Location::authorization("Bearer")),
    }
}

fn sendable(location: Location, key: Secret, scope: &mut Scope<'_>) -> Option<Credential> {
    match Credential::new(location, key) {
        Ok(credential) => Some(credential),
        Err(reason) => {
            scope.problem(reason);
            None
        }
    }
}
