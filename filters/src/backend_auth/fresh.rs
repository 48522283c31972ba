//! Credentials that end, kept fresh by a background service of the gateway: who sends a request finds them here.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::keep::Bell;

/// Requests that wait for one that is not there yet, at once.
const WAITING_MAX: usize = 10_000;
/// One is replaced so long before its end, or at half of its life where that is shorter.
const AHEAD: Duration = Duration::from_secs(225);
/// One that is about to end is not sent any more, so long before, or the last eighth of a shorter life.
const MARGIN: Duration = Duration::from_secs(5);
/// Pause after a failure, doubled from the first to the second.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// What has no end is asked for again, in case it was changed where it comes from.
const ENDLESS: Duration = Duration::from_secs(900);

/// A kind of credentials, by what each is for.
pub trait Renewed: Send + Sync + 'static {
    type Target: Clone + Ord + Debug + Send + Sync + 'static;
    type Value: Clone + Send + 'static;

    fn fresh(&self) -> &Fresh<Self::Target, Self::Value>;

    /// What one for this is called in status pages.
    fn name(target: &Self::Target) -> String;
}

/// Held by a policy for as long as it is in force: what it has asked for is renewed, whether or not requests come.
#[derive(Debug, Default)]
pub struct Lease(Arc<()>);

/// See the file.
#[derive(Debug)]
pub struct Fresh<T, V> {
    /// What one is called in the log.
    noun: &'static str,
    /// Of so many at most; what was not asked for the longest makes room.
    targets_max: usize,
    held: Mutex<All<T, V>>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct All<T, V> {
    targets: BTreeMap<T, Held<V>>,
    /// Counts up with every use.
    uses: u64,
}

#[derive(Debug)]
struct Held<V> {
    value: Option<(V, Duration)>,
    /// When to ask next.
    due: Duration,
    under_way: bool,
    failures: u32,
    error: Option<String>,
    waiting: Vec<Waker>,
    /// Policies in force that need it.
    leases: Vec<Weak<()>>,
    used: u64,
    /// What `used` was when it was last asked for.
    used_before: u64,
}

impl<V> Held<V> {
    fn new() -> Self {
        Self {
            value: None,
            due: Duration::ZERO,
            under_way: false,
            failures: 0,
            error: None,
            waiting: Vec::new(),
            leases: Vec::new(),
            used: 0,
            used_before: 0,
        }
    }

    fn is_idle(&self) -> bool {
        !self.under_way && self.waiting.is_empty() && self.leases.iter().all(|it| it.strong_count() == 0)
    }

    fn lend(&mut self, lease: Option<&Lease>) {
        self.leases.retain(|it| it.strong_count() > 0);
        if let Some(Lease(lease)) = lease
            && !self.leases.iter().any(|it| std::ptr::eq(it.as_ptr(), Arc::as_ptr(lease)))
        {
            self.leases.push(Arc::downgrade(lease));
        }
    }
}

impl<T: Clone + Ord, V: Clone> Fresh<T, V> {
    pub(super) fn new(noun: &'static str, targets_max: usize, bell: Arc<Bell>) -> Self {
        Self { noun, targets_max, held: Mutex::new(All { targets: BTreeMap::new(), uses: 0 }), bell }
    }

    /// The credential for this; the error says why there is none.
    pub(super) fn current(&self, target: &T, now: Duration) -> Result<V, String> {
        self.want(target, None)?;
        let held = self.held.lock();
        let held = held.targets.get(target);
        match held.and_then(|it| it.value.as_ref()) {
            Some((value, until)) if *until > now => Ok(value.clone()),
            _ => Err(match held.and_then(|it| it.error.as_deref()) {
                Some(error) => format!("there is no {}: {error}", self.noun),
                None => format!("there is no {} yet", self.noun),
            }),
        }
    }

    /// Somebody will need this: once, or for as long as there is a lease.
    pub(super) fn want(&self, target: &T, lease: Option<&Lease>) -> Result<(), String> {
        let mut held = self.held.lock();
        held.uses += 1;
        let uses = held.uses;
        if let Some(it) = held.targets.get_mut(target) {
            it.used = uses;
            if lease.is_some() {
                it.lend(lease);
            }
            return Ok(());
        }
        if held.targets.len() >= self.targets_max {
            // Those that have come do not make room for ever more that have not.
            let crowded = held.targets.values().filter(|it| it.value.is_none()).count() >= self.targets_max / 2;
            let may_go = |it: &Held<V>| it.is_idle() && (!crowded || it.value.is_none());
            let idle = held.targets.iter().filter(|(_, it)| may_go(it)).min_by_key(|(_, it)| it.used);
            let Some(oldest) = idle.map(|(target, _)| target.clone()) else {
                return Err(format!("{} for more than {} at once", self.noun, self.targets_max));
            };
            held.targets.remove(&oldest);
        }
        let mut new = Held { used: uses, ..Held::new() };
        new.lend(lease);
        held.targets.insert(target.clone(), new);
        drop(held);
        self.bell.ring();
        Ok(())
    }

