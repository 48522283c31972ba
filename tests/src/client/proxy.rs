//! PROXY protocol headers, versions 1 and 2, good and bad.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// `PROXY TCP4 …` or `PROXY TCP6 …`, by the family of `from`.
pub fn v1(from: SocketAddr, to: SocketAddr) -> Bytes {
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into()
}

/// `PROXY UNKNOWN`: the receiver keeps the address of the connection.
pub fn v1_unknown() -> Bytes {
    Bytes::from_static(b"PROXY UNKNOWN\r\n")
}

/// A version 2 header for TCP, with these type-length-value entries.
pub fn v2(from: SocketAddr, to: SocketAddr, entries: &[(u8, &[u8])]) -> Bytes {
    let mut rest = BytesMut::new();
    for ip in [from.ip(), to.ip()] {
        match ip {
            IpAddr::V4(ip) => rest.put_slice(&ip.octets()),
            IpAddr::V6(ip) => rest.put_slice(&ip.octets()),
        }
    }
    rest.put_u16(from.port());
    rest.put_u16(to.port());
    for (kind, value) in entries {
        rest.put_u8(*kind);
        rest.put_u16(u16::try_from(value.len()).expect("an entry below 64 KiB"));
        rest.put_slice(value);
    }
    assert_eq!(from.is_ipv4(), to.is_ipv4(), "both addresses of one family");
    header(0x21, if from.is_ipv4() { 0x11 } else { 0x21 }, &rest)
}

/// A version 2 LOCAL header: a health check of the load balancer itself.
pub fn v2_local() -> Bytes {
    header(0x20, 0, &[])
}

fn header(command: u8, family: u8, rest: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(SIGNATURE);
    out.put_u8(command);
    out.put_u8(family);
    out.put_u16(u16::try_from(rest.len()).expect("a header below 64 KiB"));
    out.put_slice(rest);
    out.freeze()
}
