//! Key sets behind URLs, kept fresh in the background; and on their way to a successor.
//!
//! A set is fetched when a policy first names its URL, again when its `Cache-Control` says so, and when a token names a
//! key that is not in it. What fails is tried again; the last good set stays in force. Nobody waits here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use filters::Keep;
use filters::jwt::RemoteKeys;
use filters::jwt::key::KEY_SET_BYTES_MAX;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};
use ir::Text;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::egress::{Ask, Egress};
use crate::life::transfer::Transfer;
use crate::random;
use crate::status::Status;

/// Bounds of the time a set is believed without asking again.
pub const REFRESH_MIN: Duration = Duration::from_secs(60);
pub const REFRESH_MAX: Duration = Duration::from_secs(24 * 3600);
/// Where the issuer says nothing.
pub const REFRESH_DEFAULT: Duration = Duration::from_secs(300);
/// Pause after a failure while there is no set at all, doubled up to [`RETRY_PAUSE`].
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a failure while there is one.
pub const RETRY_PAUSE: Duration = Duration::from_secs(15);
/// Fetches under way at once.
pub const FETCHES_MAX: usize = 8;

/// Keeps the sets of a [`Keep`] fresh.
pub struct KeySets {
    keep: Arc<Keep>,
    egress: Egress,
    status: Arc<Status>,
    bell: Arc<Notify>,
    /// Sets from a predecessor, until the first round knows who wants them.
    inherited: Mutex<Vec<Arc<RemoteKeys>>>,
}

/// What is known of one URL.
#[derive(Default)]
struct Known {
    due: Option<Instant>,
    etag: Option<HeaderValue>,
    under_way: bool,
}

/// How a fetch went.
struct Done {
    url: Text,
    pause: Duration,
    etag: Option<HeaderValue>,
}

impl KeySets {
    pub(super) fn new(keep: Arc<Keep>, egress: Egress, status: Arc<Status>) -> Self {
        let bell = Arc::new(Notify::new());
        let rung = bell.clone();
        keep.listen(move || rung.notify_one());
        Self { keep, egress, status, bell, inherited: Mutex::default() }
    }

