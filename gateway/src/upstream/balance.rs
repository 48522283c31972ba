//! Which endpoint takes the next request.
//!
//! Power of two choices with replacement: two draws by capacity, the one worth more wins (see
//! [`super::endpoint::Endpoint`]). Capacity weighs the draw and not the worth: equal endpoints then
//! share in exact proportion to it, whatever their number. Affinity is a weighted rendezvous hash
//! over the fit endpoints of the best rank, O(n) in their number.

use std::sync::Arc;
use std::time::Instant;

use super::dns::Name;
use super::endpoint::{Endpoint, EndpointId, Lease};
use crate::random;

/// Blind draws before the fit are listed.
const DRAWS_MAX: usize = 4;

/// An endpoint as one set lists it.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    /// Never 0 in a rank.
    pub(super) capacity: u32,
}

/// Members that are equally near.
#[derive(Default)]
pub(super) struct Rank {
    members: Box<[Member]>,
    /// Running sums of capacity; absent where all are equal.
    sums: Option<Box<[u64]>>,
}

/// The endpoints of a cluster at one time: ranks, the best first, and those not to be used.
#[derive(Default)]
pub(super) struct EndpointSet {
    pub(super) ranks: Box<[Rank]>,
    /// Drained or reported unhealthy: kept for their state and for reports.
    pub(super) unused: Box<[Member]>,
    /// Names the addresses come from.
    pub(super) names: Box<[Arc<Name>]>,
}

/// Which endpoint a request is to stay with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Whichever this draws.
    Hash(u64),
    /// The one whose address has this hash ([`random::affinity_key`]), as long as it is there.
    Endpoint(u64),
}

/// What to choose by.
#[derive(Clone, Copy, Default)]
pub(super) struct Wish<'a> {
    pub(super) tried: &'a [EndpointId],
    pub(super) affinity: Option<Affinity>,
    /// Whether ejections count.
    pub(super) ejections: bool,
    /// Whether endpoints that fail their checks may be used in need.
    pub(super) allow_unhealthy: bool,
}

impl Rank {
    pub(super) fn new(members: Vec<Member>) -> Self {
        let equal = members.windows(2).all(|pair| match pair {
            [a, b] => a.capacity == b.capacity,
            _ => true,
        });
        let sums = (!equal).then(|| {
            let mut total = 0_u64;
            members
                .iter()
                .map(|member| {
                    total += u64::from(member.capacity);
                    total
                })
                .collect()
        });
        Self { members: members.into(), sums }
    }

    fn any(&self) -> Option<&Member> {
        let index = match &self.sums {
            None => random::below(self.members.len() as u64) as usize,
            Some(sums) => {
                let at = random::below(sums.last().copied().unwrap_or_default());
                sums.partition_point(|sum| *sum <= at)
            }
        };
        self.members.get(index)
    }

    fn draw(&self, fit: &impl Fn(&Member) -> bool) -> Option<&Member> {
        for _ in 0..DRAWS_MAX {
            if let Some(member) = self.any().filter(|member| fit(member)) {
                return Some(member);
            }
        }
        let fit = || self.members.iter().filter(|member| fit(member));
        let total: u64 = fit().map(|member| u64::from(member.capacity)).sum();
        let mut at = random::below(total);
        for member in fit() {
            let Some(rest) = at.checked_sub(u64::from(member.capacity)) else { return Some(member) };
            at = rest;
        }
        None
    }

    fn choose(&self, affinity: Option<u64>, fit: &impl Fn(&Member) -> bool) -> Option<&Member> {
        if let Some(key) = affinity {
            let fit = self.members.iter().filter(|member| fit(member));
            return fit
                .map(|member| (member.attraction(key), member))
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|it| it.1);
        }
        let first = self.draw(fit)?;
        let second = self.draw(fit)?;
        Some(if second.endpoint.worth() > first.endpoint.worth() { second } else { first })
    }
}

impl Member {
    /// `-capacity / ln(u)`: an endpoint wins keys in proportion to its capacity, and keeps those it
    /// has when others come and go.
    fn attraction(&self, key: u64) -> f64 {
        let hash = random::mix(key ^ self.endpoint.seed);
        let unit = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -f64::from(self.capacity) / unit.ln()
    }
}

impl EndpointSet {
    /// Every member, used or not.
    pub(super) fn all(&self) -> impl Iterator<Item = &Member> {
        self.ranks.iter().flat_map(|rank| rank.members.iter()).chain(&self.unused)
    }

