//! What the load talks to: backends of every kind, and the configuration that puts them behind a gateway.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Response};
use tokio::sync::watch;

use super::streams::{Bytes, Call, Events, Socket, live};
use super::{Load, Sizes, requests};
use crate::backend::{Answer, Asked};
use crate::certs::Authority;
use crate::http::{channel, full};
use crate::{Backend, Client, Gateway};

/// Between two events of a stream.
const TICK: Duration = Duration::from_millis(250);

const WEB: &str = "web.example";
const SEALED: &str = "sealed.example";

/// Backends for every kind of traffic.
pub struct Site {
    era: watch::Sender<u64>,
    echo: Backend,
    events: Backend,
    websocket: Backend,
    grpc: Backend,
    bytes: Backend,
    sealed: Backend,
    gateways: Authority,
    backends: Authority,
    cert: (String, String),
}

/// Where the gateway listens for it.
#[derive(Clone, Copy, Debug)]
pub struct Doors {
    pub http: SocketAddr,
    pub tls: SocketAddr,
    pub tcp: SocketAddr,
}

impl Site {
    /// Needs a runtime around it.
    pub fn start() -> Site {
        let (era, seen) = watch::channel(0);
        let (gateways, backends) = (Authority::new("gateways"), Authority::new("backends"));
        let identity = gateways.server(&[WEB]);
        let sealed = backends.server(&[SEALED]).server_config(None, &[]);
        Site {
            echo: Backend::echo(),
            events: Backend::http(move |asked| std::future::ready(ticks(&asked, seen.clone()))),
            websocket: Backend::websocket(),
            grpc: Backend::grpc(),
            bytes: Backend::tcp_echo(),
            sealed: Backend::setup().tls(sealed).tcp_echo(),
            cert: (identity.cert_path.display().to_string(), identity.key_path.display().to_string()),
            gateways,
            backends,
            era,
        }
    }

    /// Three binds, to be followed by more: HTTP; TLS, ended or passed through by SNI; TCP.
    pub fn binds(&self) -> String {
        let routes = format!(
            "    routes:
    - matches: [{{ path: {{ pathPrefix: /events }} }}]
      backends: [{{ host: '{}' }}]
    - matches: [{{ path: {{ pathPrefix: /websocket }} }}]
      backends: [{{ host: '{}' }}]
    - matches: [{{ path: {{ pathPrefix: /test.Echo }} }}]
      backends: [{{ host: '{}' }}]
    - backends: [{{ host: '{}' }}]
",
            self.events.addr(),
            self.websocket.addr(),
            self.grpc.addr(),
            self.echo.addr(),
        );
        let bind = "- port: 0\n  address: 127.0.0.1\n  listeners:\n";
        let web = format!(
            "  - hostname: {WEB}\n    protocol: HTTPS\n    tls: {{ cert: '{}', key: '{}' }}\n",
            self.cert.0, self.cert.1
        );
        let sealed = format!(
            "  - hostname: {SEALED}\n    protocol: TLS\n    tcpRoutes:\n    - backends: [{{ host: '{}' }}]\n",
            self.sealed.addr()
        );
        let tcp = format!("  - protocol: TCP\n    tcpRoutes:\n    - backends: [{{ host: '{}' }}]\n", self.bytes.addr());
        format!("binds:\n{bind}  - name: http\n{routes}{bind}{web}{routes}{sealed}{bind}{tcp}")
    }

    /// Requests that backends without streams have seen.
    pub fn requests(&self) -> u64 {
        self.echo.stats().requests()
    }

    /// Requests to the same backends whose answers are not complete.
    pub fn in_flight(&self) -> u64 {
        self.echo.stats().in_flight()
    }

    /// The doors of the first three binds.
    pub fn doors(&self, gateway: &Gateway) -> Doors {
        let door = |index| gateway.addr_of(&format!("bind/127.0.0.1#{index}"));
        Doors { http: door(0), tls: door(1), tcp: door(2) }
    }

    /// Begins the next era, and gives its number.
    pub fn advance(&self) -> u64 {
        self.era.send_modify(|it| *it += 1);
        *self.era.borrow()
    }

    /// A client of the TLS bind that speaks HTTP/2.
    pub fn tls_client(&self, doors: Doors) -> Client {
        Client::tls(doors.tls, WEB, self.gateways.client_config(None, &["h2"]))
    }

    /// A stream of bytes through the TLS bind to the backend behind it.
    pub fn sealed(&self, doors: Doors) -> Bytes {
        Bytes::sealed(doors.tls, SEALED, self.backends.client_config(None, &[]))
    }

    /// Sets all clients to work.
    pub fn load(&self, doors: Doors, sizes: Sizes) -> Load {
        let mut load = Load::new(self.era.clone());
        let http = doors.http;
        load.spawn("h1 keep-alive", sizes.requests, |it| requests::ask(it, Client::h1(http)));
        load.spawn("h1 connections", sizes.requests, |it| requests::ask_anew(it, vec![http]));
        // Two connections, so that streams run side by side.
        let (h2c, tls) = (pair(|| Client::h2c(http)), pair(|| self.tls_client(doors)));
        load.spawn("h2c", sizes.requests, |it| requests::ask_beside(it, &h2c));
        load.spawn("tls h2", sizes.requests, |it| requests::ask_beside(it, &tls));
        load.spawn("post 1 MB", sizes.posts, |it| {
            let clients = [Client::h1(http), Client::h2c(http), self.tls_client(doors)];
            let [h1, h2c, tls] = clients;
            let client = match it.index % 3 {
                0 => h1,
                1 => h2c,
                _ => tls,
            };
            requests::post(it, client)
        });
        load.spawn("sse", sizes.events, |it| live(it, Events::new(http)));
        load.spawn("websocket", sizes.websockets, |it| live(it, Socket::new(http)));
        load.spawn("grpc bidi", sizes.calls, |it| live(it, Call::new(http)));
        load.spawn("tcp", sizes.tcp, |it| live(it, Bytes::plain(doors.tcp)));
        load.spawn("tls passthrough", sizes.passthrough, |it| live(it, self.sealed(doors)));
        load
    }
}

fn pair(client: impl Fn() -> Client) -> [Client; 2] {
    [client(), client()]
}

/// Numbered events from `from` until the era `until`; the last event names the number that would come next.
fn ticks(asked: &Asked, mut era: watch::Receiver<u64>) -> Answer {
    let number = |name| asked.query(name).and_then(|it| it.parse().ok());
    let (mut next, until): (u64, u64) = (number("from").unwrap_or(0), number("until").unwrap_or(0));
    let (sender, body) = channel();
    tokio::spawn(async move {
        while *era.borrow() < until {
            if !sender.data(format!("id: {next}\ndata: {next}\n\n")).await {
                return;
            }
            next += 1;
            // Either is a reason to go on.
            let _ = tokio::time::timeout(TICK, era.wait_for(|it| *it >= until)).await;
        }
        sender.data(format!("event: end\ndata: {next}\n\n")).await;
    });
    let mut answer = Response::new(full(""));
    *answer.body_mut() = body;
    answer.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
    answer
}
