//! HTTP serving: hyper on one connection, the counters around each request, and the ways to write an answer.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

use super::stats::InFlight;
use super::{Accepted, Asked, Connection, Failure, Service, Stats};
use crate::http::{Body, full};

/// An answer.
pub type Answer = Response<Body>;

/// A request whose body has not been read yet.
pub(super) struct Asking {
    pub(super) request: Request<Incoming>,
    pub(super) connection: Connection,
    pub(super) stats: Arc<Stats>,
}

/// An error breaks the stream off: RST_STREAM on HTTP/2, the end of the connection on HTTP/1.
pub(super) type Outcome = std::io::Result<Answer>;

type Handler = Arc<dyn Fn(Asking) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// Ready-made answers.
pub mod answer {
    use super::{Answer, Body, Bytes, HeaderMap, Response, full};
    use crate::grpc::frame;
    use crate::http::channel;

    pub fn text(status: u16, body: impl Into<String>) -> Answer {
        with_type(status, "text/plain", body.into())
    }

    pub fn json(value: &serde_json::Value) -> Answer {
        with_type(200, "application/json", value.to_string())
    }

    pub fn with_type(status: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
        Response::builder()
            .status(status)
            .header("content-type", content_type)
            .body(full(body))
            .expect("a status and a content type that HTTP allows")
    }

    /// The answer to a unary call of gRPC that succeeds.
    pub fn grpc(message: &[u8]) -> Answer {
        let (sender, body) = channel();
        let frame = frame(message);
        tokio::spawn(async move {
            let ok = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from(0))]);
            if sender.data(frame).await {
                sender.trailers(ok).await;
            }
        });
        Response::builder().header("content-type", "application/grpc").body(body).expect("a header that HTTP allows")
    }

    /// A `text/event-stream` that is written piece by piece.
    pub fn event_stream(body: Body) -> Answer {
        let builder = Response::builder().header("content-type", "text/event-stream");
        builder.body(body).expect("a content type that HTTP allows")
    }

    /// A whole `text/event-stream`, one `data:` event each, sent at once.
    pub fn events<S: AsRef<str>>(data: &[S]) -> Answer {
        let body: String = data.iter().map(|it| format!("data: {}\n\n", it.as_ref())).collect();
        with_type(200, "text/event-stream", body)
    }
}

/// Serves with the body unread.
pub(super) fn streaming<F>(handler: F) -> Service
where
    F: Fn(Asking) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
{
    let handler: Handler = Arc::new(handler);
    Arc::new(move |accepted| Box::pin(connection(accepted, Arc::clone(&handler))))
}

/// Serves with the whole request in hand.
pub(super) fn whole<F, Fut>(handler: F) -> Service
where
    F: Fn(Asked) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let handler = Arc::new(handler);
    streaming(move |asking| {
        let handler = Arc::clone(&handler);
        Box::pin(async move { Ok(handler(asking.read().await?).await) })
    })
}

async fn connection(accepted: Accepted, handler: Handler) {
    let Accepted { stream, connection, stats } = accepted;
    let service = service_fn(move |request| {
        let asking = Asking { request, connection: connection.clone(), stats: Arc::clone(&stats) };
        answered(asking, Arc::clone(&handler))
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    // How a connection ends is the client's business; tests look at what the client saw.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answered(asking: Asking, handler: Handler) -> Outcome {
    let (flight, failure) = asking.stats.request();
    let answer = match failure {
        None => handler(asking).await?,
        Some(Failure::Status(status)) => {
            asking.read().await?;
            answer::text(status.as_u16(), "scripted failure")
        }
        Some(Failure::Reset) => {
            asking.connection.reset();
            pending().await
        }
        Some(Failure::Close) => {
            asking.connection.close();
            pending().await
        }
        Some(Failure::Stall) => pending().await,
    };
    Ok(answer.map(|body| Counted { body, _flight: flight }.boxed_unsync()))
}

impl Asking {
    /// Reads the whole body and remembers the request, even when the body is cut short.
    pub(super) async fn read(self) -> std::io::Result<Asked> {
        let (head, mut body) = self.request.into_parts();
        let mut asked = Asked {
            method: head.method,
            uri: head.uri,
            version: head.version,
            headers: head.headers,
            body: Bytes::new(),
            trailers: HeaderMap::new(),
            connection: self.connection,
            complete: false,
        };
        let mut bytes = Vec::new();
        let end = loop {
            match body.frame().await {
                None => break Ok(()),
                Some(Err(error)) => break Err(std::io::Error::other(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => bytes.extend_from_slice(&data),
                    Err(frame) => asked.trailers.extend(frame.into_trailers().unwrap_or_default()),
                },
            }
        };
        asked.body = bytes.into();
        asked.complete = end.is_ok();
        self.stats.remember(asked.clone());
        end.map(|()| asked)
    }
}

/// A body that keeps its request in flight until it is written or dropped.
struct Counted {
    body: Body,
    _flight: InFlight,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
