//! Above the generations, where the first process must stay: PID 1 of a container, or `--supervise` under a
//! supervisor that knows nothing of successors.
//!
//! It starts the gateway as its child, forwards signals to whichever generation serves, reaps every orphan (the
//! predecessor of a successor ends, and its children become ours), and ends with the last generation, as the one that
//! served did. It serves nothing and reads no configuration.
//!
//! A generation that comes into office says so in a datagram; the kernel says who sent it.

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process};
use tokio::io::Interest;
use tokio::signal::unix::{SignalKind, signal};

use super::heir::is_alive;

/// Names the socket of whoever stands above.
const VARIABLE: &str = "AGENTGATEWAY_INIT";

/// What a generation says.
const IN_OFFICE: &[u8] = b"IN OFFICE";

/// How often those that others reap are looked at.
const LOOK: Duration = Duration::from_millis(500);

const SPACE_BYTES: usize = rustix::cmsg_space!(ScmCredentials(1));

/// Whether this process is to stand above the gateway, and not be one.
pub fn is_needed(asked: bool) -> bool {
    asked && std::env::var_os(VARIABLE).is_none() || rustix::process::getpid() == Pid::INIT
}

/// Tells whoever stands above, if anybody does, that this process serves.
pub(super) fn announce() {
    let Ok(name) = std::env::var(VARIABLE) else { return };
    let told = SocketAddr::from_abstract_name(name).and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(IN_OFFICE, &address)
    });
    if let Err(error) = told {
        tracing::warn!(%error, "whoever supervises this process does not know that it serves");
    }
}

/// Stands above until the last generation has ended.
///
/// # Errors
/// The child cannot be started, or signals cannot be caught.
pub fn stand() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let name = format!("agentgateway-init-{}-{:016x}", std::process::id(), crate::random::next());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    rustix::net::sockopt::set_socket_passcred(&socket, true)?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixDatagram::from_std(socket)?;
    let mut signals = Vec::new();
    for (kind, number) in FORWARDED {
        signals.push((signal(kind())?, number));
    }
    let mut children = signal(SignalKind::child())?;
    let arguments = std::env::args_os().skip(1).filter(|it| it != "--supervise");
    let child = Command::new(super::program()).args(arguments).env(VARIABLE, &name).spawn()?;
    let mut watch = Watch { main: child.id(), known: BTreeSet::from([child.id()]), ending: false, code: None };
    runtime.block_on(async {
        while !watch.is_over() {
            tokio::select! {
                number = next(&mut signals) => watch.forward(number),
                Some(pid) = heard(&socket) => watch.crown(pid),
                _ = children.recv() => {
                    let ended = reap();
                    watch.settle(ended, spoken(&socket));
                }
                () = tokio::time::sleep(LOOK) => {
                    let ended = watch.look();
                    watch.settle(ended, spoken(&socket));
                }
            }
        }
    });
    Ok(watch.verdict())
}

type Kind = fn() -> SignalKind;

const FORWARDED: [(Kind, Signal); 6] = [
    (SignalKind::terminate, Signal::TERM),
    (SignalKind::interrupt, Signal::INT),
    (SignalKind::hangup, Signal::HUP),
    (SignalKind::quit, Signal::QUIT),
    (SignalKind::user_defined1, Signal::USR1),
    (SignalKind::user_defined2, Signal::USR2),
];

async fn next(signals: &mut [(tokio::signal::unix::Signal, Signal)]) -> Signal {
    let waiting = signals.iter_mut().map(|(signal, number)| {
        Box::pin(async {
            signal.recv().await;
            *number
        })
    });
    futures::future::select_all(waiting).await.0
}

/// Waits for a process that says it serves; none for anything else.
async fn heard(socket: &tokio::net::UnixDatagram) -> Option<u32> {
    socket.readable().await.ok()?;
    socket.try_io(Interest::READABLE, || receive(socket)).ok()?
}

/// Those that have said it since anybody listened.
fn spoken(socket: &tokio::net::UnixDatagram) -> Vec<u32> {
    std::iter::from_fn(|| receive(socket).ok()).flatten().collect()
}

/// One datagram, if there is one.
fn receive(socket: &tokio::net::UnixDatagram) -> io::Result<Option<u32>> {
    let mut text = [0; 32];
    let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::DONTWAIT)?;
    let sender = control.drain().find_map(|it| match it {
        RecvAncillaryMessage::ScmCredentials(it) => Some(it),
        _ => None,
    });
    let Some(sender) = sender else { return Ok(None) };
    let trusted = sender.uid.is_root() || sender.uid == rustix::process::getuid();
    let said = text.get(..got.bytes) == Some(IN_OFFICE);
    Ok(u32::try_from(sender.pid.as_raw_nonzero().get()).ok().filter(|_| trusted && said))
}

