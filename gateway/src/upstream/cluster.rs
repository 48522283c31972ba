//! A backend at run time: its endpoints now, and how much it is carrying.
//!
//! A [`Cluster`] is made once for each backend reference and lives while a plan points at it. Its
//! endpoints change under it (DNS, services, workloads) without any route being compiled anew.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use filters::{circuit_breaker, health};
use ir::Text;
use parking_lot::Mutex;

use super::admit::{Count, Counted, Gate, Overflow, Permit};
use super::balance::{Affinity, EndpointSet, Member, Rank, Wish};
use super::dns::Name;
use super::endpoint::{Address, Endpoint, EndpointId, Lease};
use super::health::{Checker, Checks};
use super::template::Template;

/// A backend of some plan.
pub struct Cluster {
    pub(super) identity: Arc<Identity>,
    set: ArcSwap<EndpointSet>,
    seeds: Mutex<Seeds>,
    /// Where an endpoint may be used that is known to be unhealthy.
    allow_unhealthy: AtomicBool,
    gate: OnceLock<Arc<Gate>>,
    connections: OnceLock<Arc<Count>>,
    retries: OnceLock<Arc<Count>>,
    checker: Arc<Checker>,
    checks: ArcSwapOption<Checks>,
}

/// What a cluster is called, apart from what it does: templates hold this and not the cluster.
pub(super) struct Identity {
    pub(super) id: u64,
    pub(super) name: Text,
    /// The host name of the backend; absent for an address or a unix socket.
    host: ArcSwapOption<Text>,
    protocol: AtomicU8,
}

/// What a service says its port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppProtocol {
    Unsaid,
    Http1,
    Http2,
}

/// From where endpoints come.
#[derive(Default)]
pub(super) struct Seeds {
    pub(super) list: Vec<Seed>,
    /// Why there is none.
    pub(super) reason: Option<Text>,
}

pub(super) struct Seed {
    pub(super) place: Place,
    /// 0: drained.
    pub(super) capacity: u32,
    /// Higher is nearer.
    pub(super) rank: usize,
    /// Whether it is reported fit (or need not be).
    pub(super) usable: bool,
}

pub(super) enum Place {
    Fixed(Address),
    Named { name: Arc<Name>, port: u16 },
}

/// Why there is no endpoint to take the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickFault {
    #[error("no healthy endpoint")]
    NoEndpoint,
    /// The first answer to a query is outstanding: [`Cluster::ready`] waits for it.
    #[error("name not resolved yet")]
    Pending,
    #[error("{0}")]
    Unresolved(Text),
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Identity {
    pub(super) fn host(&self) -> Option<Text> {
        self.host.load().as_ref().map(|host| Text::clone(host))
    }

    pub(super) fn protocol(&self) -> AppProtocol {
        match self.protocol.load(Relaxed) {
            1 => AppProtocol::Http1,
            2 => AppProtocol::Http2,
            _ => AppProtocol::Unsaid,
        }
    }
}

impl Cluster {
    pub(super) fn new(name: Text, checker: Arc<Checker>) -> Arc<Self> {
        let identity = Identity {
            id: NEXT_ID.fetch_add(1, Relaxed),
            name,
            host: ArcSwapOption::default(),
            protocol: AtomicU8::new(0),
        };
        Arc::new(Self {
            identity: Arc::new(identity),
            set: ArcSwap::default(),
            seeds: Mutex::default(),
            allow_unhealthy: AtomicBool::new(false),
            gate: OnceLock::new(),
            connections: OnceLock::new(),
            retries: OnceLock::new(),
            checker,
            checks: ArcSwapOption::default(),
        })
    }

    /// The metric label.
    pub fn name(&self) -> &Text {
        &self.identity.name
    }

    /// Unique, never reused.
    pub fn id(&self) -> u64 {
        self.identity.id
    }

    /// The backend's host name: what `Host` and SNI are by default.
    pub fn host(&self) -> Option<Text> {
        self.identity.host()
    }

    pub fn protocol(&self) -> AppProtocol {
        self.identity.protocol()
    }

