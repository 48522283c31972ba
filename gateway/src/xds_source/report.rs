//! What is told of the control plane: the `xds` part of `/config/status`, and metrics.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use xds::client::{Status, Termination};

use super::{Provenance, XdsSource};
use crate::telemetry::{ControlPlaneFigures, rfc3339};

/// Most refused resources shown.
const REFUSED_MAX: usize = 1000;

impl XdsSource {
    /// For `/config/status`.
    pub fn report(&self) -> Value {
        let word: Status = self.word.borrow().clone();
        let refused = self.session.refused();
        let waiting = self.state.waiting();
        let (total, resources) = (refused.len() + waiting.len(), self.session.len());
        let refused = refused.into_iter().chain(waiting.into_iter().map(|it| (it.name, it.reason)));
        let refused: Vec<_> =
            refused.take(REFUSED_MAX).map(|(name, reason)| json!({ "name": name, "reason": reason })).collect();
        let stored = self.stored.lock().clone();
        json!({
            "address": self.settings.address.to_string(),
            "node": self.settings.node.id,
            "connected": word.connected,
            "synced": word.synced,
            "stale": self.is_stale(),
            "awaySince": word.away_since.map(rfc3339),
            "from": match &*self.provenance.lock() {
                Provenance::Nothing => "nothing",
                Provenance::Disk(_) => "disk",
                Provenance::Predecessor => "predecessor",
                Provenance::ControlPlane => "control plane",
            },
            "writtenAt": match &*self.provenance.lock() { Provenance::Disk(at) => Some(rfc3339(*at)), _ => None },
            "lastError": word.last_fault,
            "streams": word.streams,
            "streamsEnded": word.faults,
            "responses": word.responses,
            "responsesRefused": word.refusals,
            "resources": resources,
            "resourcesRefused": total,
            "refused": refused,
            "state": self.store.as_ref().map(|store| json!({
                "path": store.path(),
                "bytes": stored.saved.map(|it| it.bytes),
                "savedAt": stored.saved.map(|it| rfc3339(it.at)),
                "withoutSecrets": stored.saved.map(|it| it.left_out),
                "error": stored.error,
            })),
        })
    }

    /// Whether what serves is not confirmed.
    pub(super) fn is_stale(&self) -> bool {
        self.word.borrow().away_since.is_some() && !matches!(*self.provenance.lock(), Provenance::Nothing)
    }

    pub(super) fn figures(&self) -> ControlPlaneFigures {
        let word: Status = self.word.borrow().clone();
        let all = [Termination::ConnectionError, Termination::Error, Termination::Reconnect, Termination::Complete];
        let count = |it: Termination| (it.label(), word.terminations.get(&it).copied().unwrap_or(0));
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let away = word.away_since.and_then(|it| it.elapsed().ok());
        let stored = self.stored.lock().clone();
        ControlPlaneFigures {
            terminations: all.into_iter().map(count).collect(),
            messages: vec![
                (xds::TYPE_URL, word.messages.count, word.messages.bytes),
                ("_other", word.strange.count, word.strange.bytes),
            ],
            connected: word.connected,
            synchronized: word.synced,
            stale: self.is_stale(),
            away_seconds: away.unwrap_or_default().as_secs_f64(),
            resources: self.session.len() as u64,
            refused: (self.session.refused().len() + self.state.waiting().len()) as u64,
            refusals: word.refusals,
            saved: stored.saved.map(|it| (it.bytes, seconds(it.at))),
            saves_failed: stored.failures,
        }
    }
}
