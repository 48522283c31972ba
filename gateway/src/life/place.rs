//! Where the control socket is, and that nobody else's is taken for it.
//!
//! In this order: `config.handoffSocket` (`HANDOFF_SOCKET`); `control.sock` in systemd's `$RUNTIME_DIRECTORY`; a file
//! in the user's own run directory (`$XDG_RUNTIME_DIR/agentgateway`, for root `/run/agentgateway`, else
//! `agentgateway-UID` in the directory for temporary files), named by the configuration, so that two gateways of one
//! user with two configurations have two sockets. Of two with the same configuration the first has it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::local::source::Input;
use crate::random;
use crate::statics::Statics;

#[derive(Debug, thiserror::Error)]
pub enum PlaceFault {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not a directory of user {uid} or root: name another one with config.handoffSocket", path.display())]
    NotOurs { path: PathBuf, uid: u32 },
    #[error("others may write in {}: make it private (chmod go-w) or name another one with config.handoffSocket", path.display())]
    NotPrivate { path: PathBuf },
    #[error("{} is there and is not a socket: move it away", path.display())]
    NotSocket { path: PathBuf },
    #[error("{} is a socket of user {uid}: move it away", path.display())]
    Foreign { path: PathBuf, uid: u32 },
    #[error("another gateway, process {pid}, serves {}: name another one with config.handoffSocket", path.display())]
    Taken { path: PathBuf, pid: u32 },
}

/// What of the surroundings decides.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where the gateway of this configuration has its control socket.
pub fn path(statics: &Statics, input: &Input) -> PathBuf {
    statics.handoff.clone().unwrap_or_else(|| fallback(input, &|name| std::env::var(name).ok()))
}

/// Where one looks for it from outside, the likeliest first.
pub fn candidates(named: Option<PathBuf>, input: &Input) -> Vec<PathBuf> {
    if let Some(named) = named {
        return vec![named];
    }
    let likely = fallback(input, &|name| std::env::var(name).ok());
    // Where systemd has it, for whoever asks from a shell.
    let mut all = vec![likely, PathBuf::from("/run/agentgateway/control.sock")];
    all.dedup();
    all
}

fn fallback(input: &Input, env: Env<'_>) -> PathBuf {
    let said = |name| env(name).filter(|it: &String| it.starts_with('/'));
    // systemd separates several by colons.
    if let Some(directory) = said("RUNTIME_DIRECTORY") {
        return Path::new(directory.split(':').next().unwrap_or_default()).join("control.sock");
    }
    let uid = rustix::process::getuid();
    let directory = match said("XDG_RUNTIME_DIR") {
        Some(own) => PathBuf::from(own).join("agentgateway"),
        None if uid.is_root() => PathBuf::from("/run/agentgateway"),
        None => std::env::temp_dir().join(format!("agentgateway-{}", uid.as_raw())),
    };
    directory.join(format!("{:016x}.sock", digest(input)))
}

/// Names a configuration: a file by where it is, a text by what it says.
fn digest(input: &Input) -> u64 {
    match input {
        Input::File(path) => {
            let path = path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.clone());
            random::affinity_key(path.as_os_str().as_encoded_bytes())
        }
        Input::Text { text, .. } => random::affinity_key(text.as_bytes()),
    }
}

/// The socket file. Removed on drop, unless a successor has put its own there.
#[derive(Debug)]
pub struct Post {
    listener: tokio::net::UnixListener,
    path: PathBuf,
    inode: Option<u64>,
}

impl Post {
    /// Binds under another name and moves over what may be replaced at the path: the socket of a `predecessor`, or
    /// one that nobody serves any more. Needs a runtime around it.
    ///
    /// # Errors
    /// What is at the path is somebody else's, or its directory is not private.
    pub fn open(path: &Path, predecessor: Option<u32>) -> Result<Self, PlaceFault> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        private(directory)?;
        replaceable(path, predecessor)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PlaceFault::Io { path, source }
        };
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        match std::fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&aside)(error)),
            _ => {}
        }
        let opened = UnixListener::bind(&aside).and_then(|listener| {
            // Under the final name it is never open to others.
            std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            std::fs::rename(&aside, path)?;
            Ok(listener)
        });
        let listener = opened.inspect_err(|_| drop(std::fs::remove_file(&aside))).map_err(failed(path))?;
        Ok(Self { listener, path: path.to_owned(), inode: inode(path) })
    }

    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await?.0.into_std()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|it| it.ino())
}

