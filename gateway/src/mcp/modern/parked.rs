//! Calls at elder servers that wait for a client of the era without sessions: the server has asked something, the client
//! got a result that says so, and brings what was asked for with the next request.
//!
//! They wait in one process, for [`WAIT`] and no longer, and at most [`WAITING_MAX`] of them; a call that is not fetched
//! in time is cancelled with its server. What a client shows names that process, and then a number that nobody guesses,
//! and it has to be the client, and the server, that it was made for. A process that has taken over has the call go on
//! where it waits ([`super::super::kin`]), and that one stays for its calls as it does for connections; where nobody
//! knows of the call, the client is told to make it anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use bytes::Bytes;
use parking_lot::Mutex;
use protocols::json::{Kind, Raw, quoted};
use protocols::mcp::definition::hex;
use protocols::mcp::{Message, answer};

use super::super::Target;
use super::super::events::Events;
use super::super::fault::Fault;
use super::super::kin::{Fetched, Wanted};
use super::super::talk::Talk;
use super::super::target::{Answer, Sending};
use super::seam::{Seam, cancel};
use crate::listen::drain::Seat;

/// Calls that wait at once.
const WAITING_MAX: usize = 1024;
/// How long one does.
const WAIT: Duration = Duration::from_secs(300);

const PREFIX: &str = "agw-waits-";
/// What is asked for is called so: a server asks one thing at a time.
const KEY: &str = "input";

/// All calls that wait.
#[derive(Default)]
pub(in crate::mcp) struct Parked(Mutex<HashMap<String, Call>>);

pub(in crate::mcp) struct Call {
    since: Instant,
    scope: [u8; 32],
    target: Arc<Target>,
    seam: Seam,
    pub(in crate::mcp) events: Events,
    /// The server's request, and its id (JSON).
    asked: Bytes,
    asked_id: String,
    /// To cancel it with.
    talk: Talk,
    /// Keeps a process that has been succeeded.
    _seat: Option<Seat>,
}

/// What becomes of a call that its client comes back to.
pub(in crate::mcp) enum Going {
    Call(Box<Call>),
    /// The client has brought nothing, and is told once more what is missing; the id that the answer has.
    Again(String, Bytes),
}

/// The number in what a client shows, if it is one of ours.
pub(super) fn handle(state: std::borrow::Cow<'_, str>) -> Option<String> {
    state.strip_prefix(PREFIX).map(str::to_owned)
}

