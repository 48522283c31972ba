//! What became of the traffic of one kind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::LAST;

/// Faults kept as text; all of them are counted.
const FAULTS_KEPT: usize = 20;

/// Counts of one kind.
pub struct Tally {
    kind: &'static str,
    answers: AtomicU64,
    opened: AtomicU64,
    ended: AtomicU64,
    unsent: AtomicU64,
    refused: AtomicU64,
    reset: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    repeated: AtomicU64,
    /// The era in which the present stream of each client ends; those that only ask have none.
    until: Vec<AtomicU64>,
    faults: Mutex<Vec<String>>,
}

impl Tally {
    pub(super) fn new(kind: &'static str, clients: usize) -> Tally {
        Tally {
            kind,
            answers: AtomicU64::default(),
            opened: AtomicU64::default(),
            ended: AtomicU64::default(),
            unsent: AtomicU64::default(),
            refused: AtomicU64::default(),
            reset: AtomicU64::default(),
            failed: AtomicU64::default(),
            lost: AtomicU64::default(),
            repeated: AtomicU64::default(),
            until: (0..clients).map(|_| AtomicU64::new(LAST)).collect(),
            faults: Mutex::default(),
        }
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    pub fn clients(&self) -> usize {
        self.until.len()
    }

    /// Answers to requests, echoes of messages, events.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    /// Connections or streams.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    /// Streams that came to their proper end.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Whatever did not go as it should: failures of any kind, lost and repeated messages.
    pub fn wrong(&self) -> u64 {
        [&self.failed, &self.lost, &self.repeated].iter().map(|it| it.load(Ordering::SeqCst)).sum()
    }

    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().expect("no panic under the lock").clone()
    }

    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn connected(&self, count: u64) {
        self.opened.fetch_add(count, Ordering::SeqCst);
    }

    pub(super) fn unsent(&self) {
        self.unsent.fetch_add(1, Ordering::SeqCst);
    }

    /// A numbered message arrived where another one was due; the next one due.
    pub(super) fn numbered(&self, due: u64, came: u64) -> u64 {
        let (count, by) = if came < due { (&self.repeated, 1) } else { (&self.lost, came - due) };
        count.fetch_add(by, Ordering::SeqCst);
        if came != due {
            self.note(format!("number {came} where {due} was due"));
        }
        self.answered();
        due.max(came + 1)
    }

    pub(super) fn begin(&self, index: usize, until: u64) {
        if let Some(it) = self.until.get(index) {
            it.store(until, Ordering::SeqCst);
        }
    }

    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether every stream that ends in this era has been followed by another.
    pub(super) fn is_renewed(&self, era: u64) -> bool {
        self.until.iter().all(|it| it.load(Ordering::SeqCst) > era)
    }

    pub(super) fn fault(&self, doing: &str, error: &anyhow::Error) {
        let text = format!("{error:#}");
        self.failed.fetch_add(1, Ordering::SeqCst);
        let lower = text.to_lowercase();
        if lower.contains("refused") {
            self.refused.fetch_add(1, Ordering::SeqCst);
        } else if lower.contains("reset") || lower.contains("broken pipe") {
            self.reset.fetch_add(1, Ordering::SeqCst);
        }
        self.note(format!("{doing}: {text}"));
    }

    fn note(&self, text: String) {
        let mut faults = self.faults.lock().expect("no panic under the lock");
        if faults.len() < FAULTS_KEPT {
            faults.push(text);
        }
    }
}

/// The books as a table, with the first faults below it.
pub fn table(tallies: &[Arc<Tally>]) -> String {
    let heads = ["clients", "answers", "opened", "ended", "unsent", "failed", "refused", "reset", "lost", "repeated"];
    let mut lines = vec![row("kind", heads.map(str::to_owned))];
    for it in tallies {
        let [answers, opened, ended, unsent, failed, refused, reset, lost, repeated] = [
            &it.answers,
            &it.opened,
            &it.ended,
            &it.unsent,
            &it.failed,
            &it.refused,
            &it.reset,
            &it.lost,
            &it.repeated,
        ]
        .map(|count| count.load(Ordering::SeqCst).to_string());
        let clients = it.clients().to_string();
        lines.push(row(it.kind, [clients, answers, opened, ended, unsent, failed, refused, reset, lost, repeated]));
    }
    let faults = tallies.iter().flat_map(|it| it.faults().into_iter().map(|fault| format!("{}: {fault}", it.kind)));
    lines.extend(faults);
    lines.join("\n")
}

fn row(kind: &str, cells: [String; 10]) -> String {
    let cells: String = cells.iter().map(|it| format!("{it:>10}")).collect();
    format!("{kind:<16}{cells}")
}
