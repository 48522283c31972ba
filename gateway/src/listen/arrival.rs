//! A connection that has just come in, and what becomes of it: PROXY header, network policy, TLS or
//! plain, HTTP or raw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ir::listener::Protocol;
use ir::{BindKey, ListenerKey, Text};
use pingora_core::apps::HttpServerApp;
use tokio::time::Instant as Clock;

use super::account::Account;
use super::drain::Seat;
use super::handshake::{self, Turns};
use super::info::{ConnInfo, Peer, TlsInfo};
use super::stream::{Downstream, Layer};
use super::talk::Talk;
use super::tcp::Passage;
use super::wire::{Socket, Wire};
use super::{Shared, http1, http2, proxy_header};
use crate::plan::{BindPlan, ListenerPlan, Plan, Transport};

/// One connection before anything is known of its content.
pub(super) struct Arrival {
    pub(super) id: u64,
    pub(super) bind: BindKey,
    pub(super) peer: Peer,
    pub(super) client: SocketAddr,
    pub(super) local: Option<SocketAddr>,
    pub(super) local_port: u16,
    pub(super) proxied: bool,
}

/// Serves one connection to its end.
pub(super) struct Reception<A> {
    pub(super) shared: Arc<Shared<A>>,
    pub(super) plan: Arc<Plan>,
    pub(super) bind: Arc<BindPlan>,
    pub(super) turns: Arc<Turns>,
    pub(super) arrival: Arrival,
    pub(super) exit: Arc<super::drain::Exit>,
}

/// What TLS told of a connection.
#[derive(Default)]
struct Greeting {
    listener: Option<ListenerKey>,
    sni: Option<Text>,
    tls: Option<TlsInfo>,
}

