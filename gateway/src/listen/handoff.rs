//! Handing listening sockets to a successor: frames over a Unix socket, with descriptors.
//!
//! The order of words between the two is in `life`; what they can say in [`message`]. Everything here blocks, within
//! one deadline for the whole conversation, and is meant for a thread of its own or the start of a process.

pub mod message;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use self::message::{Entry, FrameFault, HEAD_BYTES, Message, SOCKETS_MAX};

/// Descriptors in one message; the kernel takes 253.
pub const BATCH: usize = 64;

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
    #[error("the connection between predecessor and successor: {0}")]
    Io(#[from] io::Error),
    #[error("the peer has gone away")]
    Gone,
    #[error("the peer did not answer in time")]
    Late,
    #[error("hand-off: {0}")]
    Frame(#[from] FrameFault),
    #[error("a hand-off message names {named} descriptors and brings {brought}: is the limit of open files too low?")]
    Count { named: usize, brought: usize },
    #[error("a hand-off of more than {most} {what} is refused")]
    TooMany { what: &'static str, most: usize },
    #[error("{0}")]
    Version(String),
    #[error("unexpected in a hand-off: {0}")]
    Unexpected(&'static str),
    #[error("{0}")]
    Refused(String),
    #[error("user {0} may not talk to this gateway: only its own user and root may")]
    Stranger(u32),
}

/// A conversation, with a deadline for all of it.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    deadline: Instant,
}

/// What came in one frame.
#[derive(Debug)]
pub struct Received {
    pub message: Message,
    pub payload: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

impl Line {
    /// Refuses a peer of another user than ours or root.
    pub fn new(stream: UnixStream, patience: Duration) -> Result<Self, HandoffFault> {
        stream.set_nonblocking(false)?;
        match rustix::net::sockopt::socket_peercred(&stream).map_err(io::Error::from) {
            Ok(peer) if peer.uid.is_root() || peer.uid == rustix::process::getuid() => {}
            Ok(peer) => return Err(HandoffFault::Stranger(peer.uid.as_raw())),
            // A process of another PID namespace has no number here, and is not told of. The mode of the socket file,
            // and of its directory, has let in our user and root only.
            Err(error) if error.raw_os_error() == Some(0) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { stream, deadline: Instant::now() + patience })
    }

    /// To a gateway found by its path, which root may ask whosever it is.
    pub fn ask(stream: UnixStream, patience: Duration) -> Result<Self, HandoffFault> {
        match rustix::process::getuid().is_root() {
            true => {
                stream.set_nonblocking(false)?;
                Ok(Self { stream, deadline: Instant::now() + patience })
            }
            false => Self::new(stream, patience),
        }
    }

    /// The process at the other end, as of when the connection was made.
    pub fn peer(&self) -> Option<u32> {
        let peer = rustix::net::sockopt::socket_peercred(&self.stream).ok()?;
        u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
    }

    /// So much time from now for what is still to be said.
    pub fn prolong(&mut self, patience: Duration) {
        self.deadline = Instant::now() + patience;
    }

    /// Ends reading and writing for both, wherever they wait.
    pub fn try_clone(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    fn left(&self) -> Result<Option<Duration>, HandoffFault> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(HandoffFault::Late) } else { Ok(Some(left)) }
    }

    pub fn say(&self, message: &Message) -> Result<(), HandoffFault> {
        self.send(message, &[], &[])
    }

    /// Sends one frame; at most [`BATCH`] descriptors.
    pub fn send(&self, message: &Message, payload: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), HandoffFault> {
        let frame = message::encode(message, payload)?;
        self.stream.set_write_timeout(self.left()?)?;
        let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(HandoffFault::TooMany { what: "descriptors in one message", most: BATCH });
        }
        let sent = rustix::net::sendmsg(&self.stream, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL);
        let sent = sent.map_err(|error| told(error.into()))?;
        let mut rest = frame.get(sent..).unwrap_or_default();
        while !rest.is_empty() {
            self.stream.set_write_timeout(self.left()?)?;
            let written = (&self.stream).write(rest).map_err(told)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends sockets, in as many frames as they need.
    pub fn send_sockets(&self, offers: &[Offer]) -> Result<(), HandoffFault> {
        for batch in offers.chunks(BATCH) {
            let entry = |it: &Offer| Entry { key: it.key.clone(), address: it.address.clone() };
            let sockets: Vec<_> = batch.iter().map(|it| it.socket.as_fd()).collect();
            self.send(&Message::Sockets { entries: batch.iter().map(entry).collect() }, &[], &sockets)?;
        }
        Ok(())
    }

    /// Receives one frame.
    pub fn receive(&self) -> Result<Received, HandoffFault> {
        let mut head = [0; HEAD_BYTES];
        let mut descriptors = Vec::new();
        // Descriptors come with the first byte of a frame.
        let got = self.receive_some(&mut head, &mut descriptors)?;
        self.read_exact(head.get_mut(got..).unwrap_or_default())?;
        let (message, payload) = message::lengths(head)?;
        let mut json = vec![0; message];
        self.read_exact(&mut json)?;
        let message = message::decode(&json)?;
        let mut bytes = vec![0; payload];
        self.read_exact(&mut bytes)?;
        let named = match &message {
            Message::Sockets { entries } => entries.len(),
            Message::Channels { views } => views.len(),
            Message::Stderr => 1,
            _ => 0,
        };
        // A message that is not known may bring what it likes: it is dropped.
        if named != descriptors.len() && message != Message::Unknown {
            return Err(HandoffFault::Count { named, brought: descriptors.len() });
        }
        Ok(Received { message, payload: bytes, descriptors })
    }

    fn receive_some(&self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<usize, HandoffFault> {
        self.stream.set_read_timeout(self.left()?)?;
        let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(&self.stream, &mut [IoSliceMut::new(into)], &mut control, flags)
            .map_err(|error| told(error.into()))?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(brought) = message {
                descriptors.extend(brought);
            }
        }
        if received.bytes == 0 { Err(HandoffFault::Gone) } else { Ok(received.bytes) }
    }

    /// By parts, so that who sends a byte now and then cannot stay for longer than the deadline.
    fn read_exact(&self, mut into: &mut [u8]) -> Result<(), HandoffFault> {
        while !into.is_empty() {
            self.stream.set_read_timeout(self.left()?)?;
            let got = (&self.stream).read(into).map_err(told)?;
            if got == 0 {
                return Err(HandoffFault::Gone);
            }
            into = into.get_mut(got..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Adds the sockets of one frame to those before.
pub fn collect(offers: &mut Vec<Offer>, entries: Vec<Entry>, sockets: Vec<OwnedFd>) -> Result<(), HandoffFault> {
    if offers.len() + entries.len() > SOCKETS_MAX {
        return Err(HandoffFault::TooMany { what: "sockets", most: SOCKETS_MAX });
    }
    let both = entries.into_iter().zip(sockets);
    offers.extend(both.map(|(Entry { key, address }, socket)| Offer { key, address, socket }));
    Ok(())
}

fn told(error: io::Error) -> HandoffFault {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => HandoffFault::Late,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => HandoffFault::Gone,
        _ => HandoffFault::Io(error),
    }
}
