//! Asks a control plane by delta xDS, and turns what it says into patches.
//!
//! ```text
//!            open        first response           message
//! Waiting ────────► Asking ────────────► Streaming ──────┐ decode → deliver → ACK or NACK
//!    ▲  │ fault        │ fault              │  ▲─────────┘
//!    └──┴──────────────┴────────────────────┘ backoff; what was taken stays in force
//! ```
//!
//! One response is under way at a time: it is acknowledged when whoever reads the patches says what
//! became of it, so a control plane that floods waits. A resource that is no good is left out, named in
//! the NACK, and harms only itself; everything else of the response takes effect.
//!
//! Not here: what a patch does, and where state is kept on disk ([`Session`] says what to keep).

mod connection;
mod session;
mod settings;
mod status;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use filters::Patch;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tonic::metadata::AsciiMetadataValue;

use crate::Refusal;
use crate::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use crate::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::{nack, pb, tls};
use connection::Connection;
pub use connection::Fault as ConnectFault;
pub use session::{Session, Versions};
pub use settings::{Address, Identity, Roots, Settings, Terms};
pub use status::{Messages, Status, Termination};

/// Requests that wait to be written: one subscription or acknowledgement at a time.
const REQUESTS_MAX: usize = 4;

/// What a response asks for. It is acknowledged with the answer; dropped without one, it is refused as a whole.
#[derive(Debug)]
pub struct Update {
    /// Takes effect as a whole.
    pub patch: Patch,
    /// What was refused before it came here; substitutes are in the patch.
    pub refused: Vec<Refusal>,
    reply: oneshot::Sender<Vec<Refusal>>,
    session: Arc<Session>,
    rest: session::Rest,
}

