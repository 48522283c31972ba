//! The one form of a message that both sides sign: AWS's "canonical request".

use aws_lc_rs::digest::SHA256;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName};
use pingora_http::RequestHeader;

use crate::destination;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// What of a message is signed, but for its body.
pub(super) struct Canonical {
    method: String,
    pub(super) path: String,
    pub(super) query: String,
    /// Name and value, by name.
    headers: Vec<(String, String)>,
}

impl Canonical {
    /// Of a head that is in the form of [`recode`]. `encode`: whether the path is encoded once more, and without its
    /// detours; all but S3 want that.
    pub(super) fn of(head: &RequestHeader, host: &str, encode: bool) -> Self {
        Self::signing(head, host, encode, |name| *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-"))
    }

    /// As [`Self::of`], with `host` and such headers.
    pub(super) fn signing(head: &RequestHeader, host: &str, encode: bool, signs: impl Fn(&HeaderName) -> bool) -> Self {
        let mut headers = vec![(HOST.as_str().to_owned(), host.to_owned())];
        let signed = head.headers.keys().filter(|name| **name != HOST && signs(name));
        headers.extend(signed.map(|name| (name.as_str().to_owned(), value(&head.headers, name))));
        headers.sort();
        let path = head.uri.path();
        Self {
            method: head.method.as_str().to_owned(),
            path: if encode { twice(path.as_bytes()) } else { path.to_owned() },
            query: query(head.uri.query().unwrap_or_default().as_bytes()),
            headers,
        }
    }

    /// Names of signed headers.
    pub(super) fn names(&self) -> String {
        self.headers.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(";")
    }

    /// The text that is signed; `payload` is the digest of the body.
    pub(super) fn text(&self, payload: &str) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let Self { method, path, query, .. } = self;
        format!("{method}\n{path}\n{query}\n{headers}\n{}\n{payload}", self.names())
    }
}

/// All values of a name, each without white space around it and with single spaces within.
fn value(headers: &HeaderMap, name: &HeaderName) -> String {
    let plain = |value: &http::HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        text.split(' ').filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ").trim().to_owned()
    };
    headers.get_all(name).iter().map(plain).collect::<Vec<_>>().join(",")
}

/// A path without empty, `.` and `..` segments, encoded once more.
pub(super) fn twice(path: &[u8]) -> String {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|it| *it == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let mut out = String::from("/");
    out += &kept.iter().map(|it| encode(it)).collect::<Vec<_>>().join("/");
    let folder = [&b"/"[..], b"/.", b"/.."].iter().any(|it| path.ends_with(it));
    if folder && !kept.is_empty() {
        out.push('/');
    }
    out
}

/// Pairs in order, encoded.
pub(super) fn query(query: &[u8]) -> String {
    let mut pairs: Vec<(String, String)> = pairs(query).map(|(name, value)| (encode(&name), encode(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn pairs(query: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    query.split(|it| *it == b'&').filter(|it| !it.is_empty()).map(|pair| {
        let at = pair.iter().position(|it| *it == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(at);
        (decode(name), decode(value.strip_prefix(b"=").unwrap_or_default()))
    })
}

/// Writes path and query in the form that whoever verifies makes of them, so that there are no two opinions of it: what
/// is not unreserved is percent-encoded, `+` in the query is a space.
pub(super) fn recode(head: &mut RequestHeader) {
    let path = head.uri.path().as_bytes();
    let mut target: String = path.split(|it| *it == b'/').map(|it| encode(&decode(it))).collect::<Vec<_>>().join("/");
    if let Some(query) = head.uri.query().filter(|it| !it.is_empty()) {
        let spaced = query.replace('+', " ");
        let pairs = pairs(spaced.as_bytes()).map(|(name, value)| format!("{}={}", encode(&name), encode(&value)));
        target.push('?');
        target += &pairs.collect::<Vec<_>>().join("&");
    }
    // Unreserved characters and percent-encoded ones are a valid target.
    if let Ok(target) = PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)) {
        destination::set_target(head, target);
    }
}

/// RFC 3986 section 2.1: all but unreserved characters.
fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            _ => {
                out.push('%');
                out += &hex(&[*byte]).to_ascii_uppercase();
            }
        }
    }
    out
}

/// What is percent-encoded as what it stands for; a `%` that begins nothing stands for itself.
fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        rest = after;
        let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
        if let (b'%', [high, low, behind @ ..]) = (byte, after)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high << 4 | low);
            rest = behind;
        } else {
            out.push(*byte);
        }
    }
    out
}

/// SHA-256 as hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&SHA256, bytes).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |it: u8| char::from(DIGITS.get(usize::from(it)).copied().unwrap_or_default());
    bytes.iter().flat_map(|it| [digit(it >> 4), digit(it & 15)]).collect()
}
