//! Request smuggling: heads that two parsers could read differently (RFC 9112 2.2, 3.2, 5, 6.3, 11.2).
//!
//! Two looks at one request. [`check_raw_head`] sees the bytes, because the HTTP/1 parser repairs what we
//! want to refuse: Pingora drops `Content-Length` beside `Transfer-Encoding` before anyone sees the map.
//! [`check_headers`], or [`Glance`] for who wants to know more, sees the parsed map and also serves HTTP/2. Neither decodes bodies or limits them.
//!
//! A bare LF ends a line (RFC 9112 2.2 allows it, and the head is written anew for the upstream).

use ::http::header::HeaderMap;
use ::http::{Method, Version};

use super::authority::{self, Authority};
use super::is_tchar;

mod glance;

pub use glance::Glance;

/// How large a request head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the request line to the blank line.
    pub bytes_max: usize,
    /// Header lines, the request line not counted.
    pub count_max: usize,
}

/// Why a request head is refused. The connection must be closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingFault {
    #[error("request head has too many bytes")]
    HeadBytes,
    #[error("request head has too many header lines")]
    HeadCount,
    #[error("request head contains a NUL")]
    Nul,
    #[error("request head contains a CR without LF")]
    BareCr,
    #[error("request line is malformed")]
    RequestLine,
    #[error("HTTP version is not supported")]
    Version,
    #[error("header line is folded")]
    Folded,
    #[error("header name is malformed")]
    HeaderName,
    #[error("Transfer-Encoding and Content-Length are both present")]
    BothFramings,
    #[error("Transfer-Encoding is not allowed in this HTTP version")]
    TransferEncodingVersion,
    #[error("Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    #[error("Content-Length is repeated")]
    ContentLengthRepeated,
    #[error("Content-Length is not a number")]
    ContentLength,
    #[error("Host is missing")]
    HostMissing,
    #[error("Host is repeated")]
    HostRepeated,
    #[error("method does not allow content")]
    ContentNotAllowed,
}

impl FramingFault {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::HeadBytes | Self::HeadCount => 431,
            Self::Version => 505,
            Self::Nul
            | Self::BareCr
            | Self::RequestLine
            | Self::Folded
            | Self::HeaderName
            | Self::BothFramings
            | Self::TransferEncodingVersion
            | Self::TransferEncoding
            | Self::ContentLengthRepeated
            | Self::ContentLength
            | Self::HostMissing
            | Self::HostRepeated
            | Self::ContentNotAllowed => 400,
        }
    }
}

/// Checks an HTTP/1 head as received; bytes after its blank line count but are not read.
pub fn check_raw_head(raw: &[u8], limits: &HeadLimits) -> Result<(), FramingFault> {
    if raw.len() > limits.bytes_max {
        return Err(FramingFault::HeadBytes);
    }
    let mut lines = Lines(raw).map(|it| it.strip_suffix(b"\r").unwrap_or(it));
    // RFC 9112 2.2: empty lines before the request line are ignored.
    let request_line = lines.find(|it| !it.is_empty()).ok_or(FramingFault::RequestLine)?;
    check_octets(request_line)?;
    check_request_line(request_line)?;
    let mut seen = Seen::default();
    let mut count = 0usize;
    for line in lines.take_while(|it| !it.is_empty()) {
        count += 1;
        if count > limits.count_max {
            return Err(FramingFault::HeadCount);
        }
        check_octets(line)?;
        seen.header_line(line)?;
    }
    seen.verdict()
}

/// What lies between line feeds, as `split` would give it, but found many bytes at a time.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.0).unwrap_or(self.0.len());
        let line = self.0.get(..end).unwrap_or_default();
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(line)
    }
}

/// Checks the parsed headers of a request.
pub fn check_headers(headers: &HeaderMap, version: Version, method: &Method) -> Result<(), FramingFault> {
    Glance::at(headers).check(version, method)
}

/// Whether the authority of an absolute-form target names another host than `Host` does (RFC 9112 3.2.2).
///
/// A port left out equals 80 and 443, as the scheme is not known here. What cannot be read mismatches.
pub fn host_mismatch(uri_authority: Option<&str>, host: &str) -> bool {
    let Some(uri_authority) = uri_authority else { return false };
    let (Ok(target), Ok(host)) = (authority::parse(uri_authority), authority::parse(host)) else { return true };
    !same_host(&target, &host) || !same_port(target.port, host.port)
}

