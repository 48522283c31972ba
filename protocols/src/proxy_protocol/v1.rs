//! Version 1, the line of text (section 2.1). Does not look for the signature: [`super::parse`] has.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{Parse, ProxyFault, V1_BYTES_MAX};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

pub(super) fn parse(buf: &[u8]) -> Result<Parse, ProxyFault> {
    let window = buf.get(..V1_BYTES_MAX).unwrap_or(buf);
    let Some(end) = window.windows(2).position(|it| it == b"\r\n") else {
        return if buf.len() < V1_BYTES_MAX { Ok(Parse::Incomplete) } else { Err(ProxyFault::TooLong) };
    };
    let line = window.get(SIGNATURE.len()..end).ok_or(ProxyFault::Malformed)?;
    let line = std::str::from_utf8(line).ok().filter(|it| it.is_ascii());
    let mut fields = line.ok_or(ProxyFault::Malformed)?.split(' ');
    let (source, destination) = match fields.next() {
        // What follows UNKNOWN must be ignored.
        Some("UNKNOWN") => (None, None),
        Some("TCP4") => addresses(fields, parse_ip::<std::net::Ipv4Addr>)?,
        Some("TCP6") => addresses(fields, parse_ip::<std::net::Ipv6Addr>)?,
        _ => return Err(ProxyFault::Family),
    };
    let consumed = end + 2;
    Ok(Parse::Header { source, destination, consumed, tlvs: consumed..consumed })
}

type Pair = (Option<SocketAddr>, Option<SocketAddr>);

fn addresses<'a>(
    mut fields: impl Iterator<Item = &'a str>,
    parse_ip: impl Fn(&str) -> Result<IpAddr, ProxyFault>,
) -> Result<Pair, ProxyFault> {
    let mut next = || fields.next().ok_or(ProxyFault::Malformed);
    let (source, destination) = (parse_ip(next()?)?, parse_ip(next()?)?);
    let (source_port, destination_port) = (parse_port(next()?)?, parse_port(next()?)?);
    if fields.next().is_some() {
        return Err(ProxyFault::Malformed);
    }
    Ok((Some(SocketAddr::new(source, source_port)), Some(SocketAddr::new(destination, destination_port))))
}

fn parse_ip<A: FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, ProxyFault> {
    text.parse::<A>().map(Into::into).map_err(|_| ProxyFault::Address)
}

/// Digits only, no leading zero.
fn parse_port(text: &str) -> Result<u16, ProxyFault> {
    if !text.bytes().all(|it| it.is_ascii_digit()) || (text.len() > 1 && text.starts_with('0')) {
        return Err(ProxyFault::Port);
    }
    text.parse().map_err(|_| ProxyFault::Port)
}

/// Appends a version 1 header to `out`.
pub fn write_v1(source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    let (source, destination) = super::same_family(source, destination);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    write!(out, "PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
        .expect("writing to a vector does not fail");
}
