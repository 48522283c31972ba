//! Control planes and clients that break the rules.

use std::convert::Infallible;

use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost_types::Any;
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status as Fault, Streaming};

use super::*;
use crate::client::connection::Connection;
use crate::pb;
use crate::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use crate::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use crate::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};

type Responses = futures::stream::BoxStream<'static, Result<DeltaDiscoveryResponse, Fault>>;

/// Says what it was told to, and gives what it hears.
#[derive(Clone)]
struct Scripted {
    says: Vec<DeltaDiscoveryResponse>,
    heard: mpsc::Sender<DeltaDiscoveryRequest>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Scripted {
    type DeltaAggregatedResourcesStream = Responses;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Responses>, Fault> {
        let mut requests = request.into_inner();
        let heard = self.heard.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let _ = heard.send(request).await;
            }
        });
        let says: Vec<_> = self.says.iter().cloned().map(Ok).collect();
        use futures::StreamExt as _;
        Ok(Response::new(futures::stream::iter(says).chain(futures::stream::pending()).boxed()))
    }
}

/// A control plane that says these, and what the client answers.
async fn scripted(says: Vec<DeltaDiscoveryResponse>) -> (SocketAddr, mpsc::Receiver<DeltaDiscoveryRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, hear) = mpsc::channel(64);
    let service = AggregatedDiscoveryServiceServer::new(Scripted { says, heard });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            let ask = service_fn(move |request| {
                let mut service = service.clone();
                async move { Ok::<_, Infallible>(service.call(request).await.unwrap()) }
            });
            tokio::spawn(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), ask));
        }
    });
    (address, hear)
}

fn response(nonce: &str, resources: Vec<Resource>) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: pb::TYPE_URL.to_owned(),
        nonce: nonce.to_owned(),
        resources,
        ..DeltaDiscoveryResponse::default()
    }
}

fn resource(change: &Change) -> Resource {
    let value = crate::codec::encode(change).unwrap();
    Resource {
        name: Name::of(change).to_string(),
        version: "1".to_owned(),
        resource: Some(Any { type_url: pb::TYPE_URL.to_owned(), value }),
        ..Resource::default()
    }
}

async fn hear(heard: &mut mpsc::Receiver<DeltaDiscoveryRequest>) -> DeltaDiscoveryRequest {
    soon("a request", heard.recv()).await.unwrap()
}

#[tokio::test]
async fn a_type_nobody_asked_for_is_refused_and_the_stream_goes_on() {
    let strange =
        DeltaDiscoveryResponse { type_url: "type.googleapis.com/x.Y".to_owned(), ..response("1", Vec::new()) };
    let (address, mut heard) = scripted(vec![strange, response("2", vec![resource(&backend("a", "a:1"))])]).await;
    let mut client = Client::start(address);
    assert_eq!(client.taken().await.0, [backend("a", "a:1")]);
    let first = hear(&mut heard).await;
    assert_eq!((first.type_url.as_str(), first.node.unwrap().id.as_str()), (pb::TYPE_URL, "test"));
    let refused = hear(&mut heard).await;
    assert_eq!((refused.type_url.as_str(), refused.response_nonce.as_str()), ("type.googleapis.com/x.Y", "1"));
    assert!(refused.error_detail.unwrap().message.contains("nobody asked for"));
    let taken = hear(&mut heard).await;
    assert_eq!((taken.response_nonce.as_str(), taken.error_detail), ("2", None));
}

#[tokio::test]
async fn odd_resources_are_named_one_by_one() {
    let good = resource(&backend("good", "a:1"));
    let mut ttl = resource(&backend("ttl", "a:1"));
    ttl.ttl = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let empty = Resource { name: "backend/empty".to_owned(), ..Resource::default() };
    let mut strange = resource(&backend("strange", "a:1"));
    strange.resource.as_mut().unwrap().type_url = "type.googleapis.com/x.Y".to_owned();
    let mut renamed = resource(&backend("one", "a:1"));
    renamed.name = "backend/another".to_owned();
    let twice = vec![good.clone(), ttl, empty, strange, renamed, good];
    let (address, mut heard) = scripted(vec![response("1", twice)]).await;
    let mut client = Client::start(address);
    let (changes, refused) = client.taken().await;
    assert_eq!(changes, [backend("good", "a:1")]);
    let said: Vec<_> = refused.iter().map(|it| format!("{}: {}", it.name, it.reason)).collect();
    for (line, want) in said.iter().zip([
        "backend/ttl: `ttl` is not supported",
        "backend/empty: there is nothing in it",
        "backend/strange: its type is not",
        "backend/another: the name does not fit the content, which is `backend/one`",
        "backend/good: it is in this response twice",
    ]) {
        assert!(line.starts_with(want), "{line} is not {want}");
    }
    assert_eq!(said.len(), 5);
    hear(&mut heard).await;
    assert!(hear(&mut heard).await.error_detail.unwrap().message.contains("backend/another"));
}

