//! One client's stream: what it lacks, sent bit by bit, each acknowledged before the next.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::StreamExt as _;
use prost_types::Any;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::cache::{Content, Entry, Lack};
use super::log::{Log, Nack};
use super::{Limits, Shared};
use crate::codec::Name;
use crate::pb::envoy::config::core::v3::ControlPlane;
use crate::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use crate::{Node, nack, pb};

/// What a stream of responses carries.
pub(super) type Answer = Result<DeltaDiscoveryResponse, Status>;

pub(super) struct Stream {
    shared: Arc<Shared>,
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
    Refused(Vec<crate::Refusal>),
    Nothing,
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        requests: Streaming<DeltaDiscoveryRequest>,
        responses: mpsc::Sender<Answer>,
        number: u64,
    ) -> Self {
        Self { shared, requests, responses, number, nonce: 0 }
    }

    /// Serves until the client goes, breaks the rules, or the server ends.
    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        let outcome = tokio::select! {
            outcome = self.serve() => outcome,
            () = shared.over() => Err(Status::unavailable("the control plane goes down")),
        };
        if let Err(status) = outcome {
            // A client that does not read is gone anyway.
            let _ = self.responses.try_send(Err(status));
        }
    }

    async fn serve(&mut self) -> Result<(), Status> {
        let Some(first) = self.first().await? else { return Ok(()) };
        let node = Node::decode(first.node.clone().unwrap_or_default());
        let group = self.shared.group_of(&node);
        let Some(mut contents) = self.shared.cache.watch(&group) else {
            return Err(Status::not_found(format!("there is nothing for clients of group `{group}`")));
        };
        let shared = self.shared.clone();
        shared.log.open(self.number, node.clone(), &group);
        let _logged = Logged(&shared.log, self.number);
        let content = contents.borrow_and_update().clone();
        let (mut sent, strange) = content.held(first.initial_resource_versions);
        let mut lack = content.beyond(&sent);
        lack.remove.extend(strange);
        // The first answer comes even if there is nothing to say: the client knows then that it has all.
        self.send_all(lack, &content, &node).await?;
        sent.clone_from(&content.resources);
        loop {
            let content = self.next(&mut contents).await?;
            let Some(content) = content else { return Ok(()) };
            let lack = content.beyond(&sent);
            if !lack.send.is_empty() || !lack.remove.is_empty() {
                self.send_all(lack, &content, &node).await?;
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

    async fn send_all(&mut self, lack: Lack, content: &Content, node: &Node) -> Result<(), Status> {
        let Lack { send, remove } = lack;
        let mut chunks = chunks(send, remove, &self.shared.limits).into_iter().peekable();
        while let Some((resources, removed)) = chunks.next() {
            let last = chunks.peek().is_none();
            self.send(resources, removed, content.generation, node).await?;
            if last {
                self.shared.log.edit(self.number, |it| it.acknowledged = content.generation);
            }
        }
        Ok(())
    }

    /// Sends one response, and waits until it is acknowledged.
    async fn send(
        &mut self,
        resources: Vec<(Name, Entry)>,
        removed_resources: Vec<String>,
        generation: u64,
        node: &Node,
    ) -> Result<(), Status> {
        self.nonce += 1;
        let nonce = self.nonce;
        let bytes: usize = resources.iter().map(|(_, entry)| entry.bytes.len()).sum();
        self.shared.log.edit(self.number, |it| {
            it.sent = generation;
            it.responses += 1;
            it.resources += (resources.len() + removed_resources.len()) as u64;
            it.bytes += bytes as u64;
        });
        self.respond(DeltaDiscoveryResponse {
            system_version_info: generation.to_string(),
            resources: resources.into_iter().map(resource).collect(),
            type_url: pb::TYPE_URL.to_owned(),
            removed_resources,
            nonce: nonce.to_string(),
            control_plane: Some(ControlPlane { identifier: self.shared.identifier.clone() }),
        })
        .await?;
        let waited = timeout(self.shared.limits.acknowledgement, async {
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
            let group = self.shared.group_of(node);
            self.shared.log.refused(Nack { node: node.id.clone(), group, at: SystemTime::now(), refused });
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
        self.responses.send(Ok(response)).await.map_err(|_| Status::cancelled("the client is gone"))
    }
}

fn resource((name, entry): (Name, Entry)) -> Resource {
    Resource {
        version: entry.version.to_string(),
        resource: Some(Any { type_url: pb::TYPE_URL.to_owned(), value: entry.bytes.into() }),
        name: name.to_string(),
        aliases: Vec::new(),
        ttl: None,
    }
}

type Chunk = (Vec<(Name, Entry)>, Vec<String>);

/// Responses of a bounded size. Changes that fit into one take effect together.
fn chunks(send: Vec<(Name, Entry)>, remove: Vec<String>, limits: &Limits) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = vec![Default::default()];
    let mut size = 0;
    // Name, version and type come on top of the content.
    let weight = |name: usize, bytes: &Bytes| name + bytes.len() + 128;
    for (name, entry) in send {
        let more = weight(name.key.len(), &entry.bytes);
        let full = size > 0 && size + more > limits.response_bytes;
        size = if full { more } else { size + more };
        if full {
            chunks.push(Chunk::default());
        }
        if let Some(last) = chunks.last_mut() {
            last.0.push((name, entry));
        }
    }
    for name in remove {
        let full = size > 0 && size + name.len() > limits.response_bytes;
        size = if full { name.len() } else { size + name.len() };
        if full {
            chunks.push(Chunk::default());
        }
        if let Some(last) = chunks.last_mut() {
            last.1.push(name);
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_set_is_sent_in_bits_and_a_small_change_in_one() {
        let limits = Limits { response_bytes: 1000, ..Limits::default() };
        let entry = |size: usize| Entry { version: "v".into(), bytes: vec![0; size].into() };
        let name = |number: usize| Name::parse(&format!("route/{number}")).unwrap();
        let send = (0..10).map(|number| (name(number), entry(300))).collect();
        let sizes: Vec<_> = chunks(send, vec!["route/x".to_owned()], &limits).iter().map(|it| it.0.len()).collect();
        assert_eq!(sizes, [2, 2, 2, 2, 2]);
        let huge = chunks(vec![(name(0), entry(9999)), (name(1), entry(1))], Vec::new(), &limits);
        assert_eq!(huge.len(), 2, "what does not fit goes alone");
        assert_eq!(chunks(Vec::new(), Vec::new(), &limits).len(), 1, "nothing is said in one response");
    }
}