impl<A> Reception<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    pub(super) async fn serve(mut self, socket: Socket, seat: Seat) {
        let account = Account::new(Arc::clone(&self.shared.telemetry), self.arrival.bind.clone(), seat);
        let mut wire = Wire::new(socket, account);
        if !self.read_proxy_header(&mut wire).await || !self.permitted() {
            return;
        }
        match self.bind.transport {
            Transport::Http => {
                wire.account().open(None, Protocol::Http.label());
                self.http(Layer::Plain(wire), Protocol::Http, Greeting::default()).await;
            }
            Transport::Tls => self.tls(wire).await,
            Transport::Tcp => match self.bind.listener(None).cloned() {
                Some(listener) => {
                    wire.account().open(Some(listener.listener.key.clone()), Protocol::Tcp.label());
                    self.passage(&listener, None).serve(&mut wire).await;
                }
                None => self.refused("no_listener"),
            },
        }
    }

    fn refused(&self, why: &'static str) {
        self.shared.telemetry.connection_refused(&self.arrival.bind, why);
    }

    async fn read_proxy_header(&mut self, wire: &mut Wire) -> bool {
        let Some(policy) = &self.bind.terms.proxy_protocol else { return true };
        match proxy_header::read(wire, policy).await {
            Ok(None) => true,
            Ok(Some(header)) => {
                let arrival = &mut self.arrival;
                arrival.proxied = true;
                arrival.client = header.source.unwrap_or(arrival.client);
                arrival.local_port = header.destination.map_or(arrival.local_port, |it| it.port());
                true
            }
            Err(error) => {
                tracing::debug!(%error, bind = %self.arrival.bind, peer = ?self.arrival.peer, "connection refused");
                self.refused("proxy_header");
                false
            }
        }
    }

    fn permitted(&self) -> bool {
        let client = self.arrival.client.ip().to_canonical();
        let permitted = self.bind.terms.ip_access.iter().all(|it| it.permits(client));
        if !permitted {
            self.refused("ip_access");
        }
        permitted
    }

    /// Draws the backend; the plan is not held on to.
    fn passage(self, listener: &ListenerPlan, sni: Option<Text>) -> Passage {
        Passage {
            choice: self.plan.tcp_choice(listener, sni.as_deref(), self.shared.throw(self.arrival.id)),
            idle: self.bind.terms.tcp.idle_timeout,
            telemetry: Arc::clone(&self.shared.telemetry),
            cut: self.exit.cutting(),
            listener: Arc::clone(&listener.listener),
            arrival: self.arrival,
            sni,
        }
    }

    async fn tls(self, mut wire: Wire) {
        let bind = Arc::clone(&self.bind);
        let terms = &bind.terms.tls;
        let start = Clock::now();
        let deadline = start + terms.handshake_timeout;
        let hello = match handshake::hello(&mut wire, deadline).await {
            Ok(hello) => hello,
            Err(fault) => {
                tracing::debug!(error = %fault, bind = %self.arrival.bind, peer = ?self.arrival.peer, "TLS refused");
                return self.refused(fault.label());
            }
        };
        let sni = hello.sni.map(Text::from);
        let Some(listener) = self.bind.listener(sni.as_deref()).cloned() else {
            handshake::refuse_name(&mut wire).await;
            return self.refused("no_listener");
        };
        let (key, protocol) = (listener.listener.key.clone(), listener.listener.protocol);
        let Some(config) = listener.tls.clone() else {
            if protocol != Protocol::Tls {
                handshake::refuse_name(&mut wire).await;
                return self.refused("no_certificate");
            }
            wire.account().open(Some(key), protocol.label());
            return self.passage(&listener, sni).serve(&mut wire).await;
        };
        wire.account().open(Some(key.clone()), protocol.label());
        let limits = (terms.max_concurrent_handshakes, deadline);
        let accepted = handshake::accept(wire, config, &self.turns, limits).await;
        let seconds = start.elapsed().as_secs_f64();
        self.shared.telemetry.tls_handshake(&self.arrival.bind, Some(&key), seconds, accepted.is_ok());
        match accepted {
            Err(fault) => {
                tracing::debug!(error = %fault, bind = %self.arrival.bind, peer = ?self.arrival.peer, "TLS failed");
            }
            Ok((mut stream, _)) if !protocol.is_http() => self.passage(&listener, sni).serve(&mut stream).await,
            Ok((stream, tls)) => {
                let greeting = Greeting { listener: Some(key), sni, tls: Some(tls) };
                self.http(Layer::Tls(Box::new(stream)), protocol, greeting).await;
            }
        }
    }

    async fn http(self, layer: Layer, protocol: Protocol, greeting: Greeting) {
        let mut talk = Talk {
            app: Arc::clone(&self.shared.app),
            telemetry: Arc::clone(&self.shared.telemetry),
            bind: self.arrival.bind.clone(),
            terms: Arc::clone(&self.bind.terms),
            drain: self.exit.draining(),
            cut: self.exit.cutting(),
            opened: Clock::now(),
        };
        let mut stream = Box::new(Downstream::new(layer));
        let agreed = greeting.tls.as_ref().and_then(|it| it.alpn.clone());
        let http2 = match agreed.as_deref() {
            Some(protocol) => protocol == "h2",
            // Nothing agreed on: the first bytes tell.
            None => {
                let patience = talk.terms.http.request_header_timeout;
                if !talk.first_byte(&mut stream).await {
                    return;
                }
                http2::prior_knowledge(&mut stream, patience).await
            }
        };
        let info = self.info(protocol, greeting, http2, &stream);
        // What a request does not need is not kept while the connection lives.
        drop(self);
        if let Err(error) = stream.introduce(info) {
            return tracing::debug!(%error, "connection without a digest");
        }
        match http2 {
            true => http2::serve(&mut talk, stream).await,
            false => http1::serve(&mut talk, stream).await,
        }
    }

    fn info(&self, protocol: Protocol, greeting: Greeting, http2: bool, stream: &Downstream) -> ConnInfo {
        let Arrival { id, bind, peer, client, local, local_port, proxied } = &self.arrival;
        ConnInfo {
            id: *id,
            bind: bind.clone(),
            transport: self.bind.transport,
            listener: greeting.listener,
            protocol,
            sni: greeting.sni,
            http2,
            peer: *peer,
            client: *client,
            local_port: *local_port,
            local: *local,
            proxied: *proxied,
            tls: greeting.tls,
            drain: self.exit.draining(),
            opened: Instant::now(),
            traffic: stream.traffic(),
        }
    }
}
