//! Credentials of clouds, had and renewed in the background. Nobody waits here but for a first one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use filters::Keep;
use filters::backend_auth::Renewed;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};

use crate::clock::wall;
use crate::status::Status;

/// Of one kind, asked for at once.
const ASKED_MAX: usize = 16;
/// Longest way to one.
const DEADLINE: Duration = Duration::from_secs(60);
/// Where nothing is due for long: the wall clock may jump.
const LOOK: Duration = Duration::from_secs(30);
/// Where nobody has anything.
const IDLE: Duration = Duration::from_secs(3600);

/// A credential that has come, and how long it is good for; for ever, if nothing is said. Or why none has.
type Come<S> = Result<(<S as Renewed>::Value, Option<Duration>), String>;
type Ask<S> = dyn Fn(Arc<S>, <S as Renewed>::Target) -> BoxFuture<'static, Come<S>> + Send + Sync;

/// Keeps the credentials of one kind in a [`Keep`] fresh.
pub struct Renewal<S: Renewed> {
    keep: Arc<Keep>,
    status: Arc<Status>,
    bell: Arc<Notify>,
    /// Whose they are, in log and status.
    cloud: &'static str,
    ask: Box<Ask<S>>,
}

impl<S: Renewed> Renewal<S> {
    pub(in crate::upstream) fn new(
        cloud: &'static str,
        (keep, status): (Arc<Keep>, Arc<Status>),
        ask: impl Fn(Arc<S>, S::Target) -> BoxFuture<'static, Come<S>> + Send + Sync + 'static,
    ) -> Self {
        let bell = Arc::new(Notify::new());
        let rung = bell.clone();
        keep.listen(move || rung.notify_one());
        Self { keep, status, bell, cloud, ask: Box::new(ask) }
    }

    /// Runs for ever.
    pub async fn run(&self) {
        let mut asked = JoinSet::new();
        // What ends otherwise than it should still counts as asked for.
        let mut under_way: HashMap<Id, (Arc<S>, S::Target)> = HashMap::new();
        loop {
            let all = self.keep.all_shared::<S>();
            for store in &all {
                let room = ASKED_MAX.saturating_sub(asked.len());
                for target in store.fresh().due(wall(), room) {
                    let come = (self.ask)(store.clone(), target.clone());
                    let task = asked.spawn(tokio::time::timeout(DEADLINE, come));
                    under_way.insert(task.id(), (store.clone(), target));
                }
            }
            let next = all.iter().filter_map(|it| it.fresh().next()).min();
            let full = asked.len() >= ASKED_MAX;
            let wait = next.filter(|_| !full).map_or(IDLE, |it| it.saturating_sub(wall()).min(LOOK));
            self.report(&all);
            drop(all);
            tokio::select! {
                Some(done) = asked.join_next_with_id() => {
                    let (id, come) = match done {
                        Ok((id, Ok(come))) => (id, come),
                        Ok((id, Err(_))) => (id, Err("it takes too long".to_owned())),
                        Err(error) => (error.id(), Err("it was not asked for".to_owned())),
                    };
                    if let Some((store, target)) = under_way.remove(&id) {
                        self.settle(&store, &target, come);
                    }
                }
                () = self.bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn settle(&self, store: &Arc<S>, target: &S::Target, come: Come<S>) {
        let (cloud, name) = (self.cloud, S::name(target));
        match come {
            Ok((value, life)) => {
                tracing::debug!(cloud, %name, life_s = life.map(|it| it.as_secs()), "a credential has come");
                store.fresh().accept(target, value, life, wall());
            }
            Err(error) => {
                tracing::warn!(cloud, %name, %error, "there is no credential");
                store.fresh().fail(target, error, wall());
            }
        }
    }

    /// What is missing, and what could not be renewed.
    fn report(&self, all: &[Arc<S>]) {
        let faults = all.iter().flat_map(|it| it.fresh().faults());
        let named = faults.map(|(target, error)| (S::name(&target), error));
        self.status.stale(self.cloud, named.collect::<Vec<_>>());
    }
}