impl Drop for Post {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the directory if need be; nobody else may write in it.
pub(crate) fn private(path: &Path) -> Result<(), PlaceFault> {
    let failed = |source| PlaceFault::Io { path: path.to_owned(), source };
    if !path.exists() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    }
    let found = std::fs::metadata(path).map_err(failed)?;
    let uid = rustix::process::getuid().as_raw();
    if !found.is_dir() || (found.uid() != uid && found.uid() != 0) {
        return Err(PlaceFault::NotOurs { path: path.to_owned(), uid });
    }
    if found.permissions().mode() & 0o022 != 0 {
        return Err(PlaceFault::NotPrivate { path: path.to_owned() });
    }
    Ok(())
}

fn replaceable(path: &Path, predecessor: Option<u32>) -> Result<(), PlaceFault> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let owned = || path.to_owned();
    if !found.file_type().is_socket() {
        return Err(PlaceFault::NotSocket { path: owned() });
    }
    let uid = rustix::process::getuid().as_raw();
    if found.uid() != uid && found.uid() != 0 {
        return Err(PlaceFault::Foreign { path: owned(), uid: found.uid() });
    }
    let Ok(stream) = UnixStream::connect(path) else {
        tracing::info!(path = %path.display(), "replacing a control socket that nobody serves");
        return Ok(());
    };
    // That of the process which listened, even if another has the socket now.
    let pid = rustix::net::sockopt::socket_peercred(&stream).ok();
    let pid = pid.and_then(|it| u32::try_from(it.pid.as_raw_nonzero().get()).ok()).unwrap_or_default();
    match predecessor == Some(pid) {
        true => Ok(()),
        false => Err(PlaceFault::Taken { path: owned(), pid }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_ours_or_dead_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        let alive = Post::open(&path, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let taken = Post::open(&path, Some(std::process::id() + 1)).unwrap_err();
        assert!(taken.to_string().contains(&format!("process {}", std::process::id())), "{taken}");
        let successor = Post::open(&path, Some(std::process::id())).unwrap();
        drop(alive);
        assert!(path.exists(), "the file is the successor's now");
        drop(successor);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Post::open(&path, None), Err(PlaceFault::NotSocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[tokio::test]
    async fn a_directory_that_others_write_in_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let fault = Post::open(&dir.path().join("control.sock"), None).unwrap_err();
        assert!(matches!(fault, PlaceFault::NotPrivate { .. }), "{fault}");
        let made = dir.path().join("a/b");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let _post = Post::open(&made.join("control.sock"), None).unwrap();
        assert_eq!(std::fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn two_configurations_have_two_places_and_one_has_one() {
        let env = |name: &str| (name == "XDG_RUNTIME_DIR").then(|| "/run/user/7".to_owned());
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a.yaml", "b.yaml"].map(|it| dir.path().join(it));
        std::fs::write(&a, "").unwrap();
        std::os::unix::fs::symlink(&a, &b).unwrap();
        let at = |path: &Path| fallback(&Input::File(path.to_owned()), &env);
        assert_eq!(at(&a), at(&b), "the same file by another name");
        assert!(at(&a).starts_with("/run/user/7/agentgateway"));
        assert_ne!(at(&a), at(&dir.path().join("c.yaml")));
        let systemd = |name: &str| (name == "RUNTIME_DIRECTORY").then(|| "/run/x:/run/y".to_owned());
        assert_eq!(fallback(&Input::File(a), &systemd), Path::new("/run/x/control.sock"));
    }
}
