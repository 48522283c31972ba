//! What the process has one of, and nearly everything else is made with.

use std::sync::Arc;

use filters::backend_auth::{aws, azure, gcp};
use pingora_core::server::Server;

use crate::a2a::{A2a, Deleted};
use crate::admin::{AdminContext, Readiness};
use crate::life::Life;
use crate::life::generation::Load;
use crate::life::transfer::Transfers;
use crate::listen::carried::Kind;
use crate::listen::tickets::Keys;
use crate::listen::{Drain, Offer, Reports, Setup};
use crate::local::catalog::Catalogs;
use crate::local::source::Input;
use crate::mcp::{EndedSessions, Kinship, Mcp, SessionKeys, Sessions};
use crate::outside::Asking;
use crate::plan::Compiler;
use crate::proxy::Proxy;
use crate::quota::{Buckets, Seeds};
use crate::state::State;
use crate::statics::Statics;
use crate::status::Status;
use crate::telemetry::{LogControl, Telemetry, Upgrades};
use crate::upstream::egress::renewal::Renewal;
use crate::upstream::{Endpoints, KeySets, Lender, Mirrors, Upstreams};
use crate::xds_source::{Estate, XdsSource};

pub(super) struct Core {
    pub(super) statics: Arc<Statics>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) state: Arc<State>,
    pub(super) status: Arc<Status>,
    pub(super) key_sets: Arc<KeySets>,
    pub(super) google: Renewal<gcp::Tokens>,
    pub(super) amazon: Renewal<aws::Sessions>,
    pub(super) azure: Renewal<azure::Tokens>,
    pub(super) catalogs: Catalogs,
    pub(super) readiness: Arc<Readiness>,
    pub(super) drain: Arc<Drain>,
    /// The control plane, where there is one.
    pub(super) remote: Option<Arc<XdsSource>>,
    estate: Arc<Estate>,
    sessions: Arc<Sessions>,
    mcp: Arc<Mcp>,
    deleted: Arc<Deleted>,
    lender: Arc<Lender>,
}

impl Core {
    /// Nothing runs yet, and no socket is open.
    pub(super) fn new(statics: Arc<Statics>, is_heir: bool) -> Self {
        let telemetry = Telemetry::new(&statics);
        let upstreams = Arc::new(Upstreams::new(&statics));
        let compiler = Compiler::new(upstreams.clone(), statics.clone());
        let state = State::new(compiler.clone());
        telemetry.mcp_servers(Arc::new(move || compiler.servers.figures()));
        let status = Arc::new(Status::default());
        let drain = if is_heir { Drain::shut() } else { Drain::new() };
        let sessions = Sessions::new(&statics.mcp_sessions.keys);
        Self {
            key_sets: upstreams.key_sets(state.keep(), &status),
            google: upstreams.google(state.keep(), &status),
            amazon: upstreams.amazon(state.keep(), &status),
            azure: upstreams.azure(state.keep(), &status),
            catalogs: Catalogs::new(statics.model_catalog.clone(), status.clone()),
            readiness: Readiness::new(),
            remote: None,
            estate: Arc::default(),
            mcp: Arc::new(Mcp::new(sessions.clone(), statics.mcp_sessions.ttl, drain.exit())),
            deleted: Arc::default(),
            lender: Lender::new(statics.pool_size_max.unwrap_or(super::POOL_SIZE)),
            statics,
            telemetry,
            upstreams,
            state,
            status,
            drain,
            sessions,
        }
    }

    /// The state that a successor inherits.
    pub(super) fn transfers(&self, written: &Input) -> Transfers {
        let mut transfers = Transfers::default();
        transfers.add(Arc::new(super::Text::of(written)));
        transfers.add(Arc::new(Keys));
        transfers.add(Arc::new(SessionKeys(self.sessions.clone())));
        transfers.add(Arc::new(EndedSessions(self.sessions.clone())));
        transfers.add(Arc::new(Kinship(self.mcp.clone())));
        transfers.add(self.deleted.clone());
        transfers.add(Arc::new(Endpoints(self.upstreams.clone())));
        transfers.add(self.key_sets.clone());
        transfers.add(Arc::new(Upgrades(self.telemetry.clone())));
        self.estate.parts().for_each(|it| transfers.add(it));
        transfers.add(Arc::new(Seeds::new(self.state.keep())));
        transfers.add(Arc::new(Buckets(self.state.keep().clone())));
        transfers
    }

