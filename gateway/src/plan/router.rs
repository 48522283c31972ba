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

use ir::{Hostname, PathMatch, Text};

use super::candidate::{Bucket, Candidate, RequestParts};
use super::entry::Entry;
use super::hosts::HostMap;
use super::regexes::Regexes;
use super::small::SmallMap;
use super::table::Emptiable;

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
    /// The prefix of all paths. Most hosts have no other path: they need one line of memory.
    root: Bucket,
    more: Option<Box<More>>,
}

/// The paths of a host beside the prefix `/`.
#[derive(Clone, Default)]
struct More {
    /// A bit for each depth, from 1, that some prefix has: what requests look at.
    depths_used: u128,
    exact: SmallMap<Bucket>,
    prefix: SmallMap<Bucket>,
    /// How many prefixes there are of each depth in segments.
    depths: Vec<u32>,
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
            self.hosts.alter(hostname, |paths| {
                for (position, it) in route.matches.iter().enumerate() {
                    change(paths, &it.path, Candidate::new(entry.clone(), position));
                }
            });
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

impl Emptiable for Paths {
    fn is_empty(&self) -> bool {
        self.root.is_empty() && self.more.is_none()
    }
}

impl Paths {
    fn insert(&mut self, path: &PathMatch, candidate: Candidate) {
        match path {
            PathMatch::PathPrefix(text) if text.is_empty() => self.root.insert(candidate),
            PathMatch::Invalid => {}
            path => self.more.get_or_insert_default().insert(path, candidate),
        }
    }

    fn remove(&mut self, path: &PathMatch, candidate: &Candidate) {
        match path {
            PathMatch::PathPrefix(text) if text.is_empty() => self.root.remove(candidate),
            path => {
                if let Some(more) = &mut self.more {
                    more.remove(path, candidate);
                }
                self.more.take_if(|more| more.is_empty());
            }
        }
    }

    fn find(&self, parts: &RequestParts<'_>) -> Option<Found<'_>> {
        let found = |entry| Found { entry, matched_prefix: 0 };
        let Some(more) = &self.more else { return self.root.find(parts).map(found) };
        if let Some(entry) = more.exact.get(parts.path).and_then(|bucket| bucket.find(parts)) {
            return Some(found(entry));
        }
        more.find_prefix(parts).or_else(|| self.root.find(parts).or_else(|| more.regex.find(parts)).map(found))
    }
}

impl More {
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
        for depth in (1..=depth).rev() {
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
