//! The files a document references: read once per load, remembered so that a change is noticed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use filters::FileRef;
use foldhash::quality::FixedState;
use std::hash::BuildHasher;

/// Largest certificate, key or list read.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads files for one lowering and notes what was read.
pub struct Reader {
    /// Where relative paths are looked for when the working directory has no such file.
    base: PathBuf,
    /// What this load has read: path as resolved, digest of its content (0: could not be read).
    pub reads: BTreeMap<PathBuf, u64>,
}

impl Reader {
    pub fn new(base: PathBuf) -> Self {
        Self { base, reads: BTreeMap::new() }
    }

    /// Takes what was read since the last call.
    pub fn take(&mut self) -> BTreeMap<PathBuf, u64> {
        std::mem::take(&mut self.reads)
    }

    fn resolve(&self, path: &str) -> PathBuf {
        let direct = PathBuf::from(path);
        if direct.is_absolute() || direct.exists() {
            return direct;
        }
        let beside = self.base.join(path);
        if beside.exists() { beside } else { direct }
    }
}

impl filters::Files for Reader {
    fn read(&mut self, file: &FileRef) -> Result<Vec<u8>, String> {
        let path = match file {
            FileRef::Path(path) => self.resolve(path),
            FileRef::Credential { credential } => self::credential(credential, &|name| std::env::var(name).ok())?,
        };
        let read = read_bounded(&path);
        self.reads.insert(path, read.as_ref().map_or(0, |content| digest(content)));
        read
    }
}

/// Where the service manager has put a credential.
pub fn credential(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    // What systemd takes as a name, and never a way out of the directory.
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err("not the name of a credential: write it as in `LoadCredential=NAME:PATH`".to_owned());
    }
    let directory = env("CREDENTIALS_DIRECTORY").filter(|it| !it.is_empty());
    let directory = directory.ok_or(
        "there are no credentials: run as a systemd service with `LoadCredential=`, or name a file by its path",
    )?;
    Ok(Path::new(&directory).join(name))
}

/// Digest of content, never 0.
pub fn digest(content: &[u8]) -> u64 {
    FixedState::with_seed(17).hash_one(content).max(1)
}

/// The digest of a file as it is now; 0 where it cannot be read.
pub fn digest_of(path: &Path) -> u64 {
    read_bounded(path).map_or(0, |content| digest(&content))
}

/// The content of a regular file within the limit, or why not in one line.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(path).map_err(|error| plain(&error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("larger than {} MiB", FILE_BYTES_MAX >> 20));
    }
    std::fs::read(path).map_err(|error| plain(&error))
}

/// An I/O error without its number.
pub fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}
