//! A downstream session of ours, swapped in where Pingora's own falls short. The only user of
//! Pingora's custom-session API (doc-hidden, hence the exact version pin).
//!
//! It wraps the real session and adds four things:
//! - the request body is recorded while it streams and can be sent again, so that an attempt can be
//!   repeated with a body of any size up to a limit ([`Recording`]);
//! - a deadline for the whole request and one for the attempt, exact for streams too;
//! - the response can be held until it is whole ([`Hold`]), and its head finished then ([`Finish`]), or its head until
//!   its first piece has come ([`Slot::await_first`]);
//! - an HTTP/1 upgrade is not torn down by an early end of body (Pingora issue 946).
//!
//! [`Wrapped::install`] swaps it in, [`Slot::restore`] swaps the real session back before the
//! exchange ends, so that HTTP/1 keep-alive survives.

mod custom;
mod examine;
mod hold;
mod recording;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_error::{ErrorType, Result};

pub use examine::Examine;
pub use hold::{Finish, Hold};
pub use recording::Recording;

/// The request's own deadline passed.
pub const REQUEST_DEADLINE: ErrorType = ErrorType::Custom("request deadline");
/// The attempt's deadline passed; another attempt may still succeed.
pub const ATTEMPT_DEADLINE: ErrorType = ErrorType::Custom("attempt deadline");
/// The held response outgrew its limit.
pub const RESPONSE_TOO_LARGE: ErrorType = ErrorType::Custom("response over the buffer limit");

/// The held response may not go out.
pub const RESPONSE_REFUSED: ErrorType = ErrorType::Custom("response refused");

/// What the wrapping session is to do.
#[derive(Default)]
pub struct Wishes {
    pub recording: Option<Recording>,
    pub hold: Option<Hold>,
    pub request_deadline: Option<Instant>,
    pub upgrade: bool,
    /// Where the client leaves in the middle of the answer, the rest is read for so long.
    pub drain: Option<Duration>,
}

/// The handle that the request's context keeps.
#[derive(Clone)]
pub struct Slot {
    shared: Arc<Shared>,
}

struct Shared {
    /// Where the real session comes back to.
    home: Mutex<Option<Box<ServerSession>>>,
    started: Instant,
    /// Microseconds after `started`; 0 means none.
    attempt_deadline_us: AtomicU64,
    /// The same for the first piece of an answer, whose head waits for it.
    first_deadline_us: AtomicU64,
    /// The connection serves no further request.
    close: AtomicBool,
    /// The client has left, and the rest is read all the same.
    abandoned: AtomicBool,
    /// Holds the response that is about to come, and finishes it.
    finish: Mutex<Option<(Finish, usize)>>,
    /// Examines the response that is about to come.
    examine: Mutex<Option<Box<dyn Examine>>>,
}

/// The wrapping session.
pub struct Wrapped {
    inner: Option<Box<ServerSession>>,
    recording: Option<Recording>,
    hold: Option<Hold>,
    request_deadline: Option<Instant>,
    upgrade: bool,
    drain: Option<Duration>,
    /// Until then the rest of an answer is read that nobody waits for.
    drains_until: Option<Instant>,
    /// An attempt has begun.
    begun: bool,
    examine: Option<Box<dyn Examine>>,
    /// Parts of an answer that wait for its first piece.
    early: Vec<HttpTask>,
    shared: Arc<Shared>,
}

impl Wrapped {
    /// Swaps `session` for a wrapping one.
    pub fn install(session: &mut Box<ServerSession>, wishes: Wishes) -> Slot {
        let Wishes { recording, hold, request_deadline, upgrade, drain } = wishes;
        let shared = Arc::new(Shared {
            home: Mutex::new(None),
            started: Instant::now(),
            attempt_deadline_us: AtomicU64::new(0),
            first_deadline_us: AtomicU64::new(0),
            close: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            finish: Mutex::new(None),
            examine: Mutex::new(None),
        });
        let inner = std::mem::replace(session, placeholder());
        let wrapped = Self {
            inner: Some(inner),
            recording,
            hold,
            request_deadline,
            upgrade,
            drain,
            drains_until: None,
            begun: false,
            examine: None,
            early: Vec::new(),
            shared: shared.clone(),
        };
        **session = ServerSession::new_custom(Box::new(wrapped));
        Slot { shared }
    }

    fn real(&self) -> &ServerSession {
        self.inner.as_ref().expect("the real session is inside until the wrapper drops")
    }

    fn real_mut(&mut self) -> &mut ServerSession {
        self.inner.as_mut().expect("the real session is inside until the wrapper drops")
    }

