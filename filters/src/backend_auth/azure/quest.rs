//! How a token of Entra's is had.

use std::time::Duration;

use ir::Text;
use serde_json::Value;

use super::super::errand::{Errand, FORM, Near, Step, Way, encoded, refused, sendable};
use super::{Assigned, Client, Kind, Resource};

/// Where applications ask, unless the environment of the process says otherwise.
const AUTHORITY: &str = "https://login.microsoftonline.com";
/// Where the metadata server of a machine of Azure's is.
const METADATA: &str = "http://169.254.169.254";
/// Where nothing says how long a token is good for.
const UNSAID: Duration = Duration::from_secs(300);

/// What the process was told when it started.
#[derive(Clone, Debug, Default)]
pub struct Ambient {
    /// `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET`.
    pub tenant: Option<String>,
    pub client: Option<String>,
    pub secret: Option<ir::Secret>,
    /// `AZURE_FEDERATED_TOKEN_FILE`.
    pub federated: Option<String>,
    /// `AZURE_AUTHORITY_HOST`.
    pub authority: Option<String>,
    /// `AZURE_POD_IDENTITY_AUTHORITY_HOST`: stands for the metadata server.
    pub metadata: Option<String>,
    /// `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`, of App Service and its kin.
    pub endpoint: Option<(String, ir::Secret)>,
}

impl Ambient {
    /// From the variables that programs for Azure read; `read` gives the value of one.
    pub fn of(read: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| read(name).filter(|it| !it.is_empty());
        let secret = |name: &str| read(name).map(|it| ir::Secret::new(it.into_bytes()));
        Self {
            tenant: read("AZURE_TENANT_ID"),
            client: read("AZURE_CLIENT_ID"),
            secret: secret("AZURE_CLIENT_SECRET"),
            federated: read("AZURE_FEDERATED_TOKEN_FILE"),
            authority: read("AZURE_AUTHORITY_HOST"),
            metadata: read("AZURE_POD_IDENTITY_AUTHORITY_HOST"),
            endpoint: read("IDENTITY_ENDPOINT").zip(secret("IDENTITY_HEADER")),
        }
    }
}

/// A token on its way.
#[derive(Debug)]
pub struct Quest {
    kind: Kind,
    resource: Resource,
    ambient: Ambient,
    /// The assertion of a pod is read.
    reads: bool,
}

impl Quest {
    pub(super) fn new(kind: Kind, resource: Resource, ambient: Ambient) -> Self {
        Self { kind, resource, ambient, reads: false }
    }

    /// What an application asks with, whatever proves who it is (RFC 6749 section 4.4, RFC 7523 section 2.2).
    fn application(&self, tenant: &str, client: &str, proof: &[(&str, &str)]) -> Errand {
        let authority = self.ambient.authority.as_deref().unwrap_or(AUTHORITY).trim_end_matches('/');
        let scope = format!("{}/.default", self.resource.url());
        let own = [("grant_type", "client_credentials"), ("client_id", client), ("scope", &scope)];
        let form = encoded(&[&own[..], proof].concat());
        Errand::post(&format!("{authority}/{tenant}/oauth2/v2.0/token"), FORM, form)
    }

    fn by_secret(&self, Client { tenant, id, secret }: &Client) -> Result<Step, String> {
        let secret = std::str::from_utf8(secret.expose()).map_err(|_| "the secret is no text")?;
        Ok(Step::Ask(self.application(tenant, id, &[("client_secret", secret)])))
    }