/// The generations, as far as they matter here.
struct Watch {
    /// The one that serves, or did last.
    main: u32,
    /// All that have served and may still drain.
    known: BTreeSet<u32>,
    /// The end was asked for, or the one that serves has ended.
    ending: bool,
    /// How the one that serves ended.
    code: Option<u8>,
}

impl Watch {
    fn crown(&mut self, pid: u32) {
        self.main = pid;
        self.known.insert(pid);
    }

    fn forward(&mut self, number: Signal) {
        if number == Signal::TERM || number == Signal::INT {
            self.ending = true;
            self.known.iter().for_each(|pid| send(*pid, number));
        } else {
            send(self.main, number);
        }
    }

    /// Those that have ended. A generation whose predecessor still lives is reaped by that one.
    fn look(&self) -> Vec<(u32, Option<u8>)> {
        let gone: Vec<_> = self.known.iter().copied().filter(|pid| !is_alive(*pid)).collect();
        let mut ended = reap();
        ended.extend(gone.into_iter().map(|pid| (pid, None)));
        ended
    }

    /// Who has ended, and who has `spoken` by then. A predecessor ends after its successor has spoken, so that what was
    /// said is to be asked for after it was seen who has ended, and counts before that.
    fn settle(&mut self, ended: Vec<(u32, Option<u8>)>, spoken: Vec<u32>) {
        spoken.into_iter().for_each(|pid| self.crown(pid));
        ended.into_iter().for_each(|(pid, code)| self.ended(pid, code));
    }

    fn ended(&mut self, pid: u32, code: Option<u8>) {
        if !self.known.remove(&pid) || pid != self.main {
            return;
        }
        // Nobody serves any more: what drains ends in order, and whoever started us starts anew.
        let asked = std::mem::replace(&mut self.ending, true);
        self.code = Some(code.unwrap_or(u8::from(!asked)));
        self.known.iter().for_each(|pid| send(*pid, Signal::TERM));
    }

    fn is_over(&self) -> bool {
        self.known.is_empty()
    }

    fn verdict(&self) -> ExitCode {
        ExitCode::from(self.code.unwrap_or_default())
    }
}

/// Takes leave of every child that has ended, ours or an orphan's.
fn reap() -> Vec<(u32, Option<u8>)> {
    let mut ended = Vec::new();
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        let pid = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or_default();
        ended.push((pid, Some(code(status))));
    }
    ended
}

fn send(pid: u32, number: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Fails only when it has ended.
        let _ = kill_process(pid, number);
    }
}

/// As a shell tells it: 128 and the signal for one that was killed.
fn code(status: WaitStatus) -> u8 {
    let killed = status.terminating_signal().map(|it| it.saturating_add(128));
    let number = status.exit_status().or(killed).unwrap_or(1);
    u8::try_from(number).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(main: u32, known: &[u32]) -> Watch {
        Watch { main, known: known.iter().copied().collect(), ending: false, code: None }
    }

    // Numbers above the kernel's highest: nobody is hit.
    const OLD: u32 = 0x3fff_fff0;
    const NEW: u32 = 0x3fff_fff1;

    #[test]
    fn the_end_of_a_predecessor_is_not_the_end() {
        let mut watch = watch(OLD, &[OLD]);
        watch.crown(NEW);
        watch.ended(OLD, Some(0));
        assert!(!watch.is_over());
        watch.ended(NEW, Some(7));
        assert!(watch.is_over());
        assert_eq!(watch.code, Some(7));
    }

    #[test]
    fn what_a_successor_has_said_counts_before_the_end_of_its_predecessor() {
        let mut watch = watch(OLD, &[OLD]);
        watch.settle(vec![(OLD, None)], vec![NEW]);
        assert!(!watch.is_over() && !watch.ending, "whichever of the two was seen first");
        assert_eq!(watch.main, NEW);
    }

    #[test]
    fn the_end_of_the_one_that_serves_ends_the_others_and_tells_how() {
        let mut watch = watch(OLD, &[OLD]);
        watch.crown(NEW);
        watch.ended(NEW, Some(139));
        assert!(!watch.is_over() && watch.ending, "a predecessor still drains");
        watch.ended(OLD, Some(0));
        assert_eq!((watch.is_over(), watch.code), (true, Some(139)));
    }

    #[test]
    fn one_that_somebody_else_reaped_counts_as_failed_unless_its_end_was_asked_for() {
        for (asked, expected) in [(false, 1), (true, 0)] {
            let mut watch = watch(NEW, &[NEW]);
            watch.ending = asked;
            watch.ended(NEW, None);
            assert_eq!(watch.code, Some(expected));
        }
    }
}
