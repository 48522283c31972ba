//! Clients: HTTP with a visible connection, raw bytes, events, gRPC, WebSocket, PROXY headers.
//!
//! Every operation has a deadline. `.await` on a [`Call`] panics when there is no answer; `try_send` gives the error.

mod events;
mod grpc;
mod http;
pub(crate) mod parting;
pub mod proxy;
mod raw;
mod websocket;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use events::{Event, Events};
pub use grpc::{Duplex, GrpcClient, GrpcReply};
pub use http::{Call, Client, Streaming, Unsent};
pub use raw::{End, RawClient, RawHead};
pub use websocket::{WsClient, WsRefused};

use crate::http::{Body, Reply};
use crate::io::Place;

/// One GET over a connection of its own.
pub async fn get(addr: SocketAddr, path: &str) -> Reply {
    Client::h1(addr).get(path).await
}

/// One POST over a connection of its own.
pub async fn post(addr: SocketAddr, path: &str, body: impl Into<bytes::Bytes>) -> Reply {
    let body: Body = crate::http::full(body);
    Client::h1(addr).post(path).stream_body(body).await
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Place {
        Place::Unix(path)
    }
}