    fn machine(&self, assigned: Option<&Assigned>) -> Errand {
        let resource = self.resource.url();
        if let Some((endpoint, header)) = &self.ambient.endpoint {
            let name = match assigned {
                Some(Assigned::ClientId(id)) => Some(("client_id", id)),
                Some(Assigned::ObjectId(id)) => Some(("principal_id", id)),
                Some(Assigned::ResourceId(id)) => Some(("mi_res_id", id)),
                None => None,
            };
            let own = [("api-version", "2019-08-01"), ("resource", resource)];
            let query = encoded(&own.into_iter().chain(name.map(|(name, it)| (name, &**it))).collect::<Vec<_>>());
            let errand = Errand::get(format!("{endpoint}?{query}")).with("x-identity-header", header.expose());
            // App Service has it at an address of the link.
            return Errand { near: Near::Told, ..errand };
        }
        let name = match assigned {
            Some(Assigned::ClientId(id)) => Some(("client_id", id)),
            Some(Assigned::ObjectId(id)) => Some(("object_id", id)),
            Some(Assigned::ResourceId(id)) => Some(("msi_res_id", id)),
            None => None,
        };
        let own = [("api-version", "2018-02-01"), ("resource", resource)];
        let query = encoded(&own.into_iter().chain(name.map(|(name, it)| (name, &**it))).collect::<Vec<_>>());
        let host = self.ambient.metadata.as_deref().unwrap_or(METADATA).trim_end_matches('/');
        let url = format!("{host}/metadata/identity/oauth2/token?{query}");
        Errand { near: Near::Metadata, ..Errand::get(url).with("metadata", b"true") }
    }

    fn workload(&mut self) -> Result<Step, String> {
        let file = self.ambient.federated.clone().ok_or("AZURE_FEDERATED_TOKEN_FILE is not set")?;
        self.reads = true;
        Ok(Step::Read(file))
    }

    fn named(&self) -> Result<(&str, &str), String> {
        let tenant = self.ambient.tenant.as_deref().ok_or("AZURE_TENANT_ID is not set")?;
        let client = self.ambient.client.as_deref().ok_or("AZURE_CLIENT_ID is not set")?;
        Ok((tenant, client))
    }
}

impl Way for Quest {
    fn begin(&mut self, _now: Duration) -> Result<Step, String> {
        self.reads = false;
        match self.kind.clone() {
            Kind::ClientSecret(client) => self.by_secret(&client),
            Kind::WorkloadIdentity => self.workload(),
            Kind::ManagedIdentity(assigned) => Ok(Step::Ask(self.machine(assigned.as_ref()))),
            Kind::DeveloperImplicit => {
                let scope = format!("{}/.default", self.resource.url());
                let command = ["az", "account", "get-access-token", "--output", "json", "--scope", &scope];
                Ok(Step::Run(command.map(str::to_owned).into()))
            }
            Kind::Implicit => match (self.ambient.secret.clone(), &self.ambient.federated) {
                (Some(secret), _) => {
                    let (tenant, id) = self.named()?;
                    self.by_secret(&Client { tenant: Text::from(tenant), id: Text::from(id), secret })
                }
                (None, Some(_)) => self.workload(),
                (None, None) => {
                    let own = self.ambient.client.clone().map(Assigned::ClientId);
                    Ok(Step::Ask(self.machine(own.as_ref())))
                }
            },
        }
    }

    fn go_on(&mut self, status: u16, came: &[u8], now: Duration) -> Result<Step, String> {
        if !(200..300).contains(&status) {
            return Err(refused(status, came));
        }
        if std::mem::take(&mut self.reads) {
            let assertion = std::str::from_utf8(came).map_err(|_| "the token of the pod is no text")?.trim();
            let (tenant, client) = self.named()?;
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            let proof = [("client_assertion_type", kind), ("client_assertion", assertion)];
            return Ok(Step::Ask(self.application(tenant, client, &proof)));
        }
        let document: Value = serde_json::from_slice(came).map_err(|_| "the answer is no JSON")?;
        let token = ["access_token", "accessToken"].iter().find_map(|it| document.get(it)).and_then(Value::as_str);
        let token = sendable(token.ok_or("the answer has no access token")?)?;
        // Some say numbers as text, and some only when it ends.
        let number = |name: &str| {
            let it = document.get(name)?;
            it.as_u64().or_else(|| it.as_str()?.parse().ok())
        };
        let life = number("expires_in").map(Duration::from_secs);
        let life = life.or_else(|| Some(Duration::from_secs(number("expires_on")?).saturating_sub(now)));
        Ok(Step::Done(token, life.unwrap_or(UNSAID)))
    }
}
