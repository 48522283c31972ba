//! The regular-expression paths of one host, in one bounded automaton.

use std::sync::Arc;

use ir::Regex;
use regex_automata::meta;
use regex_automata::{Input, PatternSet};

use super::candidate::{Bucket, Candidate, RequestParts};
use super::entry::Entry;
use super::table::Emptiable;

/// Compiled size of the common automaton; beyond it expressions are tried one by one.
const AUTOMATON_BYTES_MAX: usize = 32 << 20;
/// Memory of its lazy determinisation, for each thread that uses it.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// Longest source first, then text order; each with its candidates.
#[derive(Clone, Default)]
pub(super) struct Regexes(Option<Arc<Table>>);

struct Table {
    rows: Vec<(Regex, Bucket)>,
    automaton: std::sync::OnceLock<Option<meta::Regex>>,
}

impl Regexes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn insert(&mut self, regex: &Regex, candidate: Candidate) {
        let mut rows = self.rows();
        match rows.iter_mut().find(|(held, _)| held == regex) {
            Some((_, bucket)) => bucket.insert(candidate),
            None => {
                let mut bucket = Bucket::default();
                bucket.insert(candidate);
                let rank = |it: &Regex| (std::cmp::Reverse(it.source().len()), it.source().to_owned());
                let at = rows.partition_point(|(held, _)| rank(held) < rank(regex));
                rows.insert(at, (regex.clone(), bucket));
            }
        }
        self.store(rows);
    }

    pub(super) fn remove(&mut self, regex: &Regex, candidate: &Candidate) {
        let mut rows = self.rows();
        for (held, bucket) in &mut rows {
            if held == regex {
                bucket.remove(candidate);
            }
        }
        rows.retain(|(_, bucket)| !bucket.is_empty());
        self.store(rows);
    }

    fn rows(&mut self) -> Vec<(Regex, Bucket)> {
        match self.0.take() {
            None => Vec::new(),
            Some(table) => match Arc::try_unwrap(table) {
                Ok(table) => table.rows,
                Err(shared) => shared.rows.clone(),
            },
        }
    }

    fn store(&mut self, rows: Vec<(Regex, Bucket)>) {
        self.0 = (!rows.is_empty()).then(|| Arc::new(Table { rows, automaton: std::sync::OnceLock::new() }));
    }

    pub(super) fn find(&self, parts: &RequestParts<'_>) -> Option<&Arc<Entry>> {
        let table = self.0.as_ref()?;
        match table.automaton() {
            Some(automaton) if table.rows.len() > 1 => {
                let mut set = PatternSet::new(automaton.pattern_len());
                automaton.which_overlapping_matches(&Input::new(parts.path), &mut set);
                set.iter().find_map(|pattern| table.rows.get(pattern.as_usize())?.1.find(parts))
            }
            _ => table
                .rows
                .iter()
                .filter(|(regex, _)| regex.is_match(parts.path))
                .find_map(|(_, bucket)| bucket.find(parts)),
        }
    }
}

impl Table {
    /// Built when first asked for, so that loading many expressions compiles them once.
    fn automaton(&self) -> Option<&meta::Regex> {
        self.automaton
            .get_or_init(|| {
                let patterns: Vec<String> =
                    self.rows.iter().map(|(regex, _)| format!("^(?:{})$", regex.source())).collect();
                meta::Builder::new()
                    .configure(
                        meta::Config::new()
                            .nfa_size_limit(Some(AUTOMATON_BYTES_MAX))
                            .hybrid_cache_capacity(CACHE_BYTES_MAX)
                            .match_kind(regex_automata::MatchKind::All),
                    )
                    .build_many(&patterns)
                    .ok()
            })
            .as_ref()
    }
}
