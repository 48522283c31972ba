//! The other end: serves sets of resources to clients by delta xDS. Used by tests, by the Kubernetes
//! controller, and by `agentgateway xds serve`.
//!
//! - [`Cache`]: what each group of clients should have. Write to it at any time.
//! - [`serve`]: what each client lacks, in responses that are acknowledged one by one; a client that
//!   comes back says what it has. Changes made meanwhile are sent as one, so a slow client costs one
//!   response of memory and no queue.
//! - [`Log`]: who is connected, and what was refused. A refused resource is sent again when it changes.

mod accept;
mod batch;
mod cache;
mod identity;
mod log;
mod settings;
mod stream;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tonic::{Request, Response, Status, Streaming};

use crate::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use crate::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
pub use accept::{Fault, check_tokens};
pub use cache::{Cache, Full};
pub use log::{Client, Log, Nack, Totals};
pub use settings::{Choose, Chooser, Grouping, Limits, Settings, Tls};
use stream::{Answer, Stream};

/// Responses that wait to be written; the next is made when the last was acknowledged.
const RESPONSES_MAX: usize = 2;

/// What all streams share.
struct Shared {
    cache: Arc<Cache>,
    log: Arc<Log>,
    grouping: Grouping,
    identifier: String,
    limits: Limits,
    /// Streams begun.
    begun: AtomicU64,
    /// Places for streams.
    room: Arc<Semaphore>,
    ending: watch::Receiver<bool>,
}

impl Shared {
    /// Resolves when the server ends.
    async fn over(&self) {
        // Without the sender it is over as well.
        let _ = self.ending.clone().wait_for(|it| *it).await;
    }
}

/// A connection, as its streams know it.
struct Line {
    peer: SocketAddr,
    /// A stream was let in.
    greeted: Notify,
    /// A client that does not keep the rules is cut off.
    cut: Notify,
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
    let room = Arc::new(Semaphore::new(limits.streams));
    let begun = AtomicU64::new(0);
    let shared = Arc::new(Shared { cache, log, grouping, identifier, limits, begun, room, ending });
    accept::run(listener, accept::Door { tls, tokens_file, shared, end }, shutdown).await
}

/// The service as tonic calls it.
#[derive(Clone)]
struct Service {
    shared: Arc<Shared>,
    line: Arc<Line>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type DeltaAggregatedResourcesStream = BoxStream<'static, Answer>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let Self { shared, line } = self.clone();
        let place = shared.room.clone().try_acquire_owned();
        let place = place.map_err(|_| Status::resource_exhausted("there are too many streams already"))?;
        let (responses, receiver) = mpsc::channel(RESPONSES_MAX);
        let number = shared.begun.fetch_add(1, Ordering::Relaxed);
        let stream = Stream::new(shared, line, request.into_inner(), responses, number);
        tokio::spawn(async move {
            stream.run().await;
            drop(place);
        });
        let outbound = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|answer| (answer, receiver))
        });
        Ok(Response::new(Box::pin(outbound)))
    }
}
