//! The predecessor's side of a hand-over: starting a successor, giving it everything, and giving way to it.
//!
//! Whatever goes wrong before the successor says that it accepts, this process carries on as if nothing had been
//! asked. What is in [`super::heir`] is the other side.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::generation::View;
use super::transfer::{Carried, Moment, Transfers};
use crate::listen::handoff::message::{Message, Versions};
use crate::listen::handoff::{BATCH, HandoffFault, Line, Offer};

/// For a successor that is ready to say that it accepts.
const HAND_SHAKE: Duration = Duration::from_secs(10);

/// For one that has closed the connection to end, so that its reason is known.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Of what a successor that fails has written.
const LINES_MAX: usize = 20;
const LINE_BYTES_MAX: usize = 1000;

/// Why a successor did not come about.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeFault {
    #[error("cannot start {}: {source}", path.display())]
    Start { path: PathBuf, source: std::io::Error },
    #[error("the successor said it cannot take over: {0}")]
    Declined(String),
    #[error("the successor was not ready within {}s (config.handoffTimeout)", limit.as_secs_f64())]
    Hung { limit: Duration },
    #[error("the successor ended ({status}) before it was ready{said}")]
    Ended { status: ExitStatus, said: Said },
    #[error("hand-over to the successor: {0}")]
    Handoff(#[from] HandoffFault),
    #[error("the upgrade was given up, for this process ends")]
    GivenUp,
}

/// The last lines of a successor, as the end of a sentence.
#[derive(Debug)]
pub struct Said(Vec<String>);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, line)| write!(f, "{}{line}", if at == 0 { ": " } else { "\n  " }))
    }
}

/// Everything that is handed over.
pub struct Estate {
    pub view: View,
    pub offers: Vec<Offer>,
    pub failing: Vec<String>,
    pub elders: Vec<(OwnedFd, View)>,
    pub transfers: Transfers,
}

/// What is to be started, and how long it may take.
pub struct Order {
    pub binary: PathBuf,
    pub limit: Duration,
}

/// A program that may be started as successor.
///
/// # Errors
/// What speaks against it, as the one who asked reads it.
pub fn suitable(path: &Path) -> Result<(), String> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(format!("{shown} is not an absolute path"));
    }
    let found = std::fs::metadata(path).map_err(|error| format!("cannot start {shown}: {}", plain(&error)))?;
    if !found.is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    let mode = found.permissions().mode();
    if mode & 0o002 != 0 {
        return Err(format!("{shown} may be written by everybody: chmod o-w it first"));
    }
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK)
        .map_err(|error| format!("{shown} is not executable: {}", plain(&error.into())))
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "no permission".to_owned(),
        _ => error.to_string(),
    }
}

/// A successor on its way, to be given up from elsewhere.
#[derive(Default)]
pub struct Underway {
    child: Mutex<Option<Child>>,
    given_up: AtomicBool,
}

impl Underway {
    /// Ends the successor, if there is one yet.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
        if let Some(child) = self.child.lock().as_mut() {
            // Fails only when it has ended.
            let _ = child.kill();
        }
    }
}

/// Starts a successor and hands over. Blocks. `started` hears the process id.
pub fn start(
    order: &Order,
    estate: Estate,
    underway: &Underway,
    started: impl FnOnce(u32),
) -> Result<u32, UpgradeFault> {
    let (ours, theirs) = UnixStream::pair().map_err(HandoffFault::from)?;
    let mut command = Command::new(&order.binary);
    let arguments = std::env::args_os().skip(1).filter(|it| !it.to_string_lossy().starts_with("--takeover"));
    // Standard input, because no other descriptor reaches a child without a moment in which any child could have it.
    command.args(arguments).arg("--takeover=stdin").stdin(OwnedFd::from(theirs)).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| UpgradeFault::Start { path: order.binary.clone(), source })?;
    // Its copy of their end would keep the connection open when they have gone.
    drop(command);
    let pid = child.id();
    let lines = Arc::<Mutex<VecDeque<String>>>::default();
    let reading = child.stderr.take().map(|stderr| read(stderr, lines.clone()));
    *underway.child.lock() = Some(child);
    started(pid);
    let handed = if underway.given_up.load(Ordering::Acquire) {
        Err(HandoffFault::Gone)
    } else {
        Line::new(ours, order.limit).and_then(|mut line| {
            let receiving = line.receive()?;
            opened(&line, receiving.message)?;
            hand_over(&mut line, estate, Some(std::io::stderr().as_fd()))
        })
    };
    let Some(child) = underway.child.lock().take() else { return Err(UpgradeFault::GivenUp) };
    match handed {
        Ok(()) => {
            reap(child);
            Ok(pid)
        }
        Err(fault) => Err(failed(child, fault, (order.limit, reading, lines), underway)),
    }
}

/// Hands over to a successor that was started by somebody else and has asked.
pub fn serve(line: &mut Line, asked: Message, estate: Estate) -> Result<(), UpgradeFault> {
    opened(line, asked)?;
    Ok(hand_over(line, estate, None)?)
}

