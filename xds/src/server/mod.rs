//! The other end: serves sets of resources to clients by delta xDS. Used by tests, by the Kubernetes
//! controller, and by `agentgateway xds serve`.
//!
//! - [`Cache`]: what each group of clients should have. Write to it at any time.
//! - [`Server`]: what each client lacks, in responses that are acknowledged one by one; a client that
//!   comes back says what it has.
//! - [`Log`]: who is connected, and what was refused. A refused resource is sent again when it changes.

mod accept;
mod cache;
mod log;
mod stream;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status, Streaming};

use crate::Node;
use crate::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use crate::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
pub use accept::Fault;
pub use cache::{Cache, Full};
pub use log::{Client, Log, Nack};
use stream::{Answer, Stream};

/// Responses that wait to be written; the next is made when the last was acknowledged.
const RESPONSES_MAX: usize = 2;

/// Who may ask, and on what terms.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Shown to clients as the name of the control plane.
    pub identifier: String,
    /// How a client's group is known.
    pub grouping: Grouping,
    pub tls: Option<Tls>,
    /// File of bearer tokens, one a line, of which clients must show one. Read again for each stream.
    pub tokens_file: Option<PathBuf>,
    pub limits: Limits,
}

/// TLS of a server. The files are read when it begins.
#[derive(Clone, Debug)]
pub struct Tls {
    pub identity: crate::client::Identity,
    /// PEM roots that client certificates must chain to; absent means none is asked for.
    pub client_roots: Option<PathBuf>,
}

/// How a client's group is known.
#[derive(Clone, Debug)]
pub enum Grouping {
    /// All clients are of this group.
    One(String),
    /// By an entry of the node's metadata, such as `role`.
    Metadata(String),
    /// By the node's cluster.
    Cluster,
}

impl Default for Grouping {
    fn default() -> Self {
        Self::One(String::new())
    }
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait.
    pub connections: usize,
    /// Largest request: with the versions of everything a client has.
    pub request_bytes: usize,
    /// Size of a response beyond which the rest goes into another.
    pub response_bytes: usize,
    /// How long a client may take to acknowledge.
    pub acknowledgement: Duration,
    /// Silence before a ping, and how long its answer may take.
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// How long streams may take to end with the server.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            request_bytes: 256 << 20,
            response_bytes: 4 << 20,
            acknowledgement: Duration::from_secs(120),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(5),
        }
    }
}

/// What all streams share.
struct Shared {
    cache: Arc<Cache>,
    log: Arc<Log>,
    grouping: Grouping,
    identifier: String,
    limits: Limits,
    /// Streams begun.
    streams: AtomicU64,
    ending: watch::Receiver<bool>,
}

impl Shared {
    /// Resolves when the server ends.
    async fn over(&self) {
        // Without the sender it is over as well.
        let _ = self.ending.clone().wait_for(|it| *it).await;
    }

    fn group_of(&self, node: &Node) -> String {
        match &self.grouping {
            Grouping::One(group) => group.clone(),
            Grouping::Metadata(key) => node.metadata.get(key).cloned().unwrap_or_default(),
            Grouping::Cluster => node.cluster.clone(),
        }
    }
}

/// Serves a listener until `shutdown` resolves, then ends every stream; clients come back to whoever
/// serves next.
///
/// # Errors
/// The certificate cannot be used. Connections that fail harm only themselves.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    cache: Arc<Cache>,
    log: Arc<Log>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Fault> {
    let (end, ending) = watch::channel(false);
    let Settings { identifier, grouping, tls, tokens_file, limits } = settings;
    let streams = AtomicU64::new(0);
    let shared = Arc::new(Shared { cache, log, grouping, identifier, limits, streams, ending });
    accept::run(listener, accept::Door { tls, tokens_file, shared, end }, shutdown).await
}

/// The service as tonic calls it.
#[derive(Clone)]
struct Service(Arc<Shared>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type DeltaAggregatedResourcesStream = BoxStream<'static, Answer>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, receiver) = mpsc::channel(RESPONSES_MAX);
        let number = self.0.streams.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(Stream::new(self.0.clone(), request.into_inner(), responses, number).run());
        let outbound = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|answer| (answer, receiver))
        });
        Ok(Response::new(Box::pin(outbound)))
    }
}
