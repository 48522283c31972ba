//! Header names on the way to a backend: in lower case, as HTTP/2 has them. On the way to a client where the gateway
//! adds headers of its own.
//!
//! Pingora keeps a second map beside the headers of an HTTP/1 request, for the case names were written in,
//! and each change is made twice. Names mean the same in any case (RFC 9110 section 5.1), so requests do
//! without; the handshake of an upgrade keeps its own, for the sake of servers that compare it literally.

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
pub(super) enum Fields<'a> {
    Plain(&'a mut HeaderMap),
    /// With the case of names kept.
    Cased(&'a mut RequestHeader),
}

impl Fields<'_> {
    pub(super) fn map(&self) -> &HeaderMap {
        match self {
            Self::Plain(map) => map,
            Self::Cased(head) => &head.headers,
        }
    }

    pub(super) fn insert(&mut self, name: &HeaderName, value: HeaderValue) -> Result<()> {
        match self {
            Self::Plain(map) => {
                map.insert(name.clone(), value);
                Ok(())
            }
            Self::Cased(head) => head.insert_header(name, value),
        }
    }

    pub(super) fn remove(&mut self, name: &HeaderName) {
        match self {
            Self::Plain(map) => drop(map.remove(name)),
            Self::Cased(head) => drop(head.remove_header(name)),
        }
    }
}

/// Lets `change` work on the headers, by the short way where there is one.
pub(super) fn change(head: &mut RequestHeader, change: impl FnOnce(&mut Fields<'_>) -> Result<()>) -> Result<()> {
    if head.has_case() || !is_from_uri(head) {
        return change(&mut Fields::Cased(head));
    }
    alter(head, |map| change(&mut Fields::Plain(map)))
}

/// Takes the head apart and puts it together again: without case, and with the URI as its target.
fn alter<T>(head: &mut RequestHeader, change: impl FnOnce(&mut HeaderMap) -> T) -> T {
    let end_stream = head.send_end_stream().unwrap_or(true);
    let blank = RequestHeader::from(Request::new(()).into_parts().0);
    let mut parts = http::request::Parts::from(std::mem::replace(head, blank));
    let result = change(&mut parts.headers);
    *head = RequestHeader::from(parts);
    head.set_send_end_stream(end_stream);
    result
}

/// Writes headers in place of those of the same name. The handshake of an upgrade keeps the case of its names, other
/// responses lose it.
pub(super) fn add(head: &mut ResponseHeader, headers: &[(HeaderName, HeaderValue)]) -> Result<()> {
    if headers.is_empty() {
        return Ok(());
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return headers.iter().try_for_each(|(name, value)| head.insert_header(name.clone(), value.clone()));
    }
    let own = head.get_reason_phrase().filter(|it| Some(*it) != head.status.canonical_reason()).map(str::to_owned);
    let mut parts = response::Parts::from(std::mem::replace(head, ResponseHeader::build_no_case(200, Some(0))?));
    let full = |_| Error::explain(ErrorType::InvalidHTTPHeader, "too many headers");
    // Once for all of them.
    let room = parts.headers.try_reserve(headers.len());
    let added = room.and_then(|()| {
        headers.iter().try_for_each(|(name, value)| parts.headers.try_insert(name.clone(), value.clone()).map(drop))
    });
    *head = ResponseHeader::from(parts);
    head.set_reason_phrase(own.as_deref())?;
    added.map_err(full)
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
    fn headers_of_our_own_take_the_place_of_others_and_leave_the_rest_of_a_response() {
        let ours = [(VIA, HeaderValue::from_static("1.1 x")), (HOST, HeaderValue::from_static("b"))];
        for (status, want) in
            [(200, "host: b\r\nx-one: 1\r\nvia: 1.1 x\r\n"), (101, "host: b\r\nX-One: 1\r\nvia: 1.1 x\r\n")]
        {
            let mut head = ResponseHeader::build(status, None).unwrap();
            head.insert_header("hOST", "a").unwrap();
            head.insert_header("X-One", "1").unwrap();
            head.set_reason_phrase(Some("Quite")).unwrap();
            add(&mut head, &ours).unwrap();
            let mut wire = Vec::new();
            head.header_to_h1_wire(&mut wire);
            assert_eq!(String::from_utf8(wire).unwrap().to_lowercase(), want.to_lowercase());
            assert_eq!((head.status.as_u16(), head.get_reason_phrase()), (status, Some("Quite")));
            assert_eq!(head.has_case(), status == 101);
        }
    }
}
