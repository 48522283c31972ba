//! Copies of requests for another backend (`requestMirror`): sent alongside, never waited for.
//!
//! The body comes in chunks through a bounded channel. A copy that cannot keep up, is too large or
//! fails is dropped, and only counted. Answers are read to their end, within a deadline, so that
//! the connection can be used again. The host of the request is kept.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use filters::request_mirror;
use http::header;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_error::{Error, ErrorType};
use pingora_http::RequestHeader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::cluster::Cluster;
use super::endpoint::{Lease, Outcome};
use super::template::{Template, Wanted};
use super::wires::fit;
use crate::random;

/// Copies under way at once.
pub(super) const MIRRORS_MAX: usize = 1024;
/// Chunks of one body that wait for the mirror.
pub(super) const MIRROR_CHUNKS_MAX: usize = 64;
/// Longest life of one copy, answer included.
pub(super) const MIRROR_DEADLINE: Duration = Duration::from_secs(30);
/// Idle connections to mirrors.
pub(super) const MIRROR_POOL_MAX: usize = 256;

/// Sends copies.
pub struct Mirrors {
    /// Made with the first copy: it reads the system's roots.
    connector: OnceLock<Arc<Connector>>,
    places: Arc<Semaphore>,
    dropped: Arc<AtomicU64>,
}

/// Takes the body of one copy. Dropping it before [`MirrorBody::finish`] abandons the copy.
pub struct MirrorBody {
    chunks: Option<mpsc::Sender<Chunk>>,
    left: usize,
    dropped: Arc<AtomicU64>,
}

enum Chunk {
    Data(Bytes),
    End,
}

impl Default for Mirrors {
    fn default() -> Self {
        Self { connector: OnceLock::new(), places: Arc::new(Semaphore::new(MIRRORS_MAX)), dropped: Arc::default() }
    }
}

impl Mirrors {
    /// Starts a copy of a request with this head, or not: by the policy's fraction and the bound on
    /// copies. Must be called on a tokio runtime. `bodiless`: the request has no body.
    pub fn start(
        &self,
        cluster: &Arc<Cluster>,
        template: &Arc<Template>,
        policy: &request_mirror::Policy,
        head: &RequestHeader,
        bodiless: bool,
    ) -> Option<MirrorBody> {
        if policy.fraction < 1.0 && random::unit() >= policy.fraction {
            return None;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.dropped.fetch_add(1, Relaxed);
            return None;
        };
        let (sender, receiver) = mpsc::channel(MIRROR_CHUNKS_MAX);
        let copy = Copy {
            connector: self.connector.get_or_init(connector).clone(),
            cluster: cluster.clone(),
            template: template.clone(),
            head: prepare(head, bodiless),
            chunks: receiver,
            _place: place,
        };
        let dropped = self.dropped.clone();
        tokio::spawn(async move {
            let sent = tokio::time::timeout(MIRROR_DEADLINE, Box::pin(copy.send())).await;
            let reason = match sent {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => reason,
                Err(_) => "deadline".to_owned(),
            };
            dropped.fetch_add(1, Relaxed);
            tracing::debug!(%reason, "mirrored request dropped");
        });
        let left = policy.body_bytes_max;
        Some(MirrorBody { chunks: Some(sender), left, dropped: self.dropped.clone() })
    }

    /// Copies that were begun or wanted and did not arrive in full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

fn connector() -> Arc<Connector> {
    Arc::new(Connector::new(Some(ConnectorOptions::new(MIRROR_POOL_MAX))))
}

/// The head as sent: without what belongs to the client's connection.
fn prepare(head: &RequestHeader, bodiless: bool) -> RequestHeader {
    let mut head = head.clone();
    let named: Vec<_> =
        head.headers.get_all(header::CONNECTION).iter().map(|value| value.as_bytes().to_vec()).collect();
    for name in named.iter().flat_map(|value| value.split(|byte| *byte == b',')) {
        if let Ok(name) = header::HeaderName::from_bytes(name.trim_ascii()) {
            head.remove_header(&name);
        }
    }
    for name in [header::CONNECTION, header::UPGRADE, header::TE, header::EXPECT, header::TRANSFER_ENCODING] {
        head.remove_header(&name);
    }
    head.remove_header("keep-alive");
    head.remove_header("proxy-connection");
    let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
    if let (false, Some(host)) = (head.headers.contains_key(header::HOST), host) {
        // The host of an h2 request is in its URI; a value taken from a URI is valid here.
        let _ = head.insert_header(header::HOST, host);
    }
    if !bodiless && !head.headers.contains_key(header::CONTENT_LENGTH) {
        let _ = head.insert_header(header::TRANSFER_ENCODING, "chunked");
    }
    head
}

impl MirrorBody {
    /// Passes a chunk on; gives the copy up where it cannot keep pace or grows too large.
    pub fn push(&mut self, chunk: &Bytes) {
        let Some(chunks) = &self.chunks else { return };
        let fits = chunk.len() <= self.left;
        self.left = self.left.saturating_sub(chunk.len());
        if !fits || (!chunk.is_empty() && chunks.try_send(Chunk::Data(chunk.clone())).is_err()) {
            self.chunks = None;
        }
    }

    /// The body is complete.
    pub fn finish(mut self) {
        if let Some(chunks) = self.chunks.take()
            && chunks.try_send(Chunk::End).is_err()
        {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// One copy under way.
struct Copy {
    connector: Arc<Connector>,
    cluster: Arc<Cluster>,
    template: Arc<Template>,
    head: RequestHeader,
    chunks: mpsc::Receiver<Chunk>,
    _place: OwnedSemaphorePermit,
}

impl Copy {
    async fn send(mut self) -> Result<(), String> {
        let lease = self.cluster.draw(&[], None, None, self.template.connect_timeout()).await;
        let lease = lease.map_err(|fault| fault.to_string())?;
        let begun = Instant::now();
        let answered = Box::pin(self.exchange(&lease)).await;
        lease.report(
            match &answered {
                Ok(status) => Outcome::judge(*status, begun.elapsed()),
                Err(_) => Outcome::default(),
            },
            None,
        );
        answered.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn exchange(&mut self, lease: &Lease) -> pingora_error::Result<u16> {
        let kind = self.head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        let grpc = kind.starts_with(b"application/grpc");
        let wanted = Wanted { grpc, read_timeout: Some(MIRROR_DEADLINE), ..Wanted::default() };
        let peer = self.template.peer(lease, wanted);
        let (mut session, _) = Box::pin(self.connector.get_http_session(&*peer)).await?;
        let mut head = Box::new(self.head.clone());
        fit(&session, &mut head, self.template.is_tls())?;
        if matches!(session, HttpSession::H2(_)) {
            head.remove_header(&header::TRANSFER_ENCODING);
        }
        session.write_request_header(head).await?;
        loop {
            match self.chunks.recv().await {
                Some(Chunk::Data(data)) => session.write_request_body(data, false).await?,
                Some(Chunk::End) => break,
                None => {
                    session.shutdown().await;
                    return Error::e_explain(ErrorType::ReadError, "copy given up");
                }
            }
        }
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let status = session.response_header().map_or(0, |head| head.status.as_u16());
        while !session.response_done() && session.read_response_body().await?.is_some() {}
        self.connector.release_http_session(session, &*peer, peer.options.idle_timeout).await;
        Ok(status)
    }
}
