//! Tokens of Microsoft Entra, for backends such as Azure OpenAI and Foundry.
//!
//! [`Azure`] is what is configured; `quest` says how a token is had.

mod config;
mod quest;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use http::HeaderValue;
use http::header::{AUTHORIZATION, HOST};
use ir::{Secret, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use config::{AzureConfig, ClientSecretConfig, ExplicitConfig, ManagedConfig, NothingConfig};
pub use quest::{Ambient, Quest};

use super::fresh::{Fresh, Lease, Renewed};
use super::outgoing::Outgoing;
use super::policy::Waits;
use crate::credential::scrub;
use crate::keep::{Bell, Keep};

/// Longest part of a credential.
const PART_BYTES_MAX: usize = 4096;

static AMBIENT: OnceLock<Ambient> = OnceLock::new();

/// Says once what the environment of the process holds.
pub fn install(ambient: Ambient) {
    // A second one is the same: the environment of a process does not change.
    let _ = AMBIENT.set(ambient);
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// An application by its secret.
    ClientSecret(Client),
    /// The machine's identity, or one that was assigned to it.
    ManagedIdentity(Option<Assigned>),
    /// A pod's, by the file and the names in the environment of the process.
    WorkloadIdentity,
    /// Who has logged in by Azure's command line.
    DeveloperImplicit,
    /// Whichever of secret, workload identity and machine the environment of the process names.
    Implicit,
}

/// An application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    pub tenant: Text,
    pub id: Text,
    pub secret: Secret,
}

/// An identity that was assigned to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AzureUserAssignedIdentity")]
pub enum Assigned {
    /// By the id of its application.
    ClientId(String),
    /// By the id of its object, or principal.
    ObjectId(String),
    /// By the id of the resource in Azure.
    ResourceId(String),
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Azure OpenAI and its kin.
    CognitiveServices,
    /// Projects of Foundry.
    Foundry,
}

impl Resource {
    fn of(host: Option<&str>) -> Self {
        match host
            .is_some_and(|it| super::gcp::without_port(it).to_ascii_lowercase().ends_with(".services.ai.azure.com"))
        {
            true => Self::Foundry,
            false => Self::CognitiveServices,
        }
    }

    fn url(self) -> &'static str {
        match self {
            Self::CognitiveServices => "https://cognitiveservices.azure.com",
            Self::Foundry => "https://ai.azure.com",
        }
    }
}

/// Tokens of one identity.
#[derive(Debug)]
pub struct Tokens {
    kind: Kind,
    fresh: Fresh<Resource, HeaderValue>,
}

impl Tokens {
    /// How the token for this is had.
    pub fn quest(&self, resource: Resource) -> Quest {
        Quest::new(self.kind.clone(), resource, AMBIENT.get().cloned().unwrap_or_default())
    }
}

impl Renewed for Tokens {
    type Target = Resource;
    type Value = HeaderValue;

    fn fresh(&self) -> &Fresh<Resource, HeaderValue> {
        &self.fresh
    }

    fn name(resource: &Resource) -> String {
        format!("token for {}", resource.url())
    }
}

/// Who asks for tokens. They are sent as `Authorization: Bearer`.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Azure {
    pub kind: Kind,
    /// Found when the policy comes into force. A copy of the policy uses the same.
    #[serde(skip)]
    tokens: Arc<OnceLock<(Arc<Tokens>, Lease)>>,
}

/// Two are alike that send alike.
impl PartialEq for Azure {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Azure {
    /// From its parts, as configuration of any form has them.
    ///
    /// # Errors
    /// Which key is no good, and why; nothing of a secret is said.
    pub fn lower(kind: Kind) -> Result<Self, (&'static str, String)> {
        let fits = |it: &[u8]| (1..=PART_BYTES_MAX).contains(&it.len()) && it.iter().all(u8::is_ascii_graphic);
        let wrong = || format!("1 to {PART_BYTES_MAX} bytes of printable ASCII without spaces");
        match &kind {
            Kind::ClientSecret(Client { tenant, id, secret }) => {
                // It becomes part of a path.
                if !fits(tenant.as_bytes())
                    || !tenant.bytes().all(|it| it.is_ascii_alphanumeric() || b".-".contains(&it))
                {
                    return Err(("tenant_id", "the id or the domain of a tenant".to_owned()));
                }
                for (key, it) in [("client_id", id.as_bytes()), ("client_secret", secret.expose())] {
                    if !fits(it) {
                        return Err((key, wrong()));
                    }
                }
            }
            Kind::ManagedIdentity(Some(Assigned::ClientId(it) | Assigned::ObjectId(it) | Assigned::ResourceId(it)))
                if !fits(it.as_bytes()) =>
            {
                return Err(("userAssignedIdentity", wrong()));
            }
            _ => {}
        }
        Ok(Self { kind, tokens: Arc::default() })
    }

    /// The policy comes into force. Policies of one identity share its tokens.
    pub(crate) fn bind(&self, keep: &Keep) {
        let shown = format!("{:?}", self.kind);
        let secret = match &self.kind {
            Kind::ClientSecret(it) => it.secret.expose(),
            _ => &[],
        };
        let digest = digest::digest(&digest::SHA256, &[shown.as_bytes(), secret].concat());
        let hex: String = digest.as_ref().iter().map(|it| format!("{it:02x}")).collect();
        let make = |bell: &Arc<Bell>| Tokens {
            kind: self.kind.clone(),
            fresh: Fresh::new("token of Azure's", RESOURCES, bell.clone()),
        };
        let tokens = keep.shared(&Text::from(format!("azure/{hex}")), make);
        let (tokens, _) = self.tokens.get_or_init(|| (tokens, Lease::default()));
        // What it is for, requests say: most likely this.
        let _ = tokens.fresh.want(&Resource::CognitiveServices, None);
    }

    /// What is to be waited for before a request to this host leaves; nothing where there is nothing to wait for.
    pub(super) fn waits(&self, host: Option<&str>) -> Option<Waits> {
        let (tokens, lease) = self.tokens.get()?;
        Fresh::waits(tokens, Resource::of(host), Some(lease)).map(|it| Box::pin(it) as Waits)
    }

    /// Writes the token in place of what the client sent there.
    pub(super) fn write(&self, message: &mut Outgoing<'_>) -> Result<(), String> {
        scrub(&AUTHORIZATION, message.head);
        let host = message.head.headers.get(HOST).and_then(|it| it.to_str().ok());
        let resource = Resource::of(host.or_else(|| message.head.uri.authority().map(http::uri::Authority::as_str)));
        let (tokens, _) = self.tokens.get().ok_or("the policy is not in force")?;
        let value = tokens.fresh.current(&resource, message.outside.now())?;
        message.head.insert_header(AUTHORIZATION, value).map_err(|error| error.to_string())
    }
}

/// Of so many kinds there are.
const RESOURCES: usize = 2;
