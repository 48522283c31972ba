//! From an edited document to changed resources: what changed goes into the cache, and nothing else.

use std::sync::Arc;

use xds::server::{Cache, Full};

use super::terms::FLEET;
use crate::local::doc::Problem;
use crate::local::source::{Loaded, Refused, Source};
use crate::local::watch::Watch;
use crate::reload::told;
use crate::status::Status;

/// Problems written to the log for one refusal; the status page has them all.
const PROBLEMS_LOGGED_MAX: usize = 20;

/// Loads the document again whenever something it rests on changes.
pub(super) struct Feed {
    source: Option<Source>,
    name: String,
    cache: Arc<Cache>,
    status: Arc<Status>,
    generation: u64,
}

impl Feed {
    pub(super) fn new(source: Source, cache: Arc<Cache>, status: Arc<Status>) -> Self {
        let name = source.input().name();
        Self { source: Some(source), name, cache, status, generation: 0 }
    }

    /// The first load: a refusal is the caller's to report.
    pub(super) fn first(&mut self, warnings: Vec<Problem>) -> Result<(), Refused> {
        let Some(source) = self.source.as_mut() else { return Ok(()) };
        let mut loaded = source.load()?;
        loaded.warnings.splice(0..0, warnings);
        self.publish(loaded);
        Ok(())
    }

    /// Runs until the document can no longer be watched.
    pub(super) async fn run(&mut self) {
        let Some(mut source) = self.source.take() else { return };
        let mut watch = Watch::new();
        watch.set(&source.watched());
        loop {
            watch.changed().await;
            let work = tokio::task::spawn_blocking(move || {
                let loaded = source.is_stale().then(|| source.load());
                (source, loaded)
            });
            let Ok((back, loaded)) = work.await else { return };
            source = back;
            watch.set(&source.watched());
            match loaded {
                None => {}
                Some(Ok(loaded)) => self.publish(loaded),
                Some(Err(refused)) => self.refuse(&refused.problems),
            }
        }
    }

    fn publish(&mut self, loaded: Loaded) {
        let Loaded { patch, warnings, .. } = loaded;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        // There is one group.
        if let Err(Full) = self.cache.apply(FLEET, &patch) {
            tracing::error!("the cache is full");
        }
        self.generation += 1;
        self.status.applied(self.generation, &self.name, warnings.iter().map(told).collect());
        tracing::info!(generation = self.generation, changes = patch.len(), "configuration served");
    }

    fn refuse(&self, problems: &[Problem]) {
        for problem in problems.iter().take(PROBLEMS_LOGGED_MAX) {
            tracing::error!("{problem}");
        }
        tracing::error!(problems = problems.len(), "the configuration is refused; the last good one is served");
        self.status.refused(problems.iter().map(told).collect());
    }
}
