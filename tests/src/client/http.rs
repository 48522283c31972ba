//! The HTTP client: one connection at a time, kept alive, and open to inspection.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::panic::Location;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::events::Events;
use super::parting;
use crate::http::{Body, Reply, full};
use crate::io::{self, Place, TlsFacts};
use crate::wait::PATIENCE;

/// A client with at most one connection, made when first needed and again when it was closed. Clones share it.
#[derive(Clone)]
pub struct Client {
    place: Place,
    speaks: Speaks,
    tls: Option<(String, Arc<rustls::ClientConfig>)>,
    host: String,
    prefix: Bytes,
    deadline: Duration,
    live: Arc<Held>,
    dialled: Arc<AtomicU64>,
}

/// An HTTP/2 connection was closing and has not taken the request: whoever asks may ask again (RFC 9113 section 6.8).
#[derive(Debug)]
pub struct Unsent(hyper::Error);

impl std::fmt::Display for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not sent: {}", self.0)
    }
}

impl std::error::Error for Unsent {}

#[derive(Clone, Copy, PartialEq)]
enum Speaks {
    H1,
    H2,
    /// What ALPN chose.
    Negotiated,
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

/// The connection, where there is one.
#[derive(Default)]
pub(super) struct Held(Mutex<Option<Live>>);

impl Held {
    /// Closes it unless somebody waits for something over it.
    pub(super) fn close_idle(&self) {
        let Ok(mut live) = self.0.try_lock() else { return };
        let is_idle = |it: &mut Live| matches!(&it.sender, Sender::H1(it) if it.is_ready());
        if let Some(live) = live.take_if(is_idle) {
            live.task.abort();
        }
    }
}

struct Live {
    sender: Sender,
    number: u64,
    asked: u64,
    tls: Option<TlsFacts>,
    task: JoinHandle<()>,
}

impl Client {
    pub fn h1(addr: SocketAddr) -> Client {
        Client::new(Place::Tcp(addr), Speaks::H1, addr.to_string())
    }

    /// HTTP/2 by prior knowledge.
    pub fn h2c(addr: SocketAddr) -> Client {
        Client::new(Place::Tcp(addr), Speaks::H2, addr.to_string())
    }

    /// HTTP/1.1 over a Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Client {
        Client::new(Place::Unix(path.into()), Speaks::H1, "localhost".into())
    }

    /// TLS with the terms of `Authority::client_config`; HTTP/2 when ALPN chooses it. `sni` is the Host as well.
    pub fn tls(addr: SocketAddr, sni: &str, config: Arc<rustls::ClientConfig>) -> Client {
        let mut client = Client::new(Place::Tcp(addr), Speaks::Negotiated, sni.to_owned());
        client.tls = Some((sni.to_owned(), config));
        client
    }

    fn new(place: Place, speaks: Speaks, host: String) -> Client {
        let (live, dialled) = (Arc::default(), Arc::default());
        Client { place, speaks, tls: None, host, prefix: Bytes::new(), deadline: PATIENCE, live, dialled }
    }

    /// The Host header or `:authority`.
    #[must_use]
    pub fn host(mut self, host: &str) -> Client {
        self.host = host.to_owned();
        self
    }

    /// Bytes before everything else on each new connection, a PROXY header for one.
    #[must_use]
    pub fn prefix(mut self, bytes: impl Into<Bytes>) -> Client {
        self.prefix = bytes.into();
        self
    }

    /// How long one exchange may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Client {
        self.deadline = deadline;
        self
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    #[track_caller]
    pub fn call(&self, method: Method, path: &str) -> Call {
        let caller = Location::caller();
        let (headers, body) = (HeaderMap::new(), full(""));
        Call { client: self.clone(), method, path: path.to_owned(), headers, body, caller }
    }

    /// Connects now, if not connected, to see whether it can.
    pub async fn connect(&self) -> anyhow::Result<()> {
        let mut live = self.live.0.lock().await;
        if live.as_ref().is_none_or(Live::is_closed) {
            *live = Some(self.dial().await?);
        }
        Ok(())
    }

