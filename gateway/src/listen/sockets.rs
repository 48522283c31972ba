//! Listening sockets: opened, inherited or found taken.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ir::BindAddress;
use socket2::{Domain, SockAddr, SockRef, Socket as Raw, Type};
use tokio::net::{TcpListener, UnixListener};

use super::info::Peer;
use super::wire::Socket;

/// As many as the kernel grants (`net.core.somaxconn`).
const BACKLOG: i32 = 65_535;

/// Owner and group may connect.
const UNIX_MODE: u32 = 0o660;

/// A socket connections arrive at.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

/// A connection fresh from the kernel.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) peer: Peer,
}

impl Listening {
    /// For options; absent for a Unix socket.
    pub(super) fn tcp(&self) -> Option<SockRef<'_>> {
        match self {
            Self::Tcp(it) => Some(SockRef::from(it)),
            Self::Unix { .. } => None,
        }
    }

    /// Opens a socket. Needs a runtime around it.
    pub(super) fn open(address: &BindAddress, ipv6: bool) -> io::Result<Self> {
        match address {
            BindAddress::Socket(address) => tcp(*address),
            BindAddress::Wildcard(port) if ipv6 => match tcp((Ipv6Addr::UNSPECIFIED, *port).into()) {
                // No IPv6 in this kernel or container.
                Err(error) if is_without_ipv6(&error) => tcp((Ipv4Addr::UNSPECIFIED, *port).into()),
                other => other,
            },
            BindAddress::Wildcard(port) => tcp((Ipv4Addr::UNSPECIFIED, *port).into()),
            BindAddress::Unix(path) => unix(path),
        }
    }

    /// Takes over a socket that listens already.
    pub(super) fn inherit(socket: OwnedFd, address: &BindAddress) -> io::Result<Self> {
        let raw = Raw::from(socket);
        raw.set_nonblocking(true)?;
        match address {
            BindAddress::Unix(path) => {
                Ok(Self::Unix { listener: UnixListener::from_std(raw.into())?, path: path.clone() })
            }
            _ => Ok(Self::Tcp(TcpListener::from_std(raw.into())?)),
        }
    }

    /// Where it listens, with the port the kernel chose.
    pub(super) fn address(&self) -> Option<String> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|it| it.to_string()),
            Self::Unix { path, .. } => Some(format!("unix:{}", path.display())),
        }
    }

    /// Its port, which is that of each connection it accepts; absent for a Unix socket.
    pub(super) fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|it| it.port()),
            Self::Unix { .. } => None,
        }
    }

    /// A descriptor of the same socket, for a successor.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    /// Removes what would stay behind when nobody listens any more.
    pub(super) fn sweep(&self) {
        if let Self::Unix { path, .. } = self
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, path = %path.display(), "socket file not removed");
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix { listener, .. } => listener.as_fd(),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted { socket: Socket::Tcp(stream), peer: Peer::Inet(canonical(peer)) })
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted { socket: Socket::Unix(stream), peer: Peer::Unix })
            }
        }
    }
}

/// IPv4 clients of a dual-stack socket are IPv4 clients.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL))
}

fn tcp(address: SocketAddr) -> io::Result<Listening> {
    let socket = Raw::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    // Linux lets nobody steal a port with it; it only passes over connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(Listening::Tcp(TcpListener::from_std(socket.into())?))
}

fn unix(path: &Path) -> io::Result<Listening> {
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address)?;
    let socket = Raw::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&address)?;
    // Before it listens, so that nobody connects under other permissions.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(UNIX_MODE))?;
    socket.listen(BACKLOG)?;
    Ok(Listening::Unix { listener: UnixListener::from_std(socket.into())?, path: path.to_owned() })
}

/// Removes the file a dead process left; anything else at the path stays, and is an error.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in the way"));
    }
    let probe = Raw::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // Answered, or too busy to answer: alive.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = BindAddress::Unix(path.clone());
        drop(Listening::open(&address, true).unwrap());
        let alive = Listening::open(&address, true).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, UNIX_MODE);
        let error = Listening::open(&address, true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "a live socket is not taken");
        alive.sweep();
        std::fs::write(&path, "precious").unwrap();
        assert!(Listening::open(&address, true).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn the_wildcard_takes_both_families() {
        let listening = Listening::open(&BindAddress::Wildcard(0), true).unwrap();
        let port: u16 = listening.address().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        let client = tokio::net::TcpStream::connect(("127.0.0.1", port));
        let (client, accepted) = tokio::join!(client, listening.accept());
        assert!(client.is_ok());
        let Peer::Inet(peer) = accepted.unwrap().peer else { panic!("not TCP") };
        assert!(peer.is_ipv4(), "a mapped address is shown as what it is");
    }
}
