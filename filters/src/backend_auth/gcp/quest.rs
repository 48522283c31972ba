//! How a token of Google's is had.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ir::Secret;
use serde_json::{Value, json};

use super::super::errand::{Errand, FORM, JSON, Near, Step, Way, encoded, refused, sendable};
use super::super::sign::{Algorithm, Signer};
use super::Target;
use super::source::{External, Impersonation, Source, Subject};

/// What access tokens are for: everything that the account may do.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an assertion is good for, and what is signed with it.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Where nothing says how long a token is good for.
const UNSAID: Duration = Duration::from_secs(300);

/// Where the metadata server of a machine of Google's is.
pub const METADATA: &str = "169.254.169.254";

/// What the process was told when it started.
#[derive(Clone, Debug, Default)]
pub struct Ambient {
    /// `GOOGLE_APPLICATION_CREDENTIALS`, or where tools leave a user's credential.
    pub file: Option<String>,
    /// `GCE_METADATA_HOST`.
    pub metadata: Option<String>,
}

impl Ambient {
    /// From the variables that programs for Google's clouds read; `read` gives the value of one.
    pub fn of(read: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| read(name).filter(|it| !it.is_empty());
        Self { file: read("GOOGLE_APPLICATION_CREDENTIALS"), metadata: read("GCE_METADATA_HOST") }
    }
}

/// A token on its way.
#[derive(Debug)]
pub struct Quest {
    target: Target,
    stage: Stage,
    source: Source,
    ambient: Ambient,
    /// In whose name the token is asked for that this leads to.
    then: Option<Impersonation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The file of the process.
    Credential,
    /// The token of elsewhere.
    Subject,
    /// What it is exchanged for.
    Exchanged,
    Token,
}

impl Quest {
    /// With no source of its own it is the process's.
    pub(super) fn new(source: Option<Source>, target: Target, ambient: Ambient) -> Self {
        let stage = if source.is_none() && ambient.file.is_some() { Stage::Credential } else { Stage::Token };
        Self { target, stage, source: source.unwrap_or(Source::Machine), ambient, then: None }
    }

    /// What is asked for with the credential itself.
    fn wanted(&self) -> &Target {
        if self.then.is_some() { &Target::Access } else { &self.target }
    }

    fn machine(&self) -> Errand {
        let host = self.ambient.metadata.as_deref().unwrap_or(METADATA);
        let account = "computeMetadata/v1/instance/service-accounts/default";
        let url = match self.wanted() {
            Target::Access => format!("http://{host}/{account}/token?{}", encoded(&[("scopes", SCOPE)])),
            Target::Id(audience) => {
                format!("http://{host}/{account}/identity?{}", encoded(&[("audience", audience), ("format", "full")]))
            }
        };
        Errand { near: Near::Metadata, ..Errand::get(url).with("metadata-flavor", b"Google") }
    }
}

impl Way for Quest {
    fn begin(&mut self, now: Duration) -> Result<Step, String> {
        if let (Stage::Credential, Some(file)) = (self.stage, &self.ambient.file) {
            return Ok(Step::Read(file.clone()));
        }
        self.stage = Stage::Token;
        while let Source::Impersonated(it) = &self.source {
            let (source, then) = (it.source.clone(), it.then.clone());
            if self.then.replace(then).is_some() {
                return Err("`source_credentials` impersonates somebody as well".to_owned());
            }
            self.source = source;
        }
        let source = self.source.clone();
        match &source {
            Source::Machine => Ok(Step::Ask(self.machine())),
            Source::ServiceAccount { email, key, key_id, token_url } => {
                let (name, value) = match self.wanted() {
                    Target::Access => ("scope", SCOPE),
                    Target::Id(audience) => ("target_audience", &**audience),
                };
                let (from, to) = (now.as_secs(), (now + LIFETIME).as_secs());
                let claims = json!({ "iss": email, "aud": token_url, name: value, "iat": from, "exp": to });
                let assertion = signed(key, key_id.as_deref(), &claims)?;
                let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)];
                Ok(Step::Ask(Errand::post(token_url, FORM, encoded(&form))))
            }
            Source::User { client_id, client_secret, refresh_token, token_url } => {
                if *self.wanted() != Target::Access {
                    return Err("a user's credential gives no id tokens for others".to_owned());
                }
                let text = |it: &Secret| String::from_utf8_lossy(it.expose()).into_owned();
                let (secret, refresh) = (text(client_secret), text(refresh_token));
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", client_id),
                    ("client_secret", &secret),
                    ("refresh_token", &refresh),
                ];
                Ok(Step::Ask(Errand::post(token_url, FORM, encoded(&form))))
            }
            Source::External(external) => {
                self.stage = Stage::Subject;
                Ok(match &external.subject {
                    Subject::File(path) => Step::Read(path.clone()),
                    Subject::Url(url) => Step::Ask(Errand::get(url.clone())),
                })
            }
            Source::Impersonated(_) => Err("`source_credentials` impersonates somebody as well".to_owned()),
        }
    }

    fn go_on(&mut self, status: u16, came: &[u8], now: Duration) -> Result<Step, String> {
        if !(200..300).contains(&status) {
            return Err(refused(status, came));
        }
        match (self.stage, &self.source) {
            (Stage::Credential, _) => {
                self.source = Source::parse(came)?;
                self.ambient.file = None;
                self.begin(now)
            }
            (Stage::Subject, Source::External(external)) => {
                let step = external.exchange(came)?;
                self.stage = if external.impersonates.is_some() { Stage::Exchanged } else { Stage::Token };
                if external.impersonates.is_none() && *self.wanted() != Target::Access {
                    return Err("without `service_account_impersonation_url` there are no id tokens".to_owned());
                }
                Ok(Step::Ask(step))
            }
            (Stage::Exchanged, Source::External(external)) => {
                let (token, _) = access(came)?;
                self.stage = Stage::Token;
                let impersonation = external.impersonates.as_ref().ok_or("nobody is impersonated")?;
                Ok(Step::Ask(impersonation.errand(&token, self.wanted())))
            }
            _ if let Some(then) = self.then.take() => {
                let (token, _) = access(came)?;
                Ok(Step::Ask(then.errand(&token, &self.target)))
            }
            _ => {
                let (token, life) = match self.target {
                    Target::Access => access(came)?,
                    Target::Id(_) => id(came, now)?,
                };
                Ok(Step::Done(token, life))
            }
        }
    }
}

