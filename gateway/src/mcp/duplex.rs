//! A server on a line of its own, as programs are and servers of revision 2024-11-05: messages go in at one end, and
//! everything it says comes out of the other. Here answers find the calls they are for.
//!
//! A line belongs to one client's session, so that ids are the client's own. What is neither an answer nor for a call
//! under way goes to who listens, or waits a while for somebody.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ir::Text;
use parking_lot::Mutex;
use protocols::json::Raw;
use protocols::mcp::session::Name;
use protocols::mcp::{Message, Shape};
use protocols::sse::Event;
use tokio::sync::mpsc;

use super::fault::Fault;

/// Messages that wait on their way to the server, and events on their way back to one call.
pub(super) const WAITING_MAX: usize = 64;
/// What was said unasked and nobody has heard yet.
const UNHEARD_MAX: usize = 64;
/// Lines at once, of all sessions.
const LINES_MAX: usize = 1024;
/// Lines of one server.
const LINES_OF_TARGET_MAX: usize = 256;
/// A line that nobody used for so long is closed; the next call opens another.
const IDLE: Duration = Duration::from_secs(600);
const SWEEP: Duration = Duration::from_secs(30);

/// One line.
pub(super) struct Line {
    out: mpsc::Sender<Bytes>,
    state: Mutex<State>,
    /// Ends what serves the line when it is dropped.
    _end: Ends,
}

/// What is dropped with a line.
type Ends = Box<dyn Send + Sync>;

#[derive(Default)]
struct State {
    calls: Vec<(String, mpsc::Sender<Event>)>,
    listener: Option<mpsc::Sender<Event>>,
    unheard: VecDeque<Event>,
    ended: bool,
    used: Option<Instant>,
}

impl Line {
    pub(super) fn new(out: mpsc::Sender<Bytes>, end: impl Send + Sync + 'static) -> Arc<Self> {
        let state = State { used: Some(Instant::now()), ..State::default() };
        Arc::new(Self { out, state: Mutex::new(state), _end: Box::new(end) })
    }

    /// Sends what needs no answer.
    pub(super) async fn tell(&self, message: Bytes) -> Result<(), Fault> {
        self.state.lock().used = Some(Instant::now());
        self.out.send(message).await.map_err(|_| Fault::Forgotten)
    }

    /// Sends a request; its events come until its answer has.
    pub(super) async fn ask(&self, id: &str, message: Bytes) -> Result<mpsc::Receiver<Event>, Fault> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        {
            let mut state = self.state.lock();
            if state.ended {
                return Err(Fault::Forgotten);
            }
            state.calls.retain(|(_, sender)| !sender.is_closed());
            state.calls.push((id.to_owned(), sender));
        }
        self.tell(message).await?;
        Ok(receiver)
    }

    /// Takes what is said unasked from now on; who listened before does not any more.
    pub(super) fn listen(&self) -> Result<(VecDeque<Event>, mpsc::Receiver<Event>), Fault> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut state = self.state.lock();
        if state.ended {
            return Err(Fault::Forgotten);
        }
        state.listener = Some(sender);
        Ok((std::mem::take(&mut state.unheard), receiver))
    }

    /// The server has said something.
    pub(super) async fn said(&self, data: Bytes) {
        let Ok(message) = Message::parse(&data) else { return };
        let to = {
            let mut state = self.state.lock();
            state.calls.retain(|(_, sender)| !sender.is_closed());
            if message.shape() == Shape::Response {
                let at = state.calls.iter().position(|(id, _)| message.answers(id));
                at.map(|at| state.calls.swap_remove(at).1)
            } else {
                let token = message.params.and_then(|it| it.get("progressToken")).map(Raw::text);
                // What names its call goes there, everything else that may belong to a call to the newest.
                let named = state.calls.iter().find(|(id, _)| Some(id.as_str()) == token);
                let call = named.or(state.calls.last()).map(|(_, sender)| sender.clone());
                call.or_else(|| state.listener.clone().filter(|it| !it.is_closed()))
            }
        };
        let is_answer = message.shape() == Shape::Response;
        let event = Event::message(data.clone());
        match to {
            // Who hears it may have gone meanwhile.
            Some(to) => drop(to.send(event).await),
            None if is_answer => {}
            None => {
                let mut state = self.state.lock();
                if state.unheard.len() >= UNHEARD_MAX {
                    state.unheard.pop_front();
                }
                state.unheard.push_back(event);
            }
        }
    }

    /// The server will say no more.
    pub(super) fn ended(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.calls.clear();
        state.listener = None;
    }

    fn is_idle(&self, now: Instant) -> bool {
        let state = self.state.lock();
        let listened = state.listener.as_ref().is_some_and(|it| !it.is_closed());
        let busy = listened || state.calls.iter().any(|(_, sender)| !sender.is_closed());
        state.ended || (!busy && state.used.is_none_or(|at| now.saturating_duration_since(at) > IDLE))
    }
}

