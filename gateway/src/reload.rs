//! From a changed file to a published plan, and the report of it: log, metric, status.

use std::sync::Arc;
use std::time::Duration;

use crate::listen::Reports;
use crate::local::doc::Problem;
use crate::local::source::{Input, Loaded, Refused, Source};
use crate::local::watch::Watch;
use crate::state::State;
use crate::status::{self, Status};
use crate::telemetry::{Phases, Spent, Telemetry};

/// Problems written to the log for one refusal; status has them all.
const PROBLEMS_LOGGED_MAX: usize = 20;

/// Starts a successor and returns at once.
pub type Renew = Arc<dyn Fn() + Send + Sync>;

/// Loads the document again whenever something it rests on changes.
pub struct Reloader {
    source: Option<Source>,
    name: String,
    state: Arc<State>,
    status: Arc<Status>,
    telemetry: Arc<Telemetry>,
    reports: Option<Arc<Reports>>,
    /// Starts a successor, for what this process cannot put into effect.
    renew: Option<Renew>,
    /// The static settings it was last started for: one that fails is not tried again until they change again.
    renewed: Option<u64>,
    /// Warnings of the static settings: they hold as long as the process does.
    standing: Vec<Problem>,
}

impl Reloader {
    pub fn new(source: Source, state: Arc<State>, status: Arc<Status>, telemetry: Arc<Telemetry>) -> Self {
        let name = source.input().name();
        Self {
            source: Some(source),
            name,
            state,
            status,
            telemetry,
            reports: None,
            renew: None,
            renewed: None,
            standing: Vec::new(),
        }
    }

    /// Who knows which sockets are open.
    pub fn listeners(&mut self, reports: Arc<Reports>) {
        self.reports = Some(reports);
    }

    /// Who starts a successor.
    pub fn renewer(&mut self, renew: Renew) {
        self.renew = Some(renew);
    }

    /// The first load: a refusal is the caller's to report.
    pub fn first(&mut self, warnings: Vec<Problem>) -> Result<(), Refused> {
        let Some(source) = self.source.as_mut() else { return Ok(()) };
        let loaded = source.load()?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        self.standing = warnings;
        self.publish(loaded);
        Ok(())
    }

    /// Runs for ever.
    pub async fn run(&mut self) {
        let Some(mut source) = self.source.take() else { return };
        if matches!(source.input(), Input::Text { .. }) && source.watched().is_empty() {
            self.source = Some(source);
            return std::future::pending().await;
        }
        let mut watch = Watch::new();
        watch.set(&source.watched());
        loop {
            watch.changed().await;
            let work = tokio::task::spawn_blocking(move || {
                let loaded = source.is_stale().then(|| source.load());
                (source, loaded)
            });
            let loaded = match work.await {
                Ok((back, loaded)) => {
                    source = back;
                    loaded
                }
                Err(error) => {
                    tracing::error!(%error, "the reload ended unexpectedly; the configuration in force stays");
                    return std::future::pending().await;
                }
            };
            watch.set(&source.watched());
            match loaded {
                None => {}
                Some(Ok(loaded)) => {
                    let renewed = loaded.renewed;
                    let generation = self.publish(loaded);
                    if let Some(reports) = &self.reports {
                        let _ = tokio::time::timeout(Duration::from_secs(5), reports.reconciled(generation)).await;
                    }
                    self.follow(renewed);
                }
                Some(Err(refused)) => self.refuse(&refused.problems),
            }
        }
    }

    /// Puts into effect what only a new process can.
    fn follow(&mut self, renewed: Option<u64>) {
        if std::mem::replace(&mut self.renewed, renewed) == renewed {
            return;
        }
        if let (Some(renew), Some(_)) = (&self.renew, renewed) {
            tracing::info!("static settings have changed: a successor puts them into effect");
            renew();
        }
    }

    fn publish(&self, loaded: Loaded) -> u64 {
        let Loaded { patch, warnings, phases, places, renewed: _ } = loaded;
        let applied = self.state.apply(&patch);
        self.state.place(places);
        let generation = applied.generation;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let spent = |cpu| Spent { cpu, ..Spent::default() };
        self.telemetry.config_applied(
            generation,
            &Phases {
                parse: spent(phases.parse),
                lower: spent(phases.lower + phases.diff),
                compile: spent(applied.compile),
                publish: spent(applied.publish),
            },
        );
        let warnings = self.standing.iter().chain(&warnings).map(told).collect();
        self.status.applied(generation, &self.name, warnings);
        let failed: Vec<_> =
            self.state.plan().failed().map(|(key, reason)| (key.to_string(), reason.to_string())).collect();
        self.status.stale("listener", failed);
        tracing::info!(
            generation,
            changes = patch.len(),
            parse_us = micros(phases.parse),
            lower_us = micros(phases.lower),
            diff_us = micros(phases.diff),
            compile_us = micros(applied.compile),
            publish_us = micros(applied.publish),
            "configuration applied"
        );
        generation
    }

    fn refuse(&self, problems: &[Problem]) {
        self.telemetry.config_refused();
        for problem in problems.iter().take(PROBLEMS_LOGGED_MAX) {
            tracing::error!("{problem}");
        }
        tracing::error!(problems = problems.len(), "the configuration is refused; the last good one stays in force");
        self.status.refused(problems.iter().map(told).collect());
    }
}

/// A problem as status pages show it.
pub(crate) fn told(problem: &Problem) -> status::Problem {
    status::Problem {
        file: Some(problem.source.to_string()),
        line: problem.place.map(|place| place.line),
        column: problem.place.map(|place| place.column),
        path: problem.path.clone(),
        message: problem.message.clone(),
        hint: problem.hint.clone(),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
