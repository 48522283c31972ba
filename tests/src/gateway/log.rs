//! What the process writes to stdout and stderr, line by line, as it writes it.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::wait::{PATIENCE, poll};

/// The captured log of one process.
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    readers: Mutex<Vec<JoinHandle<()>>>,
}

impl Log {
    pub(super) fn capture(child: &mut Child) -> Log {
        let lines = Arc::default();
        let stdout = child.stdout.take().expect("a pipe from the gateway's stdout");
        let stderr = child.stderr.take().expect("a pipe from the gateway's stderr");
        let readers = vec![reader(stdout, Arc::clone(&lines)), reader(stderr, Arc::clone(&lines))];
        Log { lines, readers: Mutex::new(readers) }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic under the lock").clone()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits for a line, past ones included; panics with the log when none comes.
    pub async fn wait(&self, wanted: impl Fn(&str) -> bool) -> String {
        let found = poll(PATIENCE, || async { self.lines().into_iter().find(|it| wanted(it)) }).await;
        found.unwrap_or_else(|| panic!("no such line in the log:\n{}", self.text()))
    }

    /// As [`Log::wait`], but passes over the first lines.
    pub async fn wait_after(&self, lines: usize, wanted: impl Fn(&str) -> bool) -> String {
        let found = poll(PATIENCE, || async { self.lines().into_iter().skip(lines).find(|it| wanted(it)) }).await;
        found.unwrap_or_else(|| panic!("no such line in the log:\n{}", self.text()))
    }

    /// The access lines so far.
    pub fn access_lines(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|it| serde_json::from_str(it).ok()).filter_map(access).collect()
    }

    #[track_caller]
    pub(super) fn assert_no_panic(&self) {
        let panicked = self.lines().into_iter().find(|it| it.contains("panicked"));
        assert!(panicked.is_none(), "the gateway panicked: {panicked:?}; its log:\n{}", self.text());
    }

    /// Waits for the rest after the process has ended.
    pub(super) fn finish(&self) {
        let readers = std::mem::take(&mut *self.readers.lock().expect("no panic under the lock"));
        for it in readers {
            it.join().expect("a reader of the log");
        }
    }
}

/// An access line has the scope `request`.
fn access(line: Value) -> Option<Value> {
    (line.get("scope").is_some_and(|it| it == "request")).then_some(line)
}

fn reader(pipe: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            lines.lock().expect("no panic under the lock").push(String::from_utf8_lossy(&line).into_owned());
        }
    })
}