#[tokio::test]
async fn no_more_is_taken_than_there_is_room_for() {
    let many = (0..5).map(|number| resource(&backend(&format!("b{number}"), "a:1"))).collect();
    let (address, _heard) = scripted(vec![response("1", many)]).await;
    let mut settings = settings(address);
    settings.terms.resources_max = 3;
    let mut client = Client::with(settings, Session::default());
    let (changes, refused) = client.taken().await;
    assert_eq!((changes.len(), refused.len()), (3, 2));
    assert!(refused[0].reason.contains("the limit is reached"));
}

#[tokio::test]
async fn a_response_that_is_too_large_ends_the_stream_and_nothing_else() {
    let huge = Resource { name: "x".repeat(100_000), ..Resource::default() };
    let (address, _heard) =
        scripted(vec![response("1", vec![resource(&backend("a", "a:1"))]), response("2", vec![huge])]).await;
    let mut settings = settings(address);
    settings.terms.message_bytes_max = 10_000;
    let mut client = Client::with(settings, Session::default());
    assert_eq!(client.taken().await.0, [backend("a", "a:1")]);
    client.until("a fault", |it| it.last_fault.as_ref().is_some_and(|it| it.contains("limit"))).await;
    assert_eq!(client.session.len(), 1, "what was taken stays");
}

#[tokio::test]
async fn a_control_plane_that_floods_waits_for_the_receiver() {
    let says = (0..200).map(|number| response(&number.to_string(), vec![resource(&backend("a", "a:1"))])).collect();
    let (address, mut heard) = scripted(says).await;
    let mut client = Client::start(address);
    hear(&mut heard).await;
    let first = client.update().await;
    // Nothing else is delivered, read or acknowledged before the reply.
    assert!(client.updates.try_recv().is_err() && heard.try_recv().is_err());
    first.answer(Vec::new(), Vec::new());
    assert_eq!(hear(&mut heard).await.response_nonce, "0");
}

#[tokio::test]
async fn a_control_plane_that_says_nothing_at_all_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(listener.local_addr().unwrap());
    settings.terms.ping_interval = Duration::from_millis(20);
    settings.terms.ping_timeout = Duration::from_millis(20);
    let mut client = Client::with(settings, Session::default());
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(soon("another attempt", listener.accept()).await.unwrap());
    }
    client.until("two faults", |it| it.faults >= 2 && !it.connected).await;
}

#[tokio::test]
async fn nobody_reading_updates_any_more_ends_the_client() {
    let (address, _heard) = scripted(Vec::new()).await;
    let (sender, updates) = mpsc::channel(1);
    let session = Arc::new(Session::default());
    let status = watch::channel(Status::default()).0;
    let (end, ended) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = ended.await;
    };
    let running = tokio::spawn(run(settings(address), session, sender, status, shutdown));
    drop(end);
    soon("the end", running).await.unwrap();
    drop(updates);
}

#[tokio::test]
async fn our_server_says_that_it_has_nothing_of_another_type() {
    let control = Control::start(server::Settings::default()).await;
    control.apply([backend("a", "a:1")]);
    let settings = settings(control.address);
    let connection = Connection::open(&settings).await.unwrap();
    let mut service = AggregatedDiscoveryServiceClient::with_origin(connection, settings.address.origin());
    let (requests, receiver) = mpsc::channel::<DeltaDiscoveryRequest>(8);
    let outbound = futures::stream::unfold(receiver, |mut it| async { it.recv().await.map(|next| (next, it)) });
    let mut inbound = service.delta_aggregated_resources(outbound).await.unwrap().into_inner();
    let ask = |type_url: &str| DeltaDiscoveryRequest { type_url: type_url.to_owned(), ..Default::default() };
    requests.send(ask("type.googleapis.com/x.Y")).await.unwrap();
    let answer = soon("an answer", inbound.message()).await.unwrap().unwrap();
    assert_eq!((answer.type_url.as_str(), answer.resources.len()), ("type.googleapis.com/x.Y", 0));
    requests.send(ask(pb::TYPE_URL)).await.unwrap();
    let answer = soon("an answer", inbound.message()).await.unwrap().unwrap();
    assert_eq!(answer.resources[0].name, "backend/a");
    // A nonce that is not the one under way acknowledges nothing.
    let stale = DeltaDiscoveryRequest { response_nonce: "99".to_owned(), ..ask(pb::TYPE_URL) };
    requests.send(stale).await.unwrap();
    requests.send(ask("type.googleapis.com/x.Z")).await.unwrap();
    soon("an answer", inbound.message()).await.unwrap().unwrap();
    assert_eq!(control.log.clients()[0].acknowledged, 0);
    let answered = DeltaDiscoveryRequest { response_nonce: answer.nonce, ..ask(pb::TYPE_URL) };
    requests.send(answered).await.unwrap();
    control.until("the acknowledgement", |log| log.clients()[0].acknowledged == 2).await;
}
