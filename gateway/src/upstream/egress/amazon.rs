//! Credentials of AWS that the process is lent.
//!
//! Where they come from is the business of AWS's own library, whose default chain is what everybody else's programs follow:
//! environment, profiles (with roles, single sign-on and programs), web identity, containers, machines. It reaches out
//! through the egress rule, by which only it may reach the addresses where AWS gives out credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use filters::backend_auth::aws::{Assumed, Keys, Lent, Who};
use ir::{Secret, Text};

use super::{Egress, FETCH_DEADLINE, Fault};

/// Where machines of AWS's, containers and pods find their credentials.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

/// What the process has is looked up again after this, or before its end where that comes sooner.
const BASE_LIFE: Duration = Duration::from_secs(900);
const BASE_AHEAD: Duration = Duration::from_secs(300);
/// Longest error that is passed on.
const ERROR_BYTES_MAX: usize = 512;

/// Who has credentials of AWS; a clone is the same one.
#[derive(Clone)]
pub(in crate::upstream) struct Amazon {
    egress: Egress,
    /// What roles are assumed with: for many sessions it is looked up once.
    base: Arc<tokio::sync::Mutex<Option<Base>>>,
}

#[derive(Clone)]
struct Base {
    config: SdkConfig,
    credentials: Credentials,
    until: Instant,
}

impl Amazon {
    pub(in crate::upstream) fn new(egress: Egress) -> Self {
        Self { egress, base: Arc::default() }
    }

    /// Credentials of somebody, and how long they are good for.
    pub(in crate::upstream) async fn lend(self, who: Who) -> Result<(Arc<Lent>, Option<Duration>), String> {
        let Base { config, credentials, .. } = match &who {
            Who::Process => self.look_up().await?,
            Who::Role(_) => self.base().await?,
        };
        let credentials = match who {
            Who::Process => credentials,
            Who::Role(assumed) => assume(&config, credentials, &assumed).await?,
        };
        let secret = |it: &str| Secret::new(it.as_bytes().to_vec());
        let keys = Keys::new(
            secret(credentials.access_key_id()),
            secret(credentials.secret_access_key()),
            credentials.session_token().map(secret),
        );
        let keys = keys.map_err(|(key, why)| format!("{key}: {why}"))?;
        let region = config.region().map(|it| Text::from(it.as_ref()));
        let life = credentials.expiry().map(|it| it.duration_since(SystemTime::now()).unwrap_or_default());
        Ok((Arc::new(Lent::new(keys, region)), life))
    }

    async fn base(&self) -> Result<Base, String> {
        let mut held = self.base.lock().await;
        if let Some(base) = held.as_ref().filter(|it| it.until > Instant::now()) {
            return Ok(base.clone());
        }
        Ok(held.insert(self.look_up().await?).clone())
    }

    async fn look_up(&self) -> Result<Base, String> {
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(Line::new(self.egress.clone()));
        let config = Box::pin(config.load()).await;
        let provider = config.credentials_provider().ok_or("there is nobody to ask")?;
        let credentials = provider.provide_credentials().await.map_err(|error| said(&error))?;
        let life = credentials.expiry().map(|it| it.duration_since(SystemTime::now()).unwrap_or_default());
        let life = life.map_or(BASE_LIFE, |it| it.saturating_sub(BASE_AHEAD.min(it / 2)).min(BASE_LIFE));
        Ok(Base { config, credentials, until: Instant::now() + life })
    }
}

async fn assume(config: &SdkConfig, base: Credentials, assumed: &Assumed) -> Result<Credentials, String> {
    let Assumed { arn, name, tags, region } = assumed;
    let base = SharedCredentialsProvider::new(base);
    let config = config.clone().into_builder().credentials_provider(base).build();
    if region.is_none() && config.region().is_none() {
        return Err("no region says whose STS to ask: write `region`".to_owned());
    }
    let mut role = AssumeRoleProvider::builder(&**arn)
        .configure(&config)
        .session_name(&**name)
        .tags(tags.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    if let Some(region) = region {
        role = role.region(Region::new(region.to_string()));
    }
    Box::pin(role.build()).await.provide_credentials().await.map_err(|error| said(&error))
}

/// An error with what it came of.
fn said(error: &CredentialsError) -> String {
    if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
        return "neither environment, profile, web identity, container nor machine has any: write `accessKeyId`, or set \
                AWS_ACCESS_KEY_ID, AWS_PROFILE or AWS_WEB_IDENTITY_TOKEN_FILE for the process"
            .to_owned();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let more = error.to_string();
        // Some say what they came of themselves.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    // What a program of a profile has said may hold anything.
    text.truncate(text.find("Stderr").unwrap_or(text.len()));
    text.retain(|it| !it.is_control());
    text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    text
}

/// How AWS's library reaches out.
#[derive(Clone)]
struct Line {
    egress: Egress,
    deadline: Duration,
}

impl Line {
    fn new(egress: Egress) -> Self {
        Self { egress, deadline: FETCH_DEADLINE }
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

impl HttpClient for Line {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let parts = settings.connect_timeout().zip(settings.read_timeout());
        let deadline = parts.map_or(FETCH_DEADLINE, |(connect, read)| (connect + read).min(FETCH_DEADLINE));
        SharedHttpConnector::new(Self { egress: self.egress.clone(), deadline })
    }
}

impl HttpConnector for Line {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { egress, deadline } = self.clone();
        HttpConnectorFuture::new(async move {
            let broken = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
            let request = request.try_into_http1x().map_err(|error| broken(error.into()))?;
            let (head, body) = request.into_parts();
            let body = body.bytes().map(Bytes::copy_from_slice).ok_or_else(|| broken("a body that streams".into()))?;
            let asked = egress.dispatch(&METADATA, http::Request::from_parts(head, body));
            let answer = tokio::time::timeout(deadline, asked).await.unwrap_or(Err(Fault::Deadline));
            let answer = answer.map_err(|fault| match fault {
                Fault::Deadline => ConnectorError::timeout(fault.to_string().into()),
                other => ConnectorError::io(other.to_string().into()),
            })?;
            HttpResponse::try_from(answer.map(SdkBody::from)).map_err(|error| broken(error.into()))
        })
    }
}