    /// Runs for ever.
    pub async fn run(&self) {
        let mut known: HashMap<Text, Known> = HashMap::new();
        let mut fetches = JoinSet::new();
        loop {
            let sets = self.keep.all_shared::<RemoteKeys>();
            self.inherited.lock().clear();
            known.retain(|url, _| sets.iter().any(|it| it.url == *url));
            let now = Instant::now();
            for set in &sets {
                let it = known.entry(set.url.clone()).or_default();
                let asked = set.take_asked();
                if it.under_way || fetches.len() >= FETCHES_MAX || (!asked && it.due.is_some_and(|due| due > now)) {
                    continue;
                }
                it.under_way = true;
                let etag = it.etag.clone().filter(|_| set.current().is_some());
                let fetch = fetch(self.egress.clone(), set.clone(), etag);
                fetches.spawn(fetch);
            }
            drop(sets);
            let next = known.values().filter(|it| !it.under_way).filter_map(|it| it.due).min();
            let wait = next.map_or(REFRESH_MAX, |due| due.saturating_duration_since(Instant::now()));
            tokio::select! {
                Some(done) = fetches.join_next() => {
                    if let Ok(Done { url, pause, etag }) = done {
                        known.insert(url, Known { due: Some(Instant::now() + pause), etag, under_way: false });
                    }
                    self.report();
                }
                () = self.bell.notified() => self.report(),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Sets that are missing, and those that could not be refreshed.
    fn report(&self) {
        let told = self.keep.all_shared::<RemoteKeys>().into_iter().filter_map(|set| {
            let report = set.report();
            let text = match (set.current(), report.error) {
                (None, None) => "pending: the first fetch is under way".to_owned(),
                (None, Some(error)) => format!("pending: {error}"),
                (Some(_), Some(error)) => format!("stale, the last good set is in force: {error}"),
                (Some(_), None) => return None,
            };
            Some((shown(&set.url).to_owned(), text))
        });
        self.status.stale("jwks", told.collect::<Vec<_>>());
    }
}

/// A URL without its query, which may be a secret.
fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

async fn fetch(egress: Egress, set: Arc<RemoteKeys>, etag: Option<HeaderValue>) -> Done {
    let ask = Ask { accept: "application/jwk-set+json, application/json", bytes_max: KEY_SET_BYTES_MAX, etag };
    let fetched = egress.get(&set.url, &ask).await;
    let now = crate::clock::wall();
    let accepted = match fetched {
        Ok(fetched) if fetched.status == 304 => {
            set.confirm(now);
            Ok((false, fetched))
        }
        Ok(fetched) => set.accept(&fetched.body, now).map(|changed| (changed, fetched)),
        Err(fault) => Err(fault.to_string()),
    };
    match accepted {
        Ok((changed, fetched)) => {
            if changed {
                let keys = set.current().map_or(0, |it| it.len());
                tracing::info!(url = shown(&set.url), keys, "key set fetched");
            }
            let pause = random::jitter(refresh(&fetched.headers), 0.1);
            Done { url: set.url.clone(), pause, etag: fetched.etag().or(ask.etag) }
        }
        Err(error) => {
            tracing::warn!(url = shown(&set.url), %error, kept = set.current().is_some(), "key set not fetched");
            let failures = set.fail(error);
            let pause = match set.current() {
                Some(_) => RETRY_PAUSE,
                None => FIRST_PAUSE.saturating_mul(1 << (failures.min(8) - 1)).min(RETRY_PAUSE),
            };
            Done { url: set.url.clone(), pause: random::jitter(pause, 0.2), etag: ask.etag }
        }
    }
}

/// When to ask again (RFC 9111 section 5.2.2).
fn refresh(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|it| it.to_str().ok());
    let mut age = None;
    for directive in values.flat_map(|it| it.split(',')).map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.to_ascii_lowercase().as_str() {
            "max-age" => age = value.trim_matches('"').parse().ok().map(Duration::from_secs).or(age),
            "no-cache" | "no-store" => return REFRESH_MIN,
            _ => {}
        }
    }
    age.unwrap_or(REFRESH_DEFAULT).clamp(REFRESH_MIN, REFRESH_MAX)
}

/// A set as it travels to a successor.
#[derive(Serialize, Deserialize)]
struct Record {
    url: Text,
    text: String,
    /// Seconds since 1970.
    fetched_at: u64,
}

impl Transfer for KeySets {
    fn name(&self) -> &'static str {
        "key-sets"
    }

    fn export(&self) -> Vec<u8> {
        let records = self.keep.all_shared::<RemoteKeys>().into_iter().filter_map(|set| {
            let report = set.report();
            let text = String::from_utf8(report.text?.to_vec()).ok()?;
            Some(Record { url: set.url.clone(), text, fetched_at: report.fetched_at?.as_secs() })
        });
        serde_json::to_vec(&records.collect::<Vec<_>>()).unwrap_or_default()
    }

    fn import(&self, version: u32, bytes: &[u8]) -> Result<(), String> {
        if version != self.version() {
            return Err(format!("key sets of version {version} are not known"));
        }
        let records: Vec<Record> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let mut inherited = self.inherited.lock();
        for Record { url, text, fetched_at } in records {
            let set = RemoteKeys::shared(&url, &self.keep);
            set.accept(text.as_bytes(), Duration::from_secs(fetched_at))?;
            inherited.push(set);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_is_heeded_within_bounds() {
        for (value, seconds) in [
            ("public, max-age=600", 600),
            ("max-age=5", 60),
            ("max-age=\"700\"", 700),
            ("max-age=99999999", 86_400),
            ("MAX-AGE=900, must-revalidate", 900),
            ("no-store", 60),
            ("no-cache, max-age=600", 60),
            ("max-age=soon", 300),
            ("", 300),
        ] {
            let headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(value))]);
            assert_eq!(refresh(&headers).as_secs(), seconds, "{value}");
        }
        assert_eq!(refresh(&HeaderMap::new()), REFRESH_DEFAULT);
    }

    #[test]
    fn queries_are_not_shown() {
        assert_eq!(shown("https://a/keys?key=hunter2"), "https://a/keys");
    }
}
