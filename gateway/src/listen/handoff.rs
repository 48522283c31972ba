//! Handing listening sockets to a successor, with an acknowledgement.
//!
//! The predecessor [`serve`]s on a Unix socket; the successor [`fetch`]es, builds its whole configuration,
//! opens its listeners and says READY. Only then does the predecessor drain. Whatever goes wrong before,
//! the predecessor carries on as if nobody had asked.
//!
//! On the wire: frames of a length (4 bytes, big endian) and a JSON manifest `{"v":1,"sockets":[…],"more":…}`
//! whose descriptors, at most [`BATCH`], travel as `SCM_RIGHTS` with its first byte. Then `READY\n` back.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;

/// Descriptors in one message; the kernel takes 253.
const BATCH: usize = 64;

/// The only version so far. Another one is refused by name.
const VERSION: u32 = 1;

/// For the successor to become ready.
const PATIENCE: Duration = Duration::from_secs(30);

const MANIFEST_BYTES_MAX: usize = 1 << 20;

const READY: &[u8] = b"READY\n";

/// Room for the descriptors of one message.
const SPACE_BYTES: usize = rustix::cmsg_space!(ScmRights(BATCH));

/// One listening socket on its way.
#[derive(Debug)]
pub struct Offer {
    pub key: String,
    /// As the configuration says it: `*:8080`, `127.0.0.1:0`, `unix:/run/x`.
    pub address: String,
    pub socket: OwnedFd,
}

#[derive(Debug, thiserror::Error)]
pub enum HandoffFault {
    #[error("hand-off socket: {0}")]
    Io(#[from] io::Error),
    #[error("hand-off manifest: {0}")]
    Manifest(#[from] serde_json::Error),
    #[error("hand-off of version {0}, and we speak {VERSION}: restart instead")]
    Version(u32),
    #[error("hand-off manifest of {0} bytes is too long")]
    TooLong(usize),
    #[error("hand-off manifest names {named} sockets and brings {brought}")]
    Count { named: usize, brought: usize },
    #[error("successor is not ready")]
    NotReady,
    #[error("hand-off was abandoned")]
    Abandoned,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    v: u32,
    #[serde(default)]
    sockets: Vec<Entry>,
    /// Another manifest follows.
    #[serde(default)]
    more: bool,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: String,
    address: String,
}

/// A predecessor that waits for us to be ready. Dropped without [`Self::ready`], it carries on.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// We accept connections: the predecessor may leave.
    pub fn ready(mut self) -> Result<(), HandoffFault> {
        Ok(self.0.write_all(READY)?)
    }
}

/// The socket file on which a successor may ask. Removed on drop, unless a successor has put its own there.
#[derive(Debug)]
pub struct Post {
    listener: UnixListener,
    path: PathBuf,
    inode: Option<u64>,
}

impl Post {
    /// Binds under another name and moves over whatever is at the path: a predecessor's socket, usually.
    pub fn open(path: &Path) -> Result<Self, HandoffFault> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        match std::fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(&aside)?;
        // Under the final name it is never open to others.
        std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&aside, path)?;
        Ok(Self { listener, path: path.to_owned(), inode: inode(path) })
    }
}

fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|it| it.ino())
}

impl Drop for Post {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Answers successors until one is ready. `offers` is asked anew for each.
pub async fn serve<F>(post: &Post, offers: F) -> Result<(), HandoffFault>
where
    F: Fn() -> io::Result<Vec<Offer>> + Send,
{
    loop {
        let (stream, _) = post.listener.accept().await?;
        match hand_over(stream, offers()).await {
            Ok(count) => {
                tracing::info!(sockets = count, "successor is ready");
                return Ok(());
            }
            Err(error) => tracing::warn!(%error, "successor failed: carrying on"),
        }
    }
}

async fn hand_over(stream: tokio::net::UnixStream, offers: io::Result<Vec<Offer>>) -> Result<usize, HandoffFault> {
    let offers = offers?;
    let stream = stream.into_std()?;
    // A blocking task, because descriptors travel by calls tokio does not have. It ends by the timeouts.
    tokio::task::spawn_blocking(move || {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        send_all(&stream, &offers)?;
        wait_ready(&stream)?;
        Ok(offers.len())
    })
    .await
    .unwrap_or(Err(HandoffFault::Abandoned))
}

fn wait_ready(mut stream: &UnixStream) -> Result<(), HandoffFault> {
    let mut answer = [0; READY.len()];
    match stream.read_exact(&mut answer) {
        Ok(()) if answer == READY => Ok(()),
        _ => Err(HandoffFault::NotReady),
    }
}

/// Asks the process that serves at `path` for its sockets. Blocking: meant for the start of a process.
pub fn fetch(path: &Path) -> Result<(Predecessor, Vec<Offer>), HandoffFault> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut offers = Vec::new();
    while receive(&stream, &mut offers)? {}
    Ok((Predecessor(stream), offers))
}

fn send_all(stream: &UnixStream, offers: &[Offer]) -> Result<(), HandoffFault> {
    let mut batches = offers.chunks(BATCH).peekable();
    if batches.peek().is_none() {
        return send(stream, &[], false);
    }
    while let Some(batch) = batches.next() {
        send(stream, batch, batches.peek().is_some())?;
    }
    Ok(())
}

fn send(mut stream: &UnixStream, batch: &[Offer], more: bool) -> Result<(), HandoffFault> {
    let entry = |it: &Offer| Entry { key: it.key.clone(), address: it.address.clone() };
    let manifest = Manifest { v: VERSION, sockets: batch.iter().map(entry).collect(), more };
    let manifest = serde_json::to_vec(&manifest)?;
    let length = u32::try_from(manifest.len()).map_err(|_| HandoffFault::TooLong(manifest.len()))?;
    stream.write_all(&length.to_be_bytes())?;
    let sockets: Vec<BorrowedFd<'_>> = batch.iter().map(|it| it.socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(HandoffFault::Count { named: sockets.len(), brought: BATCH });
    }
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(&manifest)], &mut control, SendFlags::NOSIGNAL)
        .map_err(io::Error::from)?;
    Ok(stream.write_all(manifest.get(sent..).unwrap_or_default())?)
}

/// Receives one manifest with its descriptors; true if another follows.
fn receive(mut stream: &UnixStream, offers: &mut Vec<Offer>) -> Result<bool, HandoffFault> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MANIFEST_BYTES_MAX {
        return Err(HandoffFault::TooLong(length));
    }
    let mut manifest = vec![0; length];
    let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got =
        rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut manifest)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(io::Error::from)?
            .bytes;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(brought) = message {
            sockets.extend(brought);
        }
    }
    stream.read_exact(manifest.get_mut(got..).unwrap_or_default())?;
    let manifest: Manifest = serde_json::from_slice(&manifest)?;
    if manifest.v != VERSION {
        return Err(HandoffFault::Version(manifest.v));
    }
    let (named, brought) = (manifest.sockets.len(), sockets.len());
    if named != brought {
        return Err(HandoffFault::Count { named, brought });
    }
    let entries = manifest.sockets.into_iter().zip(sockets);
    offers.extend(entries.map(|(Entry { key, address }, socket)| Offer { key, address, socket }));
    Ok(manifest.more)
}

#[cfg(test)]
#[path = "handoff_tests.rs"]
mod tests;
