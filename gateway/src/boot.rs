//! The order of birth and death, top to bottom.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use filters::backend_auth::gcp;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server, ShutdownWatch};
use pingora_core::services::background::{BackgroundService, background_service};
use tokio::runtime::Handle;

use crate::a2a::{A2a, Deleted};
use crate::admin::{self, AdminContext, Bound, Liveness, Readiness};
use crate::life::generation::Load;
use crate::life::heir::{Inheritance, Predecessor, Takeover};
use crate::life::transfer::{Carried, Transfer, Transfers};
use crate::life::{Life, Parts, SharedLife, place};
use crate::listen::carried::Kind;
use crate::listen::tickets::Keys;
use crate::listen::{Drain, Listeners, Offer, Reports, Setup};
use crate::llm::Prices;
use crate::local::catalog::Catalogs;
use crate::local::source::{Input, Refused, Source};
use crate::mcp::{EndedSessions, Kinship, Mcp, SessionKeys, Sessions};
use crate::outside::Asking;
use crate::plan::Compiler;
use crate::proxy::Proxy;
use crate::quota::{Buckets, Seeds};
use crate::reload::Reloader;
use crate::state::State;
use crate::statics::Statics;
use crate::status::Status;
use crate::systemd::{Attendance, Brought, Store, Supervisor};
use crate::telemetry::{LogControl, Telemetry, Upgrades, logging};
use crate::upstream::egress::google::Google;
use crate::upstream::{Endpoints, KeySets, Mirrors, Upstreams};
use crate::xds_source::{Estate, XdsSource};

/// Attempts Pingora makes at most for one request; policies ask for fewer.
const ATTEMPTS_MAX: usize = 32;
/// Idle connections to backends kept by a worker, where nothing is said.
const POOL_SIZE: usize = 4096;

/// Runs the gateway until it is told to end.
///
/// # Errors
/// A refused document, an address of the process's own servers that cannot be bound, or a predecessor that does not
/// give way.
pub fn run(input: Input, takeover: Option<Takeover>, inherited: Option<Inherited>) -> anyhow::Result<()> {
    raise_open_files();
    let written = input.clone();
    let (source, warnings) = Source::open(input, |name| std::env::var(name).ok()).map_err(refused)?;
    let statics = source.statics().clone();
    let (log, _written_last) = logging::init(&statics).map_err(|reason| anyhow!("config.logging.level: {reason}"))?;
    install(&statics);
    let telemetry = Telemetry::new(&statics);
    let place = place::path(&statics, &written);
    let (predecessor, inheritance) = inherit(inherited, takeover, &place)?;
    let Inheritance { offers: mut inherited, states, elders } = inheritance;
    let supervisor = Arc::new(Supervisor::from_env(predecessor.is_some()));

    let (upstreams, state) = plans(&statics, &telemetry);
    let status = Arc::new(Status::default());
    let (key_sets, google) = (upstreams.key_sets(state.keep(), &status), upstreams.google(state.keep(), &status));
    let catalogs = Catalogs::new(statics.model_catalog.clone(), status.clone());
    let estate = Arc::new(Estate::default());
    let drain = if predecessor.is_some() { Drain::shut() } else { Drain::new() };
    let (sessions, mcp, deleted) = remembered(&statics, &drain);
    let transfers =
        transfers(&written, &upstreams, &key_sets, (&telemetry, &estate, &state, &sessions), (&mcp, &deleted));
    receive(&transfers, states);
    let mut reloader = Reloader::new(source, state.clone(), status.clone(), telemetry.clone());
    reloader.first(warnings).map_err(refused)?;
    let readiness = Readiness::new();
    let told = (state.clone(), status.clone(), telemetry.clone(), readiness.clone());
    let remote = XdsSource::begin(&statics, &estate, predecessor.is_some(), told);
    let store = Brought::from_env().join(&mut inherited, &state.wanted().borrow().binds, &supervisor);

    let (guard, servers) = (readiness.task("listeners"), Servers::bind(&statics, &mut inherited)?);
    let parts = Parts {
        readiness: readiness.clone(),
        telemetry: telemetry.clone(),
        supervisor: supervisor.clone(),
        transfers,
        place,
        carries: carries(&drain, &upstreams),
        drain: drain.clone(),
        predecessor,
        elders,
    };
    let life = Life::new(&statics, parts);

    let (mut server, asking) = (server(&statics), Asking::new(&telemetry, upstreams.egress()));
    let rest = (A2a::new(sessions, upstreams.egress(), deleted), mcp, catalogs.prices());
    let app = app(&server, &state, (&telemetry, &asking), &drain, rest);
    let setup = setup(app, &state, (&telemetry, &drain, asking), (&statics, inherited));
    let (listeners, reports) = Listeners::new(setup, state.wanted());
    life.offer(reports.clone(), servers.offers()?);
    reloader.listeners(reports.clone());
    reloader.renewer(renewer(&life));
    let attendance = Attendance::of(supervisor, drain, (&reports, &state, &life));
    let control = Control {
        servers: parking_lot::Mutex::new(Some(servers)),
        reloader: tokio::sync::Mutex::new(Some(reloader)),
        context: context(&state, &telemetry, log, &status, (&statics, &remote), (&reports, &upstreams, &life)),
        remote,
        upstreams,
        key_sets,
        google,
        catalogs,
        readiness,
        liveness: Liveness::new(),
        guard: parking_lot::Mutex::new(Some((guard, reports, state.wanted()))),
        life: life.clone(),
        attendance: parking_lot::Mutex::new(Some((attendance, store))),
    };
    server.add_service(listeners);
    server.add_service(background_service("control", control));
    server.run(RunArgs { shutdown_signal: Box::new(SharedLife(life.clone())) });
    crate::mcp::end_all();
    ended(&telemetry, &life)
}

