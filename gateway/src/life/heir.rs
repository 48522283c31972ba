//! The successor's side of a hand-over.
//!
//! takeover → manifest, sockets, state, … given → (configure, bind, check) → ready → late state, yours → (accept) →
//! serving. Until `yours` nothing is accepted here, until `serving` the predecessor accepts: there is no moment
//! without anybody, and none in which a failure of the successor costs a connection.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::listen::handoff::message::{GENERATIONS_MAX, Message, STATES_MAX, Versions};
use crate::listen::handoff::{self, HandoffFault, Line, Offer, Received};

use super::generation::{Ear, View};
use super::transfer::Carried;

/// For the predecessor to hand everything over. Its own patience ends earlier or later; whichever is shorter holds.
const PATIENCE: Duration = Duration::from_secs(60);

/// For a predecessor that has gone away to be seen to have ended.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// Where the predecessor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Takeover {
    /// At the control socket; this process was started by somebody else.
    Control,
    /// At the other end of standard input; it has started this process.
    Stdin,
}

/// A predecessor that waits for us to be ready. Dropped before that, it carries on.
#[derive(Debug)]
pub struct Predecessor {
    line: Line,
    pub pid: u32,
    pub generation: u64,
    /// Binds that do not listen there either.
    pub failing: HashSet<String>,
    stderr: Option<OwnedFd>,
}

/// What it has left us.
#[derive(Debug, Default)]
pub struct Inheritance {
    pub offers: Vec<Offer>,
    pub states: Vec<Carried>,
    pub elders: Vec<(Ear, View)>,
}

impl Predecessor {
    /// The one that started us, at the other end of standard input. Standard input is nothing from then on.
    ///
    /// # Errors
    /// There is none, or it does not hand over.
    pub fn at_stdin() -> Result<(Self, Inheritance), HandoffFault> {
        use std::os::fd::AsFd;
        let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?).map_err(std::io::Error::from)?;
        Self::ask(UnixStream::from(socket))
    }

    /// The one that serves the control socket.
    ///
    /// # Errors
    /// There is none, or it does not hand over.
    pub fn at(path: &Path) -> Result<(Self, Inheritance), HandoffFault> {
        Self::ask(UnixStream::connect(path)?)
    }

    fn ask(stream: UnixStream) -> Result<(Self, Inheritance), HandoffFault> {
        let line = Line::new(stream, PATIENCE)?;
        line.say(&Message::Takeover {
            versions: Versions::OURS,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })?;
        let Received { message, .. } = line.receive()?;
        let Message::Manifest { versions, pid, generation, failing } = message else { return Err(unexpected(message)) };
        if let Some(reason) = versions.objection() {
            let _ = line.say(&Message::Failed { reason: reason.clone() });
            return Err(HandoffFault::Version(reason));
        }
        let failing = failing.into_iter().collect();
        let mut predecessor = Self { line, pid, generation, failing, stderr: None };
        let mut left = Inheritance::default();
        predecessor.take(&mut left)?;
        Ok((predecessor, left))
    }

    /// Receives until `given` or `yours`.
    fn take(&mut self, left: &mut Inheritance) -> Result<(), HandoffFault> {
        loop {
            let Received { message, payload, descriptors } = self.line.receive()?;
            match message {
                Message::Sockets { entries } => handoff::collect(&mut left.offers, entries, descriptors)?,
                Message::State { name, version } => {
                    if left.states.len() >= STATES_MAX {
                        return Err(HandoffFault::TooMany { what: "parts of state", most: STATES_MAX });
                    }
                    left.states.push(Carried { name, version, bytes: payload });
                }
                Message::Channels { views } => {
                    if left.elders.len() + views.len() > GENERATIONS_MAX {
                        return Err(HandoffFault::TooMany { what: "generations", most: GENERATIONS_MAX });
                    }
                    let view = |it| serde_json::from_value(it).unwrap_or_default();
                    left.elders.extend(descriptors.into_iter().map(Ear).zip(views.into_iter().map(view)));
                }
                Message::Stderr => self.stderr = descriptors.into_iter().next(),
                Message::Given | Message::Yours => return Ok(()),
                Message::Unknown => {}
                other => return Err(unexpected(other)),
            }
        }
    }

    /// We are built and have proved it. Returns what was kept back until now, once the predecessor gives way. If it
    /// has died instead, nobody else accepts: then we do.
    pub fn ready(&mut self, patience: Duration) -> Result<Inheritance, HandoffFault> {
        let mut late = Inheritance::default();
        self.line.prolong(patience);
        let heard = self.line.say(&Message::Ready).and_then(|()| self.take(&mut late));
        match heard {
            Err(HandoffFault::Gone | HandoffFault::Io(_)) if self.has_died() => {
                tracing::warn!(pid = self.pid, "the predecessor has died; taking over all the same");
            }
            heard => heard?,
        }
        // What we write from here on is no longer read by whoever started us.
        if let Some(stderr) = self.stderr.take()
            && let Err(error) = rustix::stdio::dup2_stderr(stderr)
        {
            tracing::warn!(%error, "the log stays where the predecessor reads it");
        }
        Ok(late)
    }

    /// We are not going to be ready.
    pub fn failed(self, reason: &str) {
        // Should it not hear that, it sees us end.
        let _ = self.line.say(&Message::Failed { reason: reason.to_owned() });
    }

    /// We accept.
    pub fn serving(self) {
        // A predecessor that does not hear it carries on for its patience, and then looks whether we live.
        if let Err(error) = self.line.say(&Message::Serving) {
            tracing::warn!(%error, "the predecessor did not hear that we accept");
        }
    }

    fn has_died(&self) -> bool {
        let until = Instant::now() + LAST_BREATH;
        while is_alive(self.pid) {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

/// Whether a process runs; one that has ended and is not waited for does not.
pub(super) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(") ").next().is_some_and(|it| it.starts_with(['Z', 'X']))
}

fn unexpected(message: Message) -> HandoffFault {
    match message {
        Message::Refused { reason, .. } => HandoffFault::Refused(format!("the predecessor refuses: {reason}")),
        Message::Failed { reason } => HandoffFault::Refused(reason),
        other => HandoffFault::Unexpected(other.word()),
    }
}
