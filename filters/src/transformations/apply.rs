//! What expressions give, checked before anything of a message changes.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HOST, LAST_MODIFIED, TRANSFER_ENCODING,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use protocols::http::{authority, path};

use super::policy::{Part, Transform};
use crate::exchange::Metadata;
use crate::expr::{Expression, Inputs, Value as Cel};
use crate::head;

/// Headers that describe a body, and are wrong for another one. Length and coding are the sender's business.
const OF_THE_BODY: [HeaderName; 5] = [CONTENT_ENCODING, CONTENT_RANGE, ACCEPT_RANGES, ETAG, LAST_MODIFIED];
/// As above, of names that the library has no constant for.
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// What changes: computed whole before it is applied.
pub(super) struct Changes {
    /// All headers, where they are replaced.
    pub headers: Option<HeaderMap>,
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// `None` takes the header away.
    pub set: Vec<(Part, Option<HeaderValue>)>,
    pub body: Option<Bytes>,
}

impl Changes {
    /// Computes everything but metadata. `Err` says for the log why the message is refused.
    pub(super) fn of(it: &Transform, inputs: &Inputs<'_>, with_body: bool) -> Result<Self, String> {
        let headers = it.replace.as_ref().map(|replace| {
            let value = replace.evaluate(inputs).map_err(|error| format!("`replace`: {}", replace.explain(&error)))?;
            all_headers(&value).map_err(|reason| format!("`replace`: {reason}"))
        });
        let add = it.add.iter().filter_map(|(name, value)| Some((name.clone(), value.of(inputs)?))).collect();
        let set = it.set.iter().map(|(part, value)| {
            let value = value.of(inputs).filter(|value| fits(part, value));
            (part.clone(), value)
        });
        let set = set.collect();
        let body = it.body.as_ref().filter(|_| with_body).map(|body| {
            let value = body.evaluate(inputs).and_then(|value| value.to_body());
            value.map(Bytes::from).map_err(|error| format!("`body`: {}", body.explain(&error)))
        });
        Ok(Self { headers: headers.transpose()?, add, set, body: body.transpose()? })
    }
}

/// Values to carry along; those that fail are left out.
pub(super) fn metadata(it: &Transform, inputs: &Inputs<'_>) -> Metadata {
    let entry = |(name, expression): &(ir::Text, Expression)| {
        let value = expression.evaluate(inputs).ok()?.into_json().ok()?;
        Some((name.to_string(), value))
    };
    it.metadata.iter().filter_map(entry).collect()
}

/// The value as a header's; `None` for an error, and for what no header can hold.
pub(crate) fn value(expression: &Expression, inputs: &Inputs<'_>) -> Option<HeaderValue> {
    header(&expression.evaluate(inputs).ok()?)
}

fn header(value: &Cel<'_>) -> Option<HeaderValue> {
    let text = value.to_header()?;
    let mut text: &[u8] = text.as_ref();
    // Spaces alone: what had line ends to begin with is no header's value.
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    HeaderValue::from_bytes(text).ok()
}

/// Whether a value can stand in its place.
pub(super) fn fits(part: &Part, value: &HeaderValue) -> bool {
    match part {
        Part::Header(_) => true,
        Part::Authority => value.to_str().is_ok_and(|text| authority::parse(text).is_ok()),
        Part::Method => method(value).is_some(),
        Part::Path => target(value).is_some(),
        Part::Status => status(value).is_some(),
    }
}

/// HEAD decides that a response has no body, CONNECT that there is none at all.
pub(super) fn method(value: &HeaderValue) -> Option<Method> {
    Method::from_bytes(value.as_bytes()).ok().filter(is_ordinary)
}

pub(super) fn is_ordinary(method: &Method) -> bool {
    *method != Method::HEAD && *method != Method::CONNECT
}

/// The host of an authority, as facts have it.
pub(super) fn host(value: &HeaderValue) -> String {
    let host = value.to_str().ok().and_then(|text| authority::parse(text).ok()).map_or("", |it| it.host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Path and query, the path in the form that routing relies on.
pub(super) fn target(value: &HeaderValue) -> Option<PathAndQuery> {
    let text = value.to_str().ok()?;
    if !text.starts_with('/') || text.contains('#') {
        return None;
    }
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let path = path::normalise(path).ok()?;
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    PathAndQuery::from_maybe_shared(Bytes::from(target)).ok()
}

pub(super) fn status(value: &HeaderValue) -> Option<StatusCode> {
    let status = StatusCode::from_bytes(value.as_bytes()).ok()?;
    has_body(status).then_some(status)
}

/// Whether a response of this status has a body, if an empty one.
pub(super) fn has_body(status: StatusCode) -> bool {
    (200..600).contains(&status.as_u16()) && !matches!(status.as_u16(), 204 | 205 | 304)
}

/// A map as headers: values, or lists of values.
fn all_headers(value: &Cel<'_>) -> Result<HeaderMap, String> {
    let Cel::Map(map) = value else { return Err("gives no map".to_owned()) };
    let mut headers = HeaderMap::new();
    for (name, value) in map.entries() {
        let Some(name) = name.as_str() else { return Err("a name is no text".to_owned()) };
        if name.starts_with(':') || name.eq_ignore_ascii_case("host") || head::is_framing(name) {
            // Of the message itself: it stays as it is.
            continue;
        }
        let name = head::any_name(name)?;
        let values = match value {
            Cel::List(items) => items.iter().map(|item| header(&item)).collect::<Option<Vec<_>>>(),
            value => header(&value).map(|it| vec![it]),
        };
        let values = values.ok_or_else(|| format!("the value of `{name}` cannot be a header"))?;
        for value in values {
            headers.try_append(name.clone(), value).map_err(|_| "too many headers".to_owned())?;
        }
    }
    Ok(headers)
}

/// Which of the present headers stand against `replace`.
pub(super) fn stays(name: &HeaderName) -> bool {
    *name == HOST || head::is_framing(name.as_str())
}

/// Headers of the old body that the new one makes wrong.
pub(super) fn outdated(it: &Transform, headers: &HeaderMap) -> Vec<HeaderName> {
    let described = |name: &&HeaderName| OF_THE_BODY.contains(name) || DIGESTS.contains(&name.as_str());
    headers.keys().filter(described).filter(|name| !it.names(name)).cloned().collect()
}

/// The framing of a body whose length is known.
pub(super) const FRAMING: [HeaderName; 2] = [CONTENT_LENGTH, TRANSFER_ENCODING];