/// All lines of the process.
#[derive(Default)]
pub(super) struct Lines {
    lines: Mutex<HashMap<(Name, Text), Arc<Line>>>,
    swept: AtomicBool,
}

impl Lines {
    pub(super) fn get(&self, name: &Name, target: &Text) -> Option<Arc<Line>> {
        self.lines.lock().get(&(*name, target.clone())).cloned()
    }

    /// Takes a line up, where there is room for it.
    pub(super) fn keep(
        self: &Arc<Self>,
        name: &Name,
        (target, most): (&Text, Option<u32>),
        line: Arc<Line>,
    ) -> Result<(), Fault> {
        let most = most.map_or(LINES_OF_TARGET_MAX, |it| LINES_OF_TARGET_MAX.min(it as usize));
        let mut lines = self.lines.lock();
        let of_target = lines.keys().filter(|(_, it)| it == target).count();
        if lines.len() >= LINES_MAX || of_target >= most {
            return Err(Fault::Broken("too many sessions with servers of this kind".into()));
        }
        lines.insert((*name, target.clone()), line);
        if !self.swept.swap(true, Ordering::Relaxed) {
            let lines = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(SWEEP).await;
                    let Some(lines) = lines.upgrade() else { return };
                    let now = Instant::now();
                    lines.lines.lock().retain(|_, line| !line.is_idle(now));
                }
            });
        }
        Ok(())
    }

    pub(super) fn of_session(&self, name: &Name) -> Vec<Arc<Line>> {
        self.lines.lock().iter().filter(|((it, _), _)| it == name).map(|(_, line)| line.clone()).collect()
    }

    pub(super) fn end_session(&self, name: &Name) {
        self.lines.lock().retain(|(it, _), _| it != name);
    }

    pub(super) fn end(&self, name: &Name, target: &Text) {
        self.lines.lock().remove(&(*name, target.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[tokio::test]
    async fn answers_find_their_calls_and_the_rest_finds_who_listens() {
        let (out, mut sent) = mpsc::channel(8);
        let line = Line::new(out, ());
        let unasked = message(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
        line.said(unasked.clone()).await;
        let mut one = line.ask("1", message("one")).await.unwrap();
        let mut two = line.ask("\"a\"", message("two")).await.unwrap();
        assert_eq!((sent.recv().await, sent.recv().await), (Some(message("one")), Some(message("two"))));
        let progress = message(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#);
        line.said(progress.clone()).await;
        line.said(message(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#)).await;
        line.said(message("no message")).await;
        let answer = message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        line.said(answer.clone()).await;
        assert_eq!(one.recv().await.unwrap().data, answer);
        assert_eq!(two.recv().await.unwrap().data, progress, "what belongs to a call goes to the newest");
        drop(two);
        let (unheard, mut listening) = line.listen().unwrap();
        assert_eq!(unheard[0].data, unasked);
        line.said(progress.clone()).await;
        assert_eq!(listening.recv().await.unwrap().data, progress);
        line.ended();
        assert!(listening.recv().await.is_none());
        assert!(matches!(line.ask("9", message("x")).await, Err(Fault::Forgotten)));
    }

    #[tokio::test]
    async fn lines_of_one_server_are_bounded() {
        let lines = Arc::<Lines>::default();
        let target: Text = "t".into();
        let line = || Line::new(mpsc::channel(1).0, ());
        let name = |number: usize| {
            let mut name = Name::default();
            name[..8].copy_from_slice(&number.to_be_bytes());
            name
        };
        for number in 0..LINES_OF_TARGET_MAX {
            lines.keep(&name(number), (&target, None), line()).unwrap();
        }
        assert!(lines.keep(&name(LINES_OF_TARGET_MAX), (&target, None), line()).is_err());
        assert!(lines.keep(&name(0), (&"u".into(), Some(0)), line()).is_err(), "a target's own limit");
        lines.end(&name(0), &target);
        assert!(lines.keep(&name(LINES_OF_TARGET_MAX), (&target, None), line()).is_ok());
    }
}
