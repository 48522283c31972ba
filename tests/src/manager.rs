//! A service manager as systemd is one to its services: it hears `NOTIFY_SOCKET`, knows who spoke, and keeps the
//! descriptors it is given.
//!
//! Messages, names and rules are those of `sd_notify(3)` and `sd_pid_notify_with_fds(3)`; a message systemd would
//! ignore is a failed test here. Passing sockets to a process is [`crate::gateway::Setup::passed`].

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::wait::{PATIENCE, poll};

/// How often the listening thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub pid: u32,
    /// Assignments in the order they were made.
    pub lines: Vec<String>,
}

impl Said {
    pub fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|it| it == line)
    }

    /// What comes after the equals sign of this variable.
    pub fn value(&self, variable: &str) -> Option<&str> {
        self.lines.iter().find_map(|it| it.strip_prefix(variable)?.strip_prefix('='))
    }
}

#[derive(Default)]
struct Heard {
    said: Vec<Said>,
    store: Vec<(String, OwnedFd)>,
}

/// The manager of one unit.
pub struct Manager {
    path: PathBuf,
    heard: Arc<Mutex<Heard>>,
    _dir: tempfile::TempDir,
    /// Dropped, it ends the thread.
    _alive: Arc<()>,
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

impl Manager {
    pub fn new() -> Manager {
        let dir = tempfile::Builder::new().prefix("agw-").tempdir().expect("a directory for the manager");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a notification socket");
        socket.set_read_timeout(Some(LOOK)).expect("a timeout");
        rustix::net::sockopt::set_socket_passcred(&socket, true).expect("credentials with each message");
        let heard = Arc::<Mutex<Heard>>::default();
        let alive = Arc::new(());
        let (theirs, wanted) = (Arc::clone(&heard), Arc::downgrade(&alive));
        std::thread::spawn(move || {
            while wanted.strong_count() > 0 {
                if let Some((said, descriptors)) = receive(&socket) {
                    theirs.lock().expect("no panic under the lock").take(said, descriptors);
                }
            }
        });
        Manager { path, heard, _dir: dir, _alive: alive }
    }

    /// What `NOTIFY_SOCKET` is to be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything said so far.
    pub fn said(&self) -> Vec<Said> {
        self.heard.lock().expect("no panic under the lock").said.clone()
    }

    /// Waits for a message, past ones included.
    pub async fn wait(&self, wanted: impl Fn(&Said) -> bool) -> Said {
        let found = poll(PATIENCE, || async { self.said().into_iter().find(|it| wanted(it)) }).await;
        found.unwrap_or_else(|| panic!("nobody said that, but:\n{:#?}", self.said()))
    }

    /// Waits until exactly these names are stored, in any order.
    pub async fn wait_stored(&self, wanted: &[&str]) {
        let mut wanted: Vec<_> = wanted.iter().map(|it| (*it).to_owned()).collect();
        wanted.sort();
        let same = poll(PATIENCE, || async { (self.stored() == wanted).then_some(()) }).await;
        assert!(same.is_some(), "stored are {:?} and not {wanted:?}", self.stored());
    }

    /// The names of what is stored, in order.
    pub fn stored(&self) -> Vec<String> {
        let heard = self.heard.lock().expect("no panic under the lock");
        let mut names: Vec<_> = heard.store.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// A copy of a stored descriptor, as the next process of the unit gets it.
    #[track_caller]
    pub fn copy(&self, name: &str) -> OwnedFd {
        let heard = self.heard.lock().expect("no panic under the lock");
        let found = heard.store.iter().find(|(it, _)| it == name);
        found.unwrap_or_else(|| panic!("nothing is stored as {name}")).1.try_clone().expect("a copy")
    }
}

impl Heard {
    fn take(&mut self, said: Said, descriptors: Vec<OwnedFd>) {
        let name = said.value("FDNAME").unwrap_or("stored").to_owned();
        if said.has("FDSTORE=1") {
            assert!(!descriptors.is_empty(), "FDSTORE=1 without a descriptor");
            self.store.extend(descriptors.into_iter().map(|it| (name.clone(), it)));
        }
        if said.has("FDSTOREREMOVE=1") {
            self.store.retain(|(it, _)| *it != name);
        }
        self.said.push(said);
    }
}

/// One message with what it brings; none when there is none for a while.
fn receive(socket: &UnixDatagram) -> Option<(Said, Vec<OwnedFd>)> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let got = rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    let (mut descriptors, mut pid) = (Vec::new(), None);
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(brought) => descriptors.extend(brought),
            RecvAncillaryMessage::ScmCredentials(of) => pid = Some(of.pid.as_raw_nonzero().get().unsigned_abs()),
            _ => {}
        }
    }
    let text = std::str::from_utf8(&bytes[..got.bytes]).expect("a message in UTF-8");
    let lines = text.lines().map(str::to_owned).collect();
    Some((Said { pid: pid.expect("credentials with each message"), lines }, descriptors))
}