    /// Somebody needs this now: what is to be waited for, where it is not there and may come.
    pub(super) fn waits<S>(
        store: &Arc<S>,
        target: T,
        lease: Option<&Lease>,
    ) -> Option<impl Future<Output = ()> + Send + use<S, T, V>>
    where
        S: Renewed<Target = T, Value = V>,
        T: Send,
    {
        store.fresh().want(&target, lease).ok()?;
        (!store.fresh().is_settled(&target)).then(|| Self::settled(store.clone(), target))
    }

    /// Over when there is one, or no hope for now.
    fn settled<S>(store: Arc<S>, target: T) -> impl Future<Output = ()> + Send
    where
        S: Renewed<Target = T, Value = V>,
        T: Send,
    {
        std::future::poll_fn(move |context| {
            let mut held = store.fresh().held.lock();
            let Some(held) = held.targets.get_mut(&target) else { return Poll::Ready(()) };
            if held.value.is_some() || held.failures > 0 || held.waiting.len() >= WAITING_MAX {
                return Poll::Ready(());
            }
            if !held.waiting.iter().any(|it| it.will_wake(context.waker())) {
                held.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }

    fn is_settled(&self, target: &T) -> bool {
        self.held.lock().targets.get(target).is_some_and(|it| it.value.is_some() || it.failures > 0)
    }

    /// What is to be asked for now, so many at most. Each is to be answered for with [`Self::accept`] or [`Self::fail`].
    /// What nobody has used since it came is let go instead.
    pub fn due(&self, now: Duration, most: usize) -> Vec<T> {
        let mut held = self.held.lock();
        held.targets.retain(|_, it| it.due > now || it.used > it.used_before || !it.is_idle());
        let due = held.targets.iter_mut().filter(|(_, it)| !it.under_way && it.due <= now);
        let begun = |(target, held): (&T, &mut Held<V>)| {
            (held.under_way, held.used_before) = (true, held.used);
            target.clone()
        };
        due.take(most).map(begun).collect()
    }

    /// When to look again.
    pub fn next(&self) -> Option<Duration> {
        self.held.lock().targets.values().filter(|it| !it.under_way).map(|it| it.due).min()
    }

    /// One has come, which is good for so long; for ever, if nothing is said.
    pub fn accept(&self, target: &T, value: V, life: Option<Duration>, now: Duration) {
        let (due, until) = match life {
            None => (now + ENDLESS, Duration::MAX),
            Some(life) => {
                let end = now.saturating_add(life);
                (end.saturating_sub(AHEAD.min(life / 2)), end.saturating_sub(MARGIN.min(life / 8)))
            }
        };
        self.settle(target, |held| {
            // What is over before it has come is not asked for again at once.
            (held.due, held.value) = (due.max(now + PAUSE_MIN), Some((value, until)));
            (held.failures, held.error) = (0, None);
        });
    }

    /// None has come; the last good one serves for as long as it is good.
    pub fn fail(&self, target: &T, error: String, now: Duration) {
        self.settle(target, |held| {
            let pause = PAUSE_MIN.saturating_mul(1 << held.failures.min(8)).min(PAUSE_MAX);
            held.failures = held.failures.saturating_add(1);
            (held.error, held.due) = (Some(error), now + pause);
            if held.value.as_ref().is_some_and(|(_, until)| *until > now) {
                // It is asked for again even if nobody uses it meanwhile: what is good is not let go.
                held.used_before = held.used.saturating_sub(1);
            }
        });
    }

    fn settle(&self, target: &T, change: impl FnOnce(&mut Held<V>)) {
        let mut held = self.held.lock();
        let Some(it) = held.targets.get_mut(target) else { return };
        change(it);
        it.under_way = false;
        let waiting = std::mem::take(&mut it.waiting);
        drop(held);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Why they could not be had or refreshed, for status pages.
    pub fn faults(&self) -> Vec<(T, String)> {
        let held = self.held.lock();
        held.targets.iter().filter_map(|(target, it)| Some((target.clone(), it.error.clone()?))).collect()
    }
}
