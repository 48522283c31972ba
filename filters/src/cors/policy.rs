//! Cross-origin rules as understood.

use http::HeaderValue;
use ir::Text;
use serde::Serialize;

use crate::head;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub allow_origins: Vec<Origin>,
    /// For the answer to a preflight; `None` inside means: echo what was asked for.
    pub allow_methods: Listed,
    pub allow_headers: Listed,
    /// Joined list, sent with actual responses.
    #[serde(serialize_with = "head::value_option")]
    pub expose_headers: Option<HeaderValue>,
    pub allow_credentials: bool,
    pub max_age_seconds: Option<u64>,
}

/// A joined list for one response header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Listed {
    /// Nothing was listed: the header is not sent.
    #[default]
    Nothing,
    /// `*`: what the preflight asks for is echoed.
    Any,
    Names(#[serde(serialize_with = "value")] HeaderValue),
}

/// Origins that are allowed. Lower case, as browsers send them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    Any,
    Exact(Text),
    /// With `*` in the host, the port, or both.
    Pattern {
        scheme: Text,
        host: HostPattern,
        port: PortPattern,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HostPattern {
    Any,
    Exact(Text),
    /// `*.example.com`, kept as `.example.com`: one or more labels in front.
    Suffix(Text),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PortPattern {
    /// `*`: any port, also none.
    Any,
    /// The scheme's own port: none is written.
    Absent,
    Exact(u16),
}

fn value<S: serde::Serializer>(value: &HeaderValue, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(value.as_bytes()))
}

impl Origin {
    /// Whether the `Origin` of a request is covered.
    pub fn covers(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(known) => origin.eq_ignore_ascii_case(known),
            Self::Pattern { scheme, host, port } => {
                let Some((its_scheme, rest)) = origin.split_once("://") else { return false };
                let (its_host, its_port) = match rest.rsplit_once(':') {
                    Some((host, port)) if !rest.ends_with(']') => (host, Some(port)),
                    _ => (rest, None),
                };
                its_scheme.eq_ignore_ascii_case(scheme) && host.covers(its_host) && port.covers(its_port)
            }
        }
    }
}

impl HostPattern {
    fn covers(&self, host: &str) -> bool {
        let plain = !host.is_empty() && !host.contains(['/', '@', '?', '#']);
        plain
            && match self {
                Self::Any => true,
                Self::Exact(name) => host.eq_ignore_ascii_case(name),
                Self::Suffix(suffix) => {
                    let end = host.len().checked_sub(suffix.len()).filter(|end| *end > 0);
                    end.and_then(|end| host.get(end..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
                }
            }
    }
}

impl PortPattern {
    fn covers(self, port: Option<&str>) -> bool {
        match (self, port) {
            (Self::Any, None) | (Self::Absent, None) => true,
            (Self::Any, Some(port)) => port.parse::<u16>().is_ok(),
            (Self::Exact(known), Some(port)) => port.parse() == Ok(known),
            (Self::Absent, Some(_)) | (Self::Exact(_), None) => false,
        }
    }
}

/// The port browsers leave out.
pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}
