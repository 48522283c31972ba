//! HTTP/1 on one connection, request after request.
//!
//! Pingora's own loop keeps the whole state of a request while the connection idles, has no deadline for
//! a head and drops requests in flight when it stops. Here a connection that waits is a small future: the
//! head is collected first, under its deadline and limit, and Pingora only sees complete ones.

use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::time::Duration;

use filters::Reason;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use protocols::http::framing::{self, FramingFault, HeadLimits};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::boundary::{Boundary, HeadScan, Scan};
use super::info::Peer;
use super::refused::{self, Ending};
use super::stream::{Downstream, info_of};
use super::talk::Talk;

/// For the rest of a body that was answered before it was read; then the connection is closed instead.
const BODY_DRAIN: Duration = Duration::from_secs(10);

/// Why a connection ends without Pingora seeing a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Late,
    TooLarge,
    Malformed,
    Connect,
    Framing(FramingFault),
    /// Nobody is there to be told.
    Gone,
}

/// Serves requests until either side has had enough.
pub(super) async fn serve<A>(talk: &mut Talk<A>, mut stream: Box<Downstream>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut settings: Option<HttpPersistentSettings> = None;
    // An owner is not needed for a flag that is up for good.
    let (_, leaving) = watch::channel(true);
    let mut cut = pin!(super::flag::raised(talk.cut.clone()));
    let mut alarm = pin!(sleep(talk.terms.http.http1_idle_timeout));
    let conn = info_of(&stream.digest()).cloned();
    while talk.first_byte(&mut stream, cut.as_mut(), alarm.as_mut()).await {
        let boundary = match head(talk, &mut stream, cut.as_mut()).await {
            Ok(boundary) => boundary,
            Err((refusal, waited)) => return refuse(talk, stream, refusal, waited).await,
        };
        let patience = patience(talk, &boundary);
        stream.begin(boundary);
        let shutdown = if talk.overdue() { &leaving } else { &talk.drain };
        let session = session(stream, settings.take(), patience);
        if let Some(conn) = &conn {
            conn.told.store(false, Ordering::Relaxed);
        }
        let reused = tokio::select! {
            biased;
            reused = talk.app.process_new_http(session, shutdown) => reused,
            () = cut.as_mut() => return,
        };
        if let Some(conn) = conn.as_ref().filter(|it| it.peer != Peer::Own && !it.told.load(Ordering::Relaxed)) {
            // Pingora found fault with the head itself, has said so to the client, and to nobody else.
            let error = "malformed request";
            let ending = Ending { status: 400, reason: Reason::InvalidRequest, error, duration: Duration::ZERO };
            refused::report(talk, conn, &[], ending);
        }
        let Some((next, kept)) = reused.map(|it| it.consume()) else { return };
        let Ok(next) = next.into_any().downcast::<Downstream>() else { return };
        if !next.between_requests() {
            return;
        }
        (stream, settings) = (next, kept);
    }
}

/// Between two reads of a body. After an upgrade both sides may be silent as long as on a raw connection.
fn patience<A>(talk: &Talk<A>, boundary: &Boundary) -> Duration {
    if boundary.is_open() { talk.terms.tcp.idle_timeout } else { talk.terms.http.request_body_idle_timeout }
}

fn session(stream: Box<Downstream>, settings: Option<HttpPersistentSettings>, patience: Duration) -> ServerSession {
    let stream: Stream = stream;
    let mut session = ServerSession::new_http1(stream);
    // The waiting between requests is ours; 0 only says that there may be a next one.
    session.set_keepalive(Some(0));
    if let Some(settings) = settings {
        settings.apply_to_session(&mut session);
    }
    // The rest of a body answered early is read, within a limit, and the connection kept.
    session.set_close_on_response_before_downstream_finish(false);
    session.set_read_timeout(Some(patience));
    session.set_total_drain_timeout(Some(BODY_DRAIN));
    session
}