    /// Passes on what [`Slot::close`] asked for.
    fn settle(&mut self) {
        if self.shared.close.load(Ordering::Relaxed) {
            self.real_mut().set_keepalive(None);
        }
    }

    /// The client has left: whether the rest of the answer is read all the same.
    fn abandon(&mut self) -> bool {
        let Some(drain) = self.drain else { return false };
        if self.drains_until.is_none() {
            self.drains_until = Some(Instant::now() + drain);
            self.shared.abandoned.store(true, Ordering::Relaxed);
        }
        true
    }

    /// Keeps parts of an answer until its first piece has come, as long as another attempt may still be made instead.
    fn keep_early(&mut self, mut tasks: Vec<HttpTask>) -> Result<Option<Vec<HttpTask>>> {
        if self.shared.first_deadline_us.load(Ordering::Relaxed) == 0 {
            return Ok(Some(tasks));
        }
        if let Some(at) = tasks.iter().position(|task| matches!(task, HttpTask::Failed(_)))
            && let HttpTask::Failed(error) = tasks.swap_remove(at)
        {
            return Err(error);
        }
        let comes = |it: &HttpTask| match it {
            HttpTask::Body(piece, end) => *end || piece.as_ref().is_some_and(|it| !it.is_empty()),
            other => other.is_end(),
        };
        let comes = tasks.iter().any(comes);
        self.early.append(&mut tasks);
        if !comes {
            return Ok(None);
        }
        self.shared.first_deadline_us.store(0, Ordering::Relaxed);
        Ok(Some(std::mem::take(&mut self.early)))
    }

    /// The nearer of the deadlines, and what passing it means.
    fn deadline(&self) -> Option<(Instant, ErrorType)> {
        if self.upgrade && self.real().was_upgraded() {
            // Deadlines are for the handshake; the tunnel lives until it is idle or closed.
            return None;
        }
        if let Some(until) = self.drains_until {
            return Some((until, ErrorType::ConnectionClosed));
        }
        let moment = |it: &AtomicU64| match it.load(Ordering::Relaxed) {
            0 => None,
            us => Some(self.shared.started + Duration::from_micros(us)),
        };
        let attempt = [&self.shared.attempt_deadline_us, &self.shared.first_deadline_us].into_iter().filter_map(moment);
        let attempt = attempt.min();
        match (self.request_deadline, attempt) {
            (Some(request), Some(attempt)) if attempt < request => Some((attempt, ATTEMPT_DEADLINE)),
            (Some(request), _) => Some((request, REQUEST_DEADLINE)),
            (None, Some(attempt)) => Some((attempt, ATTEMPT_DEADLINE)),
            (None, None) => None,
        }
    }
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        *self.shared.home.lock() = self.inner.take();
    }
}

impl Slot {
    /// Starts (or, with `None`, stops) the clock of an attempt.
    pub fn set_attempt_deadline(&self, deadline: Option<Instant>) {
        self.shared.attempt_deadline_us.store(self.us(deadline), Ordering::Relaxed);
    }

    /// Has the head of the attempt's answer wait for its first piece until then; with `None` it does not wait.
    pub fn await_first(&self, deadline: Option<Instant>) {
        self.shared.first_deadline_us.store(self.us(deadline), Ordering::Relaxed);
    }

    fn us(&self, deadline: Option<Instant>) -> u64 {
        deadline.map_or(0, |at| {
            let after = at.saturating_duration_since(self.shared.started);
            u64::try_from(after.as_micros()).unwrap_or(u64::MAX).max(1)
        })
    }

    /// Whether the client left before its answer had ended.
    pub fn is_abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Relaxed)
    }

    /// Makes the answer the last one of its connection: Pingora does not ask a session like ours.
    pub fn close(&self) {
        self.shared.close.store(true, Ordering::Relaxed);
    }

    /// Holds the response whose head has just come, up to a limit, and has it finished before it goes out.
    pub fn finish_with(&self, bytes_max: usize, finish: Finish) {
        *self.shared.finish.lock() = Some((finish, bytes_max));
    }

    /// Has the response whose head has just come examined, behind what [`Slot::finish_with`] asks for.
    pub fn examine_with(&self, examine: Box<dyn Examine>) {
        *self.shared.examine.lock() = Some(examine);
    }

    /// Undoes `install`.
    pub fn restore(self, session: &mut Box<ServerSession>) {
        drop(std::mem::replace(session, placeholder()));
        if let Some(real) = self.shared.home.lock().take() {
            *session = real;
        }
    }
}

/// Stands in while the real session is elsewhere; never called.
fn placeholder() -> Box<ServerSession> {
    Box::new(ServerSession::new_custom(Box::new(())))
}
