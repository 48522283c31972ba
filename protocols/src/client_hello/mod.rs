//! The TLS ClientHello read from raw bytes, to route by server name without terminating TLS (RFC 8446 4.1.2
//! and 5.1, RFC 6066 3, RFC 7301 3.1).
//!
//! Keeps no state: call again with more bytes. It negotiates and verifies nothing, and an encrypted
//! ClientHello is not opened: its outer server name is the server name.

mod wire;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::http::authority;
use wire::{Reader, is_grease};

/// Bytes of the handshake message.
pub const BYTES_MAX: usize = 16 * 1024;

/// TLS records the message may be cut into; clients that hide from middleboxes use a few.
pub const RECORDS_MAX: usize = 64;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER_BYTES: usize = 5;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// What the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// A ClientHello so far: read on.
    Incomplete,
    /// Not TLS; known from the first byte that differs.
    NotTls,
    Hello(ClientHello),
    /// TLS, but no ClientHello that can be read: close.
    Invalid(HelloFault),
}

/// What the client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Lower case, without a dot at the end.
    pub sni: Option<String>,
    /// Protocols in the client's order.
    pub alpn: Vec<Vec<u8>>,
    /// Versions in the client's order, such as 0x0304 for TLS 1.3; those of RFC 8701 (GREASE) left out.
    pub versions: Vec<u16>,
}

/// What is wrong with a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloFault {
    #[error("first TLS record is empty or too long")]
    Record,
    #[error("ClientHello is cut into too many records")]
    TooManyRecords,
    #[error("first handshake message is not a ClientHello")]
    NotClientHello,
    #[error("ClientHello is longer than {BYTES_MAX} bytes")]
    TooLong,
    #[error("ClientHello is malformed")]
    Malformed,
    #[error("ClientHello repeats an extension")]
    Repeated,
    #[error("server name is not a host name")]
    ServerName,
}

/// Reads the ClientHello at the beginning of `buf`.
pub fn parse(buf: &[u8]) -> Hello {
    match try_parse(buf) {
        Ok(it) => it,
        Err(fault) => Hello::Invalid(fault),
    }
}

fn try_parse(buf: &[u8]) -> Result<Hello, HelloFault> {
    match buf {
        [] | [HANDSHAKE] | [HANDSHAKE, 3] => return Ok(Hello::Incomplete),
        // The minor version of the record is 1 by custom and to be ignored; no TLS has had one above 4.
        [HANDSHAKE, 3, 0..=4, ..] => {}
        _ => return Ok(Hello::NotTls),
    }
    let Some(message) = gather(buf)? else { return Ok(Hello::Incomplete) };
    read_hello(&message).map(Hello::Hello)
}

/// The body of the first handshake message, put together from its records; `None` while some are missing.
///
/// Copies only when there are several records and all have arrived, so that a client that sends byte by
/// byte does not make us copy each time.
fn gather(buf: &[u8]) -> Result<Option<Cow<'_, [u8]>>, HelloFault> {
    let mut head = [0; 4];
    let mut arrived = 0usize;
    let mut wanted = None;
    for (count, fragment) in fragments(buf).enumerate() {
        if count == RECORDS_MAX {
            return Err(HelloFault::TooManyRecords);
        }
        let fragment = fragment?;
        for (slot, &byte) in head.iter_mut().skip(arrived).zip(fragment) {
            *slot = byte;
        }
        arrived += fragment.len();
        if arrived > 0 && head[0] != CLIENT_HELLO {
            return Err(HelloFault::NotClientHello);
        }
        if arrived >= head.len() {
            let total =
                head.len() + usize::try_from(u32::from_be_bytes([0, head[1], head[2], head[3]])).unwrap_or(usize::MAX);
            if total > BYTES_MAX {
                return Err(HelloFault::TooLong);
            }
            wanted = Some(total);
        }
        match wanted {
            Some(total) if arrived >= total && count == 0 => {
                return Ok(fragment.get(head.len()..total).map(Cow::Borrowed));
            }
            Some(total) if arrived >= total => return Ok(Some(Cow::Owned(join(buf, head.len(), total)))),
            _ => {}
        }
    }
    Ok(None)
}

