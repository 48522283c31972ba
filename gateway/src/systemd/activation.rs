//! Sockets the service manager brings: those of socket units, and those this service stored ([`super::store`]).
//!
//! A stored socket is called `KEY ADDRESS` and serves only that bind at that address: after a change of
//! configuration it must not stand for another one. A socket unit's is called by `FileDescriptorName=`; where that
//! is the key of a bind (`bind/443`) the socket serves it whatever its address, else the bind at its address.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use ir::{BindAddress, BindKey};
use rustix::io::FdFlags;
use socket2::{Domain, SockRef, Type};

use super::notify::Supervisor;
use super::store::{Store, Stored, inode, left_by};
use crate::listen::Offer;

/// The first descriptor that is passed.
const FIRST: RawFd = 3;
/// As many as systemd lets a unit store and more than the kernel lets most processes open.
const BROUGHT_MAX: usize = 65_536;

/// Between the key and the address in a stored socket's name.
const BETWEEN: char = ' ';

/// Sockets with the names they were passed under.
#[derive(Debug, Default)]
pub struct Brought(Vec<(String, OwnedFd)>);

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("not a socket that listens")]
    NotListening,
    #[error("no bind has its name or its address")]
    Unwanted,
    #[error("no bind of this key has this address any more")]
    Outdated,
}

impl Brought {
    /// From `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`; empty where they mean another process.
    ///
    /// To be called once: the descriptors have one owner.
    pub fn from_env() -> Self {
        let env = |name: &str| std::env::var(name).ok();
        let ours = env("LISTEN_PID").is_some_and(|it| it == std::process::id().to_string());
        let count = env("LISTEN_FDS").and_then(|it| it.parse().ok()).filter(|_| ours).unwrap_or(0);
        if count > BROUGHT_MAX {
            tracing::warn!(count, max = BROUGHT_MAX, "the service manager's sockets are ignored: too many");
            return Self::default();
        }
        let names = env("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let descriptors = (FIRST..).take(count).filter_map(|descriptor| {
            let name = names.next().unwrap_or_default().to_owned();
            let socket = own(descriptor)?;
            // A successor gets its sockets by the hand-off: this copy would keep a removed bind's port.
            let _ = rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC);
            Some((name, socket))
        });
        Self(descriptors.collect())
    }

    /// Adds to what a predecessor left, and begins the account of what lies with the manager.
    pub fn join(
        self,
        inherited: &mut Vec<Offer>,
        binds: &BTreeMap<BindKey, BindAddress>,
        supervisor: &Arc<Supervisor>,
    ) -> Store {
        let mut stored = self.stored();
        stored.extend(left_by(inherited));
        inherited.extend(self.offers(binds));
        Store::new(Arc::clone(supervisor), stored)
    }

    /// Those of them that this unit stored.
    fn stored(&self) -> Stored {
        let stored = self.0.iter().filter(|(name, _)| name.contains(BETWEEN));
        stored.map(|(name, socket)| (name.clone(), inode(socket))).collect()
    }

    /// What listeners take over. What nothing wants is closed and named in the log.
    fn offers(self, binds: &BTreeMap<BindKey, BindAddress>) -> Vec<Offer> {
        let mut offers: Vec<Offer> = Vec::new();
        for (name, socket) in self.0 {
            let at = place(&name, &socket, binds, &offers);
            match at {
                Ok((key, address)) => offers.push(Offer { key, address, socket }),
                Err(error) => tracing::warn!(socket = name, %error, "a socket of the service manager is closed"),
            }
        }
        offers
    }
}

/// The name under which a bind's socket is stored. Where it has too many characters the manager refuses it.
pub(super) fn stored_name(key: &str, address: &str) -> String {
    format!("{}{BETWEEN}{}", escaped(key), escaped(address))
}

/// Takes a descriptor that was passed to this process, if it is a socket.
fn own(descriptor: RawFd) -> Option<OwnedFd> {
    let target = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    if !target.to_string_lossy().starts_with("socket:") {
        tracing::warn!(descriptor, target = %target.display(), "the service manager passes what is no socket");
        return None;
    }
    #[expect(unsafe_code, reason = "a descriptor's number becomes its owner, once, here")]
    // SAFETY: the manager opened it for this process (LISTEN_PID), and nothing else in it knows the number.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Key and address of the bind this socket is for.
fn place(
    name: &str,
    socket: &OwnedFd,
    binds: &BTreeMap<BindKey, BindAddress>,
    taken: &[Offer],
) -> Result<(String, String), Unusable> {
    let found = SockRef::from(socket);
    if !found.is_listener().unwrap_or(false) || !found.r#type().is_ok_and(|it| it == Type::STREAM) {
        return Err(Unusable::NotListening);
    }
    if name.starts_with("server/") && !name.contains(BETWEEN) {
        return Ok((name.to_owned(), local(&found).ok_or(Unusable::Unwanted)?));
    }
    if let Some((key, address)) = name.split_once(BETWEEN) {
        let (key, address) = (plain(key), plain(address));
        let wanted =
            key.starts_with("server/") || binds.iter().any(|(it, at)| it.as_str() == key && at.to_string() == address);
        return if wanted { Ok((key, address)) } else { Err(Unusable::Outdated) };
    }
    let free = |key: &BindKey| !taken.iter().any(|it| it.key == key.as_str());
    let unix = found.domain().is_ok_and(|it| it == Domain::UNIX);
    let named = binds
        .iter()
        .find(|(key, address)| key.as_str() == name && free(key) && unix == matches!(address, BindAddress::Unix(_)));
    let there = || binds.iter().find(|(key, address)| free(key) && is_at(&found, address));
    let (key, address) = named.or_else(there).ok_or(Unusable::Unwanted)?;
    Ok((key.to_string(), address.to_string()))
}

fn is_at(socket: &SockRef<'_>, address: &BindAddress) -> bool {
    let Ok(local) = socket.local_addr() else { return false };
    match address {
        BindAddress::Socket(wanted) => local.as_socket() == Some(*wanted),
        BindAddress::Wildcard(port) => {
            local.as_socket().is_some_and(|it| it.ip().is_unspecified() && it.port() == *port)
        }
        BindAddress::Unix(path) => local.as_pathname() == Some(path),
    }
}

fn local(socket: &SockRef<'_>) -> Option<String> {
    let local = socket.local_addr().ok()?;
    let inet = local.as_socket().map(|it: SocketAddr| it.to_string());
    inet.or_else(|| local.as_pathname().map(|it| format!("unix:{}", it.display())))
}

/// Names of descriptors are printable ASCII without a colon.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if !matches!(byte, b':' | b'%') => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("a string takes every write"),
        }
    }
    out
}

fn plain(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|it| std::str::from_utf8(it).ok());
        match code.and_then(|it| u8::from_str_radix(it, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[path = "activation_tests.rs"]
mod tests;
