//! What the process writes to stdout and stderr, line by line, as it writes it.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::wait::{PATIENCE, poll};

type Lines = Arc<Mutex<Vec<Line>>>;

/// The captured log of one process.
pub struct Log {
    lines: Lines,
    readers: Mutex<Vec<JoinHandle<()>>>,
}

/// A line, and when it was read.
#[derive(Clone, Debug)]
pub struct Line {
    pub text: String,
    pub at: Instant,
}

impl Log {
    pub(super) fn capture(child: &mut Child) -> Log {
        let lines = Lines::default();
        let stdout = child.stdout.take().expect("a pipe from the gateway's stdout");
        let stderr = child.stderr.take().expect("a pipe from the gateway's stderr");
        let readers = vec![reader(stdout, Arc::clone(&lines)), reader(stderr, Arc::clone(&lines))];
        Log { lines, readers: Mutex::new(readers) }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic under the lock").iter().map(|it| it.text.clone()).collect()
    }

    /// How many lines there are so far.
    pub fn count(&self) -> usize {
        self.lines.lock().expect("no panic under the lock").len()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits for a line, past ones included; panics with the log when none comes.
    pub async fn wait(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_line(0, PATIENCE, wanted).await.text
    }

    /// As [`Log::wait`], but passes over the first lines.
    pub async fn wait_after(&self, lines: usize, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_line(lines, PATIENCE, wanted).await.text
    }

    /// As [`Log::wait_after`], with a deadline for what takes long, and with the time.
    pub async fn wait_line(&self, lines: usize, deadline: Duration, wanted: impl Fn(&str) -> bool) -> Line {
        let look = || self.find(lines, &wanted);
        let found = poll(deadline, || std::future::ready(look())).await;
        found.unwrap_or_else(|| panic!("no such line in the log:\n{}", self.text()))
    }

    fn find(&self, after: usize, wanted: impl Fn(&str) -> bool) -> Option<Line> {
        let lines = self.lines.lock().expect("no panic under the lock");
        lines.iter().skip(after).find(|it| wanted(&it.text)).cloned()
    }

    /// The access lines so far, in the order of the requests' ends: threads write theirs for themselves.
    pub fn access_lines(&self) -> Vec<Value> {
        let mut lines: Vec<Value> =
            self.lines().iter().filter_map(|it| serde_json::from_str(it).ok()).filter_map(access).collect();
        lines.sort_by(|one, other| one["time"].as_str().cmp(&other["time"].as_str()));
        lines
    }

    #[track_caller]
    pub fn assert_no_panic(&self) {
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

fn reader(pipe: impl Read + Send + 'static, lines: Lines) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            let line = Line { text: String::from_utf8_lossy(&line).into_owned(), at: Instant::now() };
            lines.lock().expect("no panic under the lock").push(line);
        }
    })
}
