//! HTTP/1 on one connection, request after request.
//!
//! Pingora's own loop keeps the whole state of a request while the connection idles, has no deadline for
//! a head and drops requests in flight when it stops. Here a connection that waits is a small future: the
//! head is collected first, under its deadline and limit, and Pingora only sees complete ones.

use std::pin::{Pin, pin};
use std::time::Duration;

use pingora_core::apps::{HttpPersistentSettings, HttpServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::boundary::{Boundary, HeadScan, Scan};
use super::stream::Downstream;
use super::talk::Talk;

/// For the rest of a body that was answered before it was read; then the connection is closed instead.
const BODY_DRAIN: Duration = Duration::from_secs(10);

/// Why a connection ends without Pingora seeing a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Late,
    TooLarge,
    Malformed,
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
    let mut cutting = talk.cut.clone();
    let mut cut = pin!(super::drain::raised(&mut cutting));
    let mut alarm = pin!(sleep(talk.terms.http.http1_idle_timeout));
    while talk.first_byte(&mut stream, cut.as_mut(), alarm.as_mut()).await {
        let boundary = match head(talk, &mut stream, cut.as_mut()).await {
            Ok(boundary) => boundary,
            Err(refusal) => return refuse(talk, stream, refusal).await,
        };
        let patience = patience(talk, &boundary);
        stream.begin(boundary);
        let shutdown = if talk.overdue() { &leaving } else { &talk.drain };
        let session = session(stream, settings.take(), patience);
        let reused = tokio::select! {
            biased;
            reused = talk.app.process_new_http(session, shutdown) => reused,
            () = cut.as_mut() => return,
        };
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
    session.set_read_timeout(Some(patience));
    session.set_total_drain_timeout(Some(BODY_DRAIN));
    session
}

/// Collects one head. What came behind it stays in the stream.
async fn head<A>(
    talk: &Talk<A>,
    stream: &mut Downstream,
    cut: Pin<&mut impl Future<Output = ()>>,
) -> Result<Boundary, Refusal> {
    let bytes_max = talk.terms.http.max_header_bytes;
    let mut scan = HeadScan::new();
    // Most heads arrive whole: no deadline to watch.
    if let Some(seen) = look(&mut scan, stream.seen(), bytes_max) {
        return seen;
    }
    let deadline = talk.terms.http.request_header_timeout;
    tokio::select! {
        biased;
        head = timeout(deadline, collect(scan, stream, bytes_max)) => head.unwrap_or(Err(Refusal::Late)),
        () = cut => Err(Refusal::Gone),
    }
}

async fn collect(mut scan: HeadScan, stream: &mut Downstream, bytes_max: usize) -> Result<Boundary, Refusal> {
    loop {
        if !stream.more().await.is_ok_and(|count| count > 0) {
            return Err(Refusal::Gone);
        }
        if let Some(seen) = look(&mut scan, stream.seen(), bytes_max) {
            return seen;
        }
    }
}

/// What a head turned out to be, once it is whole or hopeless.
fn look(scan: &mut HeadScan, seen: &[u8], bytes_max: usize) -> Option<Result<Boundary, Refusal>> {
    match scan.scan(seen) {
        Scan::Head { bytes, .. } if bytes > bytes_max => Some(Err(Refusal::TooLarge)),
        Scan::Head { bytes, framing } => Some(Ok(Boundary::request(bytes, framing))),
        Scan::Malformed => Some(Err(Refusal::Malformed)),
        Scan::Partial if seen.len() > bytes_max => Some(Err(Refusal::TooLarge)),
        Scan::Partial => None,
    }
}

async fn refuse<A>(talk: &Talk<A>, mut stream: Box<Downstream>, refusal: Refusal) {
    let (status, why) = match refusal {
        Refusal::Late => ("408 Request Timeout", "request_header_timeout"),
        Refusal::TooLarge => ("431 Request Header Fields Too Large", "request_header_size"),
        Refusal::Malformed => ("400 Bad Request", "request_malformed"),
        Refusal::Gone => return,
    };
    talk.telemetry.connection_refused(&talk.bind, why);
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    // A client that does not read either is not waited for.
    let _ = timeout(Duration::from_secs(5), farewell).await;
}
