//! The writer of access-log lines: many threads in, one thread out, nobody waits.
//!
//! Each producer appends to one of a few bounded buffers under a lock held for a copy; the writer
//! swaps buffers and writes whole batches. When a buffer is full the line is dropped and counted:
//! a blocked terminal or pipe costs log lines, never requests.
//!
//! Order is kept for each thread and not between threads. A connection may be served by several, so even its own lines
//! can come in another order, by as much as a batch waits. Each line has its time, to the microsecond: who needs the
//! order sorts by it. To keep it here would make every thread wait for every other.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::family::shard_of_thread;

/// Bytes waiting per buffer; beyond, lines are dropped.
const BUFFER_BYTES_MAX: usize = 1 << 20;
/// A buffer this full wakes the writer before its time.
const BUFFER_BYTES_URGENT: usize = BUFFER_BYTES_MAX / 4;
/// How long the writer collects before it writes.
const BATCH_WAIT: Duration = Duration::from_millis(10);

/// The producers' side.
#[derive(Debug)]
pub(super) struct Sink {
    shared: Arc<Shared>,
    writer: Thread,
}

#[derive(Debug)]
struct Shared {
    buffers: Vec<Mutex<Vec<u8>>>,
    pending: AtomicBool,
    closed: AtomicBool,
    dropped: AtomicU64,
    /// Rounds asked for and rounds done, for [`Sink::flush`].
    asked: AtomicU64,
    done: Mutex<u64>,
    rounds: Condvar,
}

impl Sink {
    /// Starts the writer thread.
    pub(super) fn start(buffers: usize, out: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            buffers: (0..buffers.max(1)).map(|_| Mutex::default()).collect(),
            pending: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            done: Mutex::new(0),
            rounds: Condvar::new(),
        });
        let theirs = shared.clone();
        let writer = thread::Builder::new().name("access-log".to_owned()).spawn(move || theirs.run(out))?;
        Ok(Self { shared, writer: writer.thread().clone() })
    }

    /// Hands over one line, newline included; drops it when the writer is too far behind.
    pub(super) fn push(&self, line: &[u8]) {
        let shared = &*self.shared;
        let Some(buffer) = shared.buffers.get(shard_of_thread() % shared.buffers.len()) else { return };
        let length = {
            let mut buffer = buffer.lock();
            if buffer.len() + line.len() > BUFFER_BYTES_MAX {
                drop(buffer);
                shared.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            buffer.extend_from_slice(line);
            buffer.len()
        };
        // A plain load first: the flag's cache line stays shared while the writer is awake.
        let asleep = !shared.pending.load(Ordering::Acquire) && !shared.pending.swap(true, Ordering::AcqRel);
        let urgent = length > BUFFER_BYTES_URGENT && length - line.len() <= BUFFER_BYTES_URGENT;
        if asleep || urgent {
            self.writer.unpark();
        }
    }

    /// Lines dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until what was pushed before is written, or until the limit. True when written.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let round = self.shared.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.writer.unpark();
        let mut done = self.shared.done.lock();
        while *done < round {
            if self.shared.rounds.wait_until(&mut done, deadline).timed_out() {
                return *done >= round;
            }
        }
        true
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.writer.unpark();
    }
}

impl Shared {
    fn run(&self, mut out: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        loop {
            let closed = self.closed.load(Ordering::Acquire);
            let asked = self.asked.load(Ordering::Acquire);
            self.pending.store(false, Ordering::Release);
            for buffer in &self.buffers {
                self.drain(buffer, &mut batch, &mut *out);
            }
            let mut done = self.done.lock();
            if *done < asked {
                *done = asked;
                self.rounds.notify_all();
            }
            drop(done);
            if closed {
                return;
            }
            self.rest();
        }
    }

    /// Sleeps until there is something to do, then a moment more to collect a batch.
    fn rest(&self) {
        let unasked = || *self.done.lock() >= self.asked.load(Ordering::Acquire);
        while !self.pending.load(Ordering::Acquire) && unasked() && !self.closed.load(Ordering::Acquire) {
            thread::park();
        }
        if unasked() && !self.closed.load(Ordering::Acquire) {
            thread::park_timeout(BATCH_WAIT);
        }
    }

    fn drain(&self, buffer: &Mutex<Vec<u8>>, batch: &mut Vec<u8>, out: &mut dyn Write) {
        batch.clear();
        std::mem::swap(&mut *buffer.lock(), batch);
        if batch.is_empty() {
            return;
        }
        // A closed standard output is no reason to stop the process, nor to report each line.
        if out.write_all(batch).and_then(|()| out.flush()).is_err() {
            let lines = batch.iter().filter(|byte| **byte == b'\n').count();
            self.dropped.fetch_add(u64::try_from(lines).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Output that tests can read back.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Kept(pub(in crate::telemetry) Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn lines_of_all_threads_are_written_whole() {
        let kept = Kept::default();
        let sink = Arc::new(Sink::start(3, Box::new(kept.clone())).unwrap());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| sink.push(b"hello world\n")));
            }
        });
        assert!(sink.flush(PATIENCE));
        let text = String::from_utf8(kept.0.lock().clone()).unwrap();
        assert_eq!(text.lines().count() as u64 + sink.dropped(), 4000);
        assert!(text.lines().all(|line| line == "hello world"), "lines must not interleave");
    }

    #[test]
    fn a_blocked_output_drops_lines_and_blocks_nobody() {
        struct Blocked(Arc<Mutex<()>>);
        impl Write for Blocked {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                drop(self.0.lock());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock();
        let sink = Sink::start(1, Box::new(Blocked(gate.clone()))).unwrap();
        let line = vec![b'\n'; 64 << 10];
        for _ in 0..100 {
            sink.push(&line);
        }
        assert!(sink.dropped() > 0, "more than the buffer holds must be dropped");
        assert!(!sink.flush(Duration::from_millis(1)), "a flush has a limit too");
        drop(held);
        assert!(sink.flush(PATIENCE));
    }

    #[test]
    fn a_closed_output_counts_as_dropped() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::start(1, Box::new(Closed)).unwrap();
        sink.push(b"a\n");
        assert!(sink.flush(PATIENCE));
        assert_eq!(sink.dropped(), 1);
    }
}
