//! Calls of elder clients at servers of the era without sessions. The client cancels one with a notification; the server
//! hears of it when its connection is closed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use protocols::json::Raw;
use protocols::mcp::Message;
use protocols::mcp::session::Name;
use tokio::sync::Notify;

use super::super::Target;
use super::super::fault::Fault;
use super::super::talk::Talk;

/// All of the process.
#[derive(Default)]
pub(in crate::mcp) struct Running(Arc<Mutex<HashMap<Key, Arc<Notify>>>>);

type Key = (Name, String);

/// One call, for as long as it runs.
pub(in crate::mcp) struct Run {
    all: Arc<Mutex<HashMap<Key, Arc<Notify>>>>,
    key: Key,
    pub(in crate::mcp) cancelled: Arc<Notify>,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

impl Running {
    /// Notes a call that can only be cancelled here. `id` is JSON.
    pub(in crate::mcp) fn enter(&self, talk: &Talk, target: &Target, id: &str) -> Option<Run> {
        let (name, session) = talk.session.as_ref().filter(|_| !talk.is_modern())?;
        session.version_with(&target.name).filter(|it| it.is_modern())?;
        let (key, cancelled) = ((*name, id.to_owned()), Arc::<Notify>::default());
        self.0.lock().insert(key.clone(), cancelled.clone());
        Some(Run { all: self.0.clone(), key, cancelled })
    }

    /// A client does not wait any longer for what this notification names. False: it is not here.
    pub(in crate::mcp) fn cancel(&self, name: &Name, message: &Message<'_>) -> bool {
        let Some(id) = message.params.and_then(|it| it.get("requestId")).map(Raw::text) else { return false };
        let all = self.0.lock();
        let Some(cancelled) = all.get(&(*name, id.to_owned())) else { return false };
        cancelled.notify_one();
        true
    }
}

/// Waits, unless the call is cancelled.
pub(in crate::mcp) async fn unless<T>(
    cancelled: Option<&Notify>,
    coming: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let Some(cancelled) = cancelled else { return coming.await };
    tokio::select! {
        biased;
        come = coming => come,
        () = cancelled.notified() => Err(Fault::Cancelled),
    }
}
