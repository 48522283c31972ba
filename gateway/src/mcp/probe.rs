//! A server that is left alone is asked by us whether it is back, so that no client has to find out.
//!
//! The question is a `ping` without a session and without anything of a client's: whatever answers it, even with a
//! refusal, is there again. Programs are not asked: the next call starts them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocols::mcp::answer;

use super::Target;
use super::call::Terms;
use super::fault::Fault;
use super::federation::Reach;
use super::state::REST;
use super::talk::Talk;
use super::target::post_head;

/// For the answer to one question.
const DEADLINE: Duration = Duration::from_secs(5);
/// Questions to one server; then it is left to clients again.
const QUESTIONS_MAX: u32 = 720;

impl Target {
    /// Whether a session may be opened: not with a server that is asked whether it is back.
    pub(super) fn may_be_asked(&self) -> bool {
        self.state.is_well() || !matches!(self.reach, Reach::Http(_) | Reach::Sse(_))
    }

    /// Notes that the server failed; where it is left alone from now on, it is asked whether it is back.
    pub(super) fn failed(self: &Arc<Self>, talk: &Talk) {
        if self.state.failed(Instant::now()) {
            tracing::warn!(target_name = &*self.name, "an MCP server failed repeatedly and is left alone");
            if matches!(self.reach, Reach::Http(_) | Reach::Sse(_)) {
                tokio::spawn(ask(self.clone(), talk.nobody()));
            }
        }
    }
}

async fn ask(target: Arc<Target>, talk: Talk) {
    for _ in 0..QUESTIONS_MAX {
        // A little apart from what clients do at the same time.
        tokio::time::sleep(REST.saturating_sub(Duration::from_millis(crate::random::below(1000)))).await;
        if target.state.is_well() {
            return;
        }
        match Box::pin(answers(&target, &talk)).await {
            Ok(()) => {
                tracing::info!(target_name = &*target.name, "an MCP server is back");
                return target.state.succeeded();
            }
            Err(fault) => {
                tracing::debug!(target_name = &*target.name, error = %fault, "an MCP server is not back yet");
                target.state.failed(Instant::now());
            }
        }
    }
    target.state.probed();
}

async fn answers(target: &Target, talk: &Talk) -> Result<(), Fault> {
    let (Reach::Http(endpoint) | Reach::Sse(endpoint)) = &target.reach else { return Ok(()) };
    let body = body();
    let head = post_head(talk, endpoint, None, &body).await?;
    let reply = talk.mcp.caller.send(endpoint, &head, Some(body), terms()).await?;
    let status = reply.status.as_u16();
    reply.discard().await;
    if status < 500 { Ok(()) } else { Err(Fault::Status(status)) }
}

fn body() -> Bytes {
    answer::request("\"agw-probe\"", "ping", "").into()
}

fn terms() -> Terms {
    Terms { deadline: DEADLINE, again: true, affinity: None }
}