impl Parked {
    /// Lets a call wait. What the client gets is the answer to the id that the server has got.
    pub(in crate::mcp) fn park(
        &self,
        talk: &Talk,
        target: &Arc<Target>,
        (seam, events): (&Seam, Events),
        asked: Bytes,
    ) -> Result<Bytes, Fault> {
        let parsed = Message::parse(&asked).map_err(|fault| Fault::Message(fault.to_string()))?;
        let asked_id = parsed.id.map_or("null", Raw::text).to_owned();
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| Fault::Unsupported("randomness"))?;
        let handle = format!("{:x}-{}", talk.mcp.replay.owner, hex(&bytes));
        let message = input_required(&parsed, &seam.sent, &handle);
        drop(parsed);
        let seat = if talk.mcp.kin.is_empty() { None } else { talk.mcp.replay.stay() };
        let call = Call {
            since: Instant::now(),
            scope: talk.scope,
            target: target.clone(),
            seam: seam.clone(),
            events,
            asked,
            asked_id,
            talk: talk.again(),
            _seat: seat,
        };
        let late = {
            let mut calls = self.0.lock();
            let late: Vec<_> =
                calls.iter().filter(|(_, it)| it.since.elapsed() > WAIT).map(|it| it.0.clone()).collect();
            let late: Vec<_> = late.iter().filter_map(|it| calls.remove(it)).collect();
            if calls.len() >= WAITING_MAX {
                return Err(Fault::Broken("too many calls wait for their clients".into()));
            }
            calls.insert(handle, call);
            late
        };
        late.into_iter().for_each(Call::cancel);
        Ok(message)
    }

    /// Each call keeps the process, which has a successor now.
    pub(in crate::mcp) fn stay(&self, seat: impl Fn() -> Option<Seat>) {
        self.0.lock().values_mut().for_each(|it| it._seat = seat());
    }

    /// Goes on with a call, wherever it waits. What the server asked is answered with what the client brings; a client that
    /// brings nothing is told once more what is missing.
    pub(in crate::mcp) async fn resume(
        &self,
        talk: &Talk,
        target: &Arc<Target>,
        seam: &mut Seam,
        body: &Bytes,
    ) -> Result<Answer, Fault> {
        let handle = seam.waiting.take().unwrap_or_default();
        let parsed = Message::parse(body).map_err(|fault| Fault::Message(fault.to_string()))?;
        let brought = parsed.params.and_then(|it| it.get("inputResponses")).and_then(|it| it.get(KEY));
        let brought = brought.filter(|it| it.kind() == Kind::Object).map(|it| it.text().to_owned());
        let owner = handle.split_once('-').and_then(|(owner, _)| u64::from_str_radix(owner, 16).ok()).unwrap_or(0);
        let wanted = Wanted { handle, scope: talk.scope, target: target.name.to_string(), method: seam.method.clone() };
        // The server knows the call by its first id.
        if owner == talk.mcp.replay.owner {
            match self.go_on(&wanted, brought).await? {
                Going::Call(call) => {
                    seam.sent.clone_from(&call.seam.sent);
                    Ok(Answer::Stream(call.events))
                }
                Going::Again(sent, message) => {
                    seam.sent = sent;
                    Ok(Answer::Message(message))
                }
            }
        } else {
            match talk.mcp.kin.fetch(owner, wanted, brought).await.ok_or_else(gone)? {
                Fetched::Events(sent, events) => {
                    seam.sent = sent;
                    Ok(Answer::Stream(events))
                }
                Fetched::Again(sent, message) => {
                    seam.sent = sent;
                    Ok(Answer::Message(message))
                }
            }
        }
    }

    /// Goes on with a call that waits here.
    pub(in crate::mcp) async fn go_on(&self, wanted: &Wanted, brought: Option<String>) -> Result<Going, Fault> {
        let Wanted { handle, scope, target, method } = wanted;
        let call = {
            let mut calls = self.0.lock();
            // One that is somebody else's stays theirs.
            let is_it = calls.get(handle).is_some_and(|it| it.scope == *scope && &*it.target.name == target.as_str());
            if is_it { calls.remove(handle) } else { None }.ok_or_else(gone)?
        };
        if call.seam.method != *method || call.since.elapsed() > WAIT {
            call.cancel();
            return Err(gone());
        }
        let Some(brought) = brought else {
            let asked = Message::parse(&call.asked).map_err(|fault| Fault::Message(fault.to_string()))?;
            let (sent, message) = (call.seam.sent.clone(), input_required(&asked, &call.seam.sent, handle));
            self.0.lock().insert(handle.clone(), call);
            return Ok(Going::Again(sent, message));
        };
        call.tell(answer::result(&call.asked_id, &brought).into()).await?;
        Ok(Going::Call(Box::new(call)))
    }
}

fn gone() -> Fault {
    let text = quoted("the call does not wait any more: make it anew, without `requestState`");
    Fault::Error(format!(r#"{{"code":{},"message":{text}}}"#, answer::INVALID_PARAMS))
}

impl Call {
    /// The id by which its server knows it (JSON).
    pub(in crate::mcp) fn sent(&self) -> &str {
        &self.seam.sent
    }

    /// Tells its server something, in the session that it was made in.
    pub(in crate::mcp) async fn tell(&self, told: Bytes) -> Result<(), Fault> {
        match &self.events {
            Events::Elder { out, .. } => out.send(told).await.map_err(|_| Fault::Silent),
            _ => {
                let sending = Sending { again: false, ..Sending::ours(told) };
                self.target.send(&self.talk, sending).await.map(drop)
            }
        }
    }

    /// The answer has come.
    pub(in crate::mcp) fn finish(self) {
        self.events.finish();
    }

    pub(in crate::mcp) fn cancel(self) {
        cancel(self.talk, self.target, &self.seam.sent);
    }
}

/// The result that asks for what a server's request asks for.
fn input_required(asked: &Message<'_>, id: &str, handle: &str) -> Bytes {
    let params = asked.params.map_or("{}", Raw::text);
    let request = format!(r#"{{"method":{},"params":{params}}}"#, quoted(asked.method()));
    let result = format!(
        r#"{{"resultType":"input_required","inputRequests":{{"{KEY}":{request}}},"requestState":"{PREFIX}{handle}"}}"#
    );
    answer::result(id, &result).into()
}