/// What is remembered of clients of MCP and A2A.
fn remembered(statics: &Statics, drain: &Drain) -> (Arc<Sessions>, Arc<Mcp>, Arc<Deleted>) {
    let sessions = Sessions::new(&statics.mcp_sessions.keys);
    let mcp = Mcp::new(sessions.clone(), statics.mcp_sessions.ttl, drain.exit());
    (sessions, Arc::new(mcp), Arc::default())
}

/// Where plans are compiled, and what they lead to.
fn plans(statics: &Arc<Statics>, telemetry: &Telemetry) -> (Arc<Upstreams>, Arc<State>) {
    let upstreams = Arc::new(Upstreams::new(statics));
    let compiler = Compiler::new(upstreams.clone(), statics.clone());
    let state = State::new(compiler.clone());
    telemetry.mcp_servers(Arc::new(move || compiler.servers.figures()));
    (upstreams, state)
}

/// What the whole process has one of.
fn install(statics: &Statics) {
    // Ours first: Pingora would install ring.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    crate::proxy::inputs::install(statics);
    gcp::install(gcp::Ambient::of(|name| std::env::var(name).ok()));
}

/// What listeners are made of.
fn setup(
    app: pingora_proxy::HttpProxy<Proxy>,
    state: &Arc<State>,
    (telemetry, drain, asking): (&Arc<Telemetry>, &Arc<Drain>, Asking),
    (statics, inherited): (&Statics, Vec<Offer>),
) -> Setup<pingora_proxy::HttpProxy<Proxy>> {
    let plans = state.clone();
    Setup {
        app: Arc::new(app),
        plans: Arc::new(move || plans.plan()),
        telemetry: telemetry.clone(),
        drain: drain.clone(),
        asking,
        enable_ipv6: statics.enable_ipv6,
        removed_bind_deadline: statics.termination_deadline,
        inherited,
    }
}

fn ended(telemetry: &Telemetry, life: &Life) -> anyhow::Result<()> {
    telemetry.flush(Duration::from_secs(2));
    if let Some(reason) = life.unfit() {
        return Err(anyhow!("not taking over: {reason}"));
    }
    tracing::info!("ended");
    Ok(())
}

/// The state that a successor inherits.
fn transfers(
    written: &Input,
    upstreams: &Arc<Upstreams>,
    key_sets: &Arc<KeySets>,
    (telemetry, estate, state, sessions): (&Arc<Telemetry>, &Arc<Estate>, &State, &Arc<Sessions>),
    (mcp, deleted): (&Arc<Mcp>, &Arc<Deleted>),
) -> Transfers {
    let mut transfers = Transfers::default();
    transfers.add(Arc::new(Text::of(written)));
    transfers.add(Arc::new(Keys));
    transfers.add(Arc::new(SessionKeys(sessions.clone())));
    transfers.add(Arc::new(EndedSessions(sessions.clone())));
    transfers.add(Arc::new(Kinship(mcp.clone())));
    transfers.add(deleted.clone());
    transfers.add(Arc::new(Endpoints(upstreams.clone())));
    transfers.add(key_sets.clone());
    transfers.add(Arc::new(Upgrades(telemetry.clone())));
    estate.parts().for_each(|it| transfers.add(it));
    transfers.add(Arc::new(Seeds::new(state.keep())));
    transfers.add(Arc::new(Buckets(state.keep().clone())));
    transfers
}

