//! Connections over loopback, with an application that answers with what it was asked.

mod binds;
mod http1;
mod http2;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ir::BindKey;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::account::Account;
use super::drain::{Drain, Exit};
use super::info::{ConnInfo, Peer};
use super::stream::{Downstream, Layer, info_of};
use super::talk::Talk;
use super::wire::{Socket, Wire};
use crate::plan::{Terms, Transport};
use crate::telemetry::Telemetry;

/// Answers `<method> <path> <body>`; `/slow` takes a second, and watches the client meanwhile.
struct Echo;

#[async_trait]
impl HttpServerApp for Echo {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        if *shutdown.borrow() {
            session.set_keepalive(None);
        }
        let (method, path) = (session.req_header().method.to_string(), session.req_header().uri.path().to_owned());
        let mut body = Vec::new();
        while let Some(bytes) = session.read_request_body().await.ok()? {
            body.extend_from_slice(&bytes);
        }
        if path == "/slow" {
            tokio::select! {
                _ = session.read_body_or_idle(true) => return None,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
        let bind = session.digest().and_then(info_of).map_or("none", |it| it.bind.as_str()).to_owned();
        let answer = format!("{method} {path} {}", String::from_utf8_lossy(&body));
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.insert_header("content-length", answer.len().to_string()).unwrap();
        head.insert_header("bind", bind).unwrap();
        session.write_response_header(Box::new(head)).await.ok()?;
        session.write_response_body(answer.into(), true).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }
}

fn telemetry() -> Arc<Telemetry> {
    let statics = crate::telemetry::tests::statics();
    Telemetry::with_output(&statics, Box::new(std::io::sink()))
}

/// A client, and our side of its connection.
async fn connection(exit: &Arc<Exit>) -> (TcpStream, Wire) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    let account = Account::new(telemetry(), BindKey::new("bind/1"), exit.sit(None).unwrap());
    (client, Wire::new(Socket::Tcp(ours), account))
}

fn downstream(wire: Wire, exit: &Exit, http2: bool) -> Box<Downstream> {
    let mut stream = Box::new(Downstream::new(Layer::Plain(wire)));
    let address = "192.0.2.7:70".parse().unwrap();
    let info = ConnInfo {
        id: 1,
        bind: BindKey::new("bind/1"),
        transport: Transport::Http,
        listener: None,
        protocol: ir::Protocol::Http,
        sni: None,
        http2,
        peer: Peer::Inet(address),
        client: address,
        local_port: 80,
        proxied: false,
        tls: None,
        drain: exit.draining(),
        opened: std::time::Instant::now(),
        traffic: stream.traffic(),
        told: Default::default(),
        forwarded_for: Default::default(),
    };
    stream.introduce(info).unwrap();
    stream
}

fn talk(exit: &Exit, terms: Terms) -> Talk<Echo> {
    Talk {
        app: Arc::new(Echo),
        telemetry: telemetry(),
        bind: BindKey::new("bind/1"),
        terms: Arc::new(terms),
        drain: exit.draining(),
        cut: exit.cutting(),
        opened: Instant::now(),
    }
}
