//! Tokens of Google, for backends such as Vertex and Cloud Run.
//!
//! [`Gcp`] is what is configured; `source` reads credentials, `quest` says how a token is had, and `tokens` keeps them.

mod quest;
mod source;
#[cfg(test)]
mod tests;
mod tokens;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use http::header::AUTHORIZATION;
use ir::{Secret, Text};
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use quest::{Ambient, METADATA, Quest};
use source::Source;
pub use tokens::Tokens;

use super::fresh::{Fresh, Lease, Renewed as _};
use super::outgoing::Outgoing;
use crate::credential::scrub;
use crate::keep::Keep;

/// Longest audience.
const AUDIENCE_BYTES_MAX: usize = 2048;

static AMBIENT: OnceLock<Ambient> = OnceLock::new();

/// Says once what the environment of the process holds.
pub fn install(ambient: Ambient) {
    // A second one is the same: the environment of a process does not change.
    let _ = AMBIENT.set(ambient);
}

/// Which kind of token a backend wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "GcpTokenType")]
pub enum Kind {
    /// For Google's own services.
    #[default]
    AccessToken,
    /// For services that check who asks, Cloud Run among them.
    IdToken,
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Access,
    /// The audience.
    Id(Text),
}

/// Who asks, and for what.
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gcp {
    pub kind: Kind,
    /// Absent: `https://` and the host that is sent.
    pub audience: Option<Text>,
    /// Absent: that of the process, or of the machine.
    pub credential: Option<Secret>,
    #[serde(skip)]
    source: Option<Source>,
    /// Found when the policy comes into force. A copy of the policy uses the same.
    #[serde(skip)]
    tokens: Arc<OnceLock<(Arc<Tokens>, Lease)>>,
}

/// Two are alike that send alike.
impl PartialEq for Gcp {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.audience, &self.credential) == (other.kind, &other.audience, &other.credential)
    }
}

impl fmt::Debug for Gcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, audience, credential, .. } = self;
        f.debug_struct("Gcp")
            .field("kind", kind)
            .field("audience", audience)
            .field("credential", credential)
            .finish_non_exhaustive()
    }
}

impl Gcp {
    /// From its parts, as configuration of any form has them.
    ///
    /// # Errors
    /// Which key is no good, and why; nothing of a secret is said.
    pub fn lower(
        kind: Kind,
        audience: Option<Text>,
        credential: Option<Secret>,
    ) -> Result<Self, (&'static str, String)> {
        if let Some(audience) = &audience {
            if kind == Kind::AccessToken {
                return Err(("audience", "access tokens have none: write `type: idToken`".to_owned()));
            }
            let fits =
                (1..=AUDIENCE_BYTES_MAX).contains(&audience.len()) && audience.bytes().all(|it| it.is_ascii_graphic());
            if !fits {
                let reason = format!("1 to {AUDIENCE_BYTES_MAX} bytes of printable ASCII without spaces");
                return Err(("audience", reason));
            }
        }
        let source = credential.as_ref().map(|it| Source::parse(it.expose())).transpose();
        let source = source.map_err(|why| ("credential", why))?;
        if kind == Kind::IdToken && matches!(source, Some(Source::User { .. })) {
            return Err(("credential", "a user's credential gives no id tokens for others".to_owned()));
        }
        Ok(Self { kind, audience, credential, source, tokens: Arc::default() })
    }

    /// The policy comes into force: tokens are had from now on. Policies with one credential share them.
    pub(crate) fn bind(&self, keep: &Keep) {
        let name = match &self.credential {
            Some(it) => {
                let digest = digest::digest(&digest::SHA256, it.expose());
                let hex: String = digest.as_ref().iter().map(|it| format!("{it:02x}")).collect();
                format!("gcp/{hex}")
            }
            None => "gcp".to_owned(),
        };
        let tokens = keep.shared(&Text::from(name), |bell| Tokens::new(self.source.clone(), bell.clone()));
        let (tokens, lease) = self.tokens.get_or_init(|| (tokens, Lease::default()));
        if let Some(target) = self.target(None) {
            // Too many audiences are told to whoever asks.
            let _ = tokens.fresh().want(&target, Some(lease));
        }
    }

    fn target(&self, host: Option<&str>) -> Option<Target> {
        match (self.kind, &self.audience) {
            (Kind::AccessToken, _) => Some(Target::Access),
            (Kind::IdToken, Some(audience)) => Some(Target::Id(audience.clone())),
            (Kind::IdToken, None) => host.map(|host| Target::Id(format!("https://{host}").into())),
        }
    }

    /// What is to be waited for before a request to this host leaves; nothing where there is nothing to wait for.
    pub(super) fn waits(&self, host: Option<&str>) -> Option<impl Future<Output = ()> + Send + use<>> {
        let (tokens, _) = self.tokens.get()?;
        let target = self.target(host)?;
        Fresh::waits(tokens, target, None)
    }

    /// Writes the token in place of what the client sent there.
    pub(super) fn write(&self, message: &mut Outgoing<'_>) -> Result<(), String> {
        scrub(&AUTHORIZATION, message.head);
        let target = self.target(host(message.head).as_deref()).ok_or("the message names no host")?;
        let (tokens, _) = self.tokens.get().ok_or("the policy is not in force")?;
        let value = tokens.fresh().current(&target, message.outside.now())?;
        message.head.insert_header(AUTHORIZATION, value).map_err(|error| error.to_string())
    }
}

/// The host that is sent, without its port.
fn host(head: &RequestHeader) -> Option<String> {
    let written = head.headers.get(http::header::HOST).and_then(|it| it.to_str().ok());
    let host = written.or_else(|| head.uri.authority().map(http::uri::Authority::as_str))?;
    Some(without_port(host).to_ascii_lowercase())
}

/// A name without its port; brackets of an address stay.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    }
}