/// What a predecessor leaves, and it itself, waiting to hear that we are ready.
fn inherit(
    inherited: Option<Inherited>,
    takeover: Option<Takeover>,
    place: &Path,
) -> anyhow::Result<(Option<Predecessor>, Inheritance)> {
    let (predecessor, left) = match (inherited, takeover) {
        (Some(inherited), _) => inherited,
        (None, Some(Takeover::Control)) => {
            Predecessor::at(place).with_context(|| format!("cannot take over through {}", place.display()))?
        }
        (None, _) => return Ok((None, Inheritance::default())),
    };
    tracing::info!(sockets = left.offers.len(), generations = left.elders.len(), "taking over");
    Ok((Some(predecessor), left))
}

fn app(
    server: &Server,
    state: &Arc<State>,
    (telemetry, asking): (&Arc<Telemetry>, &Asking),
    drain: &Arc<Drain>,
    (a2a, mcp, prices): (A2a, Arc<Mcp>, Arc<Prices>),
) -> pingora_proxy::HttpProxy<Proxy> {
    let proxy = Proxy {
        state: state.clone(),
        telemetry: telemetry.clone(),
        mirrors: Arc::new(Mirrors::default()),
        carried: drain.carried().clone(),
        mcp,
        asking: asking.clone(),
        a2a: Arc::new(a2a),
        prices,
    };
    let mut app = pingora_proxy::http_proxy(&server.configuration, proxy);
    app.server_options = Some(Default::default());
    app
}

fn renewer(life: &Arc<Life>) -> Arc<dyn Fn() + Send + Sync> {
    let life = life.clone();
    Arc::new(move || life.renew())
}

/// One line for each problem, as the operator reads them.
fn refused(refused: Refused) -> anyhow::Error {
    let lines: Vec<String> = refused.problems.iter().map(ToString::to_string).collect();
    anyhow!("the configuration is refused:\n{}", lines.join("\n"))
}

/// Gives what was left to whom it is for. It may be large, and is gone afterwards.
fn receive(transfers: &Transfers, states: Vec<Carried>) {
    transfers.import(&states);
}

/// A predecessor, and what it has left.
pub type Inherited = (Predecessor, Inheritance);