    /// An endpoint for one try. Takes no lock.
    pub fn pick(
        &self,
        tried: &[EndpointId],
        affinity: Option<Affinity>,
        health: Option<&health::Policy>,
    ) -> Result<Lease, PickFault> {
        let set = self.set.load();
        set.names.iter().for_each(|name| name.touch());
        let wish = Wish {
            tried,
            affinity,
            ejections: health.is_some_and(|policy| policy.eviction.is_some()),
            allow_unhealthy: self.allow_unhealthy.load(Relaxed),
        };
        set.choose(wish, Instant::now).ok_or_else(|| self.absence(&set))
    }

    /// As [`Self::pick`], but waits up to `wait` for the first answer of DNS.
    pub async fn draw(
        &self,
        tried: &[EndpointId],
        affinity: Option<Affinity>,
        health: Option<&health::Policy>,
        wait: Duration,
    ) -> Result<Lease, PickFault> {
        match self.pick(tried, affinity, health) {
            Err(PickFault::Pending) => {
                self.ready(wait).await;
                self.pick(tried, affinity, health)
            }
            picked => picked,
        }
    }

    /// Waits up to `wait` for the first answer of DNS; at once where there is nothing to wait for.
    pub async fn ready(&self, wait: Duration) {
        let set = self.set.load_full();
        if set.names.is_empty() {
            return;
        }
        let first = futures::future::select_all(set.names.iter().map(|name| Box::pin(name.settled())));
        // A timeout is no fault here: the pick that follows says what is missing.
        let _ = tokio::time::timeout(wait, first).await;
    }

    fn absence(&self, set: &EndpointSet) -> PickFault {
        if set.usable().next().is_some() {
            return PickFault::NoEndpoint;
        }
        for name in &set.names {
            let resolution = name.resolution();
            if !resolution.settled {
                return PickFault::Pending;
            }
            if let Some(error) = &resolution.error {
                return PickFault::Unresolved(format!("{} is not resolved: {error}", name.host()).into());
            }
        }
        match &self.seeds.lock().reason {
            Some(reason) => PickFault::Unresolved(reason.clone()),
            None => PickFault::NoEndpoint,
        }
    }

    /// A place for a request; waits where the policy gives a queue. Without limits it costs nothing.
    pub async fn admit(&self, limits: Option<&circuit_breaker::Policy>) -> Result<Permit, Overflow> {
        let Some((limits, max)) = limits.and_then(|it| Some((it, it.max_parallel_requests?))) else {
            return Ok(Permit::default());
        };
        self.gate.get_or_init(Arc::default).enter(max, limits.max_pending_requests).await
    }

    /// A place for a raw connection.
    pub fn admit_connection(&self, limits: Option<&circuit_breaker::Policy>) -> Result<Counted, Overflow> {
        let Some(max) = limits.and_then(|limits| limits.max_connections) else { return Ok(Counted::free()) };
        self.connections.get_or_init(Arc::default).enter(max).ok_or(Overflow::Connections)
    }

    /// A place for a retry.
    pub fn admit_retry(&self, limits: Option<&circuit_breaker::Policy>) -> Result<Counted, Overflow> {
        let Some(max) = limits.and_then(|limits| limits.max_parallel_retries) else { return Ok(Counted::free()) };
        self.retries.get_or_init(Arc::default).enter(max).ok_or(Overflow::Retries)
    }

    /// Starts, changes or ends active checks. Checks dial as requests through `template` do.
    pub fn set_health(self: &Arc<Self>, policy: Option<Arc<health::Policy>>, template: &Arc<Template>) {
        let active = policy.and_then(|policy| policy.active.clone());
        let old = self.checks.load();
        if old.as_ref().map(|checks| &checks.active) == active.as_ref()
            && old.as_ref().is_none_or(|checks| checks.template.key() == template.key())
        {
            return;
        }
        let Some(active) = active else {
            self.checks.store(None);
            self.set.load().all().for_each(|member| member.endpoint.forget_checks());
            return;
        };
        let first = old.is_none();
        let checks = Arc::new(Checks { active, template: template.clone() });
        self.checks.store(Some(checks.clone()));
        if first {
            let set = self.set.load();
            set.all().for_each(|member| self.checker.memory.recall(self.name(), &member.endpoint, true));
        }
        self.checker.begin(Arc::downgrade(self), &checks);
    }

