//! What a backend counts and remembers, and what it was told to do next.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use socket2::Socket;
use tokio::sync::Notify;

use crate::http::query_pairs;
use crate::io::TlsFacts;
use crate::wait::eventually;

/// How many requests a backend remembers; older ones are forgotten.
const SEEN_MAX: usize = 4096;

/// Counters and memory of one backend.
#[derive(Default)]
pub struct Stats {
    requests: AtomicU64,
    in_flight: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    handshakes_failed: AtomicU64,
    seen: Mutex<VecDeque<Asked>>,
    script: Mutex<VecDeque<Failure>>,
    not_serving: AtomicBool,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
    pub connection: Connection,
    /// `false` when the peer went away in the middle of the body.
    pub complete: bool,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }

    pub fn query(&self, name: &str) -> Option<String> {
        query_pairs(self.uri.query().unwrap_or_default()).into_iter().find(|(key, _)| key == name).map(|it| it.1)
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the request is not JSON ({error}): {}", String::from_utf8_lossy(&self.body)),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One scripted failure, used up by one request.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    Status(StatusCode),
    /// RST before any answer.
    Reset,
    /// FIN before any answer.
    Close,
    /// No answer, ever.
    Stall,
}

impl Stats {
    /// Requests whose head arrived, scripted failures included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Requests whose answer is not completely written, and whose client has not gone.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::SeqCst)
    }

    /// TLS handshakes that came to nothing.
    pub fn handshakes_failed(&self) -> u64 {
        self.handshakes_failed.load(Ordering::SeqCst)
    }

    /// Requests read so far, oldest first.
    pub fn seen(&self) -> Vec<Asked> {
        lock(&self.seen).iter().cloned().collect()
    }

    /// The newest request read.
    #[track_caller]
    pub fn last(&self) -> Asked {
        lock(&self.seen).back().cloned().expect("the backend was asked nothing")
    }

    /// Makes the next `n` requests fail with a status.
    pub fn fail_next(&self, n: usize, status: u16) {
        let status = StatusCode::from_u16(status).expect("a status between 100 and 999");
        self.script(std::iter::repeat_n(Failure::Status(status), n));
    }

    /// Appends failures to those still to come.
    pub fn script(&self, failures: impl IntoIterator<Item = Failure>) {
        lock(&self.script).extend(failures);
    }

    /// What `grpc.health.v1.Health/Check` answers; serving at first.
    pub fn set_serving(&self, serving: bool) {
        self.not_serving.store(!serving, Ordering::SeqCst);
    }

    /// Waits until no request is in flight: answers are written, and abandoned ones were noticed.
    #[track_caller]
    pub fn idle(&self, deadline: Duration) -> impl Future<Output = ()> {
        eventually(deadline, || async { self.in_flight() == 0 })
    }

    pub(super) fn is_serving(&self) -> bool {
        !self.not_serving.load(Ordering::SeqCst)
    }

    pub(super) fn remember(&self, asked: Asked) {
        let mut seen = lock(&self.seen);
        if seen.len() == SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back(asked);
    }

    pub(super) fn request(self: &Arc<Stats>) -> (InFlight, Option<Failure>) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        (InFlight { stats: Arc::clone(self) }, lock(&self.script).pop_front())
    }

    pub(super) fn connection(
        self: &Arc<Stats>,
        peer: Option<SocketAddr>,
        handle: Option<Socket>,
    ) -> (Connection, Open) {
        let id = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
        self.open.fetch_add(1, Ordering::SeqCst);
        let cut = Arc::new(Cut { handle: Mutex::new(handle), order: Notify::new() });
        let open = Open { stats: Arc::clone(self), cut: Arc::clone(&cut) };
        (Connection { id, peer, tls: None, written: Arc::default(), cut }, open)
    }

    pub(super) fn handshake_failed(&self, error: &anyhow::Error) {
        self.handshakes_failed.fetch_add(1, Ordering::SeqCst);
        eprintln!("backend: {error:#}");
    }
}

/// The connection a request came over.
#[derive(Clone)]
pub struct Connection {
    /// Counted from 1.
    pub id: u64,
    pub peer: Option<SocketAddr>,
    pub tls: Option<TlsFacts>,
    pub(super) written: Arc<AtomicU64>,
    cut: Arc<Cut>,
}

struct Cut {
    /// A second handle of the socket, to make its end a reset.
    handle: Mutex<Option<Socket>>,
    order: Notify,
}

impl Connection {
    /// Ends the connection at once, with a FIN; what was written is still sent.
    pub fn close(&self) {
        self.cut.order.notify_one();
    }

    /// Ends the connection at once, with a RST; what was not yet sent is lost.
    pub fn reset(&self) {
        if let Some(socket) = lock(&self.cut.handle).take() {
            // Fails only when the peer has already reset it.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        self.close();
    }

    /// Bytes written to the connection so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    pub(super) async fn cut(&self) {
        self.cut.order.notified().await;
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Counts the connection as open, and gives its second handle back at the end: two handles would keep it open.
pub(super) struct Open {
    stats: Arc<Stats>,
    cut: Arc<Cut>,
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.cut.handle).take();
        self.stats.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts a request as in flight until its answer is written or abandoned.
pub(super) struct InFlight {
    stats: Arc<Stats>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.stats.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic under the lock")
}
