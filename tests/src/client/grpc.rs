//! A gRPC client without generated code, over any [`Client`] that speaks HTTP/2.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::http::{Call, Client, Streaming};
use crate::grpc::{Frames, frame};
use crate::http::{BodySender, channel};

#[derive(Clone)]
pub struct GrpcClient {
    client: Client,
}

/// A finished call.
#[derive(Clone, Debug)]
pub struct GrpcReply {
    pub http_status: StatusCode,
    pub headers: HeaderMap,
    pub trailers: HeaderMap,
    pub messages: Vec<Bytes>,
}

/// A call in which both sides speak in turn.
pub struct Duplex {
    sender: Option<BodySender>,
    answer: Streaming,
    frames: Frames,
}

impl GrpcReply {
    /// `grpc-status`, from the trailers or, in an answer without messages, from the headers.
    pub fn status(&self) -> Option<u32> {
        self.field("grpc-status").and_then(|it| it.parse().ok())
    }

    /// `grpc-message`, still percent-encoded.
    pub fn message(&self) -> Option<&str> {
        self.field("grpc-message")
    }

    /// The texts of the messages.
    pub fn texts(&self) -> Vec<String> {
        self.messages.iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).or(self.headers.get(name)).and_then(|it| it.to_str().ok())
    }
}

impl GrpcClient {
    pub fn new(client: Client) -> GrpcClient {
        GrpcClient { client }
    }

    /// One message there, any number back.
    pub async fn unary(&self, method: &str, message: &[u8], metadata: &[(&str, &str)]) -> GrpcReply {
        self.stream(method, &[message], metadata).await
    }

    /// Any number of messages there, any number back.
    pub async fn stream(&self, method: &str, messages: &[&[u8]], metadata: &[(&str, &str)]) -> GrpcReply {
        self.try_stream(method, messages, metadata).await.expect("a gRPC answer")
    }

    pub async fn try_stream(
        &self,
        method: &str,
        messages: &[&[u8]],
        metadata: &[(&str, &str)],
    ) -> anyhow::Result<GrpcReply> {
        let body: Vec<u8> = messages.iter().flat_map(|it| frame(it)).collect();
        let reply = self.call(method, metadata).body(body).try_send().await?;
        let mut frames = Frames::default();
        frames.push(&reply.body);
        let messages: Vec<Bytes> = std::iter::from_fn(|| frames.next_message()).collect();
        anyhow::ensure!(frames.is_empty(), "the answer ends inside a message");
        Ok(GrpcReply { http_status: reply.status, headers: reply.headers, trailers: reply.trailers, messages })
    }

    /// Opens a call to send and receive by turns. The server must send its headers before the first message.
    pub async fn duplex(&self, method: &str, metadata: &[(&str, &str)]) -> Duplex {
        self.try_duplex(method, metadata).await.expect("the head of a gRPC answer")
    }

    pub async fn try_duplex(&self, method: &str, metadata: &[(&str, &str)]) -> anyhow::Result<Duplex> {
        let (sender, body) = channel();
        let answer = self.call(method, metadata).stream_body(body).try_stream().await?;
        Ok(Duplex { sender: Some(sender), answer, frames: Frames::default() })
    }

    fn call(&self, method: &str, metadata: &[(&str, &str)]) -> Call {
        let call =
            self.client.call(Method::POST, method).header("content-type", "application/grpc").header("te", "trailers");
        metadata.iter().fold(call, |call, (name, value)| call.header(name, value))
    }
}

impl Duplex {
    /// Sends a message; `false` when the call is over.
    pub async fn send(&self, message: &[u8]) -> bool {
        match &self.sender {
            Some(sender) => sender.data(frame(message)).await,
            None => false,
        }
    }

    /// Says that no more messages follow.
    pub fn finish(&mut self) {
        self.sender = None;
    }

    /// The next message; `None` at the proper end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(message) = self.frames.next_message() {
                return Ok(Some(message));
            }
            match self.answer.chunk().await? {
                Some(chunk) => self.frames.push(&chunk),
                None => return Ok(None),
            }
        }
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.answer.headers
    }

    /// Complete once `next` has given `None`.
    pub fn trailers(&self) -> &HeaderMap {
        &self.answer.trailers
    }
}
