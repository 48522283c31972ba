//! Credentials of Google as its tools write them: one JSON document, of one of several types.

use ir::Secret;
use serde::Deserialize;

use super::super::sign::{Algorithm, Signer};

/// Where tokens are had, unless the document says otherwise.
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// Where tokens of others are exchanged.
const EXCHANGE_URL: &str = "https://sts.googleapis.com/v1/token";

/// Longest document.
pub(super) const CREDENTIAL_BYTES_MAX: usize = 64 << 10;

/// Who asks for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    ServiceAccount {
        email: String,
        key: Secret,
        key_id: Option<String>,
        token_url: String,
    },
    User {
        client_id: String,
        client_secret: Secret,
        refresh_token: Secret,
        token_url: String,
    },
    External(Box<External>),
    Impersonated(Box<Impersonated>),
    /// The machine itself: its metadata server.
    Machine,
}

/// An account in whose name somebody else asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Impersonated {
    pub(super) source: Source,
    pub(super) then: Impersonation,
}

/// The account in whose name tokens are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Impersonation {
    /// Where to ask.
    pub(super) url: String,
    /// Accounts on the way there.
    pub(super) delegates: Vec<String>,
}

/// Somebody who is known elsewhere (workload identity federation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct External {
    pub(super) audience: String,
    pub(super) subject_type: String,
    pub(super) token_url: String,
    pub(super) impersonates: Option<Impersonation>,
    pub(super) subject: Subject,
    /// The member of what is found that holds the token; nothing where all of it does.
    pub(super) member: Option<String>,
}

/// Where the token of elsewhere is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    File(String),
    Url(String),
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Written {
    r#type: String,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
    audience: Option<String>,
    subject_token_type: Option<String>,
    token_url: Option<String>,
    service_account_impersonation_url: Option<String>,
    credential_source: Option<WrittenSource>,
    source_credentials: Option<Box<Self>>,
    delegates: Vec<String>,
}

#[derive(Deserialize)]
struct WrittenSource {
    file: Option<String>,
    url: Option<String>,
    format: Option<WrittenFormat>,
}

#[derive(Deserialize)]
struct WrittenFormat {
    r#type: String,
    subject_token_field_name: Option<String>,
}

impl Source {
    /// # Errors
    /// What is wrong; nothing of a secret is said.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        if document.len() > CREDENTIAL_BYTES_MAX {
            return Err(format!("more than {CREDENTIAL_BYTES_MAX} bytes"));
        }
        let written: Written = serde_json::from_slice(document)
            .map_err(|it| format!("not a credential in JSON (line {}, column {})", it.line(), it.column()))?;
        Self::read(written, true)
    }

    /// `may_impersonate`: it is not itself what somebody impersonates with.
    fn read(written: Written, may_impersonate: bool) -> Result<Self, String> {
        match written.r#type.as_str() {
            "service_account" => {
                let pem = needed("private_key", written.private_key)?;
                Signer::new(pem.as_bytes(), Algorithm::RS256).map_err(|why| format!("`private_key`: {why}"))?;
                Ok(Self::ServiceAccount {
                    email: needed("client_email", written.client_email)?,
                    key: Secret::new(pem.into_bytes()),
                    key_id: written.private_key_id,
                    token_url: url("token_uri", written.token_uri, TOKEN_URL)?,
                })
            }
            "authorized_user" => Ok(Self::User {
                client_id: needed("client_id", written.client_id)?,
                client_secret: Secret::new(needed("client_secret", written.client_secret)?.into_bytes()),
                refresh_token: Secret::new(needed("refresh_token", written.refresh_token)?.into_bytes()),
                token_url: url("token_uri", written.token_uri, TOKEN_URL)?,
            }),
            "external_account" => External::read(written).map(|it| Self::External(Box::new(it))),
            "impersonated_service_account" if may_impersonate => {
                let within = written.source_credentials.ok_or("`source_credentials` is missing")?;
                let source = Self::read(*within, false).map_err(|why| format!("`source_credentials`: {why}"))?;
                let at = written.service_account_impersonation_url.unwrap_or_default();
                let at = url("service_account_impersonation_url", Some(at), "")?;
                let then = Impersonation { url: at, delegates: written.delegates };
                Ok(Self::Impersonated(Box::new(Impersonated { source, then })))
            }
            "" => Err("there is no `type`".to_owned()),
            _ => Err("`type` is `service_account`, `authorized_user`, `external_account` or \
                      `impersonated_service_account`"
                .to_owned()),
        }
    }
}

impl External {
    fn read(written: Written) -> Result<Self, String> {
        const SOURCES: &str = "`credential_source` is a `file` or a `url`; other kinds are not supported";
        let Some(WrittenSource { file, url: from, format }) = written.credential_source else {
            return Err(SOURCES.to_owned());
        };
        let subject = match (file, from) {
            (Some(file), None) if !file.is_empty() => Subject::File(file),
            (None, Some(from)) => Subject::Url(url("credential_source.url", Some(from), "")?),
            _ => return Err(SOURCES.to_owned()),
        };
        let member = match format {
            Some(WrittenFormat { r#type, subject_token_field_name }) if r#type == "json" => {
                Some(needed("credential_source.format.subject_token_field_name", subject_token_field_name)?)
            }
            _ => None,
        };
        let impersonates = written.service_account_impersonation_url;
        Ok(Self {
            audience: needed("audience", written.audience)?,
            subject_type: needed("subject_token_type", written.subject_token_type)?,
            token_url: url("token_url", written.token_url, EXCHANGE_URL)?,
            impersonates: impersonates
                .map(|it| url("service_account_impersonation_url", Some(it), ""))
                .transpose()?
                .map(|url| Impersonation { url, delegates: Vec::new() }),
            subject,
            member,
        })
    }
}

fn needed(name: &str, text: Option<String>) -> Result<String, String> {
    text.filter(|it| !it.is_empty()).ok_or_else(|| format!("`{name}` is missing"))
}

fn url(name: &str, text: Option<String>, default: &str) -> Result<String, String> {
    let text = text.unwrap_or_else(|| default.to_owned());
    let is_url = |it: &str| it.parse::<http::Uri>().is_ok_and(|it| it.authority().is_some());
    match (text.starts_with("https://") || text.starts_with("http://")) && is_url(&text) {
        true => Ok(text),
        false => Err(format!("`{name}` is no URL")),
    }
}
