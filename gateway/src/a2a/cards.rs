//! Cards that are kept: as clients get them, for each whom the agent could tell from others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use filters::{Effective, Reason, Reply};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use pingora_proxy::Session;

use super::talk::Talk;
use crate::mcp::{audience, scope};
use crate::proxy::{Ctx, Proxy, forwarded};

/// Cards kept.
const CARDS_MAX: usize = 1024;
/// Largest card that is kept.
const CARD_BYTES_MAX: usize = 256 * 1024;

/// All cards of the process.
#[derive(Default)]
pub(super) struct Cards(Mutex<HashMap<Key, Kept>>);

/// Whose card, for whom, and how it is reached.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    scope: [u8; 32],
    audience: u64,
    tls: bool,
    host: String,
    path: String,
    /// Backend and endpoints may differ in what they say.
    backend: String,
}

struct Kept {
    /// The terms it was made under: others make another.
    terms: Arc<Effective>,
    until: Instant,
    kind: HeaderValue,
    body: Bytes,
}

impl Cards {
    fn get(&self, key: &Key, terms: &Arc<Effective>, now: Instant) -> Option<(HeaderValue, Bytes)> {
        let cards = self.0.lock();
        let kept = cards.get(key).filter(|it| now < it.until && Arc::ptr_eq(&it.terms, terms))?;
        Some((kept.kind.clone(), kept.body.clone()))
    }

    /// Keeps a card for as long as the policy and the agent allow.
    pub(super) fn keep(&self, key: Key, terms: Arc<Effective>, headers: &HeaderMap, body: &Bytes) {
        let ttl = terms.a2a().map_or(Duration::ZERO, |it| it.ttl).min(allowed(headers));
        if ttl.is_zero() || body.len() > CARD_BYTES_MAX {
            return;
        }
        let kind = headers.get(CONTENT_TYPE).cloned().unwrap_or(HeaderValue::from_static("application/json"));
        let now = Instant::now();
        let mut cards = self.0.lock();
        if cards.len() >= CARDS_MAX && !cards.contains_key(&key) {
            cards.retain(|_, it| now < it.until);
            // Still full: whoever comes next asks the agent.
            if cards.len() >= CARDS_MAX {
                return;
            }
        }
        cards.insert(key, Kept { terms, until: now + ttl, kind, body: body.clone() });
    }
}

/// How long the agent lets its card be kept.
fn allowed(headers: &HeaderMap) -> Duration {
    let mut allowed = Duration::MAX;
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|it| it.to_str().ok());
    for directive in values.flat_map(|it| it.split(',')).map(|it| it.trim().to_ascii_lowercase()) {
        if matches!(&*directive, "no-store" | "no-cache") {
            return Duration::ZERO;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            allowed = Duration::from_secs(seconds.trim_matches('"').parse().unwrap_or(0));
        }
    }
    allowed
}

/// The name under which the card that is asked for is kept.
pub(super) fn key(session: &Session, ctx: &Ctx, talk: &Talk) -> Key {
    let head = session.req_header();
    let route = ctx.entry.as_ref().map_or("", |it| it.route.key.as_str());
    let (tls, host) = forwarded::public(session, ctx);
    let scope = scope("a2a card", route, &ctx.facts.identity);
    Key {
        audience: audience(&head.headers, &scope),
        scope,
        tls,
        host,
        path: talk.public_path.clone(),
        backend: ctx.backend().map_or("", |it| it.target.name()).to_owned(),
    }
}

/// The answer to a request for a card that is kept.
pub fn kept(proxy: &Proxy, session: &Session, ctx: &Ctx) -> Option<Reply> {
    let talk = ctx.a2a.as_ref().filter(|it| it.is_card())?;
    let (kind, body) = proxy.a2a.cards.get(&key(session, ctx, talk), talk.terms(), Instant::now())?;
    talk.answered.lock().outcome = Some(super::report::Outcome::Success);
    Some(Reply { status: 200, headers: vec![(CONTENT_TYPE, kind)], body, reason: Reason::Upstream })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_kept_as_long_as_the_agent_says() {
        for (value, seconds) in [
            ("", u64::MAX),
            ("public, max-age=5", 5),
            ("Max-Age=\"7\"", 7),
            ("no-store", 0),
            ("max-age=9, no-cache", 0),
            ("max-age=never", 0),
        ] {
            let mut headers = HeaderMap::new();
            if !value.is_empty() {
                headers.insert(CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(allowed(&headers).as_secs(), seconds, "{value}");
        }
    }
}
