//! The terms on which one cluster is dialled, prepared once: certificates are read, and what cannot
//! hold is refused, when a plan is compiled and not when a request comes.
//!
//! The version spoken, first match: the `http` policy's `version`; the service's `appProtocol`
//! (but gRPC is never put on HTTP/1.1 by it); gRPC: HTTP/2; a client on TLS: HTTP/1.1; a client on
//! plaintext: its own version, which is h2 by prior knowledge on a plaintext backend and
//! negotiated (h2, http/1.1) on a TLS one. The policy's `alpn` list limits all of these.
//!
//! Connections are shared exactly between templates whose [`Template::key`] is equal: same cluster,
//! same TLS terms.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use filters::Effective;
use filters::backend_http::HttpVersion;
use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::tls::ALPN;
use pingora_core::upstreams::peer::{HttpPeer, Scheme};
use rustls::ClientConfig;

use super::cluster::{AppProtocol, Cluster, Identity};
use super::dial::{self, Dial, Flow, Need};
use super::endpoint::{Address, EndpointId, Lease};
use super::fault::Fault;
use super::tls::Tls;
use super::wires::lent::{Lender, Loan, Terms, Use};
use crate::random;
use crate::statics::Statics;

/// Streams at once on one HTTP/2 connection where the policy does not say.
pub(super) const H2_STREAMS_DEFAULT: u32 = 100;

/// Prepared terms of one cluster under one set of policies.
pub struct Template {
    identity: Arc<Identity>,
    version: Option<HttpVersion>,
    tls: Option<Box<Prepared>>,
    terms: Terms,
    connect_timeout: Duration,
    h2_streams: u32,
    key: u64,
}

struct Prepared {
    tls: Tls,
    h1: bool,
    h2: bool,
    /// Configurations of our own dial; absent where Pingora's is used.
    own: Option<Own>,
}

struct Own {
    h1: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
    both: Arc<ClientConfig>,
    h1_learnt: Arc<AtomicBool>,
}

/// What one request needs of its connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// The client speaks HTTP/2.
    pub h2: bool,
    /// The client's connection is TLS.
    pub client_tls: bool,
    pub grpc: bool,
    /// Longest silence of the backend.
    pub read_timeout: Option<Duration>,
    pub write_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speak {
    H1,
    H2,
    Either,
}

impl Template {
    /// Prepares the terms. The error is for the operator and names the cure.
    pub fn compile(cluster: &Arc<Cluster>, effective: &Effective, statics: &Statics) -> Result<Self, String> {
        let http = effective.backend_http();
        let tcp = effective.backend_tcp();
        let identity = cluster.identity.clone();
        let version = http.and_then(|http| http.version);
        let tls =
            effective.backend_tls().map(|policy| Prepared::compile(Tls::compile(policy)?, version)).transpose()?;
        if tls.as_ref().is_some_and(|it| it.tls.needs_name()) && identity.host().is_none() {
            return Err(format!(
                "backend {}: an address has no name to verify: set `hostname` in backendTLS, or `insecureHost`",
                identity.name
            ));
        }
        let keepalives = tcp.and_then(|tcp| tcp.keepalives.clone()).unwrap_or_else(|| statics.keepalives.clone());
        let connect_timeout = tcp.and_then(|tcp| tcp.connect_timeout).unwrap_or(statics.connect_timeout);
        let key = random::mix(identity.id ^ tls.as_ref().map_or(0, |it| it.tls.key));
        Ok(Self {
            version,
            tls: tls.map(Box::new),
            terms: Terms {
                keepalives,
                idle_timeout: http.and_then(|http| http.pool_idle_timeout).unwrap_or(statics.pool_idle_timeout),
            },
            connect_timeout,
            h2_streams: http.and_then(|http| http.max_concurrent_streams).unwrap_or(H2_STREAMS_DEFAULT).max(1),
            key,
            identity,
        })
    }