/// What the process carries at this moment.
fn carries(drain: &Arc<Drain>, upstreams: &Arc<Upstreams>) -> Box<dyn Fn() -> Load + Send + Sync> {
    let (drain, upstreams) = (drain.clone(), upstreams.clone());
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

/// As many descriptors as the system allows: each connection takes two, and a hand-over doubles the listening ones
/// for a moment.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it cannot be raised, it stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The document that came through standard input. A successor cannot read it there again.
pub struct Text(String);

impl Text {
    pub const NAME: &str = "document";

    fn of(input: &Input) -> Self {
        Self(match input {
            Input::Text { name, text } if name == Input::STDIN => text.clone(),
            _ => String::new(),
        })
    }
}

impl Transfer for Text {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn export(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }

    /// It is taken before anything else is there: where the command line is read.
    fn import(&self, _: u32, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

fn server(statics: &Statics) -> Server {
    let conf = ServerConf {
        threads: statics.worker_threads,
        work_stealing: true,
        listener_tasks_per_fd: 1,
        max_retries: ATTEMPTS_MAX,
        upstream_keepalive_pool_size: statics.pool_size_max.unwrap_or(POOL_SIZE),
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(Some(Opt::default()), conf);
    server.bootstrap();
    server
}

fn context(
    state: &Arc<State>,
    telemetry: &Arc<Telemetry>,
    log: LogControl,
    status: &Arc<Status>,
    (statics, remote): (&Arc<Statics>, &Option<Arc<XdsSource>>),
    (reports, upstreams, life): (&Arc<Reports>, &Arc<Upstreams>, &Arc<Life>),
) -> AdminContext {
    let remote = remote.clone();
    let (reports, upstreams, life, told) = (reports.clone(), upstreams.clone(), life.clone(), life.clone());
    AdminContext {
        state: state.clone(),
        telemetry: telemetry.clone(),
        log,
        status: status.clone(),
        statics: statics.clone(),
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

/// The process's own servers, bound before anything is promised.
struct Servers {
    admin: Bound,
    stats: Bound,
    readiness: Bound,
}

impl Servers {
    /// A successor takes its predecessor's sockets, so that no probe and no scrape is refused.
    fn bind(statics: &Statics, inherited: &mut Vec<Offer>) -> anyhow::Result<Self> {
        let mut bind = |server: &'static str, address| {
            let key = server_key(server);
            admin::bind(server, address, &mut |text| {
                let at = inherited.iter().position(|it| it.key == key && it.address == text)?;
                Some(inherited.swap_remove(at).socket)
            })
        };
        Ok(Self {
            admin: bind("admin", &statics.admin)?,
            stats: bind("stats", &statics.stats)?,
            readiness: bind("readiness", &statics.readiness)?,
        })
    }

    /// The same sockets again, for a successor.
    fn offers(&self) -> anyhow::Result<Vec<Offer>> {
        let mut offers = Vec::new();
        for (server, bound) in [("admin", &self.admin), ("stats", &self.stats), ("readiness", &self.readiness)] {
            let sockets = bound.duplicates().with_context(|| format!("cannot share the {server} sockets"))?;
            let offer = |(address, socket)| Offer { key: server_key(server), address, socket };
            offers.extend(sockets.into_iter().map(offer));
        }
        Ok(offers)
    }
}

/// How the socket of one of the process's own servers is called in a hand-off.
fn server_key(server: &str) -> String {
    format!("server/{server}")
}

/// Everything that is not traffic: reload, DNS and health, the admin servers.
struct Control {
    servers: parking_lot::Mutex<Option<Servers>>,
    reloader: tokio::sync::Mutex<Option<Reloader>>,
    context: AdminContext,
    remote: Option<Arc<XdsSource>>,
    upstreams: Arc<Upstreams>,
    key_sets: Arc<KeySets>,
    google: Google,
    catalogs: Catalogs,
    readiness: Arc<Readiness>,
    liveness: Arc<Liveness>,
    guard: parking_lot::Mutex<Option<Guard>>,
    life: Arc<Life>,
    attendance: parking_lot::Mutex<Option<(Attendance, Store)>>,
}

type Guard = (admin::ReadyGuard, Arc<Reports>, tokio::sync::watch::Receiver<Arc<crate::listen::Wanted>>);

#[async_trait]
impl BackgroundService for Control {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let runtime = Handle::current();
        self.liveness.watch("control", &runtime);
        self.context.telemetry.runtime("control", &runtime);
        let Some(servers) = self.servers.lock().take() else { return };
        let ready = self.guard.lock().take();
        let Some(mut reloader) = self.reloader.lock().await.take() else { return };
        let life = self.life.clone();
        let attendance = self.attendance.lock().take();
        let remote = self.remote.clone();
        tokio::spawn(async move {
            if let Some((guard, reports, wanted)) = ready {
                if let Some(remote) = remote {
                    remote.settled().await;
                }
                let generation = wanted.borrow().generation;
                reports.reconciled(generation).await;
                drop(guard);
                if !life.started(&reports).await {
                    return;
                }
                crate::memory::forget_start();
                let Some((attendance, store)) = attendance else { return };
                attendance.run(store, life.superseded()).await;
            }
        });
        let tokens = async { tokio::join!(self.key_sets.run(), self.google.run()) };
        let looked_after = async { tokio::join!(self.upstreams.run(), tokens, self.catalogs.run()) };
        tokio::join!(self.serve(servers), self.life.attend(), looked_after, reloader.run(), self.ask());
    }
}

impl Control {
    /// The control plane, where there is one.
    async fn ask(&self) {
        if let Some(remote) = &self.remote {
            Box::pin(remote.run(&self.life)).await;
        }
    }

    /// The process's own servers. Their sockets may be shared with a predecessor before this process is ready,
    /// and with a successor after it has been succeeded: only one of the two accepts.
    async fn serve(&self, servers: Servers) {
        self.life.serving().await;
        let (leave, left) = tokio::sync::watch::channel(false);
        let leaving = async {
            self.life.superseded().await;
            leave.send_replace(true);
        };
        tokio::join!(
            admin::serve(self.context.clone(), servers.admin, left.clone()),
            admin::serve_stats(self.context.telemetry.clone(), servers.stats, left.clone()),
            admin::serve_probes(self.readiness.clone(), self.liveness.clone(), servers.readiness, left.clone()),
            leaving,
        );
        self.life.silent();
    }
}
