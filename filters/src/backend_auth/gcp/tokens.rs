//! Tokens of one credential, kept fresh by a background service of the gateway: who sends a request finds them here.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use ir::Secret;
use parking_lot::Mutex;

use super::errand::{Ambient, Quest};
use super::source::Source;
use super::{AMBIENT, Target};
use crate::keep::Bell;

/// Audiences that id tokens of one credential are had for.
const TARGETS_MAX: usize = 64;
/// Requests that wait for a first token at once.
const WAITING_MAX: usize = 10_000;
/// A token is replaced so long before its end, or at half of its life where that is shorter.
const AHEAD: Duration = Duration::from_secs(225);
/// A token that is about to end is not sent any more, so long before, or the last eighth of a shorter life.
const MARGIN: Duration = Duration::from_secs(5);
/// Pause after a failure, doubled from the first to the second.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// See the file.
#[derive(Debug)]
pub struct Tokens {
    source: Option<Source>,
    targets: Mutex<BTreeMap<Target, Held>>,
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Held {
    token: Option<(HeaderValue, Duration)>,
    /// When to ask next.
    due: Duration,
    under_way: bool,
    failures: u32,
    error: Option<String>,
    waiting: Vec<Waker>,
}

impl Tokens {
    pub(super) fn new(source: Option<Source>, bell: Arc<Bell>) -> Self {
        Self { source, targets: Mutex::default(), bell }
    }

    /// The token for this; the error says why there is none.
    pub(super) fn current(&self, target: &Target, now: Duration) -> Result<HeaderValue, String> {
        self.want(target)?;
        let targets = self.targets.lock();
        let held = targets.get(target);
        match held.and_then(|it| it.token.as_ref()) {
            Some((value, until)) if *until > now => Ok(value.clone()),
            _ => Err(match held.and_then(|it| it.error.as_deref()) {
                Some(error) => format!("there is no token of Google's: {error}"),
                None => "there is no token of Google's yet".to_owned(),
            }),
        }
    }

    /// Somebody will need this.
    pub(super) fn want(&self, target: &Target) -> Result<(), String> {
        let mut targets = self.targets.lock();
        if targets.contains_key(target) {
            return Ok(());
        }
        if targets.len() >= TARGETS_MAX {
            return Err(format!("id tokens for more than {TARGETS_MAX} audiences"));
        }
        targets.insert(target.clone(), Held::default());
        drop(targets);
        self.bell.ring();
        Ok(())
    }

    /// Over when there is a token, or no hope for now.
    pub(super) fn settled(self: Arc<Self>, target: Target) -> impl Future<Output = ()> + Send {
        std::future::poll_fn(move |context| {
            let mut targets = self.targets.lock();
            let Some(held) = targets.get_mut(&target) else { return Poll::Ready(()) };
            if held.token.is_some() || held.failures > 0 || held.waiting.len() >= WAITING_MAX {
                return Poll::Ready(());
            }
            if !held.waiting.iter().any(|it| it.will_wake(context.waker())) {
                held.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }

    pub(super) fn is_settled(&self, target: &Target) -> bool {
        self.targets.lock().get(target).is_some_and(|it| it.token.is_some() || it.failures > 0)
    }

    /// What is to be asked for now. Each is to be answered for with [`Self::accept`] or [`Self::fail`].
    pub fn due(&self, now: Duration) -> Vec<(Target, Quest)> {
        let mut targets = self.targets.lock();
        let due = targets.iter_mut().filter(|(_, it)| !it.under_way && it.due <= now);
        let quest = |(target, held): (&Target, &mut Held)| {
            held.under_way = true;
            let ambient = AMBIENT.get().cloned().unwrap_or_else(Ambient::default);
            (target.clone(), Quest::new(self.source.clone(), target.clone(), ambient))
        };
        due.map(quest).collect()
    }

    /// When to look again.
    pub fn next(&self) -> Option<Duration> {
        self.targets.lock().values().filter(|it| !it.under_way).map(|it| it.due).min()
    }

    /// A token has come, which is good for so long.
    pub fn accept(&self, target: &Target, token: &Secret, life: Duration, now: Duration) {
        let value = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat());
        let Ok(mut value) = value else {
            return self.fail(target, "the token is none that can be sent".to_owned(), now);
        };
        value.set_sensitive(true);
        let mut targets = self.targets.lock();
        let Some(held) = targets.get_mut(target) else { return };
        let ahead = AHEAD.min(life / 2);
        // What is over before it has come is not asked for again at once.
        let due = (now + life).saturating_sub(ahead).max(now + PAUSE_MIN);
        let waiting = std::mem::take(&mut held.waiting);
        let until = (now + life).saturating_sub(MARGIN.min(life / 8));
        *held = Held { token: Some((value, until)), due, ..Held::default() };
        drop(targets);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// None has come; the last good one serves for as long as it is good.
    pub fn fail(&self, target: &Target, error: String, now: Duration) {
        let mut targets = self.targets.lock();
        let Some(held) = targets.get_mut(target) else { return };
        let pause = PAUSE_MIN.saturating_mul(1 << held.failures.min(8)).min(PAUSE_MAX);
        held.failures = held.failures.saturating_add(1);
        (held.under_way, held.error, held.due) = (false, Some(error), now + pause);
        let waiting = std::mem::take(&mut held.waiting);
        drop(targets);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Why tokens could not be had or refreshed, for status pages.
    pub fn faults(&self) -> Vec<(Target, String)> {
        let targets = self.targets.lock();
        targets.iter().filter_map(|(target, it)| Some((target.clone(), it.error.clone()?))).collect()
    }
}
