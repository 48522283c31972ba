//! HTTP/2 on one connection: Pingora's sessions, our loop, so that each bind has its own settings, pings
//! and limits (Pingora's are fixed per application).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use filters::Reason;
use filters::frontend_http::Policy;
use h2::server::Connection;
use h2::{Ping, PingPong};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake};
use pingora_core::protocols::{Digest, Stream};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::flag::raised;
use super::refused::{self, Ending};
use super::stream::{Downstream, info_of};
use super::talk::Talk;

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests refused as malformed before the connection is: refusing costs work.
const MALFORMED_MAX: usize = 32;

/// For an answer to a ping, where nothing else is written.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// For a client to take leave after a GOAWAY on an idle connection.
const FAREWELL: Duration = Duration::from_secs(5);

/// Whether the connection begins with the preface (prior knowledge). Stops at the first byte that
/// differs; needs no more bytes than there are for anything else than a preface.
pub(super) async fn prior_knowledge(stream: &mut Downstream, patience: Duration) -> bool {
    let reads = async {
        loop {
            let seen = stream.seen();
            if seen.starts_with(PREFACE) {
                return true;
            }
            if !PREFACE.starts_with(seen) || !stream.more().await.is_ok_and(|count| count > 0) {
                return false;
            }
        }
    };
    // Too slow: the HTTP/1 loop has the same deadline and says so.
    timeout(patience, reads).await.unwrap_or(false)
}

fn options(policy: &Policy) -> H2Options {
    let mut options = default_h2_options();
    let header_list = policy.http2_max_header_size.or_else(|| u32::try_from(policy.max_header_bytes).ok());
    options.max_concurrent_streams(policy.http2_max_concurrent_streams);
    if let Some(bytes) = header_list {
        options.max_header_list_size(bytes);
    }
    if let Some(bytes) = policy.http2_window_size {
        options.initial_window_size(bytes);
    }
    if let Some(bytes) = policy.http2_connection_window_size {
        options.initial_connection_window_size(bytes);
    }
    if let Some(bytes) = policy.http2_frame_size {
        // What h2 takes (RFC 9113 section 6.5.2); it panics beyond.
        options.max_frame_size(bytes.clamp(1 << 14, (1 << 24) - 1));
    }
    options
}

/// Serves streams until the client leaves, or is asked to and has finished.
pub(super) async fn serve<A>(talk: &mut Talk<A>, stream: Box<Downstream>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let digest = Arc::new(stream.digest());
    let stream: Stream = stream;
    let opening = handshake(stream, Some(options(&talk.terms.http)));
    let connection = match timeout(talk.terms.http.request_header_timeout, opening).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, bind = %talk.bind, "HTTP/2 preface"),
        Err(_) => return talk.telemetry.connection_refused(&talk.bind, "request_header_timeout"),
    };
    Session { connection, digest, busy: Busy::new(), malformed: 0, leaving: false }.run(talk).await;
}

struct Session {
    connection: Connection<Stream, Bytes>,
    digest: Arc<Digest>,
    busy: Arc<Busy>,
    malformed: usize,
    /// GOAWAY has been sent.
    leaving: bool,
}

