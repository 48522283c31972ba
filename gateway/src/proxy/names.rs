//! Header names on the way to a backend: in lower case, as HTTP/2 has them.
//!
//! Pingora keeps a second map beside the headers of an HTTP/1 request, for the case names were written in,
//! and each change is made twice. Names mean the same in any case (RFC 9110 section 5.1), so requests do
//! without; the handshake of an upgrade keeps its own, for the sake of servers that compare it literally.

use http::header::HeaderMap;
use http::{HeaderName, HeaderValue, Request};
use pingora_error::Result;
use pingora_http::RequestHeader;

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
}