/// Collects one head. What came behind it stays in the stream. A refusal says how long was waited for it.
async fn head<A>(
    talk: &Talk<A>,
    stream: &mut Downstream,
    cut: Pin<&mut impl Future<Output = ()>>,
) -> Result<Boundary, (Refusal, Duration)> {
    let http = &talk.terms.http;
    let limits = HeadLimits { bytes_max: http.max_header_bytes, count_max: http.http1_max_headers };
    let mut scan = HeadScan::new();
    // Most heads arrive whole: no deadline to watch.
    if let Some(seen) = look(&mut scan, stream.seen(), &limits) {
        return seen.map_err(|refusal| (refusal, Duration::ZERO));
    }
    let (begun, deadline) = (Instant::now(), talk.terms.http.request_header_timeout);
    let head = tokio::select! {
        biased;
        head = timeout(deadline, collect(scan, stream, &limits)) => head.unwrap_or(Err(Refusal::Late)),
        () = cut => Err(Refusal::Gone),
    };
    head.map_err(|refusal| (refusal, begun.elapsed()))
}

async fn collect(mut scan: HeadScan, stream: &mut Downstream, limits: &HeadLimits) -> Result<Boundary, Refusal> {
    loop {
        if !stream.more().await.is_ok_and(|count| count > 0) {
            return Err(Refusal::Gone);
        }
        if let Some(seen) = look(&mut scan, stream.seen(), limits) {
            return seen;
        }
    }
}

/// What a head turned out to be, once it is whole or hopeless.
fn look(scan: &mut HeadScan, seen: &[u8], limits: &HeadLimits) -> Option<Result<Boundary, Refusal>> {
    match scan.scan(seen) {
        Scan::Head { bytes, framing } => {
            // Judged as it came: Pingora repairs some of what must be refused.
            let checked = framing::check_raw_head(seen.get(..bytes).unwrap_or_default(), limits);
            let checked = checked.map_err(Refusal::Framing);
            let checked = checked.and_then(|()| if scan.is_connect() { Err(Refusal::Connect) } else { Ok(()) });
            Some(checked.map(|()| Boundary::request(bytes, framing)))
        }
        Scan::Malformed => Some(Err(Refusal::Malformed)),
        Scan::Partial if seen.len() > limits.bytes_max => Some(Err(Refusal::TooLarge)),
        Scan::Partial => None,
    }
}

async fn refuse<A>(talk: &Talk<A>, mut stream: Box<Downstream>, refusal: Refusal, waited: Duration) {
    let (status, reason, why, text) = match refusal {
        Refusal::Late => (408, Reason::Timeout, "request_header_timeout", "the request head took too long".to_owned()),
        Refusal::TooLarge => (431, Reason::TooLarge, "request_header_size", FramingFault::HeadBytes.to_string()),
        Refusal::Malformed => (400, Reason::InvalidRequest, "request_malformed", "not an HTTP request".to_owned()),
        Refusal::Connect => (405, Reason::InvalidRequest, "request_malformed", "CONNECT is not served".to_owned()),
        Refusal::Framing(fault) => {
            let reason = if fault.status() == 431 { Reason::TooLarge } else { Reason::InvalidRequest };
            (fault.status(), reason, "request_malformed", fault.to_string())
        }
        Refusal::Gone => return,
    };
    talk.telemetry.connection_refused(&talk.bind, why);
    tracing::debug!(bind = %talk.bind, status, reason = text, "request refused");
    if let Some(conn) = info_of(&stream.digest()) {
        let ending = Ending { status, reason, error: &text, duration: waited };
        refused::report(talk, conn, stream.seen(), ending);
    }
    let phrase = http::StatusCode::from_u16(status).ok().and_then(|it| it.canonical_reason()).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {status} {phrase}\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{text}\n",
        text.len() + 1
    );
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    // A client that does not read either is not waited for.
    let _ = timeout(Duration::from_secs(5), farewell).await;
}
