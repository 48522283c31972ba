//! `agentgateway xds serve`: a small control plane. It watches a document as a gateway would, and serves what the
//! document becomes to a fleet of gateways by delta xDS.
//!
//! [`terms`] says who may ask and refuses what would leave secrets open, [`feed`] turns edits into changed resources,
//! [`travel`] names what a gateway elsewhere cannot have, [`report`] is what the status page and the metrics show.
//! The protocol is in the crate `xds`; no traffic passes here.

mod feed;
mod report;
mod terms;
#[cfg(test)]
mod tests;
mod travel;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use xds::server::{Cache, Log, Settings};

use crate::admin;
use crate::local::source::{Input, Refused, Source};
use crate::status::Status;
use crate::telemetry::logging;
use feed::Feed;
pub use report::Report;
pub use terms::{Flags, Refusal};

/// Serves until told to end.
///
/// # Errors
/// A refused document, an address that cannot be bound, or files of certificates or tokens that cannot be used.
pub fn run(flags: Flags) -> anyhow::Result<()> {
    let Flags { file, address, status_address, .. } = flags.clone();
    let settings = flags.settings()?;
    let (mut source, warnings) = Source::open(Input::File(file), |name| std::env::var(name).ok()).map_err(refused)?;
    let statics = source.statics().clone();
    let (_log, _written_last) = logging::init(&statics).map_err(|reason| anyhow!("config.logging.level: {reason}"))?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    source.remark(travel::remark);
    let cache = Arc::new(Cache::default());
    let (status, log) = (Arc::new(Status::default()), Arc::new(Log::default()));
    let mut feed = Feed::new(source, cache.clone(), status.clone());
    feed.first(warnings).map_err(refused)?;
    let pages = admin::bind("status", &status_address, &mut |_| None)?;
    if settings.tls.is_none() && settings.tokens_file.is_none() {
        tracing::warn!("neither TLS nor tokens: every user of this host can read the keys of the configuration");
    }
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.worker_threads(statics.worker_threads).enable_all().build();
    runtime.context("cannot start threads")?.block_on(async {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr().context("the listener has no address")?;
        let report = Arc::new(Report { address, cache: cache.clone(), log: log.clone(), status });
        serve(listener, settings, (cache, log), feed, (report, pages)).await
    })
}

/// One line for each problem, as the operator reads them.
fn refused(refused: Refused) -> anyhow::Error {
    let lines: Vec<String> = refused.problems.iter().map(ToString::to_string).collect();
    anyhow!("the configuration is refused:\n{}", lines.join("\n"))
}

async fn serve(
    listener: TcpListener,
    settings: Settings,
    (cache, log): (Arc<Cache>, Arc<Log>),
    mut feed: Feed,
    (report, pages): (Arc<Report>, admin::Bound),
) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("signals cannot be caught")?;
    let mut int = signal(SignalKind::interrupt()).context("signals cannot be caught")?;
    let told = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("told to end: clients are asked to come back to whoever serves next");
    };
    let (leave, left) = watch::channel(false);
    let status: Vec<SocketAddr> = pages.addresses();
    tracing::info!(address = %report.address, ?status, tls = settings.tls.is_some(), "serving");
    let pages = admin::serve_fleet(report, pages, left);
    let serving = async {
        let outcome = xds::server::serve(listener, settings, cache, log, told).await;
        leave.send_replace(true);
        outcome
    };
    let (outcome, ()) = tokio::select! {
        ended = async { tokio::join!(serving, pages) } => ended,
        () = feed.run() => return Err(anyhow!("the document is no longer watched")),
    };
    outcome.context("TLS cannot be spoken")?;
    tracing::info!("ended");
    Ok(())
}