    /// Those that may be drawn.
    pub(super) fn usable(&self) -> impl Iterator<Item = &Member> {
        self.ranks.iter().flat_map(|rank| rank.members.iter())
    }

    /// An endpoint for one try; the clock is read only when some endpoint is ejected.
    pub(super) fn choose(&self, wish: Wish<'_>, now: impl Fn() -> Instant) -> Option<Lease> {
        let sound = |member: &Member| wish.allow_unhealthy || !member.endpoint.fails_checks();
        if let Some(Affinity::Endpoint(seed)) = wish.affinity {
            let theirs = |it: &&Member| it.endpoint.seed == seed && sound(it) && !wish.tried.contains(&it.endpoint.id);
            // One that is drained as well: what was begun there is nowhere else.
            let drained = self.unused.iter().filter(|it| it.capacity == 0);
            if let Some(member) = self.usable().chain(drained).find(theirs) {
                return Some(Lease::new(member.endpoint.clone()));
            }
        }
        if let [rank] = &*self.ranks
            && let [only] = &*rank.members
        {
            // Ejected or tried, there is no other.
            return sound(only).then(|| Lease::new(only.endpoint.clone()));
        }
        let healthy = |member: &Member| {
            let ejected = wish.ejections && member.endpoint.ejected_for(&now).is_some();
            !ejected && !member.endpoint.fails_checks()
        };
        let fresh = |member: &Member| !wish.tried.contains(&member.endpoint.id);
        let found = if wish.tried.is_empty() { None } else { self.best(wish, &|it| fresh(it) && healthy(it)) };
        let found = found.or_else(|| self.best(wish, &healthy));
        // All are ejected: some answer may come from an ejected one, none comes from nobody.
        let found = found.or_else(|| self.best(wish, &|it| fresh(it) && sound(it)));
        let found = found.or_else(|| self.best(wish, &sound));
        found.map(|member| Lease::new(member.endpoint.clone()))
    }

