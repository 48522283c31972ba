//! Signatures of AWS (Signature Version 4), for backends such as Bedrock.
//!
//! [`Aws`] is what is configured; `canonical` says what of a message is signed, and in which form; `role` whose sessions
//! sign, and `sessions` keeps what the process is lent.

mod canonical;
mod config;
mod role;
mod sessions;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};
use ir::{Secret, Text};
use parking_lot::Mutex;
use serde::Serialize;

use self::canonical::{Canonical, hex};
pub use self::config::{AwsConfig, RoleConfig, SessionNameConfig, TagConfig, said};
pub use self::role::{Assumed, Role, Said};
pub use self::sessions::{Lent, Sessions, Who};
use super::fresh::{Fresh, Lease, Renewed as _};
use super::outgoing::{Outgoing, Payload};
use crate::Wanted;
use crate::credential::scrub;
use crate::expr::Inputs;
use crate::keep::Keep;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Longest name of a region or service.
const NAME_BYTES_MAX: usize = 64;
/// Longest part of a credential.
const SECRET_BYTES_MAX: usize = 4096;

/// Who signs, and for what.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Aws {
    /// Absent: those of the process.
    pub keys: Option<Keys>,
    /// Absent: that of the backend's host name, else that of the process.
    pub region: Option<Text>,
    /// Absent: that of the backend's host name.
    pub service: Option<Text>,
    /// In whose name the process signs; its own, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Found when the policy comes into force. A copy of the policy uses the same.
    #[serde(skip)]
    sessions: Arc<OnceLock<(Arc<Sessions>, Lease)>>,
    /// The key of the day, which all requests of a day share. A copy of the policy uses the same.
    #[serde(skip)]
    day: Arc<Mutex<Option<Day>>>,
}

/// Credentials of AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    pub id: Secret,
    pub secret: Secret,
    /// Of temporary credentials.
    pub token: Option<Secret>,
}

/// What the process was given, once, when it started.
#[derive(Clone, Debug, Default)]
pub struct Ambient {
    pub keys: Option<Keys>,
    pub region: Option<Text>,
}

static AMBIENT: OnceLock<Ambient> = OnceLock::new();

/// Says once what the environment of the process holds.
pub fn install(ambient: Ambient) {
    // A second one is the same: the environment of a process does not change.
    let _ = AMBIENT.set(ambient);
}

/// A key that is made of the secret, for one day, region and service.
struct Day {
    scope: String,
    id: Secret,
    key: hmac::Key,
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Day").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Two are alike that sign alike.
impl PartialEq for Aws {
    fn eq(&self, other: &Self) -> bool {
        let Self { keys, region, service, role, .. } = other;
        (&self.keys, &self.region, &self.service, &self.role) == (keys, region, service, role)
    }
}

impl Ambient {
    /// From the variables that programs for AWS read; `read` gives the value of one.
    pub fn of(read: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| read(name).filter(|it| !it.is_empty());
        let secret = |name: &str| read(name).map(|it| Secret::new(it.into_bytes()));
        let keys = secret("AWS_ACCESS_KEY_ID").zip(secret("AWS_SECRET_ACCESS_KEY"));
        let keys = keys.and_then(|(id, it)| Keys::new(id, it, secret("AWS_SESSION_TOKEN")).ok());
        let region = read("AWS_REGION").or_else(|| read("AWS_DEFAULT_REGION"));
        Self { keys, region: region.filter(|it| is_name(it)).map(Text::from) }
    }
}

impl Keys {
    /// # Errors
    /// Which key is no good, and why; nothing of it is said.
    pub fn new(id: Secret, secret: Secret, token: Option<Secret>) -> Result<Self, (&'static str, String)> {
        let parts = [("accessKeyId", Some(&id)), ("secretAccessKey", Some(&secret)), ("sessionToken", token.as_ref())];
        for (key, it) in parts.into_iter().filter_map(|(key, it)| Some((key, it?))) {
            let length = it.expose().len();
            if length == 0 || length > SECRET_BYTES_MAX || !it.expose().iter().all(u8::is_ascii_graphic) {
                let reason = format!("1 to {SECRET_BYTES_MAX} bytes of printable ASCII without spaces");
                return Err((key, reason));
            }
        }
        Ok(Self { id, secret, token })
    }
}

/// Whether a region or service may be called so.
fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
}