    /// Equal where connections may be shared.
    pub fn key(&self) -> u64 {
        self.key
    }

    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How long a connection is kept that nobody uses.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.terms.idle_timeout
    }

    /// Whether the backend is dialled with TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What Pingora is asked to connect to.
    pub fn peer(&self, lease: &Lease, wanted: Wanted) -> Box<HttpPeer> {
        let mut peer = self.blank();
        peer.options.read_timeout = wanted.read_timeout;
        peer.options.write_timeout = wanted.write_timeout;
        let speak = self.speak(wanted);
        peer.options.alpn = match speak {
            Speak::H1 => ALPN::H1,
            Speak::H2 => ALPN::H2,
            Speak::Either => ALPN::H2H1,
        };
        let Some(prepared) = &self.tls else {
            peer._address = lease.peer_address().clone();
            return peer;
        };
        let name = prepared.tls.name(self.identity.host().as_ref(), lease.address());
        let Some(own) = &prepared.own else {
            peer._address = lease.peer_address().clone();
            peer.sni = String::from(&*name);
            return peer;
        };
        self.dial_ourselves(&mut peer, lease);
        // The keep-alive is set on the real socket, by the dial.
        peer.options.tcp_keepalive = None;
        let (need, config) = match speak {
            Speak::H1 => (Need::H1, &own.h1),
            Speak::H2 => (Need::H2, &own.h2),
            Speak::Either if own.h1_learnt.load(Relaxed) => (Need::H1, &own.h1),
            Speak::Either => (Need::H2OrLearn, &own.both),
        };
        peer.options.alpn = if need == Need::H1 { ALPN::H1 } else { ALPN::H2 };
        peer.options.custom_l4 = Some(Arc::new(Dial {
            to: lease.address().clone(),
            name,
            config: config.clone(),
            need,
            h1_learnt: own.h1_learnt.clone(),
            keepalives: Some(self.terms.keepalives.clone()),
        }));
        peer
    }

    /// Has a peer's connection lent where it is plain and nothing but HTTP/1.1 is spoken there. `body`: one is at hand.
    pub fn lend(
        &self,
        peer: &mut HttpPeer,
        lease: &Lease,
        lender: &Lender,
        body: bool,
        now: Instant,
    ) -> Option<Arc<Loan>> {
        if self.tls.is_some() || peer.options.alpn != ALPN::H1 {
            return None;
        }
        // Only what has to be opened takes time.
        let limit = peer.options.total_connection_timeout.take().unwrap_or(self.connect_timeout);
        let key = pool_of(self.key, lease.id());
        let loan = lender.loan(key, lease.endpoint().clone(), &self.terms, Use { body, now, limit });
        // Set on the socket when it is opened.
        peer.options.tcp_keepalive = None;
        peer.options.custom_l4 = Some(loan.clone());
        Some(loan)
    }

    /// The endpoint is then told from others by the key alone, see [`dial`].
    fn dial_ourselves(&self, peer: &mut HttpPeer, lease: &Lease) {
        peer._address = dial::incomparable();
        peer.group_key = pool_of(self.key, lease.id());
    }

    /// A peer that lacks its address. It is made anew each time: that costs what a clone does, and a
    /// kept one would be most of a template's memory.
    fn blank(&self) -> Box<HttpPeer> {
        let mut peer = Box::new(HttpPeer::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), false, String::new()));
        peer.group_key = self.key;
        let options = &mut peer.options;
        options.total_connection_timeout = Some(self.connect_timeout);
        options.idle_timeout = Some(self.terms.idle_timeout);
        options.max_h2_streams = self.h2_streams as usize;
        options.tcp_keepalive = self.terms.keepalives.enabled.then_some(TcpKeepalive {
            idle: self.terms.keepalives.time,
            interval: self.terms.keepalives.interval,
            count: self.terms.keepalives.retries as usize,
            user_timeout: Duration::ZERO,
        });
        if let Some(native) = self.tls.as_ref().and_then(|it| it.tls.native.as_ref()) {
            options.verify_cert = native.verify_cert;
            options.verify_hostname = native.verify_hostname;
            options.ca = native.ca.clone();
            peer.scheme = Scheme::HTTPS;
            peer.client_cert_key = native.client.clone();
        }
        peer
    }

    /// A connection of our own, raw or in TLS, within the connect timeout.
    pub(super) async fn connect(&self, lease: &Lease, alpn: &[&[u8]]) -> Result<Flow, Fault> {
        self.dial(lease.address(), lease.endpoint_text(), alpn).await
    }

    pub(super) async fn dial(&self, address: &Address, text: &ir::Text, alpn: &[&[u8]]) -> Result<Flow, Fault> {
        let connecting = async {
            let socket = dial::open(address, Some(&self.terms.keepalives))
                .await
                .map_err(|source| Fault::Connect { endpoint: text.clone(), source })?;
            let Some(prepared) = &self.tls else { return Ok(Flow::Plain(socket)) };
            let handshake = |source| Fault::Handshake { endpoint: text.clone(), source };
            let config = prepared.tls.config(alpn).map_err(|reason| handshake(std::io::Error::other(reason)))?;
            let name = prepared.tls.name(self.identity.host().as_ref(), address);
            let tls = dial::secure(socket, config, &name).await.map_err(handshake)?;
            Ok(Flow::Tls(Box::new(tls)))
        };
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(Fault::ConnectTimeout { endpoint: text.clone(), after: self.connect_timeout }),
        }
    }

    /// The ALPN the operator asked for on raw connections.
    pub(super) fn raw_alpn(&self) -> Vec<&[u8]> {
        self.tls.iter().flat_map(|it| it.tls.alpn()).map(|protocol| protocol.as_bytes()).collect()
    }

    /// Whether checks are to speak HTTP/2.
    pub(super) fn speaks_h2(&self) -> bool {
        self.speak(Wanted::default()) == Speak::H2
    }

    fn speak(&self, wanted: Wanted) -> Speak {
        let speak = match (self.version, self.identity.protocol()) {
            (Some(HttpVersion::H1), _) => Speak::H1,
            (Some(HttpVersion::H2), _) | (None, AppProtocol::Http2) => Speak::H2,
            (None, _) if wanted.grpc => Speak::H2,
            (None, AppProtocol::Http1) => Speak::H1,
            // Without TLS nothing is negotiated, and the client's version says nothing of what the
            // backend can do.
            (None, AppProtocol::Unsaid) if self.tls.is_none() || wanted.client_tls || !wanted.h2 => Speak::H1,
            (None, AppProtocol::Unsaid) => Speak::Either,
        };
        match (&self.tls, speak) {
            (Some(tls), Speak::H1 | Speak::Either) if !tls.h1 => Speak::H2,
            (Some(tls), Speak::H2 | Speak::Either) if !tls.h2 => Speak::H1,
            _ => speak,
        }
    }
}

