//! Addresses of the process's own servers.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::statics::ServerAddress;

/// Reads `ip:port`, `localhost:port`, `unix:/path`, `off`.
pub fn server_address(text: &str, ipv6: bool) -> Result<ServerAddress, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(ServerAddress::Off);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(ServerAddress::Unix(PathBuf::from(path)))
        } else {
            Err(format!("`{text}`: a unix socket needs an absolute path, `unix:/path`"))
        };
    }
    let help = || format!("`{text}` is not an address: write `ip:port`, `localhost:port`, `unix:/path` or `off`");
    if let Some(port) = text.strip_prefix("localhost:") {
        return port.parse().map(|port| ServerAddress::Sockets(loopback(port, ipv6))).map_err(|_| help());
    }
    text.parse().map(|address| ServerAddress::Sockets(vec![address])).map_err(|_| help())
}

pub(super) fn loopback(port: u16, ipv6: bool) -> Vec<SocketAddr> {
    let mut addresses = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    if ipv6 {
        addresses.push(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)));
    }
    addresses
}

pub(super) fn wildcard(port: u16, ipv6: bool) -> Vec<SocketAddr> {
    if ipv6 {
        vec![SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port))]
    } else {
        vec![SocketAddr::from(([0, 0, 0, 0], port))]
    }
}

/// Whether only this host reaches an address.
pub(super) fn is_local(address: &ServerAddress) -> bool {
    match address {
        ServerAddress::Sockets(addresses) => addresses.iter().all(|it| it.ip().is_loopback()),
        ServerAddress::Unix(_) | ServerAddress::Off => true,
    }
}

/// Asks the kernel, for a host may have it off.
pub(super) fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0)).is_ok()
}