    /// Closes the connection at once, with whatever is going on over it.
    pub async fn disconnect(&self) {
        if let Some(live) = self.live.0.lock().await.take() {
            live.task.abort();
            // An aborted task answers with a cancellation, which is what was asked for.
            let _ = live.task.await;
        }
    }

    /// Whether the connection would carry another request.
    pub async fn is_open(&self) -> bool {
        self.live.0.lock().await.as_ref().is_some_and(|it| !it.is_closed())
    }

    /// Connections made so far.
    pub fn connections(&self) -> u64 {
        self.dialled.load(Ordering::SeqCst)
    }

    /// Connections made since this was last asked.
    pub fn take_connections(&self) -> u64 {
        self.dialled.swap(0, Ordering::SeqCst)
    }

    /// Whether no clone of this client is left.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.live) == 1
    }

    /// What the handshake of the present connection said.
    pub async fn tls_facts(&self) -> Option<TlsFacts> {
        self.live.0.lock().await.as_ref().and_then(|it| it.tls.clone())
    }

    async fn dial(&self) -> anyhow::Result<Live> {
        let end = Instant::now() + self.deadline;
        timeout_at(end, self.dial_forever())
            .await
            .with_context(|| format!("no connection to {:?} in time", self.place))?
    }

    async fn dial_forever(&self) -> anyhow::Result<Live> {
        let mut stream = self.place.connect().await?;
        stream.write_all(&self.prefix).await?;
        if let Some((sni, config)) = &self.tls {
            stream = io::tls_connect(stream, sni, Arc::clone(config)).await?;
        }
        let tls = stream.tls.clone();
        let h2 = match self.speaks {
            Speaks::H1 => false,
            Speaks::H2 => true,
            Speaks::Negotiated => tls.as_ref().and_then(|it| it.alpn.as_deref()) == Some("h2"),
        };
        let number = self.dialled.fetch_add(1, Ordering::SeqCst) + 1;
        // How the connection ends shows in the exchanges over it.
        let (sender, task) = if h2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            (Sender::H2(sender), tokio::spawn(async move { drop(connection.await) }))
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            (Sender::H1(sender), tokio::spawn(async move { drop(connection.with_upgrades().await) }))
        };
        parting::remember(&self.place, Arc::downgrade(&self.live));
        Ok(Live { sender, number, asked: 0, tls, task })
    }

    async fn exchange(&self, mut request: Request<Body>) -> anyhow::Result<(Response<Incoming>, u64, bool)> {
        let mut live = self.live.0.lock().await;
        let ready = match live.as_mut() {
            Some(it) => it.ready().await,
            None => false,
        };
        if !ready {
            *live = Some(self.dial().await?);
        }
        let Some(it) = live.as_mut() else { bail!("no connection") };
        it.asked += 1;
        let (number, reused) = (it.number, it.asked > 1);
        let answer = match &mut it.sender {
            Sender::H1(sender) => {
                if !request.headers().contains_key(header::HOST) {
                    request.headers_mut().insert(header::HOST, HeaderValue::try_from(&self.host)?);
                }
                sender.send_request(request).await?
            }
            Sender::H2(sender) => {
                let mut sender = sender.clone();
                drop(live);
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
                *request.uri_mut() =
                    http::Uri::builder().scheme(scheme).authority(self.host.as_str()).path_and_query(path).build()?;
                sender.try_send_request(request).await.map_err(unsent)?
            }
        };
        Ok((answer, number, reused))
    }
}

/// Tells a request that was never on the wire from one that went wrong.
fn unsent(mut fault: TrySendError<Request<Body>>) -> anyhow::Error {
    let given_back = fault.take_message().is_some();
    let error = fault.into_error();
    let cause = std::error::Error::source(&error).and_then(|it| it.downcast_ref::<h2::Error>());
    let leaving = |it: &h2::Error| it.is_go_away() && it.is_remote() && it.reason() == Some(h2::Reason::NO_ERROR);
    if given_back || cause.is_some_and(leaving) { Unsent(error).into() } else { error.into() }
}

