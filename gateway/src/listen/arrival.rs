//! A connection that has just come in, and what becomes of it: PROXY header, network policy, TLS or
//! plain, HTTP or raw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use filters::expr::{Destination, Inputs, Source};
use ir::listener::Protocol;
use ir::{BindKey, ListenerKey, Text};
use pingora_core::apps::HttpServerApp;
use tokio::time::Instant as Clock;

use super::account::Account;
use super::carried::Kind;
use super::drain::Seat;
use super::flag::raised;
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

/// What a connection has turned out to be. The work of finding out is freed by then.
enum Turned<A> {
    Http1(Talk<A>, Box<Downstream>),
    Http2(Talk<A>, Box<Downstream>),
    Raw(Box<Passage>, Layer),
}

impl<A> Turned<A> {
    fn kind(&self) -> Kind {
        match self {
            Self::Http1(..) => Kind::Http1,
            Self::Http2(..) => Kind::Http2,
            Self::Raw(passage, Layer::Plain(_)) if passage.sni.is_some() => Kind::Passthrough,
            Self::Raw(..) => Kind::Tcp,
        }
    }
}

impl<A> Reception<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    /// To the end of the connection. Each part has its own box: a task is as large as its largest part,
    /// for as long as the connection lives.
    pub(super) async fn serve(self, socket: Socket, seat: Seat) {
        let carried = Arc::clone(self.shared.drain.carried());
        let Some(turned) = Box::pin(self.receive(socket, seat)).await else { return };
        let _load = carried.take(turned.kind());
        match turned {
            Turned::Http1(mut talk, stream) => Box::pin(http1::serve(&mut talk, stream)).await,
            Turned::Http2(mut talk, stream) => Box::pin(http2::serve(&mut talk, stream)).await,
            Turned::Raw(passage, mut layer) => Box::pin((*passage).serve(&mut layer)).await,
        }
    }

    /// A connection of our own: what stands before HTTP is for strangers.
    pub(super) async fn prove(self, socket: Socket, seat: Seat) {
        let account = Account::new(Arc::clone(&self.shared.telemetry), self.arrival.bind.clone(), seat);
        let layer = Layer::Plain(Wire::new(socket, account));
        if let Some(Turned::Http1(mut talk, stream)) =
            Box::pin(self.http(layer, Protocol::Http, Greeting::default())).await
        {
            Box::pin(http1::serve(&mut talk, stream)).await;
        }
    }

    async fn receive(mut self, socket: Socket, seat: Seat) -> Option<Turned<A>> {
        let account = Account::new(Arc::clone(&self.shared.telemetry), self.arrival.bind.clone(), seat);
        let mut wire = Wire::new(socket, account);
        if !self.read_proxy_header(&mut wire).await || !self.permitted() {
            return None;
        }
        match self.bind.transport {
            Transport::Http if !self.admitted(None, None).await => None,
            Transport::Http => {
                wire.account().open(None, Protocol::Http.label());
                self.http(Layer::Plain(wire), Protocol::Http, Greeting::default()).await
            }
            Transport::Tls => self.tls(wire).await,
            Transport::Tcp if !self.admitted(None, None).await => None,
            Transport::Tcp => {
                let Some(listener) = self.bind.listener(None).cloned() else { return self.refused("no_listener") };
                wire.account().open(Some(listener.listener.key.clone()), Protocol::Tcp.label());
                Some(Turned::Raw(Box::new(self.passage(&listener, None)), Layer::Plain(wire)))
            }
        }
    }

    fn refused<T>(&self, why: &'static str) -> Option<T> {
        self.shared.telemetry.connection_refused(&self.arrival.bind, why);
        None
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
                self.refused::<()>("proxy_header");
                false
            }
        }
    }

    fn permitted(&self) -> bool {
        let client = self.arrival.client.ip().to_canonical();
        let permitted = self.bind.terms.ip_access.iter().all(|it| it.permits(client));
        if !permitted {
            self.refused::<()>("ip_access");
        }
        permitted
    }

    /// Whether rules let this connection in, and the server that is asked about it.
    async fn admitted(&self, sni: Option<&Text>, client: Option<&Arc<filters::identity::Peer>>) -> bool {
        if !self.authorized(sni, client) {
            return false;
        }
        let Some(policy) = self.bind.terms.network_ext_authz() else { return true };
        let arrival = &self.arrival;
        let tls = self.bind.transport == Transport::Tls;
        let mut facts = filters::Facts::new(arrival.client.ip().to_canonical(), tls, arrival.local_port);
        facts.identity.peer = client.cloned();
        facts.whereabouts.peer = Some(arrival.peer.address());
        facts.whereabouts.client_port = Some(arrival.client.port());
        facts.whereabouts.sni = sni.cloned();
        let around = self.shared.asking.around(&self.plan, None);
        let judged = Box::pin(policy.judge(facts, &around));
        let judged = tokio::select! {
            judged = judged => judged,
            // However long an answer may take, the process does not wait for it.
            () = raised(self.exit.cutting()) => return false,
        };
        if let Some(error) = judged.fault {
            tracing::debug!(error, bind = %arrival.bind, peer = ?arrival.peer, "nobody could be asked about a connection");
        }
        if judged.shadow {
            self.refused::<()>("network_ext_authz_shadow");
        }
        if judged.refused {
            tracing::debug!(bind = %arrival.bind, peer = ?arrival.peer, "connection refused by the server that was asked");
            self.refused::<()>("network_ext_authz");
        }
        !judged.refused
    }

    /// Whether the rules for connections let this one in, with what is known of it.
    fn authorized(&self, sni: Option<&Text>, client: Option<&Arc<filters::identity::Peer>>) -> bool {
        let rules = &self.bind.terms.network_authorization;
        if rules.is_empty() {
            return true;
        }
        let arrival = &self.arrival;
        let peer = arrival.peer.address();
        let identity = filters::Identity { peer: client.cloned(), ..filters::Identity::default() };
        let judged = rules.judge(&Inputs {
            source: Some(Source {
                address: arrival.client.ip().to_canonical(),
                port: Some(arrival.client.port()),
                raw_address: peer.ip().to_canonical(),
                raw_port: Some(peer.port()),
                workload: None,
                connect_headers: None,
            }),
            destination: Some(Destination { address: None, port: arrival.local_port, hostname: sni.map(|it| &**it) }),
            identity: Some(&identity),
            ..Inputs::of_process()
        });
        if let Some((policy, rule)) = judged.shadow {
            tracing::debug!(%policy, ?rule, bind = %arrival.bind, peer = ?arrival.peer, "connection would be refused");
            self.refused::<()>("network_authorization_shadow");
        }
        let Some((policy, rule)) = judged.refused else { return true };
        tracing::debug!(%policy, ?rule, bind = %arrival.bind, peer = ?arrival.peer, "connection refused");
        self.refused::<()>("network_authorization");
        false
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

    async fn tls(self, mut wire: Wire) -> Option<Turned<A>> {
        let bind = Arc::clone(&self.bind);
        let start = Clock::now();
        let deadline = start + bind.terms.tls.handshake_timeout;
        let hello = match handshake::hello(&mut wire, deadline).await {
            Ok(hello) => hello,
            Err(fault) => {
                tracing::debug!(error = %fault, bind = %self.arrival.bind, peer = ?self.arrival.peer, "TLS refused");
                return self.refused(fault.label());
            }
        };
        let sni = hello.sni.map(Text::from);
        let Some(listener) = bind.listener(sni.as_deref()).cloned() else {
            handshake::refuse_name(&mut wire).await;
            return self.refused("no_listener");
        };
        let (key, protocol) = (listener.listener.key.clone(), listener.listener.protocol);
        // What a handshake costs is not for those who may not connect anyway.
        let with_identity = listener.tls.is_some() && bind.terms.need_identity();
        if !with_identity && !self.admitted(sni.as_ref(), None).await {
            return None;
        }
        let Some(config) = listener.tls.clone() else {
            if listener.listener.tls.is_some() || protocol != Protocol::Tls {
                // Its certificate was refused: to pass the bytes on would be something else than asked for.
                handshake::refuse_name(&mut wire).await;
                return self.refused("no_certificate");
            }
            wire.account().open(Some(key), protocol.label());
            return Some(Turned::Raw(Box::new(self.passage(&listener, sni)), Layer::Plain(wire)));
        };
        wire.account().open(Some(key.clone()), protocol.label());
        let limits = (bind.terms.tls.max_concurrent_handshakes, deadline);
        let accepted = Box::pin(handshake::accept(wire, config, &self.turns, limits)).await;
        let seconds = start.elapsed().as_secs_f64();
        self.shared.telemetry.tls_handshake(&self.arrival.bind, Some(&key), seconds, accepted.is_ok());
        match accepted {
            Err(fault) => {
                tracing::debug!(error = %fault, bind = %self.arrival.bind, peer = ?self.arrival.peer, "TLS failed");
                None
            }
            Ok((_, tls)) if with_identity && !self.admitted(sni.as_ref(), tls.client.as_ref()).await => None,
            Ok((stream, _)) if !protocol.is_http() => {
                Some(Turned::Raw(Box::new(self.passage(&listener, sni)), Layer::Tls(Box::new(stream))))
            }
            Ok((stream, tls)) => {
                let greeting = Greeting { listener: Some(key), sni, tls: Some(tls) };
                self.http(Layer::Tls(Box::new(stream)), protocol, greeting).await
            }
        }
    }

    async fn http(self, layer: Layer, protocol: Protocol, greeting: Greeting) -> Option<Turned<A>> {
        let talk = Talk {
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
        let mut info = self.info(protocol, greeting, &stream);
        // A connection that waits must not keep an old plan.
        drop(self);
        info.http2 = match agreed.as_deref() {
            Some(protocol) => protocol == "h2",
            // Nothing agreed on: the first bytes tell.
            None => {
                let patience = talk.terms.http.request_header_timeout;
                talk.begins(&mut stream).await && http2::prior_knowledge(&mut stream, patience).await
            }
        };
        if agreed.is_none() && stream.seen().is_empty() {
            return None;
        }
        let http2 = info.http2;
        if let Err(error) = stream.introduce(info) {
            tracing::debug!(%error, "connection without a digest");
            return None;
        }
        Some(if http2 { Turned::Http2(talk, stream) } else { Turned::Http1(talk, stream) })
    }

    fn info(&self, protocol: Protocol, greeting: Greeting, stream: &Downstream) -> ConnInfo {
        let Arrival { id, bind, peer, client, local_port, proxied } = &self.arrival;
        ConnInfo {
            id: *id,
            bind: bind.clone(),
            transport: self.bind.transport,
            listener: greeting.listener,
            protocol,
            sni: greeting.sni,
            http2: false,
            peer: *peer,
            client: *client,
            local_port: *local_port,
            proxied: *proxied,
            tls: greeting.tls,
            drain: self.exit.draining(),
            opened: Instant::now(),
            traffic: stream.traffic(),
            told: Default::default(),
            forwarded_for: Default::default(),
        }
    }
}