impl Aws {
    /// From its parts, as configuration of any form has them.
    ///
    /// # Errors
    /// Which key is no good, and why; nothing of a secret is said.
    pub fn lower(
        keys: (Option<Secret>, Option<Secret>, Option<Secret>),
        region: Option<Text>,
        service: Option<Text>,
        role: Option<Role>,
    ) -> Result<Self, (&'static str, String)> {
        let keys = match keys {
            (Some(id), Some(secret), token) => Some(Keys::new(id, secret, token)?),
            (None, None, None) => None,
            (None, ..) => return Err(("accessKeyId", "missing beside the others".to_owned())),
            (_, None, _) => return Err(("secretAccessKey", "missing beside `accessKeyId`".to_owned())),
        };
        if keys.is_some() && role.is_some() {
            let why = "a role is assumed with the credentials of the process: write no `accessKeyId` beside it";
            return Err(("assumeRole", why.to_owned()));
        }
        Self::new(keys, region, service, role)
    }

    /// # Errors
    /// Which key is no good, and why.
    fn new(
        keys: Option<Keys>,
        region: Option<Text>,
        service: Option<Text>,
        role: Option<Role>,
    ) -> Result<Self, (&'static str, String)> {
        for (key, it) in [("region", &region), ("serviceName", &service)] {
            if it.as_ref().is_some_and(|it| !is_name(it)) {
                return Err((key, format!("1 to {NAME_BYTES_MAX} lower-case letters, digits and `-`")));
            }
        }
        Ok(Self { keys, region, service, role, ..Self::default() })
    }

    /// Credentials that are there at once: those written, or those of the environment.
    fn own(&self) -> Option<&Keys> {
        let ambient = || AMBIENT.get().and_then(|it| it.keys.as_ref());
        self.keys.as_ref().or_else(|| self.role.is_none().then(ambient)?)
    }

    /// Whose credentials are lent for a request to this host.
    fn who(&self, inputs: &Inputs<'_>, host: Option<&str>) -> Result<Who, String> {
        let Some(role) = &self.role else { return Ok(Who::Process) };
        role.session(inputs, self.session_region(host)).map(|it| Who::Role(Arc::new(it)))
    }

    fn session_region(&self, host: Option<&str>) -> Option<Text> {
        let ambient = || AMBIENT.get().and_then(|it| it.region.clone());
        self.region.clone().or_else(|| role::region_of(host)).or_else(ambient)
    }

    /// The policy comes into force: what it is lent is had from now on.
    pub(crate) fn bind(&self, keep: &Keep) {
        if self.own().is_some() {
            return;
        }
        let sessions = keep.shared(&Text::from("aws"), |bell| Sessions::new(bell.clone()));
        let (sessions, lease) = self.sessions.get_or_init(|| (sessions, Lease::default()));
        let constant = match &self.role {
            None => Some(Who::Process),
            // Where the host may decide whose STS is asked, the first request does.
            Some(role) => {
                let region = self.region.clone();
                region.and_then(|it| role.constant(Some(it))).map(|it| Who::Role(Arc::new(it)))
            }
        };
        if let Some(who) = constant {
            // Too many are told to whoever asks.
            let _ = sessions.fresh().want(&who, Some(lease));
        }
    }

    /// What is to be waited for before a request to this host leaves; nothing where there is nothing to wait for.
    pub(super) fn waits(
        &self,
        inputs: &Inputs<'_>,
        host: Option<&str>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        if self.own().is_some() {
            return None;
        }
        let (sessions, _) = self.sessions.get()?;
        let who = self.who(inputs, host).ok()?;
        Fresh::waits(sessions, who, None)
    }

    fn lent(&self, message: &Outgoing<'_>, host: &str) -> Result<Arc<Lent>, String> {
        let (sessions, _) = self.sessions.get().ok_or("the policy is not in force")?;
        let who = self.who(&message.facts.inputs(message.head), Some(host))?;
        sessions.fresh().current(&who, message.outside.now())
    }

    /// All of the body is signed; only S3 takes requests that say nothing of it.
    pub(super) fn wants(&self) -> Wanted {
        if self.service.as_deref().is_some_and(is_s3) { Wanted::Nothing } else { Wanted::Whole }
    }

