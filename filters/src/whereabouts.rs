//! Where a request came in and where it goes, as far as expressions name it; and from there, what an
//! expression may read.
//!
//! Everything is shared with the plan or the connection: a request without policies holds nothing here.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use ir::Text;
use pingora_http::RequestHeader;

use crate::exchange::{Facts, HeldBody};
use crate::expr::{Ambient, Backend, Destination, Env, Inputs, Names, Request, Source, Timestamp};

/// Where a request came in and where it goes.
#[derive(Clone, Debug, Default)]
pub struct Whereabouts {
    /// The socket's other end; absent on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The client's port where it is the connection's own, and not one that a header names.
    pub client_port: Option<u16>,
    /// Server name of the TLS handshake.
    pub sni: Option<Text>,
    pub listener: Option<Arc<ir::Listener>>,
    /// Set where filters of the route run.
    pub route: Option<Arc<ir::Route>>,
    pub started: Option<Timestamp>,
    /// Name of the backend, where policies run that may ask.
    pub backend: Option<Text>,
}

/// What the process itself is, and what is different each time.
struct Process {
    env: Env,
    ambient: &'static dyn Ambient,
}

static PROCESS: OnceLock<Process> = OnceLock::new();

/// Says once, at the start, what `env`, `random()` and `uuid()` are.
pub fn install(env: Env, ambient: &'static dyn Ambient) {
    PROCESS.get_or_init(|| Process { env, ambient });
}

impl<'a> Inputs<'a> {
    /// What can be read anywhere: `env` and randomness.
    pub fn of_process() -> Self {
        let process = PROCESS.get();
        Self {
            env: process.map(|it| &it.env),
            ambient: process.map(|it| it.ambient as &dyn Ambient),
            ..Self::default()
        }
    }
}

impl Facts {
    /// What an expression may read of a request at hand: its body as far as it was read ahead. What protocols know is
    /// added by who has it.
    pub fn inputs<'a>(&'a self, head: &'a RequestHeader) -> Inputs<'a> {
        let Whereabouts { peer, client_port, sni, listener, route, started, backend } = &self.whereabouts;
        let mut inputs = Inputs {
            request: Some(Request::new(head, self)),
            request_body: self.body.held().map(HeldBody::input),
            source: Some(Source {
                address: self.client,
                port: *client_port,
                raw_address: peer.map_or(self.client, |it| it.ip()),
                raw_port: peer.map(|it| it.port()),
                workload: None,
                connect_headers: None,
            }),
            destination: Some(Destination { address: None, port: self.port, hostname: sni.as_deref() }),
            identity: Some(&self.identity),
            names: Names::of(listener.as_deref(), route.as_deref()),
            backend: backend.as_deref().map(|name| Backend { name, kind: "static", protocol: "http" }),
            ..Inputs::of_process()
        };
        inputs.times.start = *started;
        inputs.objects.mcp = self.mcp.as_deref();
        inputs.objects.metadata = self.metadata.as_deref();
        inputs.objects.extauthz = self.extauthz.as_deref();
        inputs.objects.a2a = self.a2a.read();
        inputs
    }
}

impl<'a> Names<'a> {
    /// The names of what was chosen so far.
    pub fn of(listener: Option<&'a ir::Listener>, route: Option<&'a ir::Route>) -> Self {
        let mut names = Self::default();
        if let Some(it) = listener {
            names.bind = it.bind.as_str();
            names.gateway_namespace = &it.gateway.namespace;
            names.gateway = &it.gateway.name;
            names.listener = &it.name;
        }
        if let Some(it) = route {
            names.route_namespace = &it.name.route.namespace;
            names.route = &it.name.route.name;
            names.route_rule = it.name.rule.as_deref().unwrap_or_default();
            names.route_kind = "HTTPRoute";
        }
        names
    }
}
