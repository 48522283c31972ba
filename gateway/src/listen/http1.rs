//! HTTP/1 on one connection, request after request.
//!
//! Pingora's own loop keeps the whole state of a request while the connection idles, has no deadline for
//! a head and drops requests in flight when it stops. Here a connection that waits is a small future: the
//! head is collected first, under its deadline and limit, and Pingora only sees complete ones.

use std::time::Duration;

use pingora_core::apps::{HttpPersistentSettings, HttpServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use protocols::http::framing::{self, FramingFault, HeadLimits};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::timeout;

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
    while talk.first_byte(&mut stream).await {
        let boundary = match head(talk, &mut stream).await {
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
            () = super::drain::raised(&mut talk.cut) => return,
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
async fn head<A>(talk: &mut Talk<A>, stream: &mut Downstream) -> Result<Boundary, Refusal> {
    let http = &talk.terms.http;
    let limits = HeadLimits { bytes_max: http.max_header_bytes, count_max: http.http1_max_headers };
    let deadline = talk.terms.http.request_header_timeout;
    tokio::select! {
        biased;
        head = timeout(deadline, collect(stream, limits)) => head.unwrap_or(Err(Refusal::Late)),
        () = super::drain::raised(&mut talk.cut) => Err(Refusal::Gone),
    }
}

/// The head is judged as it came: Pingora repairs some of what must be refused.
async fn collect(stream: &mut Downstream, limits: HeadLimits) -> Result<Boundary, Refusal> {
    let mut scan = HeadScan::new();
    loop {
        match scan.scan(stream.seen()) {
            Scan::Head { bytes, framing } => {
                let head = stream.seen().get(..bytes).unwrap_or_default();
                framing::check_raw_head(head, &limits).map_err(Refusal::Framing)?;
                return Ok(Boundary::request(bytes, framing));
            }
            Scan::Malformed => return Err(Refusal::Malformed),
            Scan::Partial if stream.seen().len() > limits.bytes_max => return Err(Refusal::TooLarge),
            Scan::Partial => {}
        }
        if !stream.more().await.is_ok_and(|count| count > 0) {
            return Err(Refusal::Gone);
        }
    }
}

async fn refuse<A>(talk: &Talk<A>, mut stream: Box<Downstream>, refusal: Refusal) {
    let (status, why, text) = match refusal {
        Refusal::Late => (408, "request_header_timeout", "the request head took too long".to_owned()),
        Refusal::TooLarge => (431, "request_header_size", FramingFault::HeadBytes.to_string()),
        Refusal::Malformed => (400, "request_malformed", "not an HTTP request".to_owned()),
        Refusal::Framing(fault) => (fault.status(), "request_malformed", fault.to_string()),
        Refusal::Gone => return,
    };
    talk.telemetry.connection_refused(&talk.bind, why);
    tracing::debug!(bind = %talk.bind, status, reason = text, "request refused");
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
