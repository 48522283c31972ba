//! What servers of the era without sessions ask for in results, asked of an elder client: as requests in the stream of its
//! call. Its answers come as messages of their own, and find back here by their ids.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pingora_error::Result;
use protocols::json::{Raw, quoted};
use protocols::mcp::session::Name;
use protocols::mcp::{Edits, Message, answer, modern};
use protocols::sse::Event;
use tokio::sync::oneshot;

use super::super::fan;
use super::super::fault::Fault;
use super::super::reply::Stream;
use super::super::talk::Talk;

/// How often one call may ask.
pub(in crate::mcp) const ROUNDS_MAX: usize = 16;
/// Things asked for at once.
const REQUESTS_MAX: usize = 32;
/// Questions that wait for answers, of all sessions.
const WAITING_MAX: usize = 16 * 1024;
/// How long somebody may think.
const THINKING: Duration = Duration::from_secs(600);

/// All questions.
#[derive(Default)]
pub(in crate::mcp) struct Inputs(Mutex<HashMap<String, (Name, oneshot::Sender<Bytes>)>>);

/// A question that is forgotten when nobody waits for its answer.
struct Question<'a> {
    all: &'a Inputs,
    id: String,
    key: String,
    answer: oneshot::Receiver<Bytes>,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.id);
    }
}

impl Inputs {
    fn question(&self, name: Name, key: String) -> Option<Question<'_>> {
        let id = fan::own_id();
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.0.lock();
        if waiting.len() >= WAITING_MAX {
            return None;
        }
        waiting.insert(id.clone(), (name, sender));
        Some(Question { all: self, id, key, answer })
    }

    /// Whether a client's answer was waited for.
    pub(in crate::mcp) fn answered(&self, name: &Name, message: &Message<'_>) -> bool {
        let Some(id) = message.id.map(Raw::text) else { return false };
        let mut waiting = self.0.lock();
        if waiting.get(id).is_none_or(|(of, _)| of != name) {
            return false;
        }
        let Some((_, sender)) = waiting.remove(id) else { return false };
        sender.send(Bytes::copy_from_slice(message.raw.text().as_bytes())).is_ok()
    }
}

/// What a result asks for, asked of the client; the parameters that answer it.
pub(in crate::mcp) async fn ask(
    out: &mut Stream<'_>,
    talk: &Talk,
    message: &[u8],
) -> Result<std::result::Result<String, Fault>> {
    let Ok(parsed) = Message::parse(message) else { return Ok(Err(Fault::Silent)) };
    let Some((result, (name, _))) = parsed.result.zip(talk.session.as_ref()) else { return Ok(Err(Fault::Silent)) };
    let mut questions = Vec::new();
    let requests = result.get("inputRequests").map(Raw::members).into_iter().flatten();
    for (key, request) in requests.take(REQUESTS_MAX) {
        let method = request.get("method").and_then(Raw::as_str).unwrap_or_default();
        let params = request.get("params").map_or("", Raw::text);
        let Some(question) = talk.mcp.inputs.question(*name, key.into_owned()) else {
            return Ok(Err(Fault::Broken("too many questions wait for answers".into())));
        };
        let event = Event::message(answer::request(&question.id, &method, params));
        questions.push((question, method.into_owned()));
        out.event(&event).await?;
    }
    let mut members = Vec::new();
    for (mut question, method) in questions {
        let waited = Box::pin(tokio::time::timeout(THINKING, &mut question.answer));
        let Ok(Ok(told)) = out.next(waited).await? else { return Ok(Err(Fault::Deadline(THINKING))) };
        match brought(&told, &method) {
            Ok(brought) => members.push(format!("{}:{brought}", quoted(&question.key))),
            Err(fault) => return Ok(Err(fault)),
        }
    }
    let mut params = String::new();
    if result.get("inputRequests").is_some() {
        params.push_str(&format!(r#""inputResponses":{{{}}}"#, members.join(",")));
    }
    if let Some(state) = result.get("requestState") {
        let comma = if params.is_empty() { "" } else { "," };
        params.push_str(&format!(r#"{comma}"requestState":{}"#, state.text()));
    }
    Ok(Ok(params))
}

/// The result in a client's answer. One who will not be asked has declined.
fn brought(told: &[u8], method: &str) -> std::result::Result<String, Fault> {
    let parsed = Message::parse(told).map_err(|fault| Fault::Message(fault.to_string()))?;
    match (parsed.result, parsed.error) {
        (Some(result), _) => Ok(result.text().to_owned()),
        (None, Some(_)) if method == "elicitation/create" => Ok(r#"{"action":"cancel"}"#.to_owned()),
        (None, error) => Err(Fault::Error(error.map_or("{}", Raw::text).to_owned())),
    }
}

/// The call once more, with another id and what was asked for.
pub(in crate::mcp) fn again(body: &Bytes, id: &str, params: &str) -> Bytes {
    let Ok(message) = Message::parse(body) else { return body.clone() };
    let mut edits = Edits::default();
    if let Some(raw) = message.id {
        edits.replace(raw.range(), id);
    }
    match message.params {
        Some(held) if !params.is_empty() => modern::add_members(held, params, &mut edits),
        None if !params.is_empty() => {
            modern::add_members(message.raw, &format!(r#""params":{{{params}}}"#), &mut edits)
        }
        _ => {}
    }
    message.raw.edited(edits).into()
}
