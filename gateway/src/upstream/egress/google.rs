//! Tokens of Google's clouds, had and renewed in the background. Nobody waits here but for a first token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use filters::Keep;
use filters::backend_auth::gcp::{Quest, Step, Target, Tokens};
use ir::Secret;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};

use super::Egress;
use crate::clock::wall;
use crate::status::Status;

/// Tokens that are asked for at once.
const QUESTS_MAX: usize = 16;
/// Steps to one token.
const STEPS_MAX: usize = 6;
/// Largest file that holds a credential or a token.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Where nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Keeps the tokens of a [`Keep`] fresh.
pub struct Google {
    keep: Arc<Keep>,
    egress: Egress,
    status: Arc<Status>,
    bell: Arc<Notify>,
}

impl Google {
    pub(in crate::upstream) fn new(keep: Arc<Keep>, egress: Egress, status: Arc<Status>) -> Self {
        let bell = Arc::new(Notify::new());
        let rung = bell.clone();
        keep.listen(move || rung.notify_one());
        Self { keep, egress, status, bell }
    }

    /// Runs for ever.
    pub async fn run(&self) {
        let mut quests = JoinSet::new();
        // What ends otherwise than it should still counts as asked for.
        let mut under_way: HashMap<Id, (Arc<Tokens>, Target)> = HashMap::new();
        loop {
            let all = self.keep.all_shared::<Tokens>();
            let now = wall();
            let room = quests.len() < QUESTS_MAX;
            for tokens in all.iter().filter(|_| room) {
                for (target, quest) in tokens.due(now) {
                    let task = quests.spawn(had(self.egress.clone(), tokens.clone(), target.clone(), quest));
                    under_way.insert(task.id(), (tokens.clone(), target));
                }
            }
            let next = all.iter().filter_map(|it| it.next()).min();
            drop(all);
            let wait = next.filter(|_| room).map_or(IDLE, |it| it.saturating_sub(wall()));
            tokio::select! {
                Some(done) = quests.join_next_with_id() => {
                    let (id, failed) = match done {
                        Ok((id, ())) => (id, false),
                        Err(error) => (error.id(), true),
                    };
                    if let Some((tokens, target)) = under_way.remove(&id).filter(|_| failed) {
                        tokens.fail(&target, "it was not asked for".to_owned(), wall());
                    }
                    self.report();
                }
                () = self.bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Tokens that are missing, and those that could not be renewed.
    fn report(&self) {
        let faults = self.keep.all_shared::<Tokens>().into_iter().flat_map(|it| it.faults());
        let named = |(target, error): (Target, String)| match target {
            Target::Access => ("access token".to_owned(), error),
            Target::Id(audience) => (format!("id token for {audience}"), error),
        };
        self.status.stale("google", faults.map(named).collect::<Vec<_>>());
    }
}

async fn had(egress: Egress, tokens: Arc<Tokens>, target: Target, mut quest: Quest) {
    match steps(&egress, &mut quest).await {
        Ok((token, life)) => {
            tracing::debug!(?target, life_s = life.as_secs(), "a token of Google's has come");
            tokens.accept(&target, &token, life, wall());
        }
        Err(error) => {
            tracing::warn!(?target, %error, "there is no token of Google's");
            tokens.fail(&target, error, wall());
        }
    }
}

async fn steps(egress: &Egress, quest: &mut Quest) -> Result<(Secret, Duration), String> {
    let mut step = quest.begin(wall())?;
    for _ in 0..STEPS_MAX {
        let (status, came) = match step {
            Step::Done(token, life) => return Ok((token, life)),
            Step::Read(path) => (200, read(&path).await?.into()),
            Step::Ask(errand) => egress.errand(&errand).await.map_err(|fault| fault.to_string())?,
        };
        step = quest.go_on(status, &came, wall())?;
    }
    Err("it takes too many steps".to_owned())
}

async fn read(path: &str) -> Result<Vec<u8>, String> {
    let why = |error: std::io::Error| format!("{path}: {error}");
    let length = tokio::fs::metadata(path).await.map_err(why)?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{path}: more than {FILE_BYTES_MAX} bytes"));
    }
    tokio::fs::read(path).await.map_err(why)
}
