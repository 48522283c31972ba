//! Sessions that this process has seen in use: what is idle for too long is ended, and nobody has too many.
//!
//! Ids carry sessions, so that what is here is a memory and no more: a session that another process began is known from
//! its first request on, and its idleness counts from there. One that has ended of itself is closed with its servers,
//! without anything of its client's, and its id is answered with 404 as one is that its client has ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use protocols::mcp::session::Name;

use super::serve;
use super::talk::Talk;

/// Sessions that are remembered.
const LIVE_MAX: usize = 64 * 1024;
/// Sessions of one client that has proved who it is; beyond, the one that it has not used for longest ends.
const OF_IDENTITY_MAX: usize = 1024;
/// Longest time between two looks.
const SWEEP_MAX: Duration = Duration::from_secs(30);

/// All sessions.
pub(super) struct Live {
    ttl: Duration,
    all: Mutex<HashMap<Name, Session>>,
    swept: AtomicBool,
}

struct Session {
    used: Instant,
    /// Requests and streams under way.
    busy: usize,
    scope: [u8; 32],
    /// To close it with.
    talk: Arc<Talk>,
}

/// A session in use, for as long as it is kept.
pub(super) struct InUse {
    live: Arc<Live>,
    name: Name,
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(held) = self.live.all.lock().get_mut(&self.name) {
            held.busy = held.busy.saturating_sub(1);
            held.used = Instant::now();
        }
    }
}

impl Live {
    pub(super) fn new(ttl: Duration) -> Arc<Self> {
        Arc::new(Self { ttl, all: Mutex::default(), swept: AtomicBool::new(false) })
    }

    /// Notes that the session is in use.
    pub(super) fn touch(self: &Arc<Self>, talk: &Talk) -> Option<InUse> {
        let (name, _) = talk.session.as_ref()?;
        let now = Instant::now();
        let mut too_many = None;
        {
            let mut all = self.all.lock();
            match all.get_mut(name) {
                Some(held) => {
                    held.busy += 1;
                    held.used = now;
                }
                None => {
                    too_many = room(&mut all, talk);
                    let mut own = talk.nobody();
                    own.session.clone_from(&talk.session);
                    all.insert(*name, Session { used: now, busy: 1, scope: talk.scope, talk: Arc::new(own) });
                }
            }
        }
        if let Some(ended) = too_many {
            end(&ended);
        }
        self.sweeping();
        Some(InUse { live: self.clone(), name: *name })
    }

    /// The session has ended.
    pub(super) fn forget(&self, name: &Name) {
        self.all.lock().remove(name);
    }

    fn sweeping(self: &Arc<Self>) {
        if self.swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let (live, pause) = (Arc::downgrade(self), (self.ttl / 2).clamp(Duration::from_millis(100), SWEEP_MAX));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(live) = live.upgrade() else { return };
                live.idle(Instant::now()).iter().for_each(end);
            }
        });
    }

    /// Takes out what is idle.
    fn idle(&self, now: Instant) -> Vec<Arc<Talk>> {
        let mut all = self.all.lock();
        let is_idle = |it: &Session| it.busy == 0 && now.saturating_duration_since(it.used) > self.ttl;
        let names: Vec<Name> = all.iter().filter(|(_, it)| is_idle(it)).map(|(name, _)| *name).collect();
        names.iter().filter_map(|it| all.remove(it)).map(|it| it.talk).collect()
    }
}

/// Makes room for one more; what has to end for it.
fn room(all: &mut HashMap<Name, Session>, talk: &Talk) -> Option<Arc<Talk>> {
    let oldest = |all: &HashMap<Name, Session>, of: Option<&[u8; 32]>| {
        let fits = |it: &Session| it.busy == 0 && of.is_none_or(|scope| it.scope == *scope);
        all.iter().filter(|(_, it)| fits(it)).min_by_key(|(_, it)| it.used).map(|(name, _)| *name)
    };
    let name = if talk.is_known() && all.values().filter(|it| it.scope == talk.scope).count() >= OF_IDENTITY_MAX {
        oldest(all, Some(&talk.scope))
    } else if all.len() >= LIVE_MAX {
        oldest(all, None)
    } else {
        None
    };
    all.remove(&name?).map(|it| it.talk)
}

fn end(talk: &Arc<Talk>) {
    if let Some((name, _)) = talk.session.as_ref().filter(|_| !talk.is_modern()) {
        talk.mcp.sessions.end(*name);
    }
    serve::forget(talk);
}