/// Whether the first words are those of a successor we can talk to.
fn opened(line: &Line, message: Message) -> Result<(), HandoffFault> {
    let Message::Takeover { versions, .. } = message else { return Err(HandoffFault::Unexpected(message.word())) };
    let Some(reason) = versions.objection() else { return Ok(()) };
    let why = crate::listen::handoff::message::Refusal::Version;
    let _ = line.say(&Message::Refused { versions: Versions::OURS, why, reason: reason.clone() });
    Err(HandoffFault::Version(reason))
}

fn hand_over(line: &mut Line, estate: Estate, stderr: Option<BorrowedFd<'_>>) -> Result<(), HandoffFault> {
    let Estate { view, offers, failing, elders, transfers } = estate;
    line.say(&Message::Manifest { versions: Versions::OURS, pid: view.pid, generation: view.generation, failing })?;
    line.send_sockets(&offers)?;
    drop(offers);
    send_states(line, transfers.export(Moment::Early))?;
    for batch in elders.chunks(BATCH) {
        let views = batch.iter().map(|(_, view)| serde_json::to_value(view).unwrap_or_default()).collect();
        let ears: Vec<_> = batch.iter().map(|(ear, _)| ear.as_fd()).collect();
        line.send(&Message::Channels { views }, &[], &ears)?;
    }
    drop(elders);
    if let Some(stderr) = stderr {
        line.send(&Message::Stderr, &[], &[stderr])?;
    }
    line.say(&Message::Given)?;
    match line.receive()?.message {
        Message::Ready => {}
        Message::Failed { reason } => return Err(HandoffFault::Refused(reason)),
        other => return Err(HandoffFault::Unexpected(other.word())),
    }
    line.prolong(HAND_SHAKE);
    send_states(line, transfers.export(Moment::Late))?;
    line.say(&Message::Yours)?;
    match line.receive()?.message {
        Message::Serving => Ok(()),
        other => Err(HandoffFault::Unexpected(other.word())),
    }
}

fn send_states(line: &Line, carried: Vec<Carried>) -> Result<(), HandoffFault> {
    for Carried { name, version, bytes } in carried {
        line.send(&Message::State { name, version }, &bytes, &[])?;
    }
    Ok(())
}

type Watched = (Duration, Option<std::thread::JoinHandle<()>>, Arc<Mutex<VecDeque<String>>>);

/// Ends what is left of a successor that failed, and finds out why.
fn failed(mut child: Child, fault: HandoffFault, watched: Watched, underway: &Underway) -> UpgradeFault {
    let (limit, reading, lines) = watched;
    let ended = match fault {
        HandoffFault::Gone => wait(&mut child, LAST_WORDS),
        _ => child.try_wait().ok().flatten(),
    };
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    if let Some(reading) = reading.filter(|_| ended.is_some()) {
        // Its children may hold the pipe open: what has been read so far must do then.
        let until = Instant::now() + LAST_WORDS;
        while !reading.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    if underway.given_up.load(Ordering::Acquire) {
        return UpgradeFault::GivenUp;
    }
    match (fault, ended) {
        (HandoffFault::Late, None) => UpgradeFault::Hung { limit },
        (HandoffFault::Refused(reason), _) => UpgradeFault::Declined(reason),
        (HandoffFault::Gone, Some(status)) => {
            let said = Said(lines.lock().iter().cloned().collect());
            UpgradeFault::Ended { status, said }
        }
        (fault, _) => UpgradeFault::Handoff(fault),
    }
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            _ => return None,
        }
    }
}

/// Passes on what a successor writes, and keeps the end of it.
fn read(from: impl Read + Send + 'static, lines: Arc<Mutex<VecDeque<String>>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        // An endless line is cut into pieces.
        while (&mut from).take(64 << 10).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            // Nobody is left to hear of a closed standard error.
            let _ = std::io::stderr().write_all(&line);
            let text = String::from_utf8_lossy(&line);
            let text: String = text.trim_end().chars().take(LINE_BYTES_MAX).collect();
            if !text.is_empty() {
                let mut lines = lines.lock();
                if lines.len() >= LINES_MAX {
                    lines.pop_front();
                }
                lines.push_back(text);
            }
            line.clear();
        }
    })
}

/// Waits for a successor that has taken over, so that it leaves no zombie should it end before us.
fn reap(mut child: Child) {
    std::thread::spawn(move || match child.wait() {
        // Under a service manager the child only starts the successor, for the manager to adopt it.
        Ok(status) if status.success() => {}
        Ok(status) => tracing::warn!(%status, "the successor has ended before this process has"),
        Err(error) => tracing::warn!(%error, "nobody waits for the successor"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_of_somebody_who_is_trusted_is_started() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let check = |mode: u32| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            suitable(&path)
        };
        assert!(suitable(&path).unwrap_err().contains("no such file"));
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert_eq!(check(0o755), Ok(()));
        assert!(check(0o644).unwrap_err().contains("not executable"));
        assert!(check(0o757).unwrap_err().contains("chmod o-w"));
        assert!(suitable(dir.path()).unwrap_err().contains("not a regular file"));
        assert!(suitable(Path::new("bin/agentgateway")).unwrap_err().contains("absolute"));
    }
}