    fn best(&self, wish: Wish<'_>, fit: &impl Fn(&Member) -> bool) -> Option<&Member> {
        let key = match wish.affinity {
            Some(Affinity::Hash(key)) => Some(key),
            Some(Affinity::Endpoint(_)) | None => None,
        };
        self.ranks.iter().find_map(|rank| rank.choose(key, fit))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use filters::health;

    use super::*;
    use crate::upstream::endpoint::{Address, Outcome};

    fn set(ranks: &[&[u32]]) -> EndpointSet {
        let mut port = 0;
        let mut member = |capacity: &u32| {
            port += 1;
            let address = Address::Inet(([127, 0, 0, 1], port).into());
            Member { endpoint: Endpoint::new(address).unwrap(), capacity: *capacity }
        };
        let ranks = ranks.iter().map(|rank| Rank::new(rank.iter().map(&mut member).collect())).collect();
        EndpointSet { ranks, ..EndpointSet::default() }
    }

    fn shares(set: &EndpointSet, wish: Wish<'_>) -> Vec<f64> {
        let mut counts: HashMap<EndpointId, u32> = HashMap::new();
        for _ in 0..20_000 {
            *counts.entry(set.choose(wish, Instant::now).unwrap().id()).or_default() += 1;
        }
        set.usable().map(|it| f64::from(counts.get(&it.endpoint.id).copied().unwrap_or_default()) / 20_000.0).collect()
    }

    #[test]
    fn equal_endpoints_share_in_proportion_to_their_capacity() {
        for (capacities, expected) in [
            (&[1, 1, 1, 1][..], &[0.25, 0.25, 0.25, 0.25][..]),
            (&[1, 3][..], &[0.25, 0.75]),
            (&[5, 1, 4], &[0.5, 0.1, 0.4]),
        ] {
            for (share, expected) in shares(&set(&[capacities]), Wish::default()).iter().zip(expected) {
                assert!((share - expected).abs() < 0.02, "{capacities:?}: {share} is not {expected}");
            }
        }
    }

    #[test]
    fn a_slow_endpoint_gets_only_the_draws_where_it_meets_itself() {
        let set = set(&[&[1, 1]]);
        let slow = set.usable().next().unwrap();
        slow.endpoint.observe(Outcome::judge(200, Duration::from_secs(5)), None, Instant::now);
        let share = shares(&set, Wish::default())[0];
        assert!((share - 0.25).abs() < 0.02, "{share}");
    }

    #[test]
    fn a_further_rank_is_used_when_the_nearer_one_has_no_healthy_endpoint() {
        let set = set(&[&[1], &[1, 1]]);
        assert_eq!(shares(&set, Wish::default())[0], 1.0);
        let eviction = health::Eviction {
            duration: Duration::from_secs(60),
            duration_max: Duration::from_secs(60),
            restore_health: None,
            consecutive_failures: None,
            health_threshold: None,
        };
        let policy = health::Policy { eviction: Some(eviction), ..health::Policy::default() };
        let near = set.usable().next().unwrap().endpoint.clone();
        near.observe(Outcome::unreachable(), Some(&policy), Instant::now);
        let wish = Wish { ejections: true, ..Wish::default() };
        assert_eq!(shares(&set, wish)[0], 0.0, "ejected: the next rank serves");
        assert_eq!(shares(&set, Wish::default())[0], 1.0, "ejections count only under a policy");
        for member in set.usable().skip(1) {
            member.endpoint.observe(Outcome::unreachable(), Some(&policy), Instant::now);
        }
        assert_eq!(shares(&set, wish)[0], 1.0, "all ejected: they are used anyway");
    }

    #[test]
    fn an_endpoint_that_fails_its_checks_is_not_used_unless_allowed() {
        for set in [set(&[&[1]]), set(&[&[1, 1]])] {
            let active = health::Active {
                probe: health::Probe::Tcp,
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                unhealthy_threshold: 1,
                healthy_threshold: 1,
            };
            set.usable().for_each(|member| member.endpoint.checked(false, &active));
            assert!(set.choose(Wish::default(), Instant::now).is_none());
            assert!(set.choose(Wish { allow_unhealthy: true, ..Wish::default() }, Instant::now).is_some());
        }
    }

    #[test]
    fn a_tried_endpoint_is_skipped_while_others_exist() {
        let set = set(&[&[1, 1]]);
        let ids: Vec<_> = set.usable().map(|member| member.endpoint.id).collect();
        assert_eq!(shares(&set, Wish { tried: &ids[..1], ..Wish::default() })[0], 0.0);
        assert!(set.choose(Wish { tried: &ids, ..Wish::default() }, Instant::now).is_some());
    }

    #[test]
    fn affinity_moves_only_the_keys_of_an_endpoint_that_leaves() {
        let before = set(&[&[1, 1, 2, 1]]);
        let members: Vec<_> = before.usable().cloned().collect();
        let gone = members[1].endpoint.id;
        let left = members.iter().filter(|member| member.endpoint.id != gone).cloned().collect();
        let after = EndpointSet { ranks: Box::new([Rank::new(left)]), ..EndpointSet::default() };
        let mut heavy = 0;
        for key in 0..5_000_u64 {
            let wish = Wish { affinity: Some(Affinity::Hash(random::mix(key))), ..Wish::default() };
            let old = before.choose(wish, Instant::now).unwrap().id();
            let new = after.choose(wish, Instant::now).unwrap().id();
            assert!(old == gone || old == new, "key {key} moved from a living endpoint");
            heavy += u32::from(old == members[2].endpoint.id);
        }
        assert!((1_850..2_150).contains(&heavy), "capacity 2 of 5 holds two fifths: {heavy}");
    }

    #[test]
    fn what_stays_with_an_endpoint_does_so_as_long_as_it_is_there() {
        let set = set(&[&[1, 1, 1]]);
        let member = set.usable().nth(1).unwrap();
        let wish = Wish { affinity: Some(Affinity::Endpoint(member.endpoint.seed)), ..Wish::default() };
        assert_eq!(shares(&set, wish), [0.0, 1.0, 0.0]);
        let id = member.endpoint.id;
        assert_eq!(shares(&set, Wish { tried: &[id], ..wish })[1], 0.0, "another try goes elsewhere");
        let gone = Wish { affinity: Some(Affinity::Endpoint(7)), ..Wish::default() };
        assert!(shares(&set, gone).iter().all(|it| *it > 0.2), "gone: any other");
    }

    #[test]
    fn work_in_flight_is_counted_while_a_lease_lives() {
        let set = set(&[&[1]]);
        let lease = set.choose(Wish::default(), Instant::now).unwrap();
        let endpoint = &set.usable().next().unwrap().endpoint;
        assert_eq!(endpoint.inflight(), 1);
        drop(lease);
        assert_eq!(endpoint.inflight(), 0);
    }
}