fn join(buf: &[u8], start: usize, end: usize) -> Vec<u8> {
    let bytes = fragments(buf).map_while(Result::ok).flatten().copied();
    bytes.take(end).skip(start).collect()
}

/// The payloads of the handshake records in `buf`; of the last one what has arrived.
fn fragments(buf: &[u8]) -> impl Iterator<Item = Result<&[u8], HelloFault>> {
    let mut rest = buf;
    std::iter::from_fn(move || {
        let (&[kind, major, _, high, low], payload) = rest.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        // RFC 8446 5.1: no empty handshake records, nothing between the pieces of a message.
        if kind != HANDSHAKE || major != 3 || length == 0 || length > BYTES_MAX {
            rest = &[];
            return Some(Err(HelloFault::Record));
        }
        let (fragment, after) = payload.split_at_checked(length).unwrap_or((payload, &[]));
        rest = after;
        Some(Ok(fragment))
    })
}

fn read_hello(message: &[u8]) -> Result<ClientHello, HelloFault> {
    let mut body = Reader(message);
    let legacy_version = body.u16()?;
    body.take(32)?;
    let session_id = body.vector8()?;
    let cipher_suites = body.vector16()?;
    let compressions = body.vector8()?;
    if session_id.0.len() > 32 || cipher_suites.0.is_empty() || compressions.0.is_empty() {
        return Err(HelloFault::Malformed);
    }
    let mut sni = None;
    let mut alpn = None;
    let mut versions = None;
    // Before TLS 1.3 the extensions may be missing altogether.
    let mut extensions = if body.0.is_empty() { Reader(&[]) } else { body.vector16()? };
    body.end()?;
    while !extensions.0.is_empty() {
        let (kind, value) = (extensions.u16()?, extensions.vector16()?);
        match kind {
            SERVER_NAME => once(&mut sni, read_server_name(value)?)?,
            ALPN => once(&mut alpn, read_alpn(value)?)?,
            SUPPORTED_VERSIONS => once(&mut versions, read_versions(value)?)?,
            _ => {}
        }
    }
    Ok(ClientHello {
        sni: sni.flatten(),
        alpn: alpn.unwrap_or_default(),
        versions: versions.unwrap_or_else(|| vec![legacy_version]),
    })
}

/// RFC 8446 4.2: no extension twice; two server names would let two parties route to different places.
fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), HelloFault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HelloFault::Repeated),
    }
}

/// RFC 6066 3. Host names are the one kind there is; others are skipped.
fn read_server_name(mut value: Reader<'_>) -> Result<Option<String>, HelloFault> {
    let mut names = value.vector16()?;
    value.end()?;
    let mut found = None;
    while !names.0.is_empty() {
        let (kind, name) = (names.u8()?, names.vector16()?);
        if kind != 0 {
            continue;
        }
        let name = std::str::from_utf8(name.0).map_err(|_| HelloFault::ServerName)?;
        if name.len() > authority::BYTES_MAX || authority::check_name(name).is_err() {
            return Err(HelloFault::ServerName);
        }
        once(&mut found, authority::lower(name).into_owned())?;
    }
    Ok(found)
}

fn read_alpn(mut value: Reader<'_>) -> Result<Vec<Vec<u8>>, HelloFault> {
    let mut list = value.vector16()?;
    value.end()?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let name = list.vector8()?.0;
        if name.is_empty() {
            return Err(HelloFault::Malformed);
        }
        protocols.push(name.to_vec());
    }
    Ok(protocols)
}

fn read_versions(mut value: Reader<'_>) -> Result<Vec<u16>, HelloFault> {
    let mut list = value.vector8()?;
    value.end()?;
    let mut versions = Vec::new();
    while !list.0.is_empty() {
        versions.push(list.u16()?);
    }
    versions.retain(|&it| !is_grease(it));
    Ok(versions)
}
