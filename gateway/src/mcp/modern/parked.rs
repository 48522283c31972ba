//! Calls at elder servers that wait for a client of the era without sessions: the server has asked something, the client
//! got a result that says so, and brings what was asked for with the next request.
//!
//! They wait in this process, for [`WAIT`] and no longer, and at most [`WAITING_MAX`] of them; a call that is not fetched
//! in time is cancelled with its server. What a client shows is a number that nobody guesses, and it has to be the
//! client, and the server, that it was made for.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use bytes::Bytes;
use parking_lot::Mutex;
use protocols::json::{Kind, Raw, quoted};
use protocols::mcp::{Message, answer};

use super::super::Target;
use super::super::events::Events;
use super::super::fault::Fault;
use super::super::talk::Talk;
use super::super::target::{Answer, Sending};
use super::seam::{Seam, cancel};

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

struct Call {
    since: Instant,
    scope: [u8; 32],
    target: Arc<Target>,
    seam: Seam,
    events: Events,
    /// The server's request, and its id (JSON).
    asked: Bytes,
    asked_id: String,
    /// To cancel it with.
    talk: Talk,
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
        let mut handle = String::with_capacity(32);
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(handle, "{byte:02x}");
        }
        let message = input_required(&parsed, &seam.sent, &handle);
        drop(parsed);
        let call = Call {
            since: Instant::now(),
            scope: talk.scope,
            target: target.clone(),
            seam: seam.clone(),
            events,
            asked,
            asked_id,
            talk: talk.again(),
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

    /// Goes on with a call. What the server asked is answered with what the client brings; a client that brings nothing
    /// is told once more what is missing.
    pub(in crate::mcp) async fn resume(
        &self,
        talk: &Talk,
        target: &Arc<Target>,
        seam: &mut Seam,
        body: &Bytes,
    ) -> Result<Answer, Fault> {
        let handle = seam.waiting.take().unwrap_or_default();
        let gone = || {
            let text = quoted("the call does not wait any more: make it anew, without `requestState`");
            Fault::Error(format!(r#"{{"code":{},"message":{text}}}"#, answer::INVALID_PARAMS))
        };
        let call = self.0.lock().remove(&handle).ok_or_else(gone)?;
        let same = call.scope == talk.scope && Arc::ptr_eq(&call.target.state, &target.state);
        if !same || call.seam.method != seam.method || call.since.elapsed() > WAIT {
            if same {
                call.cancel();
            } else {
                // It is somebody else's, and stays theirs.
                self.0.lock().insert(handle, call);
            }
            return Err(gone());
        }
        // The server knows the call by its first id.
        seam.sent.clone_from(&call.seam.sent);
        let parsed = Message::parse(body).map_err(|fault| Fault::Message(fault.to_string()))?;
        let brought = parsed.params.and_then(|it| it.get("inputResponses")).and_then(|it| it.get(KEY));
        let Some(brought) = brought.filter(|it| it.kind() == Kind::Object) else {
            let asked = Message::parse(&call.asked).map_err(|fault| Fault::Message(fault.to_string()))?;
            let message = input_required(&asked, &seam.sent, &handle);
            self.0.lock().insert(handle, call);
            return Ok(Answer::Message(message));
        };
        let told = answer::result(&call.asked_id, brought.text());
        target.send(talk, Sending { again: false, ..Sending::ours(told) }).await?;
        Ok(Answer::Stream(call.events))
    }
}

impl Call {
    fn cancel(self) {
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