fn same_host(a: &Authority<'_>, b: &Authority<'_>) -> bool {
    authority::lower(a.host) == authority::lower(b.host)
}

fn same_port(a: Option<u16>, b: Option<u16>) -> bool {
    match (a, b) {
        (Some(one), None) | (None, Some(one)) => one == 80 || one == 443,
        _ => a == b,
    }
}

/// RFC 9112 6.1: other codings may be layered below chunked; nobody does, and we could not undo them.
fn is_chunked(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"chunked")
}

/// RFC 9110 8.6.
fn length(value: &[u8]) -> Result<u64, FramingFault> {
    if value.contains(&b',') {
        return Err(FramingFault::ContentLengthRepeated);
    }
    // Digits only: `u64::from_str` would accept a plus sign.
    let digits = std::str::from_utf8(value).ok().filter(|it| it.bytes().all(|it| it.is_ascii_digit()));
    digits.and_then(|it| it.parse().ok()).ok_or(FramingFault::ContentLength)
}

fn check_octets(line: &[u8]) -> Result<(), FramingFault> {
    let Some(at) = memchr::memchr2(0, b'\r', line) else { return Ok(()) };
    Err(if line.get(at) == Some(&0) { FramingFault::Nul } else { FramingFault::BareCr })
}

/// `method SP target SP HTTP/1.x` with single spaces (RFC 9112 3).
fn check_request_line(line: &[u8]) -> Result<(), FramingFault> {
    let mut parts = line.split(|&it| it == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(FramingFault::RequestLine);
    };
    if method.is_empty() || target.is_empty() || !method.iter().copied().all(is_tchar) {
        return Err(FramingFault::RequestLine);
    }
    // No form of target has controls, a delimiter or a fragment (RFC 9112 3.2).
    if target.iter().any(|it| it.is_ascii_control() || *it == b'#') || !is_target(method, target) {
        return Err(FramingFault::RequestLine);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(FramingFault::Version)
        }
        _ => Err(FramingFault::RequestLine),
    }
}

/// Origin, absolute, authority or asterisk form (RFC 9112 3.2).
fn is_target(method: &[u8], target: &[u8]) -> bool {
    match (method, target) {
        (b"CONNECT", _) => true,
        (_, [b'/', ..]) => true,
        (b"OPTIONS", b"*") => true,
        _ => target.windows(3).any(|it| it == b"://"),
    }
}

/// The framing headers met so far.
#[derive(Default)]
struct Seen {
    content_length: u32,
    transfer_encoding: u32,
    host: u32,
    /// What is wrong with a value that stands alone.
    value: Option<FramingFault>,
}

impl Seen {
    fn header_line(&mut self, line: &[u8]) -> Result<(), FramingFault> {
        if line.first().is_some_and(|it| matches!(it, b' ' | b'\t')) {
            return Err(FramingFault::Folded);
        }
        // A colon is no name character: the first byte that is none must be one.
        let end = line.iter().position(|it| !is_tchar(*it)).unwrap_or(line.len());
        if end == 0 || line.get(end) != Some(&b':') {
            return Err(FramingFault::HeaderName);
        }
        let (name, value) = line.split_at_checked(end).unwrap_or_default();
        let value = || value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host += 1,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.content_length += 1;
                self.value = self.value.or(length(value()).err());
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.transfer_encoding += 1;
                self.value = self.value.or((!is_chunked(value())).then_some(FramingFault::TransferEncoding));
            }
            _ => {}
        }
        Ok(())
    }

    fn verdict(&self) -> Result<(), FramingFault> {
        match *self {
            Self { content_length: 1.., transfer_encoding: 1.., .. } => Err(FramingFault::BothFramings),
            Self { content_length: 2.., .. } => Err(FramingFault::ContentLengthRepeated),
            Self { transfer_encoding: 2.., .. } => Err(FramingFault::TransferEncoding),
            Self { host: 2.., .. } => Err(FramingFault::HostRepeated),
            Self { value: Some(fault), .. } => Err(fault),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
