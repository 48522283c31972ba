//! The control socket: who may ask, and what is answered. `agentgateway upgrade` and `agentgateway status` ask here,
//! and so does a successor that somebody else has started. [`super::place`] says where it is.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::place::Post;
use super::{Declined, Life, upgrade};
use crate::listen::handoff::message::{Message, Refusal, Versions};
use crate::listen::handoff::{HandoffFault, Line};

/// For a peer to say what it wants.
const QUESTION: Duration = Duration::from_secs(5);

/// After a socket that cannot accept.
const BACK_OFF: Duration = Duration::from_millis(100);

impl Life {
    /// Answers on the control socket from when this process serves until a successor does.
    pub async fn attend(self: &Arc<Self>) {
        self.begun.notified().await;
        let listening = async {
            tokio::select! {
                () = self.elders.listen() => {}
                // The successor listens now.
                () = self.superseded() => {}
            }
        };
        tokio::join!(listening, self.answer());
    }

    /// Opens the control socket. A successor moves its own over that of its predecessor.
    pub(super) fn open_post(&self) {
        match Post::open(&self.place, self.predecessor_pid) {
            Ok(post) => {
                tracing::info!(path = %post.path().display(), "control socket open");
                *self.post.lock() = Some(post);
            }
            Err(error) => tracing::warn!(
                %error,
                "no control socket: `agentgateway upgrade` and `status` do not reach this process, SIGHUP does"
            ),
        }
    }

    async fn answer(self: &Arc<Self>) {
        let post = self.post.lock().take();
        let Some(post) = post else { return };
        loop {
            let accepted = tokio::select! {
                () = self.superseded() => return,
                accepted = post.accept() => accepted,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%error, "control socket");
                    tokio::time::sleep(BACK_OFF).await;
                    continue;
                }
            };
            // Nobody closes the semaphore. Those beyond it wait in the kernel's queue.
            let Ok(permit) = self.talks.clone().acquire_owned().await else { return };
            let life = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = life.talk(stream).await {
                    tracing::warn!(%error, "a question on the control socket");
                }
                drop(permit);
            });
        }
    }

    async fn talk(self: &Arc<Self>, stream: UnixStream) -> Result<(), HandoffFault> {
        let heard = blocking(move || {
            let line = Line::new(stream, QUESTION)?;
            let message = match line.receive() {
                Ok(received) => received.message,
                Err(fault) => {
                    let reason = format!("not understood: {fault}");
                    let _ = line.say(&refusal(Refusal::Other, reason));
                    return Err(fault);
                }
            };
            Ok((line, message))
        });
        let (mut line, message) = heard.await?;
        line.prolong(self.limit + QUESTION);
        let objection = match &message {
            Message::Upgrade { versions, .. } | Message::Status { versions } => versions.objection(),
            _ => None,
        };
        if let Some(reason) = objection {
            return line.say(&refusal(Refusal::Version, reason));
        }
        match message {
            Message::Status { .. } => line.say(&Message::Report { view: self.report() }),
            Message::Upgrade { binary, wait, .. } => self.asked(line, binary, wait).await,
            message @ Message::Takeover { .. } => self.succeeded_by(line, message).await,
            other => line.say(&refusal(Refusal::Other, format!("nobody asks with `{}`", other.word()))),
        }
    }

    async fn asked(
        self: &Arc<Self>,
        line: Line,
        binary: Option<std::path::PathBuf>,
        wait: bool,
    ) -> Result<(), HandoffFault> {
        let line = Arc::new(line);
        let told = Arc::clone(&line);
        // Whoever asked may have gone meanwhile: that changes nothing.
        let started = move |pid| drop(told.say(&Message::Started { pid }));
        let ended = match self.upgrade(binary, started).await {
            Ok(ended) => ended,
            Err(Declined { why, reason }) => return line.say(&refusal(why, reason)),
        };
        if !wait && ended.pid.is_some() {
            return Ok(());
        }
        line.say(&Message::Ended { pid: ended.pid.unwrap_or_default(), error: ended.error, seconds: ended.seconds })
    }

    async fn succeeded_by(self: &Arc<Self>, mut line: Line, message: Message) -> Result<(), HandoffFault> {
        let pid = line.peer();
        if let Err(Declined { why, reason }) = self.begin(pid) {
            return line.say(&refusal(why, reason));
        }
        let since = Instant::now();
        self.supervisor.reloading();
        tracing::info!(pid, "a successor asks to take over");
        let this = Arc::clone(self);
        line.prolong(self.limit);
        let work = tokio::task::spawn_blocking(move || {
            let (estate, mouth) = this.estate()?;
            upgrade::serve(&mut line, message, estate)?;
            Ok((pid, mouth))
        });
        self.conclude(since, work.await.unwrap_or(Err(upgrade::UpgradeFault::GivenUp)));
        Ok(())
    }
}

fn refusal(why: Refusal, reason: String) -> Message {
    Message::Refused { versions: Versions::OURS, why, reason }
}

/// On a thread of its own: descriptors travel by calls that tokio does not have.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HandoffFault> + Send + 'static,
) -> Result<T, HandoffFault> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(HandoffFault::Gone))
}
