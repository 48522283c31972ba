//! Version 2, the binary header (section 2.2). Does not look for the signature: [`super::parse`] has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Parse, ProxyFault, V2_PAYLOAD_BYTES_MAX, tlv};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

pub(super) fn parse(buf: &[u8]) -> Result<Parse, ProxyFault> {
    // Each field is judged as soon as it is there.
    let mut fixed = buf.iter().copied().skip(SIGNATURE.len());
    let Some(command) = fixed.next() else { return Ok(Parse::Incomplete) };
    if command != LOCAL && command != PROXY {
        return Err(ProxyFault::Command);
    }
    let Some(family) = fixed.next() else { return Ok(Parse::Incomplete) };
    let address_bytes = match address_bytes(family) {
        Some(it) => it,
        None if command == LOCAL => 0,
        None => return Err(ProxyFault::Family),
    };
    let (Some(high), Some(low)) = (fixed.next(), fixed.next()) else { return Ok(Parse::Incomplete) };
    let payload_bytes = usize::from(u16::from_be_bytes([high, low]));
    if payload_bytes > V2_PAYLOAD_BYTES_MAX {
        return Err(ProxyFault::TooLong);
    }
    if command == PROXY && payload_bytes < address_bytes {
        return Err(ProxyFault::TooShort);
    }
    let consumed = FIXED_BYTES + payload_bytes;
    let Some(header) = buf.get(..consumed) else { return Ok(Parse::Incomplete) };
    let tlvs = (FIXED_BYTES + address_bytes).min(consumed)..consumed;
    tlv::check_crc(header, tlvs.start)?;
    let payload = header.get(FIXED_BYTES..).unwrap_or_default();
    // The addresses of LOCAL must be ignored: the sender speaks for itself.
    let pair = if command == PROXY { addresses(family, payload) } else { None };
    let (source, destination) = pair.unzip();
    Ok(Parse::Header { source, destination, consumed, tlvs })
}

/// How long the address block of a family and transport is.
fn address_bytes(family: u8) -> Option<usize> {
    match family {
        0x00 => Some(0),
        0x11 | 0x12 => Some(12),
        0x21 | 0x22 => Some(36),
        0x31 | 0x32 => Some(216),
        _ => None,
    }
}

fn addresses(family: u8, payload: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    match family {
        0x11 | 0x12 => pair(payload, |it: [u8; 4]| Ipv4Addr::from(it).into()),
        0x21 | 0x22 => pair(payload, |it: [u8; 16]| Ipv6Addr::from(it).into()),
        _ => None,
    }
}

fn pair<const N: usize>(payload: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Option<(SocketAddr, SocketAddr)> {
    let (&source, rest) = payload.split_first_chunk::<N>()?;
    let (&destination, rest) = rest.split_first_chunk::<N>()?;
    let (&source_port, rest) = rest.split_first_chunk::<2>()?;
    let &destination_port = rest.first_chunk::<2>()?;
    let address = |it, port| SocketAddr::new(ip(it), u16::from_be_bytes(port));
    Some((address(source, source_port), address(destination, destination_port)))
}

/// Appends a version 2 header for a TCP connection to `out`, without TLVs.
pub fn write_v2(source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    let (source, destination) = super::same_family(source, destination);
    out.extend_from_slice(SIGNATURE);
    out.push(PROXY);
    out.extend_from_slice(if source.is_ipv4() { &[0x11, 0, 12] } else { &[0x21, 0, 36] });
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    for address in [source, destination] {
        out.extend_from_slice(&address.port().to_be_bytes());
    }
}

/// Appends the version 2 header of a connection of our own, such as a health check, to `out`.
pub fn write_v2_local(out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[LOCAL, 0, 0, 0]);
}