impl Live {
    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::H1(it) => it.is_closed(),
            Sender::H2(it) => it.is_closed(),
        }
    }

    async fn ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::H1(it) => it.ready().await.is_ok(),
            Sender::H2(it) => it.ready().await.is_ok(),
        }
    }
}

/// A request being put together; `.await` sends it and gives the whole answer.
#[must_use]
pub struct Call {
    client: Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Body,
    caller: &'static Location<'static>,
}

impl Call {
    /// Appends a header; names and values are checked as HTTP wants them.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Call {
        let name: HeaderName = name.parse().expect("a header name that HTTP allows");
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a header value that HTTP allows");
        self.headers.append(name, value);
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Call {
        self.body = full(body);
        self
    }

    pub fn json(self, value: &serde_json::Value) -> Call {
        self.header("content-type", "application/json").body(value.to_string())
    }

    /// A body written piece by piece: see `tests::http::channel`.
    pub fn stream_body(mut self, body: Body) -> Call {
        self.body = body;
        self
    }

    /// The whole answer, or why there is none.
    pub async fn try_send(self) -> anyhow::Result<Reply> {
        self.try_stream().await?.whole().await
    }

    /// The head of the answer; its body follows.
    pub async fn stream(self) -> Streaming {
        let (what, caller) = (self.what(), self.caller);
        match self.try_stream().await {
            Ok(streaming) => streaming,
            Err(error) => panic!("{what}, asked at {caller}: {error:#}"),
        }
    }

    pub async fn try_stream(self) -> anyhow::Result<Streaming> {
        let Call { client, method, path, headers, body, caller: _ } = self;
        let end = Instant::now() + client.deadline;
        let mut request = Request::builder().method(method).uri(path).body(body)?;
        *request.headers_mut() = headers;
        let (answer, connection, reused) =
            timeout_at(end, Box::pin(client.exchange(request))).await.context("no answer in time")??;
        let (head, body) = answer.into_parts();
        Ok(Streaming {
            status: head.status,
            version: head.version,
            headers: head.headers,
            trailers: HeaderMap::new(),
            connection,
            reused,
            body,
            end,
        })
    }

    /// Sends and reads the answer as an event stream; panics unless it is one.
    pub async fn events(self) -> Events {
        let streaming = self.header("accept", "text/event-stream").stream().await;
        Events::new(streaming)
    }

    /// As [`Call::events`], where failing is an answer too.
    pub async fn try_events(self) -> anyhow::Result<Events> {
        let streaming = self.header("accept", "text/event-stream").try_stream().await?;
        if streaming.status != StatusCode::OK {
            bail!("status {} in place of an event stream", streaming.status);
        }
        Ok(Events::new(streaming))
    }

    fn what(&self) -> String {
        format!("{} {} to {:?}", self.method, self.path, self.client.place)
    }
}

impl IntoFuture for Call {
    type Output = Reply;
    type IntoFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (what, caller) = (self.what(), self.caller);
            match self.try_send().await {
                Ok(reply) => reply,
                Err(error) => panic!("{what}, asked at {caller}: {error:#}"),
            }
        })
    }
}

/// An answer whose body is still coming. Dropping it abandons the exchange.
pub struct Streaming {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    /// Complete once `chunk` has given `None`.
    pub trailers: HeaderMap,
    pub connection: u64,
    pub reused: bool,
    body: Incoming,
    end: Instant,
}

impl Streaming {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }

    /// The next piece of the body as it arrived; `None` at its proper end.
    pub async fn chunk(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            let frame = timeout_at(self.end, self.body.frame()).await.context("the body does not go on")?;
            match frame {
                None => return Ok(None),
                Some(frame) => match frame.context("the body broke off")?.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(frame) => self.trailers.extend(frame.into_trailers().unwrap_or_default()),
                },
            }
        }
    }

    /// Reads to the end.
    pub async fn whole(mut self) -> anyhow::Result<Reply> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(Reply {
            status: self.status,
            version: self.version,
            headers: self.headers,
            body: bytes.freeze(),
            trailers: self.trailers,
            connection: self.connection,
            reused: self.reused,
        })
    }
}
