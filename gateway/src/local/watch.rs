//! Notices that a file has changed, however it was replaced: written in place, renamed over, or by
//! the symlink swap of a Kubernetes ConfigMap.
//!
//! Kernel events on the folders make it quick; a poll of every file makes it certain (network file
//! systems, a folder that was itself replaced). Whether the *content* changed is for the reader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Quiet time after the last event before the file is read: writers write in pieces.
const SETTLE: Duration = Duration::from_millis(25);
/// Longest wait for that quiet.
const SETTLE_MAX: Duration = Duration::from_millis(150);
/// Time between looks at every file.
const POLL: Duration = Duration::from_secs(2);

type Mark = Option<(SystemTime, u64, u64)>;

/// Watches a changing set of files.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
    folders: BTreeSet<PathBuf>,
    marks: BTreeMap<PathBuf, Mark>,
}

impl Watch {
    pub fn new() -> Self {
        // One place suffices: an event only says "look".
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = sender.try_send(());
            }
        });
        let watcher =
            watcher.inspect_err(|error| tracing::warn!(%error, "no file events from the kernel, polling only")).ok();
        Self { watcher, events, folders: BTreeSet::new(), marks: BTreeMap::new() }
    }

    /// The files to watch from now on.
    pub fn set(&mut self, files: &[PathBuf]) {
        let folders: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders_of(file)).collect();
        if let Some(watcher) = self.watcher.as_mut() {
            for gone in self.folders.difference(&folders) {
                let _ = watcher.unwatch(gone);
            }
            for new in folders.difference(&self.folders) {
                if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                    tracing::debug!(folder = %new.display(), %error, "folder is polled only");
                }
            }
        }
        self.folders = folders;
        self.marks = files.iter().map(|file| (file.clone(), mark(file))).collect();
    }

    /// Waits until some file may have changed and has settled.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                event = self.events.recv() => {
                    if event.is_none() {
                        tokio::time::sleep(POLL).await;
                    }
                    break;
                }
                () = tokio::time::sleep(POLL) => {
                    if self.marks.iter().any(|(file, held)| mark(file) != *held) {
                        break;
                    }
                }
            }
        }
        let until = tokio::time::Instant::now() + SETTLE_MAX;
        while tokio::time::Instant::now() < until {
            match tokio::time::timeout(SETTLE, self.events.recv()).await {
                Ok(Some(())) => {}
                _ => break,
            }
        }
        let files: Vec<PathBuf> = self.marks.keys().cloned().collect();
        self.set(&files);
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// The folder of a file, and those of every link on the way to what it is.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut at = file.to_path_buf();
    for _ in 0..8 {
        let parent = at.parent().map(Path::to_path_buf).unwrap_or_default();
        let parent = if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent };
        folders.push(parent.clone());
        match std::fs::read_link(&at) {
            Ok(target) => at = parent.join(target),
            Err(_) => break,
        }
    }
    if let Some(parent) = std::fs::canonicalize(file).ok().and_then(|real| real.parent().map(Path::to_path_buf)) {
        folders.push(parent);
    }
    folders
}

fn mark(file: &Path) -> Mark {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
