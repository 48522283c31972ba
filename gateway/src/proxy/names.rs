//! Header names on their way through: without the case that they came in.
//!
//! Pingora keeps a second map beside the headers of an HTTP/1 message, for the case names were written in,
//! and each change is made twice. Names mean the same in any case (RFC 9110 section 5.1), so messages do
//! without; the handshake of an upgrade keeps its own, for the sake of those that compare it literally.

use http::header::HeaderMap;
use http::{HeaderName, HeaderValue, Request, StatusCode, response};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

/// Drops the case of names, where a target goes out as the URI says.
pub(super) fn plain(head: &mut RequestHeader) {
    if head.has_case() && is_from_uri(head) {
        alter(head, |_| {});
    }
}

/// The headers of a request about to be sent, to be changed.
pub(crate) enum Fields<'a> {
    Plain(&'a mut HeaderMap),
    /// With the case of names kept.
    Cased(&'a mut RequestHeader),
}

impl Fields<'_> {
    pub(crate) fn map(&self) -> &HeaderMap {
        match self {
            Self::Plain(map) => map,
            Self::Cased(head) => &head.headers,
        }
    }

    pub(crate) fn insert(&mut self, name: &HeaderName, value: HeaderValue) -> Result<()> {
        match self {
            Self::Plain(map) => {
                map.insert(name.clone(), value);
                Ok(())
            }
            Self::Cased(head) => head.insert_header(name, value),
        }
    }

    pub(crate) fn remove(&mut self, name: &HeaderName) {
        match self {
            Self::Plain(map) => drop(map.remove(name)),
            Self::Cased(head) => drop(head.remove_header(name)),
        }
    }
}

/// Lets `change` work on the headers, by the short way where there is one.
pub(crate) fn change(head: &mut RequestHeader, change: impl FnOnce(&mut Fields<'_>) -> Result<()>) -> Result<()> {
    if head.has_case() || !is_from_uri(head) {
        return change(&mut Fields::Cased(head));
    }
    alter(head, |map| change(&mut Fields::Plain(map)))
}

/// Takes the head apart and puts it together again: without case, and with the URI as its target. Pingora parses the
/// name anew for each header that is inserted, and copies those that it does not know.
fn alter<T>(head: &mut RequestHeader, change: impl FnOnce(&mut HeaderMap) -> T) -> T {
    let end_stream = head.send_end_stream().unwrap_or(true);
    let blank = RequestHeader::from(Request::new(()).into_parts().0);
    let mut parts = http::request::Parts::from(std::mem::replace(head, blank));
    let result = change(&mut parts.headers);
    *head = RequestHeader::from(parts);
    head.set_send_end_stream(end_stream);
    result
}

/// Drops the case of a response's names, and makes room for so many headers more. The handshake of an upgrade keeps it.
pub(super) fn plain_response(head: &mut ResponseHeader, more: usize) -> Result<()> {
    if !head.has_case() || head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    let full = |_| Error::explain(ErrorType::InvalidHTTPHeader, "too many headers");
    alter_response(head, |map| map.try_reserve(more).map_err(full))?
}

/// Writes headers in place of those of the same name, all of them at once.
pub(super) fn add(head: &mut ResponseHeader, headers: &[(HeaderName, HeaderValue)]) -> Result<()> {
    if headers.is_empty() {
        return Ok(());
    }
    if head.has_case() {
        return headers.iter().try_for_each(|(name, value)| head.insert_header(name.clone(), value.clone()));
    }
    let full = |_| Error::explain(ErrorType::InvalidHTTPHeader, "too many headers");
    alter_response(head, |map| {
        headers.iter().try_for_each(|(name, value)| map.try_insert(name.clone(), value.clone()).map(drop)).map_err(full)
    })?
}

/// As [`alter`]: a change by Pingora parses each name anew.
fn alter_response<T>(head: &mut ResponseHeader, change: impl FnOnce(&mut HeaderMap) -> T) -> Result<T> {
    let own = head.get_reason_phrase().filter(|it| Some(*it) != head.status.canonical_reason()).map(str::to_owned);
    let mut parts = response::Parts::from(std::mem::replace(head, ResponseHeader::build_no_case(200, Some(0))?));
    let result = change(&mut parts.headers);
    *head = ResponseHeader::from(parts);
    head.set_reason_phrase(own.as_deref())?;
    Ok(result)
}

/// Whether one of the names is there. One look at what is there costs less than to look for each.
pub(crate) fn any_of(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    headers.keys().any(|it| names.contains(it))
}

/// Whether the target is no more than the URI: kept beside it are those the URI cannot give back.
fn is_from_uri(head: &RequestHeader) -> bool {
    let raw = head.raw_path();
    head.uri.path_and_query().is_some_and(|it| std::ptr::eq(it.as_str().as_bytes(), raw))
}

#[cfg(test)]
mod tests {
    use http::header::{HOST, VIA};

    use super::*;

    fn sent(head: &RequestHeader) -> String {
        let mut wire = Vec::new();
        head.header_to_h1_wire(&mut wire);
        String::from_utf8(wire).unwrap()
    }

    fn head(target: &[u8]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", target, None).unwrap();
        head.insert_header("hOST", "a").unwrap();
        head.insert_header("X-One", "1").unwrap();
        head
    }

    #[test]
    fn names_lose_their_case_and_nothing_else() {
        let mut head = head(b"/a?b");
        plain(&mut head);
        assert_eq!((head.raw_path(), sent(&head).as_str()), (&b"/a?b"[..], "Host: a\r\nx-one: 1\r\n"));
        change(&mut head, |fields| {
            fields.insert(&VIA, HeaderValue::from_static("1.1 x"))?;
            fields.remove(&HOST);
            Ok(())
        })
        .unwrap();
        assert_eq!(head.headers.get(VIA).unwrap(), "1.1 x");
        assert!(!head.headers.contains_key(HOST));
    }

    #[test]
    fn a_target_that_the_uri_cannot_give_back_is_kept() {
        for target in [&b"http://a/b"[..], b"/\xff"] {
            let mut head = head(target);
            plain(&mut head);
            change(&mut head, |fields| fields.insert(&VIA, HeaderValue::from_static("1.1 x"))).unwrap();
            assert_eq!(head.raw_path(), target);
            assert_eq!(sent(&head), "hOST: a\r\nX-One: 1\r\nvia: 1.1 x\r\n");
        }
    }

    #[test]
    fn a_response_loses_the_case_of_its_names_and_nothing_else() {
        for (status, want) in
            [(200, "Host: a\r\nx-one: 1\r\nvia: 1.1 x\r\n"), (101, "hOST: a\r\nX-One: 1\r\nvia: 1.1 x\r\n")]
        {
            let mut head = ResponseHeader::build(status, None).unwrap();
            head.insert_header("hOST", "a").unwrap();
            head.insert_header("X-One", "1").unwrap();
            head.set_reason_phrase(Some("Quite")).unwrap();
            head.set_version(http::Version::HTTP_10);
            plain_response(&mut head, 1).unwrap();
            head.insert_header(VIA, "1.1 x").unwrap();
            let mut wire = Vec::new();
            head.header_to_h1_wire(&mut wire);
            assert_eq!(String::from_utf8(wire).unwrap(), want);
            assert_eq!((head.status.as_u16(), head.get_reason_phrase()), (status, Some("Quite")));
            assert_eq!((head.version, head.has_case()), (http::Version::HTTP_10, status == 101));
        }
    }
}
