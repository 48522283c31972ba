//! Where a provider's keys come from: written in the configuration, or fetched from a URL.
//!
//! Configuration never waits for the network. [`RemoteKeys`] is filled by a background service of
//! the gateway; until then tokens of that provider are not accepted. What was fetched last stays in
//! force when a later fetch fails. A token with a key id nobody knows asks for one fetch, and no
//! more often than [`ASK_PAUSE`]: issuers rotate, and attackers invent ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ir::Text;
use parking_lot::Mutex;
use serde::Serialize;

use super::KeySet;
use crate::keep::{Bell, Keep};

/// Least time between two fetches that tokens ask for.
pub const ASK_PAUSE: Duration = Duration::from_secs(30);

/// As configured.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// The text of the set, and what is in it.
    Inline {
        text: Text,
        keys: Arc<KeySet>,
    },
    Url(Text),
}

impl PartialEq for KeySource {
    /// By text: equal texts are equal keys.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inline { text, .. }, Self::Inline { text: other, .. }) => text == other,
            (Self::Url(url), Self::Url(other)) => url == other,
            _ => false,
        }
    }
}

impl Serialize for KeySource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Inline { keys, .. } => serializer.collect_str(&format_args!("{keys:?}")),
            // Without its query, which may be a secret.
            Self::Url(url) => serializer.serialize_str(url.split('?').next().unwrap_or_default()),
        }
    }
}

/// As used.
#[derive(Clone, Debug)]
pub enum Keys {
    Fixed(Arc<KeySet>),
    Remote(Arc<RemoteKeys>),
}

impl Keys {
    /// Policies with the same URL share what is fetched.
    pub fn of(source: &KeySource, keep: &Keep) -> Self {
        match source {
            KeySource::Inline { keys, .. } => Self::Fixed(keys.clone()),
            KeySource::Url(url) => Self::Remote(RemoteKeys::shared(url, keep)),
        }
    }

    /// The keys of this moment; `None` while none have arrived.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::Fixed(keys) => Some(keys.clone()),
            Self::Remote(remote) => remote.current.load_full(),
        }
    }

    /// Counts the sets there have been: what was verified under another is not known to hold.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Remote(remote) => remote.generation.load(Ordering::Acquire),
        }
    }

    /// A token names a key that is not there: there may be new ones.
    pub fn ask(&self, now: Duration) {
        if let Self::Remote(remote) = self {
            remote.ask(now);
        }
    }
}

/// Keys that are fetched from a URL.
#[derive(Debug)]
pub struct RemoteKeys {
    pub url: Text,
    current: ArcSwapOption<KeySet>,
    generation: AtomicU64,
    asked: AtomicBool,
    /// Seconds since 1970 when a token last asked.
    asked_at: AtomicU64,
    report: Mutex<Report>,
    bell: Arc<Bell>,
}

/// How the fetching goes, for status pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The text in force, for a successor, and to see that nothing has changed.
    pub text: Option<Arc<[u8]>>,
    /// Time since 1970 of the last success.
    pub fetched_at: Option<Duration>,
    /// Why the last fetch failed; `None` after a success.
    pub error: Option<String>,
    /// Fetches that failed since the last success.
    pub failures: u32,
}

impl RemoteKeys {
    /// The keys behind a URL: one for all who name it.
    pub fn shared(url: &Text, keep: &Keep) -> Arc<Self> {
        keep.shared(url, |bell| Self::new(url.clone(), bell.clone()))
    }

    fn new(url: Text, bell: Arc<Bell>) -> Self {
        Self {
            url,
            current: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            asked_at: AtomicU64::new(0),
            report: Mutex::default(),
            bell,
        }
    }

    /// A set has arrived. Says whether it differs from the one before.
    pub fn accept(&self, text: &[u8], now: Duration) -> Result<bool, String> {
        let same = self.report.lock().text.as_deref() == Some(text);
        if !same {
            let keys = KeySet::parse(text)?;
            self.current.store(Some(Arc::new(keys)));
            // After the keys: whoever sees the new number finds them.
            self.generation.fetch_add(1, Ordering::Release);
        }
        let text = Some(Arc::from(text));
        *self.report.lock() = Report { text, fetched_at: Some(now), error: None, failures: 0 };
        Ok(!same)
    }

    /// The issuer says that the set in force is still its set.
    pub fn confirm(&self, now: Duration) {
        let mut report = self.report.lock();
        (report.fetched_at, report.error, report.failures) = (Some(now), None, 0);
    }

    /// A fetch failed; the last good set stays.
    pub fn fail(&self, error: String) -> u32 {
        let mut report = self.report.lock();
        report.error = Some(error);
        report.failures = report.failures.saturating_add(1);
        report.failures
    }

    pub fn report(&self) -> Report {
        self.report.lock().clone()
    }

    /// The keys in force, for status pages.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// Whether a token has asked since this was last called.
    pub fn take_asked(&self) -> bool {
        self.asked.swap(false, Ordering::AcqRel)
    }

    fn ask(&self, now: Duration) {
        let before = self.asked_at.load(Ordering::Relaxed);
        let due = before == 0 || now.as_secs().abs_diff(before) >= ASK_PAUSE.as_secs();
        let turn =
            due && self.asked_at.compare_exchange(before, now.as_secs(), Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if turn && !self.asked.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }
}