    /// Begins with what a predecessor knew of the control plane, once that is taken.
    pub(super) fn begin_remote(&mut self, is_heir: bool) {
        let told = (self.state.clone(), self.status.clone(), self.telemetry.clone(), self.readiness.clone());
        self.remote = XdsSource::begin(&self.statics, &self.estate, is_heir, told);
    }

    /// What listeners are made of.
    pub(super) fn setup(&self, server: &Server, inherited: Vec<Offer>) -> Setup<pingora_proxy::HttpProxy<Proxy>> {
        let asking = Asking::new(&self.telemetry, self.upstreams.egress());
        let plans = self.state.clone();
        Setup {
            app: Arc::new(self.app(server, asking.clone())),
            plans: Arc::new(move || plans.plan()),
            telemetry: self.telemetry.clone(),
            drain: self.drain.clone(),
            asking,
            enable_ipv6: self.statics.enable_ipv6,
            removed_bind_deadline: self.statics.termination_deadline,
            inherited,
        }
    }

    fn app(&self, server: &Server, asking: Asking) -> pingora_proxy::HttpProxy<Proxy> {
        let a2a = A2a::new(self.sessions.clone(), self.upstreams.egress(), self.deleted.clone());
        let proxy = Proxy {
            state: self.state.clone(),
            telemetry: self.telemetry.clone(),
            mirrors: Arc::new(Mirrors::default()),
            lender: self.lender.clone(),
            carried: self.drain.carried().clone(),
            mcp: self.mcp.clone(),
            asking,
            a2a: Arc::new(a2a),
            prices: self.catalogs.prices(),
        };
        let mut app = pingora_proxy::http_proxy(&server.configuration, proxy);
        app.server_options = Some(Default::default());
        app
    }

    /// What the process carries at this moment.
    pub(super) fn carries(&self) -> Box<dyn Fn() -> Load + Send + Sync> {
        let (drain, upstreams) = (self.drain.clone(), self.upstreams.clone());
        Box::new(move || {
            let carried = drain.carried();
            Load {
                connections: drain.live(),
                http1: carried.count(Kind::Http1),
                http2: carried.count(Kind::Http2),
                tcp: carried.count(Kind::Tcp),
                passthrough: carried.count(Kind::Passthrough),
                sse: carried.count(Kind::Sse),
                websocket: carried.count(Kind::WebSocket),
                requests: upstreams.inflight(),
            }
        })
    }

    /// What the admin server shows and does.
    pub(super) fn context(&self, log: LogControl, reports: &Arc<Reports>, life: &Arc<Life>) -> AdminContext {
        let (remote, upstreams) = (self.remote.clone(), self.upstreams.clone());
        let (reports, life, told) = (reports.clone(), life.clone(), life.clone());
        AdminContext {
            state: self.state.clone(),
            telemetry: self.telemetry.clone(),
            log,
            status: self.status.clone(),
            statics: self.statics.clone(),
            listeners: Arc::new(move || {
                reports
                    .bound()
                    .into_iter()
                    .map(|it| {
                        let state = if it.error.is_none() && it.address.is_some() { "listening" } else { "failed" };
                        serde_json::json!({
                            "name": it.key.as_str(), "address": it.address, "state": state, "error": it.error,
                        })
                    })
                    .collect()
            }),
            upstreams: Arc::new(move || {
                let report = upstreams.report();
                serde_json::to_value(report).unwrap_or_default()
            }),
            control_plane: Arc::new(move || remote.as_ref().map(|it| it.report()).unwrap_or_default()),
            generations: Arc::new(move || told.report()),
            drain: Arc::new(move || life.end()),
        }
    }
}