    pub(super) fn checks(&self) -> Option<Arc<Checks>> {
        self.checks.load_full()
    }

    pub(super) fn set(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// Gives the cluster new seeds, and endpoints from them.
    pub(super) fn plant(self: &Arc<Self>, host: Option<&Text>, protocol: AppProtocol, seeds: Seeds, allow: bool) {
        self.identity.host.store(host.map(|host| Arc::new(host.clone())));
        self.identity.protocol.store(
            match protocol {
                AppProtocol::Unsaid => 0,
                AppProtocol::Http1 => 1,
                AppProtocol::Http2 => 2,
            },
            Relaxed,
        );
        self.allow_unhealthy.store(allow, Relaxed);
        for seed in &seeds.list {
            if let Place::Named { name, .. } = &seed.place {
                name.follow(self);
            }
        }
        *self.seeds.lock() = seeds;
        self.rebuild();
    }

    /// Lists the endpoints anew; those whose address stays keep their state.
    pub(super) fn rebuild(&self) {
        let mut seeds = self.seeds.lock();
        let old = self.set.load_full();
        let known: HashMap<&Address, &Arc<Endpoint>> =
            old.all().map(|member| (&member.endpoint.address, &member.endpoint)).collect();
        let mut listing = Listing::default();
        for seed in &seeds.list {
            match &seed.place {
                Place::Fixed(address) => listing.add(seed, address.clone(), &known),
                Place::Named { name, port } => {
                    listing.names.push(name.clone());
                    for ip in &name.resolution().addresses {
                        listing.add(seed, Address::Inet(SocketAddr::new(*ip, *port)), &known);
                    }
                }
            }
        }
        if let Some(problem) = listing.problem.take() {
            seeds.reason = Some(problem);
        }
        let set = listing.set();
        let checked = self.checks.load().is_some();
        for member in set.all().filter(|it| !known.contains_key(&it.endpoint.address)) {
            self.checker.memory.recall(self.name(), &member.endpoint, checked);
        }
        self.set.store(Arc::new(set));
    }

    pub(super) fn problem(&self) -> Option<Text> {
        let set = self.set.load();
        let named = set.names.iter().find_map(|name| {
            let resolution = name.resolution();
            resolution.error.as_ref().map(|error| Text::from(format!("{}: {error}", name.host())))
        });
        named.or_else(|| self.seeds.lock().reason.clone())
    }

    pub(super) fn weak(self: &Arc<Self>) -> Weak<Self> {
        Arc::downgrade(self)
    }
}

/// A set in the making.
#[derive(Default)]
struct Listing {
    seen: HashSet<Address>,
    ranks: BTreeMap<Reverse<usize>, Vec<Member>>,
    unused: Vec<Member>,
    names: Vec<Arc<Name>>,
    problem: Option<Text>,
}

impl Listing {
    fn add(&mut self, seed: &Seed, address: Address, known: &HashMap<&Address, &Arc<Endpoint>>) {
        if !self.seen.insert(address.clone()) {
            return;
        }
        let endpoint = match known.get(&address) {
            Some(endpoint) => Arc::clone(endpoint),
            None => match Endpoint::new(address) {
                Ok(endpoint) => endpoint,
                Err(problem) => {
                    self.problem = Some(problem.into());
                    return;
                }
            },
        };
        let member = Member { endpoint, capacity: seed.capacity };
        if seed.capacity == 0 || !seed.usable {
            self.unused.push(member);
        } else {
            self.ranks.entry(Reverse(seed.rank)).or_default().push(member);
        }
    }

    fn set(self) -> EndpointSet {
        EndpointSet {
            ranks: self.ranks.into_values().map(Rank::new).collect(),
            unused: self.unused.into(),
            names: self.names.into(),
        }
    }
}