impl External {
    /// RFC 8693.
    fn exchange(&self, came: &[u8]) -> Result<Errand, String> {
        let text = std::str::from_utf8(came).map_err(|_| "the token of elsewhere is no text")?;
        let subject = match &self.member {
            None => text.trim().to_owned(),
            Some(member) => {
                let document: Value = serde_json::from_str(text).map_err(|_| "what holds the token is no JSON")?;
                let token = document.get(member).and_then(Value::as_str);
                token.ok_or_else(|| format!("there is no `{member}` in what holds the token"))?.to_owned()
            }
        };
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", &self.audience),
            ("scope", SCOPE),
            ("subject_token_type", &self.subject_type),
            ("subject_token", &subject),
        ];
        Ok(Errand::post(&self.token_url, FORM, encoded(&form)))
    }
}

impl Impersonation {
    /// Asks for a token in the name of the account (IAM Service Account Credentials API).
    fn errand(&self, token: &Secret, target: &Target) -> Errand {
        let Self { url, delegates } = self;
        let (url, mut body) = match target {
            Target::Access => {
                (url.clone(), json!({ "scope": [SCOPE], "lifetime": format!("{}s", LIFETIME.as_secs()) }))
            }
            Target::Id(audience) => (
                url.replace(":generateAccessToken", ":generateIdToken"),
                json!({ "audience": &**audience, "includeEmail": true }),
            ),
        };
        if let (false, Some(body)) = (delegates.is_empty(), body.as_object_mut()) {
            body.insert("delegates".to_owned(), json!(delegates));
        }
        Errand::post(&url, JSON, body.to_string()).with("authorization", &[b"Bearer ", token.expose()].concat())
    }
}

/// An assertion (RFC 7523).
fn signed(key: &Secret, key_id: Option<&str>, claims: &Value) -> Result<String, String> {
    let header = match key_id {
        Some(id) => json!({ "alg": "RS256", "typ": "JWT", "kid": id }),
        None => json!({ "alg": "RS256", "typ": "JWT" }),
    };
    let part = |it: &Value| URL_SAFE_NO_PAD.encode(it.to_string());
    let text = format!("{}.{}", part(&header), part(claims));
    let signature = Signer::new(key.expose(), Algorithm::RS256)?.sign(text.as_bytes()).ok_or("it cannot be signed")?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// An access token, and how long it is good for.
fn access(came: &[u8]) -> Result<(Secret, Duration), String> {
    let document: Value = serde_json::from_slice(came).map_err(|_| "the answer is no JSON")?;
    let get = |names: [&str; 2]| names.iter().find_map(|it| document.get(it));
    let token = get(["access_token", "accessToken"]).and_then(Value::as_str).ok_or("the answer has no access token")?;
    let life = document.get("expires_in").and_then(Value::as_u64).map_or(UNSAID, Duration::from_secs);
    let life = if document.get("expireTime").is_some() { LIFETIME } else { life };
    Ok((sendable(token)?, life))
}

/// An id token: the answer itself, or a member of it. It says itself how long it is good for.
fn id(came: &[u8], now: Duration) -> Result<(Secret, Duration), String> {
    let text = std::str::from_utf8(came).map_err(|_| "the answer is no text")?.trim();
    let document: Option<Value> = serde_json::from_str(text).ok();
    let member = document.as_ref().and_then(|it| it.get("id_token").or_else(|| it.get("token"))?.as_str());
    let token = if text.starts_with('{') { member.ok_or("the answer has no id token")? } else { text };
    let claims = token.split('.').nth(1).and_then(|it| URL_SAFE_NO_PAD.decode(it).ok());
    let claims: Option<Value> = claims.and_then(|it| serde_json::from_slice(&it).ok());
    let expires = claims.and_then(|it| it.get("exp")?.as_u64()).map(Duration::from_secs);
    Ok((sendable(token)?, expires.map_or(UNSAID, |it| it.saturating_sub(now))))
}
