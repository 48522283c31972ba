//! Tokens of Entra as written.

use ir::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::ValueConfig;
use super::{Assigned, Azure, Client, Kind};
use crate::Scope;

/// Tokens of Microsoft Entra: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "BackendAuthAzure")]
pub struct AzureConfig {
    /// An identity that is named here.
    pub explicit_config: Option<ExplicitConfig>,
    /// Who has logged in with `az login`, which must be there to be run.
    pub developer_implicit: Option<NothingConfig>,
    /// What the environment of the process names: a secret, a workload identity, else the machine's identity.
    pub implicit: Option<NothingConfig>,
}

/// An identity: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "AzureExplicitConfig")]
pub struct ExplicitConfig {
    /// An application by its secret.
    pub client_secret: Option<ClientSecretConfig>,
    /// The machine's, or one that was assigned to it.
    pub managed_identity: Option<ManagedConfig>,
    /// A pod's: `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`.
    pub workload_identity: Option<NothingConfig>,
}

/// An application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AzureClientSecret")]
pub struct ClientSecretConfig {
    /// Id or domain of the tenant.
    #[serde(alias = "tenantId")]
    pub tenant_id: String,
    /// Id of the application.
    #[serde(alias = "clientId")]
    pub client_id: String,
    /// Its secret.
    #[serde(alias = "clientSecret")]
    pub client_secret: ValueConfig,
}

/// An identity of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "AzureManagedIdentity")]
pub struct ManagedConfig {
    /// One of several that it has; its own unless written.
    pub user_assigned_identity: Option<Assigned>,
}

/// Nothing more is to be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AzureNothing")]
pub struct NothingConfig {}

impl AzureConfig {
    pub(in super::super) fn lower(self, scope: &mut Scope<'_>) -> Option<Azure> {
        let kind = match self {
            Self { explicit_config: Some(it), developer_implicit: None, implicit: None } => {
                return scope.at("explicitConfig", |scope| it.lower(scope));
            }
            Self { explicit_config: None, developer_implicit: Some(_), implicit: None } => Kind::DeveloperImplicit,
            Self { explicit_config: None, developer_implicit: None, implicit: Some(_) } => Kind::Implicit,
            _ => {
                scope.problem("write exactly one of `explicitConfig`, `developerImplicit` and `implicit`");
                return None;
            }
        };
        lowered(kind, scope)
    }
}

impl ExplicitConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Azure> {
        match self {
            Self { client_secret: Some(it), managed_identity: None, workload_identity: None } => {
                scope.at("clientSecret", |scope| {
                    let ClientSecretConfig { tenant_id, client_id, client_secret } = it;
                    let secret = scope.at("client_secret", |scope| client_secret.lower(scope))?;
                    let client = Client { tenant: Text::from(tenant_id), id: Text::from(client_id), secret };
                    lowered(Kind::ClientSecret(client), scope)
                })
            }
            Self { client_secret: None, managed_identity: Some(it), workload_identity: None } => {
                scope.at("managedIdentity", |scope| lowered(Kind::ManagedIdentity(it.user_assigned_identity), scope))
            }
            Self { client_secret: None, managed_identity: None, workload_identity: Some(_) } => {
                lowered(Kind::WorkloadIdentity, scope)
            }
            _ => {
                scope.problem("write exactly one of `clientSecret`, `managedIdentity` and `workloadIdentity`");
                None
            }
        }
    }
}

fn lowered(kind: Kind, scope: &mut Scope<'_>) -> Option<Azure> {
    Azure::lower(kind).map_err(|(key, reason)| scope.problem_at(key, reason)).ok()
}
