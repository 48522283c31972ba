//! A gRPC server without generated code.
//!
//! | Method | |
//! |---|---|
//! | `/test.Echo/Unary` | the message back; `x-*` metadata and `grpc-timeout` (as `x-seen-timeout`) come back as headers |
//! | `/test.Echo/Fail` | trailers only: `grpc-status` from the metadata `x-code`, 13 otherwise |
//! | `/test.Echo/FailLate` | the message back, then that status |
//! | `/test.Echo/ServerStream` | the message is a number n in decimal: n messages, `0` to `n-1` |
//! | `/test.Echo/ClientStream` | one message: all messages joined by `,` |
//! | `/test.Echo/Bidi` | `pong:` and each message, as it comes |
//! | `/test.Echo/Stall` | nothing, ever |
//! | `/grpc.health.v1.Health/Check` | `Stats::set_serving` decides |

use std::future::pending;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::serve::{Answer, Asking, Outcome};
use crate::grpc::{Frames, frame, serving};
use crate::http::{BodySender, channel, full};

pub(super) async fn call(asking: Asking) -> Outcome {
    let path = asking.request.uri().path().to_owned();
    let code = asking.request.headers().get("x-code").cloned().unwrap_or(HeaderValue::from_static("13"));
    let serves = asking.stats.is_serving();
    match path.as_str() {
        "/test.Echo/Stall" => pending().await,
        "/test.Echo/Bidi" => Ok(bidi(asking.request)),
        "/test.Echo/ClientStream" => client_stream(asking.request).await,
        "/test.Echo/ServerStream" => server_stream(asking).await,
        "/test.Echo/Unary" => {
            let asked = asking.read().await?;
            let message = first_message(&asked.body)?;
            Ok(with_metadata(&asked.headers, messages(vec![message], status(0))))
        }
        "/test.Echo/FailLate" => {
            let message = first_message(&asking.read().await?.body)?;
            let mut trailers = status(0);
            trailers.insert("grpc-status", code);
            trailers.insert("grpc-message", HeaderValue::from_static("late%20failure"));
            Ok(messages(vec![message], trailers))
        }
        "/test.Echo/Fail" => {
            asking.read().await?;
            Ok(trailers_only(code, "asked%20to%20fail"))
        }
        "/grpc.health.v1.Health/Check" => {
            asking.read().await?;
            Ok(messages(vec![serving(serves)], status(0)))
        }
        _ => Ok(trailers_only(HeaderValue::from_static("12"), "no%20such%20method")),
    }
}

async fn server_stream(asking: Asking) -> Outcome {
    let message = first_message(&asking.read().await?.body)?;
    let n: usize = std::str::from_utf8(&message).ok().and_then(|it| it.parse().ok()).unwrap_or(0);
    let (sender, body) = channel();
    tokio::spawn(async move {
        for it in 0..n {
            if !sender.data(frame(it.to_string().as_bytes())).await {
                return;
            }
        }
        sender.trailers(status(0)).await;
    });
    Ok(grpc(body))
}

async fn client_stream(request: Request<Incoming>) -> Outcome {
    let mut reader = Reader::new(request.into_body());
    let mut joined: Vec<u8> = Vec::new();
    let mut count = 0_usize;
    while let Some(message) = reader.next().await? {
        if count > 0 {
            joined.push(b',');
        }
        joined.extend_from_slice(&message);
        count += 1;
    }
    Ok(messages(vec![joined.into()], status(0)))
}

fn bidi(request: Request<Incoming>) -> Answer {
    let (sender, body) = channel();
    tokio::spawn(async move {
        let mut reader = Reader::new(request.into_body());
        while let Ok(Some(message)) = reader.next().await {
            let mut pong = b"pong:".to_vec();
            pong.extend_from_slice(&message);
            if !sender.data(frame(&pong)).await {
                return;
            }
        }
        sender.trailers(status(0)).await;
    });
    grpc(body)
}

/// Reads messages as they come.
struct Reader {
    body: Incoming,
    frames: Frames,
}

impl Reader {
    fn new(body: Incoming) -> Reader {
        Reader { body, frames: Frames::default() }
    }

    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            if let Some(message) = self.frames.next_message() {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.map_err(std::io::Error::other)?;
                    self.frames.push(frame.data_ref().unwrap_or(&Bytes::new()));
                }
            }
        }
    }
}

fn first_message(body: &Bytes) -> std::io::Result<Bytes> {
    let mut frames = Frames::default();
    frames.push(body);
    frames.next_message().ok_or_else(|| std::io::Error::other("no whole message in the request"))
}

fn messages(list: Vec<Bytes>, trailers: HeaderMap) -> Answer {
    let (sender, body) = channel();
    tokio::spawn(send_all(sender, list, trailers));
    grpc(body)
}

async fn send_all(sender: BodySender, list: Vec<Bytes>, trailers: HeaderMap) {
    for message in list {
        if !sender.data(frame(&message)).await {
            return;
        }
    }
    sender.trailers(trailers).await;
}

fn with_metadata(asked: &HeaderMap, mut answer: Answer) -> Answer {
    for (name, value) in asked.iter().filter(|it| it.0.as_str().starts_with("x-")) {
        answer.headers_mut().append(name.clone(), value.clone());
    }
    if let Some(timeout) = asked.get("grpc-timeout") {
        answer.headers_mut().insert("x-seen-timeout", timeout.clone());
    }
    answer
}

fn trailers_only(code: HeaderValue, message: &'static str) -> Answer {
    let mut answer = grpc(full(""));
    answer.headers_mut().insert("grpc-status", code);
    answer.headers_mut().insert("grpc-message", HeaderValue::from_static(message));
    answer
}

fn status(code: u32) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(code))])
}

fn grpc(body: crate::http::Body) -> Answer {
    Response::builder().header("content-type", "application/grpc").body(body).expect("a header that HTTP allows")
}