impl Session {
    async fn run<A>(mut self, talk: &mut Talk<A>)
    where
        A: HttpServerApp + Send + Sync + 'static,
    {
        let mut ping = pin!(pings(self.connection.ping_pong(), &talk.terms.http));
        let mut cut = pin!(raised(talk.cut.clone()));
        let mut drain = pin!(raised(talk.drain.clone()));
        let due = talk.due().unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400 * 365));
        let mut due = pin!(sleep_until(due));
        let idle = talk.terms.http.http1_idle_timeout;
        // Lives as long as the connection, and is moved when it rings too early: streams come and go, and to set a
        // timer for each costs more than serving some.
        let mut alarm = pin!(sleep(idle));
        let mut quiet_from = Instant::now();
        let mut turn = Turn { has_come: true };
        loop {
            let leaving = self.leaving;
            tokio::select! {
                biased;
                () = cut.as_mut() => return self.busy.cut(),
                () = drain.as_mut(), if !leaving => self.leave(),
                () = due.as_mut(), if !leaving => self.leave(),
                accepted = turn.last(HttpSession::from_h2_conn(&mut self.connection, Arc::clone(&self.digest))) => {
                    match accepted {
                        Ok(Some(H2Accept::Session(session))) => self.begin(talk, session),
                        Ok(Some(H2Accept::Rejected)) if self.malformed < MALFORMED_MAX => self.rejected(talk),
                        Ok(Some(H2Accept::Rejected)) => return talk.telemetry.connection_refused(&talk.bind, "malformed_requests"),
                        Ok(None) => return,
                        Err(error) => return tracing::debug!(%error, bind = %talk.bind, "HTTP/2 connection"),
                    }
                }
                () = ping.as_mut() => return talk.telemetry.connection_refused(&talk.bind, "keepalive_timeout"),
                () = alarm.as_mut() => {
                    let quiet = if leaving { FAREWELL } else { idle };
                    let until = self.busy.quiet_since().max(quiet_from) + quiet;
                    if until > Instant::now() {
                        alarm.as_mut().reset(until);
                    } else if leaving {
                        return;
                    } else {
                        self.leave();
                    }
                }
            }
            if self.leaving && !leaving {
                quiet_from = Instant::now();
                alarm.as_mut().reset(quiet_from + FAREWELL);
            }
        }
    }

    /// GOAWAY: streams already on their way are still served.
    fn leave(&mut self) {
        self.connection.graceful_shutdown();
        self.leaving = true;
    }

    /// A malformed head, which Pingora has refused and keeps to itself.
    fn rejected<A>(&mut self, talk: &Talk<A>) {
        self.malformed += 1;
        if let Some(conn) = info_of(&self.digest) {
            let error = "malformed request";
            let ending = Ending { status: 0, reason: Reason::InvalidRequest, error, duration: Duration::ZERO };
            refused::report(talk, conn, &[], ending);
        }
    }

    fn begin<A>(&self, talk: &Talk<A>, session: HttpSession)
    where
        A: HttpServerApp + Send + Sync + 'static,
    {
        let app = Arc::clone(&talk.app);
        let shutdown = talk.drain.clone();
        let stream = self.busy.stream();
        tokio::spawn(async move {
            let mut serving = app.process_new_http(ServerSession::new_http2(session), &shutdown);
            // The end of the connection wakes all that wait for the client. To wait for the flag as well would cost each
            // stream a place in a queue under a lock.
            poll_fn(|cx| if stream.0.is_cut() { Poll::Ready(()) } else { serving.as_mut().poll(cx).map(drop) }).await;
        });
    }
}

/// The turn of a connection that was woken: behind the tasks that wait to run already. Its streams are among them, and
/// what several of them have to say leaves in one write then.
struct Turn {
    has_come: bool,
}

impl Turn {
    async fn last<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if !std::mem::replace(&mut self.has_come, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let done = work.as_mut().poll(cx);
            self.has_come = done.is_ready();
            done
        })
        .await
    }
}

/// Ends when the client does not answer in time; never, where pings are not wanted.
async fn pings(ping_pong: Option<PingPong>, policy: &Policy) {
    let (Some(mut ping_pong), Some(interval)) = (ping_pong, policy.http2_keepalive_interval) else {
        return std::future::pending().await;
    };
    let patience = policy.http2_keepalive_timeout.unwrap_or(PING_TIMEOUT);
    loop {
        sleep(interval).await;
        if !timeout(patience, ping_pong.ping(Ping::opaque())).await.is_ok_and(|pong| pong.is_ok()) {
            return;
        }
    }
}

/// Streams under way.
#[derive(Debug)]
struct Busy {
    streams: AtomicUsize,
    opened: Instant,
    /// When the last stream ended, in milliseconds after `opened`.
    ended_ms: AtomicU64,
    /// The streams are to end now.
    cut: AtomicBool,
}

struct BusyStream(Arc<Busy>);

impl Busy {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            streams: AtomicUsize::new(0),
            opened: Instant::now(),
            ended_ms: AtomicU64::new(0),
            cut: AtomicBool::new(false),
        })
    }

    fn stream(self: &Arc<Self>) -> BusyStream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        BusyStream(Arc::clone(self))
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Since when there is no stream; now, while there is one.
    fn quiet_since(&self) -> Instant {
        match self.streams.load(Ordering::Acquire) {
            0 => self.opened + Duration::from_millis(self.ended_ms.load(Ordering::Relaxed)),
            _ => Instant::now(),
        }
    }
}

impl Drop for BusyStream {
    fn drop(&mut self) {
        let after = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.ended_ms.store(after, Ordering::Relaxed);
        self.0.streams.fetch_sub(1, Ordering::Release);
    }
}
