//! PROXY protocol, versions 1 and 2: who connected to the load balancer in front of us (HAProxy's
//! `proxy-protocol.txt`, sections 2.1 and 2.2).
//!
//! [`parse`] looks at what has arrived so far and keeps no state: call it again with more bytes. It does not
//! decide whom to believe: accept a header only from peers that are trusted to send one. [`write_v1`] and
//! [`write_v2`] are for upstreams that want one.

mod crc32c;
mod tlv;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

pub use tlv::{Tlv, Tlvs, tlvs};
pub use v1::write_v1;
pub use v2::{write_v2, write_v2_local};

/// Bytes of a version 1 header, its CRLF included.
pub const V1_BYTES_MAX: usize = 107;

/// Bytes of a version 2 header after the sixteen fixed ones.
pub const V2_PAYLOAD_BYTES_MAX: usize = 4096;

/// Which versions a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub v1: bool,
    pub v2: bool,
}

/// What the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parse {
    /// A header so far: read on.
    Incomplete,
    /// Not a header of an accepted version; known from the first byte that differs.
    NotProxy,
    Header {
        /// `None` when the sender does not say: LOCAL, UNKNOWN, UNSPEC or a UNIX socket. Use the peer.
        source: Option<SocketAddr>,
        destination: Option<SocketAddr>,
        /// Bytes of the header; what follows is the connection's own.
        consumed: usize,
        /// Where in the buffer the TLVs are, for [`tlvs`]; empty in version 1.
        tlvs: Range<usize>,
    },
    /// A broken header: close.
    Invalid(ProxyFault),
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyFault {
    #[error("PROXY header is too long")]
    TooLong,
    #[error("PROXY header is malformed")]
    Malformed,
    #[error("PROXY header has an address of the wrong family or spelling")]
    Address,
    #[error("PROXY header has a malformed port")]
    Port,
    #[error("PROXY header has an unknown version or command")]
    Command,
    #[error("PROXY header has an unknown address family or transport")]
    Family,
    #[error("PROXY header is shorter than its addresses")]
    TooShort,
    #[error("PROXY header has a malformed TLV")]
    Tlv,
    #[error("PROXY header has a wrong checksum")]
    Checksum,
}

/// Reads a header of an accepted version from the beginning of `buf`.
pub fn parse(buf: &[u8], accept: Versions) -> Parse {
    for (accepted, signature, parse) in [
        (accept.v1, v1::SIGNATURE, v1::parse as fn(&[u8]) -> Result<Parse, ProxyFault>),
        (accept.v2, v2::SIGNATURE, v2::parse),
    ] {
        if !accepted {
            continue;
        }
        if buf.starts_with(signature) {
            return parse(buf).unwrap_or_else(Parse::Invalid);
        }
        if signature.starts_with(buf) {
            return Parse::Incomplete;
        }
    }
    Parse::NotProxy
}

/// Both addresses in one family, as the formats demand: IPv4 if both are, mapped or not; else both IPv6.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
    let (source, destination) = (canonical(source), canonical(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    (mapped(source), mapped(destination))
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}