impl Update {
    /// The patch is in force. Not so what is `refused`, which the session forgets; nor what is `aside`, which is
    /// held and does not serve for now. Both are named to the control plane. When this returns, the session says
    /// what is held.
    pub fn answer(self, refused: Vec<Refusal>, aside: Vec<Refusal>) {
        let Self { refused: mut all, reply, session, rest, patch: _ } = self;
        all.extend(refused);
        session.settle(rest, &all);
        all.extend(aside);
        // A client that has ended tells nobody.
        let _ = reply.send(all);
    }
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    #[error("cannot read the token file")]
    Token(#[source] std::io::Error),
    #[error("the token cannot be sent: it holds more than one line of text")]
    TokenText,
    #[error("the stream failed: {}: {}", .0.code(), .0.message())]
    Stream(#[source] Box<tonic::Status>),
    #[error("the control plane ended the stream")]
    Ended,
}

impl Fault {
    /// What metrics call it.
    fn termination(&self) -> Termination {
        use tonic::Code;
        match self {
            Self::Connect(_) | Self::Token(_) | Self::TokenText => Termination::ConnectionError,
            // The other end, or something between, went away in good order.
            Self::Stream(it) if matches!(it.code(), Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable) => {
                Termination::Reconnect
            }
            Self::Stream(_) => Termination::Error,
            Self::Ended => Termination::Complete,
        }
    }
}

/// Asks until `shutdown` resolves or nobody reads the updates any more.
pub async fn run(
    settings: Settings,
    session: Arc<Session>,
    updates: mpsc::Sender<Update>,
    status: watch::Sender<Status>,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    status.send_modify(Status::away);
    let mut client = Client { settings, session, updates, status, wait: Duration::ZERO };
    tokio::select! {
        () = &mut shutdown => {}
        () = client.ask_forever() => {}
    }
    client.status.send_modify(Status::disconnected);
}

struct Client {
    settings: Settings,
    session: Arc<Session>,
    updates: mpsc::Sender<Update>,
    status: watch::Sender<Status>,
    /// Before the next connection, where there was a fault.
    wait: Duration,
}

impl Client {
    async fn ask_forever(&mut self) {
        while !self.updates.is_closed() {
            let started = Instant::now();
            let fault = self.ask().await;
            self.status.send_modify(|it| it.ended(&fault));
            let terms = &self.settings.terms;
            if started.elapsed() >= terms.stable {
                self.wait = Duration::ZERO;
            }
            self.wait = longer(self.wait, terms);
            let wait = upper_half(self.wait);
            let address = &self.settings.address.authority;
            tracing::warn!(error = %chain(&fault), %address, wait_ms = wait.as_millis(), "control plane is away");
            tokio::select! {
                () = sleep(wait) => {}
                () = self.updates.closed() => {}
            }
        }
    }

    /// One stream, from its connection to its end.
    async fn ask(&self) -> Fault {
        match self.stream().await {
            Ok(()) => Fault::Ended,
            Err(fault) => fault,
        }
    }

    async fn stream(&self) -> Result<(), Fault> {
        let settings = &self.settings;
        let connection = Connection::open(settings).await?;
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let first = DeltaDiscoveryRequest {
            node: Some(settings.node.encode()),
            type_url: pb::TYPE_URL.to_owned(),
            initial_resource_versions: self.session.known(),
            ..DeltaDiscoveryRequest::default()
        };
        // There is room: nothing was sent yet.
        let _ = requests.send(first).await;
        let outbound = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let mut request = tonic::Request::new(outbound);
        self.identify(&mut request)?;
        let mut service = AggregatedDiscoveryServiceClient::with_origin(connection, settings.address.origin())
            .max_decoding_message_size(settings.terms.message_bytes_max);
        let fault = |status| Fault::Stream(Box::new(status));
        let mut inbound = service.delta_aggregated_resources(request).await.map_err(fault)?.into_inner();
        self.status.send_modify(Status::connected);
        while let Some(response) = inbound.message().await.map_err(fault)? {
            let Some(answer) = self.answer(response).await else { return Ok(()) };
            if requests.send(answer).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Token and extra headers.
    fn identify<T>(&self, request: &mut tonic::Request<T>) -> Result<(), Fault> {
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        for (name, value) in &self.settings.headers {
            headers.append(name, value.clone());
        }
        *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
        if let Some(path) = &self.settings.token_file {
            let token = tls::token(path).map_err(Fault::Token)?;
            let value: Result<AsciiMetadataValue, _> = format!("Bearer {token}").parse();
            let mut value = value.map_err(|_| Fault::TokenText)?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        Ok(())
    }

    /// Delivers a response and gives its acknowledgement; `None` when nobody reads updates any more.
    async fn answer(&self, response: DeltaDiscoveryResponse) -> Option<DeltaDiscoveryRequest> {
        let (type_url, nonce) = (response.type_url.clone(), response.nonce.clone());
        let bytes = response.encoded_len() as u64;
        self.status.send_modify(|it| it.heard(type_url == pb::TYPE_URL, bytes));
        let refused = match session::check_type(&response) {
            Err(refusal) => vec![refusal],
            Ok(()) => self.deliver(response).await?,
        };
        for it in &refused {
            tracing::warn!(resource = %it.name, reason = %it.reason, "resource refused");
        }
        self.status.send_modify(|it| it.answered(!refused.is_empty()));
        Some(DeltaDiscoveryRequest {
            type_url,
            response_nonce: nonce,
            error_detail: nack::encode(&refused),
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// Everything that was refused, here or by the receiver.
    async fn deliver(&self, response: DeltaDiscoveryResponse) -> Option<Vec<Refusal>> {
        let resources_max = self.settings.terms.resources_max;
        let session::Reading { patch, mut refused, rest } = self.session.read(response, resources_max).await;
        let (reply, replied) = oneshot::channel();
        let update = Update { patch, refused: refused.clone(), reply, session: self.session.clone(), rest };
        self.updates.send(update).await.ok()?;
        Some(replied.await.unwrap_or_else(|_| {
            refused.push(Refusal::new("", "the gateway did not take the update"));
            refused
        }))
    }
}

/// A fault with its causes.
fn chain(fault: &Fault) -> String {
    let mut text = fault.to_string();
    let mut source = std::error::Error::source(fault);
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

/// The next wait after this one.
fn longer(wait: Duration, terms: &Terms) -> Duration {
    wait.saturating_mul(2).clamp(terms.backoff, terms.backoff_max.max(terms.backoff))
}

/// A wait between half of it and all of it, so that clients do not come back all at once.
fn upper_half(wait: Duration) -> Duration {
    let draw = RandomState::new().hash_one(0u8);
    // 16 of the bits are enough.
    wait.mul_f64(0.5 + 0.5 * (draw & 0xffff) as f64 / 65_536.0)
}
