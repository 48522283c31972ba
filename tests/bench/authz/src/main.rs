//! An authorization server that allows everything, and the least a client can do to ask it.
//!
//! `bench-authz serve <address>` answers every call of gRPC with an empty `CheckResponse` of status OK.
//! `bench-authz call <address> <calls> <at once>` asks it over one connection with tonic, a question as large as the
//! gateway's, on one thread, and prints the microseconds of CPU that one call took.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `CheckRequest`, its attributes left as they are on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(bytes = "vec", tag = "1")]
    attributes: Vec<u8>,
}

/// `CheckResponse`: a `google.rpc.Status` and an `OkHttpResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Verdict {
    #[prost(bytes = "vec", optional, tag = "1")]
    status: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    allowed: Option<Vec<u8>>,
}

/// What the gateway says of a request of the bench, to a dozen bytes.
const QUESTION_BYTES: usize = 350;

const CHECK: PathAndQuery = PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => serve(address).await,
        ["call", address, calls, at_once] => {
            let number = |text: &str| text.parse().expect("a number");
            call(address, number(calls), number(at_once)).await;
        }
        _ => panic!("serve <address> | call <address> <calls> <at once>"),
    }
}

async fn serve(address: &str) {
    let listener = TcpListener::bind(address).await.expect("a free address");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let service = hyper::service::service_fn(answer);
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        // Whoever leaves, leaves.
        tokio::spawn(async move { serving.await.ok() });
    }
}

type Answer = Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

async fn answer(question: hyper::Request<Incoming>) -> Result<Answer, Infallible> {
    let bytes = question.into_body().collect().await.map(|it| it.to_bytes().len()).unwrap_or(0);
    assert!(bytes > QUESTION_BYTES / 2, "a question of {bytes} bytes is none");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let message = Bytes::from_static(&[0, 0, 0, 0, 4, 0x0a, 0, 0x1a, 0]);
    let frames = [Ok(Frame::data(message)), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures::stream::iter(frames)).boxed();
    Ok(Response::builder().header("content-type", "application/grpc").body(body).expect("a response"))
}

async fn call(address: &str, calls: u64, at_once: u64) {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address").tcp_nodelay(true);
    let channel = endpoint.connect().await.expect("the server");
    ask_all(&channel, calls / 10, at_once).await;
    let before = cpu();
    ask_all(&channel, calls, at_once).await;
    println!("{}", (cpu() - before) * 1e6 / calls as f64);
}

async fn ask_all(channel: &Channel, calls: u64, at_once: u64) {
    let begun = Arc::new(AtomicU64::new(0));
    let askers: Vec<_> = (0..at_once).map(|_| tokio::spawn(ask(channel.clone(), begun.clone(), calls))).collect();
    for asker in askers {
        asker.await.expect("an asker");
    }
}

async fn ask(channel: Channel, begun: Arc<AtomicU64>, calls: u64) {
    let mut client = Grpc::new(channel);
    while begun.fetch_add(1, Relaxed) < calls {
        client.ready().await.expect("a connection");
        let question = tonic::Request::new(Question { attributes: vec![b'x'; QUESTION_BYTES] });
        let answer = client.unary(question, CHECK, ProstCodec::<Question, Verdict>::default()).await;
        assert!(answer.expect("an answer").into_inner().allowed.is_some());
    }
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
