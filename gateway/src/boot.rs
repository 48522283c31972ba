//! The order of birth and death, top to bottom.

mod control;
mod core;
mod servers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use filters::backend_auth::{azure, gcp};
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::background_service;

use self::control::{Control, Once};
use self::core::Core;
use self::servers::Servers;
use crate::life::heir::{Inheritance, Predecessor, Takeover};
use crate::life::transfer::Transfer;
use crate::life::{Life, Parts, SharedLife, place};
use crate::listen::Listeners;
use crate::local::source::{Input, Refused, Source};
use crate::reload::Reloader;
use crate::statics::Statics;
use crate::systemd::{Attendance, Brought, Supervisor};
use crate::telemetry::{Telemetry, logging};

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
    let place = place::path(&statics, &written);
    let (predecessor, inheritance) = inherit(inherited, takeover, &place)?;
    let Inheritance { offers: mut inherited, states, elders } = inheritance;
    let is_heir = predecessor.is_some();
    let supervisor = Arc::new(Supervisor::from_env(is_heir));

    let mut core = Core::new(statics, is_heir);
    let transfers = core.transfers(&written);
    transfers.import(&states);
    // It may be large.
    drop(states);
    let mut reloader = Reloader::new(source, core.state.clone(), core.status.clone(), core.telemetry.clone());
    reloader.first(warnings).map_err(refused)?;
    core.begin_remote(is_heir);
    let store = Brought::from_env().join(&mut inherited, &core.state.wanted().borrow().binds, &supervisor);

    let guard = core.readiness.task("listeners");
    let servers = Servers::bind(&core.statics, &mut inherited)?;
    let parts = Parts {
        readiness: core.readiness.clone(),
        telemetry: core.telemetry.clone(),
        supervisor: supervisor.clone(),
        transfers,
        place,
        carries: core.carries(),
        drain: core.drain.clone(),
        predecessor,
        elders,
    };
    let life = Life::new(&core.statics, parts);

    let mut server = server(&core.statics);
    let (listeners, reports) = Listeners::new(core.setup(&server, inherited), core.state.wanted());
    life.offer(reports.clone(), servers.offers()?);
    reloader.listeners(reports.clone());
    let renewed = life.clone();
    reloader.renewer(Arc::new(move || renewed.renew()));
    let attendance = Attendance::of(supervisor, core.drain.clone(), (&reports, &core.state, &life));
    let context = core.context(log, &reports, &life);
    let telemetry = core.telemetry.clone();
    let once = Once { servers, reloader, guard, attendance: (attendance, store) };
    server.add_service(listeners);
    server.add_service(background_service("control", Control::new(core, context, once, (reports, life.clone()))));
    server.run(RunArgs { shutdown_signal: Box::new(SharedLife(life.clone())) });
    crate::mcp::end_all();
    ended(&telemetry, &life)
}

/// What the whole process has one of.
fn install(statics: &Statics) {
    // Ours first: Pingora would install ring.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    crate::proxy::inputs::install(statics);
    azure::install(azure::Ambient::of(|name| std::env::var(name).ok()));
    gcp::install(gcp::Ambient::of(|name| std::env::var(name).ok()));
}

fn ended(telemetry: &Telemetry, life: &Life) -> anyhow::Result<()> {
    telemetry.flush(Duration::from_secs(2));
    if let Some(reason) = life.unfit() {
        return Err(anyhow!("not taking over: {reason}"));
    }
    tracing::info!("ended");
    Ok(())
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

/// One line for each problem, as the operator reads them.
fn refused(refused: Refused) -> anyhow::Error {
    let lines: Vec<String> = refused.problems.iter().map(ToString::to_string).collect();
    anyhow!("the configuration is refused:\n{}", lines.join("\n"))
}

/// A predecessor, and what it has left.
pub type Inherited = (Predecessor, Inheritance);

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
