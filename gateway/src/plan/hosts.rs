//! A map by host name with wildcards: exact, then the longest suffix, then any.
//!
//! Lookups cost one hash per label of the host, whatever the number of names. The map is
//! persistent: a clone is cheap and a change copies O(log n).

use ir::Hostname;

use super::table::{Emptiable, Table};

/// Longest host name looked at, in labels; further labels cannot match a wildcard.
const LABELS_MAX: usize = 32;

#[derive(Clone)]
pub(super) struct HostMap<T> {
    exact: Table<T>,
    /// Keyed by the suffix with its leading dot.
    suffix: Table<T>,
    any: Option<T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { exact: Table::default(), suffix: Table::default(), any: None }
    }
}

impl<T: Clone> HostMap<T> {
    /// Every value that covers `host` (lower case, no port), the most specific first.
    pub(super) fn covering<'a, 'h>(&'a self, host: &'h str) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let suffixes = if self.suffix.is_empty() { None } else { Some(host) };
        let wild = suffixes
            .into_iter()
            .flat_map(|host| host.match_indices('.').take(LABELS_MAX))
            .filter(|(at, _)| *at > 0)
            .filter_map(move |(at, _)| self.suffix.get(host.get(at..)?));
        exact.into_iter().chain(wild).chain(self.any.as_ref())
    }

    pub(super) fn get(&self, hostname: &Hostname) -> Option<&T> {
        match hostname {
            Hostname::Any => self.any.as_ref(),
            Hostname::Exact(name) => self.exact.get(name),
            Hostname::Suffix(suffix) => self.suffix.get(suffix),
        }
    }

    pub(super) fn insert(&mut self, hostname: &Hostname, value: T) {
        match hostname {
            Hostname::Any => self.any = Some(value),
            Hostname::Exact(name) => self.exact.insert(name, value),
            Hostname::Suffix(suffix) => self.suffix.insert(suffix, value),
        }
    }

    pub(super) fn remove(&mut self, hostname: &Hostname) {
        match hostname {
            Hostname::Any => self.any = None,
            Hostname::Exact(name) => self.exact.remove(name),
            Hostname::Suffix(suffix) => self.suffix.remove(suffix),
        }
    }

    /// Changes the value of a name in place (copy on write); one left empty goes.
    pub(super) fn alter(&mut self, hostname: &Hostname, change: impl FnOnce(&mut T))
    where
        T: Emptiable,
    {
        match hostname {
            Hostname::Any => {
                let mut value = self.any.take().unwrap_or_default();
                change(&mut value);
                self.any = Some(value).filter(|it| !it.is_empty());
            }
            Hostname::Exact(name) => self.exact.alter(name, change),
            Hostname::Suffix(suffix) => self.suffix.alter(suffix, change),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.suffix.values()).chain(self.any.as_ref())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.suffix.is_empty() && self.any.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_name_comes_first_and_all_that_cover_follow() {
        let mut map = HostMap::default();
        for name in ["a.b.c", "*.b.c", "*.c", "*"] {
            map.insert(&Hostname::parse(name).unwrap(), name);
        }
        let covering = |host| map.covering(host).copied().collect::<Vec<_>>();
        assert_eq!(covering("a.b.c"), ["a.b.c", "*.b.c", "*.c", "*"]);
        assert_eq!(covering("x.y.b.c"), ["*.b.c", "*.c", "*"]);
        assert_eq!(covering("b.c"), ["*.c", "*"]);
        assert_eq!(covering("c"), ["*"]);
        assert_eq!(covering(".b.c"), ["*.c", "*"], "an empty label is no label");
    }
}
