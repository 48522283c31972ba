//! What the service manager is told: the messages of `sd_notify(3)`.
//!
//! Without `NOTIFY_SOCKET` nothing is sent and every call is free. A message that does not arrive is logged and
//! otherwise ignored: a service must not fail because nobody listens. Descriptors travel in the same messages
//! ([`Supervisor::store`]) and come back at the next start through [`super::activation`].

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// For the manager to make room in its queue. It is asked from runtimes that also do other things.
const PATIENCE: Duration = Duration::from_secs(2);

/// A name of a stored descriptor is at most this long.
const NAME_BYTES_MAX: usize = 255;

/// Room for the one descriptor of a message.
const SPACE_BYTES: usize = rustix::cmsg_space!(ScmRights(1));

/// The service manager, where there is one.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotifyFault {
    #[error("NOTIFY_SOCKET `{0}` is neither an absolute path nor an abstract name: unset it")]
    Address(String),
    #[error("service manager: {0}")]
    Io(#[from] io::Error),
    #[error("the descriptor's name has {0} bytes or a character that names may not have")]
    Name(usize),
}

impl Supervisor {
    /// From `NOTIFY_SOCKET` and `WATCHDOG_USEC`. The main process of the unit is the one in `WATCHDOG_PID`, or one
    /// that `succeeds` it: the successor inherits its predecessor's environment and its duties.
    pub fn from_env(succeeds: bool) -> Self {
        let env = |name: &str| std::env::var(name).ok().filter(|it| !it.is_empty());
        let socket = env("NOTIFY_SOCKET").and_then(|text| match address(&text) {
            Ok(address) => Some(address),
            Err(error) => {
                tracing::warn!(%error, "the service manager is not told anything");
                None
            }
        });
        let ours = succeeds || env("WATCHDOG_PID").is_none_or(|it| it == std::process::id().to_string());
        let period = env("WATCHDOG_USEC").and_then(|it| it.parse().ok()).filter(|it| *it > 0);
        let watchdog = period.filter(|_| ours && socket.is_some()).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// A manager that listens at this path or abstract name (`@name`).
    pub fn at(text: &str) -> Result<Self, NotifyFault> {
        Ok(Self { socket: Some(address(text)?), watchdog: None })
    }

    /// Whether anybody listens.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// How soon the manager gives up on a process that does not say [`Self::alive`].
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// This process serves, and it is the unit's main process: the one that was started, or one that took over.
    pub fn ready(&self) {
        self.tell(&format!("MAINPID={}\nREADY=1", std::process::id()));
    }

    /// This process becomes the unit's main process, and the manager's child. To be called while the predecessor
    /// lives: a unit whose main process ends before the next one is known has ended.
    pub async fn take_over(&self) {
        if self.is_there() {
            super::adoption::leave().await;
            self.ready();
        }
    }

    /// A hand-over or a reload begins. [`Self::ready`] ends it, whether it went well or not.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", seconds * 1_000_000 + nanos / 1_000));
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.tell(&format!("STATUS={}", text.replace('\n', " ")));
    }

    /// The unit's main process is another one now. Only the present main process need be believed.
    pub fn main_pid(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    /// What goes on now takes at least this much longer.
    pub fn extend(&self, time: Duration) {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()));
    }

    /// Not stuck.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Keeps a descriptor over the end of this process. Blocking, and true when it was sent.
    pub fn store(&self, name: &str, descriptor: BorrowedFd<'_>) -> bool {
        self.send_named("FDSTORE=1", name, Some(descriptor))
    }

    /// Gives up a stored descriptor. Blocking.
    pub fn forget(&self, name: &str) -> bool {
        self.send_named("FDSTOREREMOVE=1", name, None)
    }

    fn send_named(&self, message: &str, name: &str, descriptor: Option<BorrowedFd<'_>>) -> bool {
        let sent = match is_name(name) {
            true => self.send(&format!("{message}\nFDNAME={name}"), descriptor),
            false => Err(NotifyFault::Name(name.len())),
        };
        if let Err(error) = &sent {
            tracing::warn!(%error, name, message, "the service manager was not told");
        }
        sent.is_ok()
    }

    fn tell(&self, message: &str) {
        if let Err(error) = self.send(message, None) {
            tracing::warn!(%error, message, "the service manager was not told");
        }
    }

    fn send(&self, message: &str, descriptor: Option<BorrowedFd<'_>>) -> Result<(), NotifyFault> {
        let Some(address) = &self.socket else { return Ok(()) };
        // Connected anew each time: the manager may have been started again since.
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect_addr(address)?;
        let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<_> = descriptor.into_iter().collect();
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let text = [IoSlice::new(message.as_bytes())];
        rustix::net::sendmsg(socket.as_fd(), &text, &mut control, SendFlags::NOSIGNAL).map_err(io::Error::from)?;
        Ok(())
    }
}

fn address(text: &str) -> Result<SocketAddr, NotifyFault> {
    match text.as_bytes() {
        [b'/', ..] => Ok(SocketAddr::from_pathname(text)?),
        [b'@', name @ ..] => Ok(SocketAddr::from_abstract_name(name)?),
        _ => Err(NotifyFault::Address(text.to_owned())),
    }
}

/// What the manager accepts as the name of a descriptor.
fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|it| (b' '..0x7f).contains(&it) && it != b':')
}

#[cfg(test)]
#[path = "notify_tests.rs"]
mod tests;
