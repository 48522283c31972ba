//! The last step of routing: rules that share host and path, in order of precedence.

use std::cmp::Reverse;
use std::sync::Arc;

use http::{HeaderMap, Method};
use ir::matcher::HeaderTerm;
use ir::{HeaderMatch, Match, QueryMatch};

use super::entry::Entry;
use super::table::Emptiable;

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
struct Specificity {
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    order: u64,
}

/// One match of one route. There is one for each route, and for many hosts each lies in a place of its own: it is
/// kept small.
#[derive(Clone)]
pub(super) struct Candidate {
    entry: Arc<Entry>,
    position: u32,
    /// There are no conditions but host and path.
    plain: bool,
}

impl Candidate {
    pub(super) fn new(entry: Arc<Entry>, position: usize) -> Self {
        let mut it = Self { entry, position: u32::try_from(position).unwrap_or(u32::MAX), plain: false };
        it.plain =
            it.conditions().is_some_and(|it| it.method.is_none() && it.headers.is_empty() && it.query.is_empty());
        it
    }

    fn conditions(&self) -> Option<&Match> {
        self.entry.route.matches.get(self.position as usize)
    }

    fn specificity(&self) -> Option<Specificity> {
        let Match { path: _, method, headers, query } = self.conditions()?;
        Some(Specificity {
            method: Reverse(method.is_some()),
            headers: Reverse(headers.len()),
            query: Reverse(query.len()),
            order: self.entry.route.order,
        })
    }

    fn is(&self, other: &Self) -> bool {
        self.position == other.position && self.entry.route.key == other.entry.route.key
    }

    /// Everything but host and path.
    fn holds(&self, parts: &RequestParts<'_>) -> bool {
        if self.plain {
            // Known from here: the route itself, most likely in no cache, is not looked at.
            return true;
        }
        let Some(it) = self.conditions() else { return false };
        let Match { path: _, method, headers, query } = it;
        method.as_ref().is_none_or(|method| method == parts.method)
            && headers.iter().all(|it| header_holds(it, parts))
            && query.iter().all(|it| query_holds(it, parts.query.unwrap_or_default()))
    }
}

/// Candidates that share a path, the most specific first.
#[derive(Clone, Default)]
pub(super) enum Bucket {
    #[default]
    Empty,
    /// Most hold one: it lies here and not at the end of a pointer.
    One(Candidate),
    Many(Box<[Candidate]>),
}

impl Emptiable for Bucket {
    fn is_empty(&self) -> bool {
        self.candidates().is_empty()
    }
}

impl Bucket {
    fn candidates(&self) -> &[Candidate] {
        match self {
            Self::Empty => &[],
            Self::One(it) => std::slice::from_ref(it),
            Self::Many(list) => list,
        }
    }

    /// Lets `change` work on the list of candidates.
    fn alter(&mut self, change: impl FnOnce(&mut Vec<Candidate>)) {
        let mut list = match std::mem::take(self) {
            Self::Empty => Vec::new(),
            Self::One(it) => vec![it],
            Self::Many(list) => list.into_vec(),
        };
        change(&mut list);
        *self = match list.len() {
            0 => Self::Empty,
            1 => list.pop().map_or(Self::Empty, Self::One),
            _ => Self::Many(list.into()),
        };
    }

    pub(super) fn insert(&mut self, candidate: Candidate) {
        self.alter(|list| {
            let rank = candidate.specificity();
            let at = list.partition_point(|held| held.specificity() <= rank);
            list.insert(at, candidate);
        });
    }

    pub(super) fn remove(&mut self, candidate: &Candidate) {
        self.alter(|list| {
            if let Some(at) = list.iter().position(|held| held.is(candidate)) {
                list.remove(at);
            }
        });
    }

    pub(super) fn find(&self, parts: &RequestParts<'_>) -> Option<&Arc<Entry>> {
        self.candidates().iter().find(|candidate| candidate.holds(parts)).map(|candidate| &candidate.entry)
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
