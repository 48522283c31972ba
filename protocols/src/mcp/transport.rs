//! What the heads of Streamable HTTP have to say, on either side.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, StatusCode};

use super::Version;
use super::answer::{INVALID_REQUEST, UNSUPPORTED_VERSION};

pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");

pub const JSON: &str = "application/json";
pub const EVENT_STREAM: &str = "text/event-stream";

/// Why a head is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("not acceptable: `Accept` has to list application/json and text/event-stream")]
    AcceptBoth,
    #[error("not acceptable: `Accept` has to list text/event-stream")]
    AcceptStream,
    #[error("unsupported media type: `Content-Type` has to be application/json")]
    ContentType,
    #[error("unsupported protocol version")]
    Version(String),
}

impl Fault {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::AcceptBoth | Self::AcceptStream => StatusCode::NOT_ACCEPTABLE,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Version(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The JSON-RPC error code.
    pub fn code(&self) -> i32 {
        match self {
            Self::Version(_) => UNSUPPORTED_VERSION,
            _ => INVALID_REQUEST,
        }
    }
}

/// Checks the head of a message that comes.
pub fn check_post(headers: &HeaderMap) -> Result<(), Fault> {
    if !(accepts(headers, JSON) && accepts(headers, EVENT_STREAM)) {
        return Err(Fault::AcceptBoth);
    }
    if !headers.get(CONTENT_TYPE).is_some_and(|it| is_type(it.as_bytes(), JSON)) {
        return Err(Fault::ContentType);
    }
    Ok(())
}

/// Checks the head of a request for the stream of what nobody asked for.
pub fn check_get(headers: &HeaderMap) -> Result<(), Fault> {
    if accepts(headers, EVENT_STREAM) { Ok(()) } else { Err(Fault::AcceptStream) }
}

/// The version that a head names; `None` where it names none.
pub fn version(headers: &HeaderMap) -> Result<Option<Version>, Fault> {
    let Some(value) = headers.get(PROTOCOL_VERSION) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    Version::parse(text.trim()).map(Some).ok_or_else(|| Fault::Version(text.into_owned()))
}

/// Whether the answer may be of this type.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let (kind, _) = wanted.split_once('/').unwrap_or_default();
    headers.get_all(ACCEPT).iter().flat_map(|it| it.as_bytes().split(|byte| *byte == b',')).any(|range| {
        let range = media(range);
        let whole_kind = range.strip_suffix(b"/*").is_some_and(|it| it.eq_ignore_ascii_case(kind.as_bytes()));
        range == b"*/*" || whole_kind || range.eq_ignore_ascii_case(wanted.as_bytes())
    })
}

/// Whether a `Content-Type` names this type, whatever its parameters.
pub fn is_type(value: &[u8], wanted: &str) -> bool {
    media(value).eq_ignore_ascii_case(wanted.as_bytes())
}

/// Without parameters.
fn media(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_post_says_that_it_takes_both_kinds_of_answers() {
        let json = ("content-type", "application/json");
        for (accept, fine) in [
            ("application/json, text/event-stream", true),
            ("text/event-stream;q=0.5,Application/JSON ; charset=utf-8", true),
            ("*/*", true),
            ("application/*, text/*", true),
            ("application/json", false),
            ("text/event-stream", false),
            ("", false),
        ] {
            let want = if fine { Ok(()) } else { Err(Fault::AcceptBoth) };
            assert_eq!(check_post(&headers(&[("accept", accept), json])), want, "{accept}");
        }
        assert_eq!(check_post(&headers(&[json])), Err(Fault::AcceptBoth));
        for (kind, fine) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("application/jsonp", false),
            ("text/plain", false),
        ] {
            let head = headers(&[("accept", "*/*"), ("content-type", kind)]);
            assert_eq!(check_post(&head).is_ok(), fine, "{kind}");
        }
    }

    #[test]
    fn versions_of_heads_are_known_ones() {
        assert_eq!(version(&headers(&[])), Ok(None));
        let head = headers(&[("mcp-protocol-version", "2025-06-18")]);
        assert_eq!(version(&head), Ok(Some(Version::V2025_06_18)));
        let head = headers(&[("mcp-protocol-version", "1999-01-01")]);
        assert_eq!(version(&head).unwrap_err().status(), StatusCode::BAD_REQUEST);
    }
}
