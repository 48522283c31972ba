//! Credentials for backends as understood.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;

use http::HeaderValue;
use http::header::HOST;
use ir::Secret;
use pingora_http::RequestHeader;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::aws::Aws;
use super::azure::Azure;
use super::gcp::{Gcp, without_port};
use super::sign::Sign;
use crate::credential::Location;
use crate::keep::Keep;
use crate::{Facts, Wanted};

/// Why a location that is an expression is refused.
pub(super) const READ_ONLY: &str = "an expression can only be read: write `header`, `queryParameter` or `cookie`";

/// Longest key accepted.
const KEY_BYTES_MAX: usize = 16 << 10;

/// Over when what a message needs is there, or no hope for now.
pub type Waits = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a backend gets, each at its place.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub primary: Option<Primary>,
    pub credentials: Vec<Credential>,
}

/// Where the main credential comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Primary {
    Key(Credential),
    /// The verified token of the client, at this place.
    Passthrough(Location),
    /// A token signed here.
    JwtSign(Sign),
    /// A signature of AWS over the whole message.
    Aws(Aws),
    /// A token of Google's.
    Gcp(Gcp),
    /// A token of Microsoft Entra.
    Azure(Azure),
}

/// A key at its place, known to be sendable there.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    location: Location,
    key: Secret,
    /// Only the form the place asks for.
    ready: Ready,
}

/// A credential in the form its place asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ready {
    /// The whole value, marked sensitive.
    Header(HeaderValue),
    /// `name=value`, for a query or a cookie.
    Pair(Secret),
}

impl Credential {
    /// The reason says nothing of the key.
    pub fn new(location: Location, key: Secret) -> Result<Self, String> {
        match key.expose().len() {
            0 => return Err("the key is empty".to_owned()),
            1..=KEY_BYTES_MAX => {}
            _ => return Err(format!("the key is longer than {KEY_BYTES_MAX} bytes")),
        }
        let ready = Ready::new(&location, key.expose())?;
        Ok(Self { location, key, ready })
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    pub fn key(&self) -> &Secret {
        &self.key
    }

    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }
}

impl Ready {
    pub(super) fn new(location: &Location, key: &[u8]) -> Result<Self, String> {
        match location {
            Location::Header { name, .. } if *name == HOST => Err("a credential is no `host`".to_owned()),
            Location::Expression(_) => Err(READ_ONLY.to_owned()),
            Location::Header { prefix, .. } => {
                let value = [prefix.as_bytes(), key].concat();
                let mut value = HeaderValue::from_bytes(&value)
                    .map_err(|_| "the key holds a line break or control character: it cannot be a header".to_owned())?;
                value.set_sensitive(true);
                Ok(Self::Header(value))
            }
            Location::QueryParameter(name) => {
                let mut pair = format!("{name}=");
                percent_encode(key, &mut pair);
                Ok(Self::Pair(Secret::new(pair.into_bytes())))
            }
            Location::Cookie(name) => {
                // RFC 6265 section 4.1.1: cookie-octet.
                let fits = |it: &u8| matches!(it, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
                if !key.iter().all(fits) {
                    return Err("the key holds a character that a cookie cannot".to_owned());
                }
                Ok(Self::Pair(Secret::new([name.as_bytes(), b"=", key].concat())))
            }
        }
    }
}

impl Policy {
    /// How much of the body must be there when credentials are written.
    pub fn wants(&self) -> Wanted {
        match &self.primary {
            Some(Primary::Aws(aws)) => aws.wants(),
            Some(
                Primary::Key(_) | Primary::Passthrough(_) | Primary::JwtSign(_) | Primary::Gcp(_) | Primary::Azure(_),
            )
            | None => Wanted::Nothing,
        }
    }

    /// The policy comes into force: what it needs is had from now on.
    pub(crate) fn bind(&self, keep: &Keep) {
        match &self.primary {
            Some(Primary::Gcp(gcp)) => gcp.bind(keep),
            Some(Primary::Aws(aws)) => aws.bind(keep),
            Some(Primary::Azure(azure)) => azure.bind(keep),
            Some(Primary::Key(_) | Primary::Passthrough(_) | Primary::JwtSign(_)) | None => {}
        }
    }

    /// Whether there may be anything to be waited for.
    pub fn may_wait(&self) -> bool {
        matches!(&self.primary, Some(Primary::Gcp(_) | Primary::Aws(_) | Primary::Azure(_)))
    }

    /// What is to be waited for before a message to this host leaves; nothing where there is nothing to wait for.
    pub fn waits(&self, head: &RequestHeader, facts: &Facts, host: Option<&str>) -> Option<Waits> {
        match &self.primary {
            Some(Primary::Gcp(gcp)) => gcp.waits(host.map(without_port)).map(|it| Box::pin(it) as Waits),
            Some(Primary::Aws(aws)) => aws.waits(&facts.inputs(head), host).map(|it| Box::pin(it) as Waits),
            Some(Primary::Azure(azure)) => azure.waits(host),
            Some(Primary::Key(_) | Primary::Passthrough(_) | Primary::JwtSign(_)) | None => None,
        }
    }

    fn places(&self) -> impl Iterator<Item = Cow<'_, Location>> {
        let primary = self.primary.as_ref().map(|it| match it {
            Primary::Key(credential) => Cow::Borrowed(&credential.location),
            Primary::Passthrough(location) => Cow::Borrowed(location),
            Primary::JwtSign(sign) => Cow::Borrowed(&sign.terms().location),
            Primary::Aws(_) => Cow::Owned(Location::authorization("AWS4-HMAC-SHA256")),
            Primary::Gcp(_) | Primary::Azure(_) => Cow::Owned(Location::authorization("Bearer")),
        });
        primary.into_iter().chain(self.credentials.iter().map(|it| Cow::Borrowed(&it.location)))
    }

    pub(super) fn has_one_place_twice(&self) -> bool {
        let places: Vec<Cow<'_, Location>> = self.places().collect();
        let same = |one: &Location, other: &Location| match (one, other) {
            // Whatever precedes the key.
            (Location::Header { name: one, .. }, Location::Header { name: other, .. }) => one == other,
            _ => one == other,
        };
        places.iter().enumerate().any(|(at, one)| places.iter().skip(at + 1).any(|other| same(one, other)))
    }
}

impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut credential = serializer.serialize_struct("Credential", 2)?;
        credential.serialize_field("location", &self.location)?;
        credential.serialize_field("key", &self.key)?;
        credential.end()
    }
}

/// RFC 3986 section 2.1: all but unreserved characters.
pub(super) fn percent_encode(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            _ => {
                out.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    out.push(char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or_default()));
                }
            }
        }
    }
}
