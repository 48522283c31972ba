//! One look at all headers of a request in place of a search for each that matters.

use ::http::header::{self, HeaderMap, HeaderValue};
use ::http::{Method, Version};

use super::{FramingFault, is_chunked, length};

/// What a look at the headers found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Glance<'a> {
    content_length: Found<'a>,
    transfer_encoding: Found<'a>,
    host: Found<'a>,
    content_type: Found<'a>,
    upgrade: Found<'a>,
    expects: bool,
    has_via: bool,
}

/// The first header of a name, and whether there are more.
#[derive(Clone, Copy, Debug, Default)]
struct Found<'a> {
    first: Option<&'a HeaderValue>,
    repeated: bool,
}

impl<'a> Found<'a> {
    fn note(&mut self, value: &'a HeaderValue) {
        self.repeated |= self.first.is_some();
        self.first = self.first.or(Some(value));
    }
}

impl<'a> Glance<'a> {
    /// Looks.
    pub fn at(headers: &'a HeaderMap) -> Self {
        let mut it = Self::default();
        for (name, value) in headers {
            match *name {
                header::CONTENT_LENGTH => it.content_length.note(value),
                header::TRANSFER_ENCODING => it.transfer_encoding.note(value),
                header::HOST => it.host.note(value),
                header::CONTENT_TYPE => it.content_type.note(value),
                header::UPGRADE => it.upgrade.note(value),
                header::EXPECT => it.expects = true,
                header::VIA => it.has_via = true,
                _ => {}
            }
        }
        it
    }

    /// The first `Host`.
    pub fn host(&self) -> Option<&'a HeaderValue> {
        self.host.first
    }

    /// The first `Content-Type`.
    pub fn content_type(&self) -> Option<&'a HeaderValue> {
        self.content_type.first
    }

    /// The first `Upgrade`.
    pub fn upgrade(&self) -> Option<&'a HeaderValue> {
        self.upgrade.first
    }

    /// Whether there is an `Expect`.
    pub fn expects(&self) -> bool {
        self.expects
    }

    /// Whether there is a `Via`.
    pub fn has_via(&self) -> bool {
        self.has_via
    }

    /// Whether a body is announced, were it of length 0 in chunks.
    pub fn announces_content(&self) -> bool {
        self.transfer_encoding.first.is_some() || self.content_length.first.is_some_and(|it| it != "0")
    }

    /// See [`super::check_headers`].
    pub fn check(&self, version: Version, method: &Method) -> Result<(), FramingFault> {
        let is_http1 = match version {
            Version::HTTP_10 | Version::HTTP_11 => true,
            Version::HTTP_2 | Version::HTTP_3 => false,
            _ => return Err(FramingFault::Version),
        };
        let length = self.length()?;
        let chunked = match self.transfer_encoding {
            Found { first: None, .. } => false,
            _ if self.content_length.first.is_some() => return Err(FramingFault::BothFramings),
            _ if !is_http1 || version == Version::HTTP_10 => return Err(FramingFault::TransferEncodingVersion),
            Found { first: Some(it), repeated: false } if is_chunked(it.as_bytes()) => true,
            _ => return Err(FramingFault::TransferEncoding),
        };
        if self.host.repeated {
            return Err(FramingFault::HostRepeated);
        }
        if self.host.first.is_none() && version == Version::HTTP_11 {
            return Err(FramingFault::HostMissing);
        }
        // RFC 9110 9.3.6 and 9.3.8.
        let has_content = chunked || length.is_some_and(|it| it > 0);
        if has_content && (*method == Method::TRACE || *method == Method::CONNECT) {
            return Err(FramingFault::ContentNotAllowed);
        }
        Ok(())
    }

    fn length(&self) -> Result<Option<u64>, FramingFault> {
        match self.content_length {
            Found { first: None, .. } => Ok(None),
            // RFC 9110 8.6 lets equal ones be merged; no honest sender repeats them.
            Found { repeated: true, .. } => Err(FramingFault::ContentLengthRepeated),
            Found { first: Some(it), .. } => length(it.as_bytes()).map(Some),
        }
    }
}
