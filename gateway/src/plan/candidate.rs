//! The last step of routing: rules that share host and path, in order of precedence.

use std::cmp::Reverse;
use std::sync::Arc;

use http::{HeaderMap, Method};
use ir::matcher::HeaderTerm;
use ir::{HeaderMatch, Match, QueryMatch};

use super::entry::Entry;

/// What of a request the router looks at.
pub struct RequestParts<'a> {
    /// Normalised, without query.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// Host as sent, with its port.
    pub authority: &'a str,
    pub scheme: &'static str,
}

/// Gateway API precedence below the path; smaller sorts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Specificity {
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    order: u64,
}

impl Specificity {
    pub(super) fn new(method: bool, headers: usize, query: usize, order: u64) -> Self {
        Self { method: Reverse(method), headers: Reverse(headers), query: Reverse(query), order }
    }

    /// Whether there are no conditions but host and path.
    fn is_plain(&self) -> bool {
        let Self { method: Reverse(method), headers: Reverse(headers), query: Reverse(query), order: _ } = *self;
        !method && headers == 0 && query == 0
    }
}

/// One match of one route.
#[derive(Clone)]
pub(super) struct Candidate {
    entry: Arc<Entry>,
    position: u32,
    specificity: Specificity,
}

impl Candidate {
    pub(super) fn new(entry: Arc<Entry>, position: usize, specificity: Specificity) -> Self {
        Self { entry, position: u32::try_from(position).unwrap_or(u32::MAX), specificity }
    }

    fn is(&self, other: &Self) -> bool {
        self.position == other.position && self.entry.route.key == other.entry.route.key
    }

    /// Everything but host and path.
    pub(super) fn holds(&self, parts: &RequestParts<'_>) -> bool {
        if self.specificity.is_plain() {
            // Known from here: the route itself, most likely in no cache, is not looked at.
            return true;
        }
        let Some(it) = self.entry.route.matches.get(self.position as usize) else { return false };
        let Match { path: _, method, headers, query } = it;
        method.as_ref().is_none_or(|method| method == parts.method)
            && headers.iter().all(|it| header_holds(it, parts))
            && query.iter().all(|it| query_holds(it, parts.query.unwrap_or_default()))
    }
}

/// Candidates that share a path, the most specific first.
#[derive(Clone, Default)]
pub(super) struct Bucket(Vec<Candidate>);

impl Bucket {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, candidate: Candidate) {
        let at = self.0.partition_point(|held| held.specificity <= candidate.specificity);
        // Most buckets hold one, and there is one for each route.
        self.0.reserve_exact(1);
        self.0.insert(at, candidate);
    }

    pub(super) fn remove(&mut self, candidate: &Candidate) {
        if let Some(at) = self.0.iter().position(|held| held.is(candidate)) {
            self.0.remove(at);
        }
    }

    pub(super) fn find(&self, parts: &RequestParts<'_>) -> Option<&Arc<Entry>> {
        self.0.iter().find(|candidate| candidate.holds(parts)).map(|candidate| &candidate.entry)
    }
}

fn header_holds(it: &HeaderMatch, parts: &RequestParts<'_>) -> bool {
    let value = match &it.name {
        HeaderTerm::Method => return it.value.matches(parts.method.as_str().as_bytes()),
        HeaderTerm::Path => return it.value.matches(parts.path.as_bytes()),
        HeaderTerm::Authority => return it.value.matches(parts.authority.as_bytes()),
        HeaderTerm::Scheme => return it.value.matches(parts.scheme.as_bytes()),
        HeaderTerm::Header(name) => name,
    };
    let mut values = parts.headers.get_all(value).iter();
    let Some(first) = values.next() else { return false };
    let Some(second) = values.next() else { return it.value.matches(first.as_bytes()) };
    // A repeated header is one list (RFC 9110 section 5.3).
    let mut joined = [first.as_bytes(), second.as_bytes()].join(&b","[..]);
    for more in values {
        joined.push(b',');
        joined.extend_from_slice(more.as_bytes());
    }
    it.value.matches(&joined)
}

fn query_holds(it: &QueryMatch, query: &str) -> bool {
    let name = it.name.as_bytes();
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| form_decoded(key).as_ref() == name)
        .is_some_and(|(_, value)| it.value.matches(&form_decoded(value)))
}

/// `application/x-www-form-urlencoded` decoding of one name or value (WHATWG URL section 5.1).
fn form_decoded(text: &str) -> std::borrow::Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return bytes.into();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        out.push(match (byte, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => byte,
        });
    }
    out.into()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
