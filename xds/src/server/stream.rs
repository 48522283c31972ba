//! One client's stream: what it lacks, sent bit by bit, each acknowledged before the next.

use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt as _;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::batch::Batch;
use super::cache::{Content, Entry};
use super::log::Log;
use super::{Line, Shared};
use crate::codec::Name;
use crate::pb::envoy::config::core::v3::ControlPlane;
use crate::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::{Node, Refusal, nack, pb};

/// What a stream of responses carries.
pub(super) type Answer = Result<DeltaDiscoveryResponse, Status>;

pub(super) struct Stream {
    shared: Arc<Shared>,
    line: Arc<Line>,
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Answer>,
    /// Its number in the log.
    number: u64,
    nonce: u64,
}

/// Takes it out of the log, however it ends.
struct Logged<'a>(&'a Log, u64);

impl Drop for Logged<'_> {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

/// What a request may be.
enum Said {
    Acknowledged,
    Refused(Vec<Refusal>),
    Nothing,
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        line: Arc<Line>,
        requests: Streaming<DeltaDiscoveryRequest>,
        responses: mpsc::Sender<Answer>,
        number: u64,
    ) -> Self {
        Self { shared, line, requests, responses, number, nonce: 0 }
    }

    /// Serves until the client goes, breaks the rules, or the server ends.
    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        let outcome = tokio::select! {
            outcome = self.serve() => outcome,
            () = shared.over() => Err(Status::unavailable("the control plane goes down")),
        };
        let Err(status) = outcome else { return };
        let stalled = status.code() == Code::DeadlineExceeded;
        // A client that does not read is gone anyway.
        let _ = self.responses.try_send(Err(status));
        if stalled {
            tracing::warn!(peer = %self.line.peer, "client does not read or acknowledge: cut off");
            self.line.cut.notify_one();
        }
    }

    async fn serve(&mut self) -> Result<(), Status> {
        let greeting = self.shared.limits.greeting;
        let first = timeout(greeting, self.first()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("nothing was asked"))??;
        let Some(first) = first else { return Ok(()) };
        let node = Node::decode(first.node.clone().unwrap_or_default());
        node.check().map_err(Status::invalid_argument)?;
        let group = self.shared.grouping.of(&node);
        let Some(group) = group else {
            tracing::warn!(peer = %self.line.peer, node = %node.id, "node not let in");
            return Err(Status::permission_denied(format!("node `{}` is not served here", node.id.escape_debug())));
        };
        let Some(mut contents) = self.shared.cache.watch(&group) else {
            return Err(Status::not_found(format!("there is nothing for clients of group `{}`", group.escape_debug())));
        };
        let shared = self.shared.clone();
        shared.log.open(self.number, node, &group, self.line.peer);
        let _logged = Logged(&shared.log, self.number);
        let content = contents.borrow_and_update().clone();
        let (mut sent, strange) = content.held(first.initial_resource_versions);
        // The first answer comes even if there is nothing to say: the client knows then that it has all.
        self.send_beyond(&sent, &content, strange).await?;
        sent.clone_from(&content.resources);
        loop {
            let content = self.next(&mut contents).await?;
            let Some(content) = content else { return Ok(()) };
            if sent.diff(&content.resources).next().is_some() {
                self.send_beyond(&sent, &content, Vec::new()).await?;
            }
            sent = content.resources;
        }
    }

    /// The first request for our type; others are told that there is nothing.
    async fn first(&mut self) -> Result<Option<DeltaDiscoveryRequest>, Status> {
        while let Some(request) = self.read().await? {
            if request.type_url != pb::TYPE_URL {
                self.deny(request).await?;
                continue;
            }
            if request.resource_names_subscribe.iter().any(|it| it != "*") {
                return Err(Status::unimplemented("subscribe to everything: without names, or to `*`"));
            }
            return Ok(Some(request));
        }
        Ok(None)
    }

    /// The next set that is not the one last sent. `None` when the client is gone.
    async fn next(&mut self, contents: &mut watch::Receiver<Content>) -> Result<Option<Content>, Status> {
        loop {
            tokio::select! {
                changed = contents.changed() => {
                    // The cache lives as long as the server.
                    let alive = changed.is_ok();
                    return Ok(alive.then(|| contents.borrow_and_update().clone()));
                }
                request = self.requests.next() => match request.transpose()? {
                    None => return Ok(None),
                    Some(request) => {
                        self.hear(request, 0).await?;
                    }
                },
            }
        }
    }

    /// Sends what is beyond `sent`, in the order of [`crate::codec::Kind`], then removes what is gone, in the
    /// reverse. What is to come is found when there is room for it, so that a large set is not held twice.
    async fn send_beyond(
        &mut self,
        sent: &OrdMap<Name, Entry>,
        content: &Content,
        strange: Vec<String>,
    ) -> Result<(), Status> {
        let bytes_max = self.shared.limits.response_bytes;
        let mut batch = Batch::removing(strange);
        let mut gone = Vec::new();
        for item in sent.diff(&content.resources) {
            let (name, entry) = match item {
                DiffItem::Add(name, entry) | DiffItem::Update { new: (name, entry), .. } => (name, entry),
                DiffItem::Remove(name, _) => {
                    gone.push(name);
                    continue;
                }
            };
            if !batch.has_room(name, entry.bytes.len(), bytes_max) {
                self.send(std::mem::take(&mut batch), content.generation).await?;
            }
            batch.send(name, entry);
        }
        for name in gone.into_iter().rev() {
            if !batch.has_room(name, 0, bytes_max) {
                self.send(std::mem::take(&mut batch), content.generation).await?;
            }
            batch.remove(name);
        }
        self.send(batch, content.generation).await?;
        self.shared.log.edit(self.number, |it| it.acknowledged = content.generation);
        Ok(())
    }

    /// Sends one response, and waits until it is acknowledged.
    async fn send(&mut self, batch: Batch, generation: u64) -> Result<(), Status> {
        self.nonce += 1;
        let nonce = self.nonce;
        let (changes, bytes) = (batch.len() as u64, batch.content_bytes() as u64);
        let Batch { resources, removed, .. } = batch;
        self.shared.log.edit(self.number, |it| {
            it.sent = generation;
            it.responses += 1;
            it.resources += changes;
            it.bytes += bytes;
            for name in resources.iter().map(|it| &it.name).chain(&removed) {
                it.refused.remove(name);
            }
        });
        self.respond(DeltaDiscoveryResponse {
            system_version_info: generation.to_string(),
            resources,
            type_url: pb::TYPE_URL.to_owned(),
            removed_resources: removed,
            nonce: nonce.to_string(),
            control_plane: Some(ControlPlane { identifier: self.shared.identifier.clone() }),
        })
        .await?;
        let limit = self.shared.limits.acknowledgement;
        let waited = timeout(limit, async {
            loop {
                let Some(request) = self.read().await? else { return Err(Status::cancelled("the client is gone")) };
                match self.hear(request, nonce).await? {
                    Said::Nothing => {}
                    Said::Acknowledged => return Ok(Vec::new()),
                    Said::Refused(refused) => return Ok(refused),
                }
            }
        });
        let refused = waited.await.map_err(|_| Status::deadline_exceeded("no acknowledgement in time"))??;
        if !refused.is_empty() {
            self.shared.log.refused(self.number, SystemTime::now(), refused);
        }
        Ok(())
    }

    async fn hear(&mut self, request: DeltaDiscoveryRequest, nonce: u64) -> Result<Said, Status> {
        if request.type_url != pb::TYPE_URL {
            self.deny(request).await?;
            return Ok(Said::Nothing);
        }
        // A nonce that is not the last one answers something that is past.
        if nonce == 0 || request.response_nonce != nonce.to_string() {
            return Ok(Said::Nothing);
        }
        Ok(match &request.error_detail {
            None => Said::Acknowledged,
            Some(detail) => Said::Refused(nack::decode(detail)),
        })
    }

    /// There is nothing of another type, now and later.
    async fn deny(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        if !request.response_nonce.is_empty() {
            return Ok(());
        }
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        let type_url = request.type_url;
        self.respond(DeltaDiscoveryResponse { type_url, nonce, ..DeltaDiscoveryResponse::default() }).await
    }

    async fn read(&mut self) -> Result<Option<DeltaDiscoveryRequest>, Status> {
        self.requests.next().await.transpose()
    }

    async fn respond(&self, response: DeltaDiscoveryResponse) -> Result<(), Status> {
        let sent = timeout(self.shared.limits.acknowledgement, self.responses.send(Ok(response))).await;
        let sent = sent.map_err(|_| Status::deadline_exceeded("the client does not read"))?;
        sent.map_err(|_| Status::cancelled("the client is gone"))
    }
}