    /// Writes the signature in place of what the client sent as its own.
    pub(super) fn sign(&self, message: &mut Outgoing<'_>) -> Result<(), String> {
        let host = host(message)?;
        let lent;
        let (keys, day, found) = match self.own() {
            Some(keys) => (keys, &*self.day, None),
            None => {
                lent = self.lent(message, &host)?;
                (&lent.keys, &lent.day, lent.region.as_deref())
            }
        };
        for name in [AUTHORIZATION, DATE, TOKEN, CONTENT] {
            scrub(&name, message.head);
        }
        let name = host_name(&host).to_ascii_lowercase();
        let (by_service, by_region) = named_by(&name).unzip();
        let service = self.service.as_deref().or(by_service);
        let service = service.ok_or("the backend's host name names no service of AWS: write `serviceName`")?;
        let ambient = AMBIENT.get().and_then(|it| it.region.as_deref());
        let region = self.region.as_deref().or(by_region).or(ambient).or(found);
        let region = region.ok_or("the backend's host name names no region of AWS: write `region`")?;
        let payload = match message.body {
            Payload::Whole(bytes) => canonical::digest(bytes),
            Payload::Streams if is_s3(service) => "UNSIGNED-PAYLOAD".to_owned(),
            Payload::Streams => return Err("the body streams, and all of it is signed".to_owned()),
        };
        let moment = stamp(message.outside.now())?;
        canonical::recode(message.head);
        announce(message);
        if is_s3(service) {
            write(message, CONTENT, payload.as_bytes(), false)?;
        }
        write(message, DATE, moment.as_bytes(), false)?;
        if let Some(token) = &keys.token {
            write(message, TOKEN, token.expose(), true)?;
        }
        let scope = format!("{}/{region}/{service}/aws4_request", moment.get(..8).unwrap_or_default());
        let canonical = Canonical::of(message.head, &host, !is_s3(service));
        let signature = signature((keys, day), &scope, &moment, &canonical.text(&payload));
        let id = String::from_utf8_lossy(keys.id.expose());
        let names = canonical.names();
        let value = format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        write(message, AUTHORIZATION, value.as_bytes(), true)
    }
}

fn signature((keys, day): (&Keys, &Mutex<Option<Day>>), scope: &str, moment: &str, canonical: &str) -> String {
    let signed = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", canonical::digest(canonical.as_bytes()));
    let mut day = day.lock();
    let key = match &*day {
        Some(it) if it.scope == scope && it.id == keys.id => it.key.clone(),
        _ => {
            let key = derive(keys.secret.expose(), scope);
            *day = Some(Day { scope: scope.to_owned(), id: keys.id.clone(), key: key.clone() });
            key
        }
    };
    drop(day);
    hex(hmac::sign(&key, signed.as_bytes()).as_ref())
}

/// The key of a scope: each part of it signs the next.
fn derive(secret: &[u8], scope: &str) -> hmac::Key {
    let first = hmac::Key::new(hmac::HMAC_SHA256, &[&b"AWS4"[..], secret].concat());
    scope
        .split('/')
        .fold(first, |key, part| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref()))
}

/// S3 and its kin encode nothing twice, and know messages whose body is not signed.
fn is_s3(service: &str) -> bool {
    service == "s3" || service.starts_with("s3-") || service == "s3express"
}

/// Service and region, where a host name of AWS says them: `<…>.<service>.<region>.amazonaws.com`.
fn named_by(host: &str) -> Option<(&str, &str)> {
    let own = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let (rest, region) = own.rsplit_once('.')?;
    let service = rest.rsplit('.').next()?;
    let service = match service {
        // Endpoints that are signed for under the name of the service they are of.
        "bedrock-runtime" | "bedrock-agent" | "bedrock-agent-runtime" => "bedrock",
        other => other,
    };
    (is_name(service) && is_name(region)).then_some((service, region))
}

fn host(message: &Outgoing<'_>) -> Result<String, String> {
    let written = message.head.headers.get(HOST).and_then(|it| it.to_str().ok());
    let host = written.or_else(|| message.head.uri.authority().map(http::uri::Authority::as_str));
    host.map(str::to_owned).ok_or_else(|| "the message names no host".to_owned())
}

fn host_name(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// How long the body is, which AWS wants to know beforehand.
fn announce(message: &mut Outgoing<'_>) {
    let Payload::Whole(bytes) = message.body else { return };
    let chunked = message.head.remove_header(&TRANSFER_ENCODING).is_some();
    if (chunked || !bytes.is_empty()) && !message.head.headers.contains_key(CONTENT_LENGTH) {
        // Fails only where the map is full, which the limit on heads rules out.
        let _ = message.head.insert_header(CONTENT_LENGTH, bytes.len());
    }
}

fn write(message: &mut Outgoing<'_>, name: HeaderName, value: &[u8], sensitive: bool) -> Result<(), String> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| format!("`{name}` cannot be written"))?;
    value.set_sensitive(sensitive);
    message.head.insert_header(name, value).map_err(|error| error.to_string())
}

/// `20150830T123600Z`.
fn stamp(now: Duration) -> Result<String, String> {
    let moment = i64::try_from(now.as_secs()).ok().and_then(|it| jiff::Timestamp::from_second(it).ok());
    let moment = moment.ok_or("the clock is out of all bounds")?;
    Ok(moment.strftime("%Y%m%dT%H%M%SZ").to_string())
}
