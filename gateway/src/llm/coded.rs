//! Bodies in a content coding.
//!
//! A request is read and, where nothing is changed of it, goes on as it came. An answer is read for its account beside
//! what passes; only what must be changed on the way, because it is translated or looked through as it streams, goes on
//! plain. Providers are asked for plain answers: what comes in a coding all the same is read as well.

use bytes::Bytes;
use filters::HeldBody;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version};
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;
use protocols::http::coding::{self, Coding, Fault, Reader};
use protocols::http::number;
use protocols::llm::{Framing, Tap};

use super::Asked;
use super::choose::Nobody;
use super::guard::looks_at_answers;
use crate::proxy::Ctx;
use crate::session::RESPONSE_REFUSED;

/// Bytes of an answer that are read for its account; what comes behind them is not.
const READ_BYTES_MAX: u64 = 256 << 20;

/// Bytes that one piece of an answer may be once its coding is undone.
const PIECE_BYTES_MAX: usize = 8 << 20;

/// What a body is coded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coded {
    Plain,
    In(Coding),
    /// One that nobody here reads, or several.
    Unknown,
}

/// How an answer is written, where that can be read.
pub(super) fn framing(headers: &HeaderMap) -> Option<Framing> {
    headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).and_then(Framing::of)
}

/// How long an answer is, nobody knows any more.
pub(super) fn unmeasured(head: &mut ResponseHeader) -> Result<()> {
    if head.remove_header(&CONTENT_LENGTH).is_some() && head.version == Version::HTTP_11 {
        head.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
    }
    Ok(())
}

/// Says how long a body is that has become another, where that is said.
pub(super) fn length(head: &mut ResponseHeader, body: &Bytes) -> Result<()> {
    if head.headers.contains_key(CONTENT_LENGTH) {
        head.insert_header(CONTENT_LENGTH, number(body.len()))?;
    }
    Ok(())
}

impl Coded {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
        let (first, more) = (values.next(), values.next().is_some());
        match first.filter(|it| !it.eq_ignore_ascii_case(b"identity") && !it.is_empty()) {
            Some(value) if !more => Coding::of(value).map_or(Self::Unknown, Self::In),
            None if !more => Self::Plain,
            _ => Self::Unknown,
        }
    }

    /// What a whole body says; what is in no coding that is known here is taken as it stands.
    pub(super) fn undone(self, body: &Bytes, bytes_max: usize) -> Result<Bytes, Fault> {
        match self {
            Self::In(coding) => coding::decode(coding, body, bytes_max),
            Self::Plain | Self::Unknown => Ok(body.clone()),
        }
    }
}

/// What a request says, whatever it is coded with.
pub(super) fn request(headers: &HeaderMap, held: Option<&HeldBody>, bytes_max: usize) -> Result<Bytes, Nobody> {
    let body = held.map(|it| it.bytes.clone()).unwrap_or_default();
    let coded = Coded::of(headers);
    if coded == Coded::Unknown {
        let text = "a request body is read in one of `gzip`, `deflate`, `br` and `zstd`, or plain";
        return Err(Nobody::new(415, "unsupported_encoding", text));
    }
    coded.undone(&body, bytes_max).map_err(|fault| match fault {
        Fault::TooLarge => Nobody::new(413, "request_body_too_large", fault.to_string()),
        Fault::Lies(_) => Nobody::new(400, "invalid_request_body", fault.to_string()),
    })
}

/// An answer that is watched in its coding.
pub(super) struct Watched {
    reader: Reader,
    read: u64,
}

impl Watched {
    pub(super) fn new(coding: Coding) -> Self {
        Self { reader: Reader::new(coding), read: 0 }
    }

    /// Shows a piece, and says how many bytes it is; nothing where it cannot be read any more.
    pub(super) fn push(&mut self, piece: &[u8], tap: &mut Tap) -> Option<u64> {
        let before = self.read;
        let read = &mut self.read;
        let pushed = self.reader.push(piece, &mut |it| {
            *read += it.len() as u64;
            tap.push(it);
            if *read > READ_BYTES_MAX { Err(Fault::TooLarge) } else { Ok(()) }
        });
        pushed.ok().map(|()| self.read - before)
    }
}

/// Looks at the head of an answer: what must be changed on the way is to pass plain, and says so.
pub(super) fn begin(head: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    let streams = |kind: Option<Framing>| matches!(kind, Some(Framing::Events | Framing::Frames));
    let kind = framing(&head.headers);
    let looked_through = streams(kind) && looks_at_answers(ctx);
    let Some(asked) = &mut ctx.ai else { return Ok(()) };
    asked.plain = None;
    let Coded::In(coding) = Coded::of(&head.headers) else { return Ok(()) };
    let hides = asked.account.hides && kind == Some(Framing::Events);
    if asked.translation.is_none() && !looked_through && !hides {
        return Ok(());
    }
    head.remove_header(&CONTENT_ENCODING);
    head.remove_header(&ETAG);
    unmeasured(head)?;
    asked.plain = Some(Box::new(Reader::new(coding)));
    Ok(())
}

impl Asked {
    /// Puts what a piece of the answer says in its place, where it must pass plain.
    pub(crate) fn plain(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        let Some(reader) = &mut self.plain else { return Ok(()) };
        let piece = body.take().unwrap_or_default();
        let mut plain = Vec::with_capacity(piece.len().saturating_mul(4).min(PIECE_BYTES_MAX));
        let pushed = reader.push(&piece, &mut |it| match plain.len() + it.len() > PIECE_BYTES_MAX {
            true => Err(Fault::TooLarge),
            false => {
                plain.extend_from_slice(it);
                Ok(())
            }
        });
        let whole = pushed.and_then(|()| if end { reader.finish() } else { Ok(()) });
        whole.map_err(|fault| Error::explain(RESPONSE_REFUSED, fault.to_string()))?;
        *body = (!plain.is_empty()).then(|| plain.into());
        Ok(())
    }
}
