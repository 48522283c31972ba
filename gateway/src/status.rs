//! What is in force, what was refused and why: the one place that is told and asked.
//!
//! A refused configuration changes nothing here but `lastError`; applying one clears it. What is
//! shown is what runs, never what a file on disk says.

use std::time::SystemTime;

use ir::Invalid;
use parking_lot::Mutex;
use serde::Serialize;

use crate::telemetry::rfc3339;

/// Problems kept of one configuration; a broken generator must not fill memory.
const PROBLEMS_MAX: usize = 1000;

/// The status of configuration; sockets report for themselves (`listen::Reports`).
#[derive(Debug, Default)]
pub struct Status {
    view: Mutex<View>,
}

/// A problem of a configuration, where it is, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    pub path: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let Invalid { path, reason } = invalid;
        Self { path, message: reason, ..Self::default() }
    }
}

/// An object in force that cannot do its work: a dangling reference, a host without addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Stale {
    /// `backend`, `route`, `policy`.
    pub kind: &'static str,
    pub name: String,
    pub reason: String,
}

/// A configuration that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// RFC 3339.
    pub at: String,
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub omitted: usize,
}

/// The status at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// 0 before the first.
    pub generation: u64,
    /// RFC 3339.
    pub applied_at: Option<String>,
    /// A file's path, `xds`.
    pub source: Option<String>,
    pub last_error: Option<Refusal>,
    pub warnings: Vec<Problem>,
    pub stale: Vec<Stale>,
}

impl Status {
    /// A configuration is in force.
    pub fn applied(&self, generation: u64, source: &str, mut warnings: Vec<Problem>) {
        warnings.truncate(PROBLEMS_MAX);
        let mut view = self.view.lock();
        view.generation = view.generation.max(generation);
        view.applied_at = Some(rfc3339(SystemTime::now()));
        view.source = Some(source.to_owned());
        view.last_error = None;
        view.warnings = warnings;
    }

    /// The control plane has changed what is in force. What is said of the document stays.
    pub fn advanced(&self, generation: u64) {
        let mut view = self.view.lock();
        view.generation = view.generation.max(generation);
        view.applied_at = Some(rfc3339(SystemTime::now()));
    }

    /// A configuration was refused; what was in force stays.
    pub fn refused(&self, mut problems: Vec<Problem>) {
        let omitted = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        let refusal = Refusal { at: rfc3339(SystemTime::now()), problems, omitted };
        self.view.lock().last_error = Some(refusal);
    }

    /// Replaces what is known of objects of a kind that cannot do their work.
    pub fn stale(&self, kind: &'static str, objects: impl IntoIterator<Item = (String, String)>) {
        let found = objects.into_iter().take(PROBLEMS_MAX).map(|(name, reason)| Stale { kind, name, reason });
        let found: Vec<_> = found.collect();
        let mut view = self.view.lock();
        view.stale.retain(|known| known.kind != kind);
        view.stale.extend(found);
        view.stale.sort();
    }

    /// The status now; serialises as `/config/status` shows it.
    pub fn snapshot(&self) -> View {
        self.view.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_what_is_in_force_and_applying_clears_it() {
        let status = Status::default();
        status.applied(4, "config.yaml", vec![Invalid::new("routes[0]", "never matches").into()]);
        status.refused(vec![Problem { line: Some(3), ..Invalid::new("binds", "unknown key").into() }]);
        let json = serde_json::to_value(status.snapshot()).unwrap();
        assert_eq!(json.pointer("/generation"), Some(&4.into()));
        assert_eq!(json.pointer("/source"), Some(&"config.yaml".into()));
        assert_eq!(json.pointer("/lastError/problems/0/line"), Some(&3.into()));
        assert_eq!(json.pointer("/lastError/problems/0/message"), Some(&"unknown key".into()));
        assert_eq!(json.pointer("/warnings/0/path"), Some(&"routes[0]".into()));
        assert!(json.pointer("/appliedAt").is_some_and(serde_json::Value::is_string));
        status.applied(5, "config.yaml", Vec::new());
        assert_eq!(status.snapshot().last_error, None);
    }

    #[test]
    fn stale_objects_are_replaced_by_kind() {
        let status = Status::default();
        status.stale("route", [("r".to_owned(), "no backend".to_owned())]);
        status.stale("backend", [("b".to_owned(), "no address".to_owned())]);
        status.stale("route", []);
        assert_eq!(status.snapshot().stale.len(), 1);
    }
}
