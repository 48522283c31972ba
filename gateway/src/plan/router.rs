//! From host and path to the rule that takes the request, in Gateway API precedence.
//!
//! Levels: host name (exact, longest wildcard, any); inside one, exact path, longest prefix, regular
//! expression; inside one path, method, number of headers, number of query parameters, then order
//! of creation. A more specific host or path whose other conditions fail falls through.
//!
//! Cost: a hash per host label and per depth of prefix in use, one automaton for all regular
//! expressions of a host; only rules that share host *and* path are compared one by one. All
//! tables are persistent, so a changed route copies O(log n).

use std::sync::Arc;

use ir::{Hostname, Match, PathMatch, Text};

use super::candidate::{Bucket, Candidate, RequestParts, Specificity};
use super::entry::Entry;
use super::hosts::HostMap;
use super::regexes::Regexes;
use super::small::SmallMap;

/// Deepest prefix, in segments. Lowering refuses deeper ones.
pub const PREFIX_DEPTH_MAX: usize = ir::matcher::PREFIX_DEPTH_MAX;

/// All routes of one listener, or of one route group.
#[derive(Clone, Default)]
pub struct Router {
    hosts: HostMap<Paths>,
}

/// All paths of one host name.
#[derive(Clone, Default)]
struct Paths {
    exact: SmallMap<Bucket>,
    prefix: SmallMap<Bucket>,
    /// How many prefixes there are of each depth in segments.
    depths: Vec<u32>,
    /// A bit for each depth that has some: what requests look at.
    depths_used: u128,
    regex: Regexes,
}

/// What the router found.
pub struct Found<'a> {
    pub entry: &'a Arc<Entry>,
    /// Bytes of the path that a prefix match covered.
    pub matched_prefix: usize,
}

impl Router {
    /// Adds a route; `fallback` is the listener's host name, used where the route names none.
    pub fn insert(&mut self, entry: &Arc<Entry>, fallback: &Hostname) {
        self.alter(entry, fallback, |paths, at, candidate| paths.insert(at, candidate));
    }

    /// Takes a route out again; `entry` must hold the route as it was inserted.
    pub fn remove(&mut self, entry: &Arc<Entry>, fallback: &Hostname) {
        self.alter(entry, fallback, |paths, at, candidate| paths.remove(at, &candidate));
    }

    fn alter(&mut self, entry: &Arc<Entry>, fallback: &Hostname, change: impl Fn(&mut Paths, &PathMatch, Candidate)) {
        let route = &entry.route;
        let hostnames: &[Hostname] =
            if route.hostnames.is_empty() { std::slice::from_ref(fallback) } else { &route.hostnames };
        for hostname in hostnames {
            let paths = self.hosts.entry(hostname);
            for (position, it) in route.matches.iter().enumerate() {
                change(paths, &it.path, Candidate::new(entry.clone(), position, Specificity::of(it, route.order)));
            }
            if paths.is_empty() {
                self.hosts.remove(hostname);
            }
        }
    }

    /// The rule for a request. `host` is lower case without port, the path is normalised.
    pub fn find(&self, host: &str, parts: &RequestParts<'_>) -> Option<Found<'_>> {
        self.hosts.covering(host).find_map(|paths| paths.find(parts))
    }

    /// Whether nothing is routed here.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }
}

impl Paths {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefix.is_empty() && self.regex.is_empty()
    }

    fn insert(&mut self, path: &PathMatch, candidate: Candidate) {
        match path {
            PathMatch::Exact(text) => self.exact.alter(text, |bucket| bucket.insert(candidate)),
            PathMatch::PathPrefix(text) => {
                let depth = depth_of(text);
                if self.depths.len() <= depth {
                    self.depths.resize(depth + 1, 0);
                }
                if let Some(count) = self.depths.get_mut(depth) {
                    *count += 1;
                }
                self.depths_used |= 1 << depth;
                self.prefix.alter(text, |bucket| bucket.insert(candidate));
            }
            PathMatch::Regex(regex) => self.regex.insert(regex, candidate),
            PathMatch::Invalid => {}
        }
    }

    fn remove(&mut self, path: &PathMatch, candidate: &Candidate) {
        match path {
            PathMatch::Exact(text) => self.exact.alter(text, |bucket| bucket.remove(candidate)),
            PathMatch::PathPrefix(text) => {
                let depth = depth_of(text);
                if let Some(count) = self.depths.get_mut(depth) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        self.depths_used &= !(1 << depth);
                    }
                }
                self.prefix.alter(text, |bucket| bucket.remove(candidate));
            }
            PathMatch::Regex(regex) => self.regex.remove(regex, candidate),
            PathMatch::Invalid => {}
        }
    }

    fn find(&self, parts: &RequestParts<'_>) -> Option<Found<'_>> {
        if let Some(entry) = self.exact.get(parts.path).and_then(|bucket| bucket.find(parts)) {
            return Some(Found { entry, matched_prefix: 0 });
        }
        if let Some(found) = self.find_prefix(parts) {
            return Some(found);
        }
        self.regex.find(parts).map(|entry| Found { entry, matched_prefix: 0 })
    }

    /// Longest prefix first, looking only at depths that some prefix has.
    fn find_prefix(&self, parts: &RequestParts<'_>) -> Option<Found<'_>> {
        let deepest = self.depths_used.checked_ilog2()? as usize;
        let path = parts.path;
        let mut ends = [0usize; PREFIX_DEPTH_MAX + 1];
        let mut depth = 0;
        // `ends[d]` is where the first `d` segments end.
        for (at, _) in path.match_indices('/').skip(1).chain([(path.len(), "")]) {
            if depth == deepest || path.get(..at).is_none_or(|head| head.len() <= 1) {
                break;
            }
            depth += 1;
            if let Some(end) = ends.get_mut(depth) {
                *end = at;
            }
        }
        for depth in (0..=depth).rev() {
            if self.depths_used >> depth & 1 == 0 {
                continue;
            }
            let end = ends.get(depth).copied().unwrap_or(0);
            let Some(prefix) = path.get(..end) else { continue };
            if let Some(entry) = self.prefix.get(prefix).and_then(|bucket| bucket.find(parts)) {
                return Some(Found { entry, matched_prefix: end });
            }
        }
        None
    }
}

/// Segments of a prefix kept without its trailing slash.
fn depth_of(prefix: &Text) -> usize {
    prefix.bytes().filter(|byte| *byte == b'/').count().min(PREFIX_DEPTH_MAX)
}

impl Specificity {
    fn of(it: &Match, order: u64) -> Self {
        Self::new(it.method.is_some(), it.headers.len(), it.query.len(), order)
    }
}
