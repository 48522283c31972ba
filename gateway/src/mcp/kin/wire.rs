//! Frames between processes of one line: a length (4 bytes, big endian) and JSON.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};

use protocols::mcp::session::Name;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::super::MESSAGE_BYTES_MAX;

/// One message of a server's, escaped, and what is around it.
const FRAME_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// A name in the abstract namespace: it needs no file, and is gone with the process. It begins with the owner that ids
/// name; the rest nobody guesses.
pub(super) type Address = [u8; 24];

/// Whose address it is.
pub(super) fn owner_of(address: &Address) -> u64 {
    address.first_chunk().map_or(0, |it| u64::from_be_bytes(*it))
}

/// What is asked of another process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
pub(super) enum Ask {
    /// I am here as well.
    Hello { address: Address },
    /// The session has ended.
    Ended { name: Name },
    /// The stream at this place (owner, track, number), or one of the session's that its client got nothing of.
    Follow { at: Option<(u64, u64, u64)>, name: Name, scope: [u8; 32] },
    /// In a stream that is followed: this server is listened to now.
    Heard { target: String },
    /// A client's answer or cancellation.
    Told { name: Name, target: Option<String>, body: String },
    /// A call that waits for its client, with what the client brings.
    Fetch { wanted: Wanted, brought: Option<String> },
    /// In a call that was fetched: for its server.
    Brought { told: String },
    /// The stream of a client of the first revision.
    Channel { name: Name, scope: [u8; 32] },
    /// Into that stream.
    Say { event: Said },
    /// The client has opened this session over it; sealed.
    Opened { session: String },
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "camelCase")]
pub(super) enum Reply {
    Unknown,
    Taken,
    /// To a greeting: sessions that have ended.
    Greeted {
        ended: Vec<Name>,
    },
    /// The stream follows; where the servers are.
    Found {
        is_call: bool,
        last: Option<String>,
    },
    Event {
        event: Said,
        from: Option<(String, String)>,
        last: Option<String>,
        is_last: bool,
    },
    /// This server's stream has ended; nothing of it comes any more.
    Left {
        target: String,
    },
    /// The call has gone on, and its server knows it by this id; or what its server wants first, once more.
    Fetched {
        sent: String,
        again: Option<String>,
    },
    /// The client's stream is here, with its session, sealed, if it has one yet.
    Channel {
        session: Option<String>,
    },
}

/// Which of the calls that wait, and whose it has to be.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::mcp) struct Wanted {
    pub(in crate::mcp) handle: String,
    pub(in crate::mcp) scope: [u8; 32],
    pub(in crate::mcp) target: String,
    pub(in crate::mcp) method: String,
}

/// An event.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) kind: Option<String>,
    pub(super) retry: Option<u64>,
    pub(super) data: String,
}

/// One conversation. What is read stays here where a read is given up, so that nothing is lost.
pub(super) struct Flow<S> {
    stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Flow<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub(super) async fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(4 + text.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&text);
        self.stream.write_all(&frame).await
    }

    /// The next message; `None` at the end.
    pub(super) async fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some((head, rest)) = self.read.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                if length > FRAME_BYTES_MAX {
                    return Err(io::Error::other("a frame is longer than allowed"));
                }
                if let Some(text) = rest.get(..length) {
                    let message = serde_json::from_slice(text);
                    self.read.drain(..4 + length);
                    return Ok(Some(message?));
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }
}

pub(super) fn connect(address: &Address) -> io::Result<UnixStream> {
    let stream = StdStream::connect_addr(&SocketAddr::from_abstract_name(address)?)?;
    stream.set_nonblocking(true)?;
    let stream = UnixStream::from_std(stream)?;
    if is_ours(&stream) { Ok(stream) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

pub(super) fn bind(address: &Address) -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(address)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Whether the peer is of our user, or root's.
pub(super) fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::getuid().as_raw();
    stream.peer_cred().is_ok_and(|it| it.uid() == own || it.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_said_is_heard_whatever_the_pieces() {
        let (near, far) = tokio::io::duplex(3);
        let (mut near, mut far) = (Flow::new(near), Flow::new(far));
        let saying = async {
            near.say(&Ask::Ended { name: [7; 12] }).await.unwrap();
            near.say(&Reply::Taken).await.unwrap();
            drop(near);
        };
        let hearing = async {
            let first: Option<Ask> = far.hear().await.unwrap();
            assert!(matches!(first, Some(Ask::Ended { name }) if name == [7; 12]));
            assert!(matches!(far.hear::<Reply>().await, Ok(Some(Reply::Taken))));
            assert!(matches!(far.hear::<Reply>().await, Ok(None)));
        };
        tokio::join!(saying, hearing);
        let (mut sender, receiver) = tokio::io::duplex(8);
        sender.write_all(b"\xff\xff\xff\xff").await.unwrap();
        assert!(Flow::new(receiver).hear::<Reply>().await.is_err(), "too long");
    }
}