impl Prepared {
    fn compile(tls: Tls, version: Option<HttpVersion>) -> Result<Self, String> {
        let listed = |protocol: &str| tls.alpn().iter().any(|it| &**it == protocol);
        let other = tls.alpn().iter().any(|it| !matches!(&**it, "h2" | "http/1.1"));
        // A list of other protocols only says nothing about the version inside.
        let open = tls.alpn().is_empty() || (other && !listed("h2") && !listed("http/1.1"));
        let (h1, h2) = (open || listed("http/1.1"), open || listed("h2"));
        match version {
            Some(HttpVersion::H1) if !h1 => {
                return Err("backendTLS `alpn` excludes the `http.version` HTTP/1.1".to_owned());
            }
            Some(HttpVersion::H2) if !h2 => {
                return Err("backendTLS `alpn` excludes the `http.version` HTTP/2.0".to_owned());
            }
            _ => {}
        }
        let own = if tls.native.is_some() { None } else { Some(Own::compile(&tls)?) };
        Ok(Self { tls, h1, h2, own })
    }
}

impl Own {
    fn compile(tls: &Tls) -> Result<Self, String> {
        let offer = |versions: &[&'static str]| {
            let others = tls.alpn().iter().map(|it| &**it).filter(|it| !matches!(*it, "h2" | "http/1.1"));
            let offer: Vec<&[u8]> = others.chain(versions.iter().copied()).map(str::as_bytes).collect();
            tls.config(&offer)
        };
        Ok(Self {
            h1: offer(&["http/1.1"])?,
            h2: offer(&["h2"])?,
            both: offer(&["h2", "http/1.1"])?,
            h1_learnt: Arc::new(AtomicBool::new(false)),
        })
    }
}

/// The pool of one endpoint under the terms of `key`. No two share one: a request would go to another backend.
/// The key is a cluster's number, spread once; spread again, it cannot cancel the number of an endpoint.
fn pool_of(key: u64, endpoint: EndpointId) -> u64 {
    random::mix(random::mix(key) ^ endpoint.0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_endpoints_share_a_pool_whatever_their_numbers() {
        let numbers = 1..=300;
        let pools: HashSet<u64> = numbers
            .clone()
            .flat_map(|cluster| numbers.clone().map(move |it| pool_of(random::mix(cluster), EndpointId(it))))
            .collect();
        assert_eq!(pools.len(), 300 * 300);
    }
}
