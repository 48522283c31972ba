//! The register of clusters: one for each backend reference, and endpoints from the snapshot.
//!
//! A cluster lives as long as some plan holds it; the register holds it weakly. The register keeps
//! an index from services to their workloads, so that a change of a workload costs the endpoints
//! of its services and nothing else.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use filters::backend_auth::{aws, azure, gcp};
use filters::{Change, Keep, Snapshot};
use ir::backend::{Locality, LocalityMode, Scope};
use ir::{BackendKind, BackendRef, HostTarget, Service, ServiceKey, Text, Workload};
use parking_lot::Mutex;
use serde::Serialize;

use super::cluster::{AppProtocol, Cluster, Place, Seed, Seeds};
use super::dns::{Names, Resolve, System};
use super::egress::Egress;
use super::egress::amazon::Amazon;
use super::egress::renewal::Renewal;
use super::egress::way;
use super::endpoint::Address;
use super::health::Checker;
use super::key_sets::KeySets;
use super::memory::{Memory, Record};
use crate::statics::{LookupFamily, Statics};
use crate::status::Status;

/// Clusters, and endpoints of each, that one report lists.
pub(super) const REPORT_CLUSTERS_MAX: usize = 1000;
pub(super) const REPORT_ENDPOINTS_MAX: usize = 200;
/// Hosts of a forward proxy whose addresses and connections are kept between requests.
pub(super) const RECENT_HOSTS_MAX: usize = 1024;

/// All backends of the process.
pub struct Upstreams {
    here: Here,
    names: Arc<Names>,
    /// Addresses that fetches may reach though they are usually refused.
    egress_allow: Arc<[IpAddr]>,
    checker: Arc<Checker>,
    table: Mutex<Table>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Reference(BackendRef),
    Host(HostTarget),
}

/// Where this process runs and what it can reach.
struct Here {
    locality: Locality,
    node: Text,
    v4: bool,
    v6: bool,
}

#[derive(Default)]
struct Table {
    clusters: HashMap<Key, Weak<Cluster>>,
    /// Hosts last asked for by [`Upstreams::host`], the oldest first.
    recent: VecDeque<Arc<Cluster>>,
    sweep_at: usize,
    /// Ports of a service that have a cluster.
    ports: HashMap<ServiceKey, HashSet<u16>>,
    /// Workloads by service, and the reverse, as of the last update.
    members: HashMap<ServiceKey, HashSet<Text>>,
    services: HashMap<Text, Vec<ServiceKey>>,
}

/// What one cluster looks like now.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    pub name: Text,
    pub endpoints: Vec<EndpointReport>,
    /// Why names or endpoints are missing.
    pub error: Option<Text>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    pub address: Text,
    /// Neither failing its checks nor ejected nor drained nor reported unfit.
    pub healthy: bool,
    /// Time left of an ejection.
    pub ejected_for: Option<Duration>,
    pub inflight: u32,
    pub score: f64,
    pub latency_seconds: f64,
}

impl Upstreams {
    pub fn new(statics: &Statics) -> Self {
        Self::with_resolver(statics, Box::new(System::new(statics)))
    }

    /// With another source of addresses.
    pub fn with_resolver(statics: &Statics, resolver: Box<dyn Resolve>) -> Self {
        let v6 = match statics.lookup_family {
            LookupFamily::V4Only => false,
            LookupFamily::Auto => statics.enable_ipv6,
            LookupFamily::All | LookupFamily::V4Preferred | LookupFamily::V6Only => true,
        };
        let here = Here {
            locality: statics.locality.clone(),
            node: statics.node.as_str().into(),
            v4: statics.lookup_family != LookupFamily::V6Only,
            v6,
        };
        Self {
            here,
            names: Arc::new(Names::new(resolver)),
            egress_allow: statics.egress_allow.as_slice().into(),
            checker: Arc::default(),
            table: Mutex::default(),
        }
    }

    /// The connector for what the gateway itself fetches.
    pub fn egress(&self) -> Egress {
        Egress::new(self.names.clone(), self.egress_allow.clone())
    }

    /// Key sets behind URLs; to be run as long as the process lives.
    pub fn key_sets(&self, keep: &Arc<Keep>, status: &Arc<Status>) -> Arc<KeySets> {
        Arc::new(KeySets::new(keep.clone(), self.egress(), status.clone()))
    }

    /// Tokens of Google's clouds; to be run as long as the process lives.
    pub fn google(&self, keep: &Arc<Keep>, status: &Arc<Status>) -> Renewal<gcp::Tokens> {
        let egress = self.egress();
        Renewal::new("google", (keep.clone(), status.clone()), move |tokens: Arc<gcp::Tokens>, target| {
            Box::pin(way::token(egress.clone(), tokens.quest(&target)))
        })
    }

    /// Tokens of Azure's; to be run as long as the process lives.
    pub fn azure(&self, keep: &Arc<Keep>, status: &Arc<Status>) -> Renewal<azure::Tokens> {
        let egress = self.egress();
        Renewal::new("azure", (keep.clone(), status.clone()), move |tokens: Arc<azure::Tokens>, resource| {
            Box::pin(way::token(egress.clone(), tokens.quest(resource)))
        })
    }

    /// Credentials of AWS; to be run as long as the process lives.
    pub fn amazon(&self, keep: &Arc<Keep>, status: &Arc<Status>) -> Renewal<aws::Sessions> {
        let amazon = Amazon::new(self.egress());
        Renewal::new("aws", (keep.clone(), status.clone()), move |_, who| Box::pin(amazon.clone().lend(who)))
    }

    /// Resolves names and checks endpoints, for ever: to be spawned once, on the runtime that does
    /// the process's background work.
    pub async fn run(&self) {
        futures::future::join(self.names.run(), self.checker.run()).await;
    }

    /// The cluster of a reference. It is the same one for as long as anything holds it; what it
    /// dials follows the snapshot. The error says why the reference is broken.
    pub fn cluster(&self, backend: &BackendRef, snapshot: &Snapshot) -> Result<Arc<Cluster>, Text> {
        let mut table = self.table.lock();
        table.index(snapshot);
        let key = Key::Reference(backend.clone());
        let known = table.clusters.get(&key).and_then(Weak::upgrade);
        let cluster = match backend {
            BackendRef::Invalid(reason) => return Err(reason.clone()),
            BackendRef::RouteGroup(group) => return Err(format!("{group} is a route group, not a backend").into()),
            BackendRef::Backend(key) => {
                let target = target(snapshot, key)?;
                if let Some(cluster) = known {
                    return Ok(cluster);
                }
                let cluster = Cluster::new(key.0.clone(), self.checker.clone());
                self.plant_host(&cluster, target);
                cluster
            }
            BackendRef::Service { service, port } => {
                let found =
                    snapshot.services.get(service).ok_or_else(|| format!("service {service} does not exist"))?;
                if !found.ports.contains_key(port) {
                    return Err(format!("service {service} has no port {port}").into());
                }
                if let Some(cluster) = known {
                    return Ok(cluster);
                }
                let cluster = Cluster::new(format!("{service}:{port}").into(), self.checker.clone());
                self.plant_service(&table, &cluster, service, *port, snapshot);
                table.ports.entry(service.clone()).or_default().insert(*port);
                cluster
            }
        };
        table.remember(key, &cluster);
        Ok(cluster)
    }

    /// A cluster for a host that no configuration names (forward proxy). The last
    /// [`RECENT_HOSTS_MAX`] are kept. Takes a lock, briefly.
    pub fn host(&self, target: &HostTarget) -> Arc<Cluster> {
        let key = Key::Host(target.clone());
        let mut table = self.table.lock();
        if let Some(cluster) = table.clusters.get(&key).and_then(Weak::upgrade) {
            return cluster;
        }
        let cluster = Cluster::new(target.to_string().into(), self.checker.clone());
        self.plant_host(&cluster, target);
        table.remember(key, &cluster);
        if table.recent.len() >= RECENT_HOSTS_MAX {
            table.recent.pop_front();
        }
        table.recent.push_back(cluster.clone());
        cluster
    }

    /// Brings endpoints up to date with a patch. Call it for every patch, with the snapshot after
    /// it, before the plan is compiled.
    pub fn update<'a>(&self, snapshot: &Snapshot, changed: impl Iterator<Item = &'a Change>) {
        let mut table = self.table.lock();
        let mut touched: HashSet<ServiceKey> = HashSet::new();
        for change in changed {
            match change {
                Change::Workload(uid, workload) => table.move_workload(uid, workload.as_deref(), &mut touched),
                Change::Service(key, _) => {
                    touched.insert(key.clone());
                }
                Change::Backend(key, _) => {
                    let reference = Key::Reference(BackendRef::Backend(key.clone()));
                    let cluster = table.clusters.get(&reference).and_then(Weak::upgrade);
                    if let (Some(cluster), Ok(target)) = (cluster, target(snapshot, key)) {
                        self.plant_host(&cluster, target);
                    }
                }
                Change::Bind(..)
                | Change::Listener(..)
                | Change::Route(..)
                | Change::TcpRoute(..)
                | Change::RouteGroup(..)
                | Change::Policy(..) => {}
            }
        }
        for service in touched {
            self.replant(&mut table, &service, snapshot);
        }
    }

    fn replant(&self, table: &mut Table, service: &ServiceKey, snapshot: &Snapshot) {
        let mut ports = table.ports.remove(service).unwrap_or_default();
        ports.retain(|port| {
            let reference = Key::Reference(BackendRef::Service { service: service.clone(), port: *port });
            let Some(cluster) = table.clusters.get(&reference).and_then(Weak::upgrade) else { return false };
            self.plant_service(table, &cluster, service, *port, snapshot);
            true
        });
        if !ports.is_empty() {
            table.ports.insert(service.clone(), ports);
        }
    }

    fn plant_host(&self, cluster: &Arc<Cluster>, target: &HostTarget) {
        let (host, place) = match target {
            HostTarget::Address(address) => (None, Place::Fixed(Address::Inet(*address))),
            HostTarget::Unix(path) => (None, Place::Fixed(Address::Unix(path.clone()))),
            HostTarget::Name { host, port } => (Some(host), Place::Named { name: self.names.get(host), port: *port }),
        };
        let seeds = Seeds { list: vec![Seed { place, capacity: 1, rank: 0, usable: true }], reason: None };
        cluster.plant(host, AppProtocol::Unsaid, seeds, false);
    }

    fn plant_service(&self, table: &Table, cluster: &Arc<Cluster>, key: &ServiceKey, port: u16, snapshot: &Snapshot) {
        let Some(service) = snapshot.services.get(key).filter(|service| service.ports.contains_key(&port)) else {
            let reason = Some(format!("service {key} no longer has port {port}").into());
            cluster.plant(None, AppProtocol::Unsaid, Seeds { list: Vec::new(), reason }, false);
            return;
        };
        let protocol = match service.app_protocols.get(&port).map(|it| it.to_ascii_lowercase()).as_deref() {
            Some("http2" | "h2c" | "kubernetes.io/h2c" | "grpc") => AppProtocol::Http2,
            Some("http" | "http1" | "kubernetes.io/ws") => AppProtocol::Http1,
            _ => AppProtocol::Unsaid,
        };
        let workloads = table.members.get(key).into_iter().flatten().filter_map(|uid| snapshot.workloads.get(uid));
        let list: Vec<_> = workloads.filter_map(|workload| self.seed(service, port, workload)).collect();
        let reason = list.is_empty().then(|| format!("service {key} has no endpoints").into());
        cluster.plant(Some(&service.hostname), protocol, Seeds { list, reason }, service.load_balancer.allow_unhealthy);
    }

    fn seed(&self, service: &Service, port: u16, workload: &Workload) -> Option<Seed> {
        let own = workload.services.get(&service.key).and_then(|ports| ports.get(&port)).copied().unwrap_or_default();
        let target = service.ports.get(&port).copied().unwrap_or_default();
        let port = [own, target, port].into_iter().find(|port| *port != 0)?;
        let place = match self.here.address(&workload.addresses) {
            Some(ip) => Place::Fixed(Address::Inet(SocketAddr::new(ip, port))),
            None if workload.hostname.is_empty() => return None,
            None => Place::Named { name: self.names.get(&workload.hostname), port },
        };
        let scopes = &service.load_balancer.routing_preferences;
        let shared = scopes.iter().take_while(|scope| self.here.shares(**scope, workload)).count();
        let rank = match service.load_balancer.mode {
            LocalityMode::Standard => 0,
            LocalityMode::Strict if shared < scopes.len() => return None,
            LocalityMode::Strict | LocalityMode::Failover => shared,
        };
        let usable = workload.healthy || service.load_balancer.allow_unhealthy;
        Some(Seed { place, capacity: workload.capacity, rank, usable })
    }

    /// What all clusters look like now, those with trouble first; bounded.
    pub fn report(&self) -> Vec<ClusterReport> {
        let mut clusters: Vec<_> = self.table.lock().clusters.values().filter_map(Weak::upgrade).collect();
        clusters.sort_by_cached_key(|cluster| (cluster.problem().is_none(), cluster.name().clone()));
        clusters.truncate(REPORT_CLUSTERS_MAX);
        clusters.iter().map(cluster_report).collect()
    }

    /// Requests with a backend at this moment.
    pub fn inflight(&self) -> usize {
        let clusters: Vec<_> = self.table.lock().clusters.values().filter_map(Weak::upgrade).collect();
        clusters
            .iter()
            .flat_map(|it| it.set().all().map(|it| it.endpoint.inflight() as usize).collect::<Vec<_>>())
            .sum()
    }

    /// What is known of endpoints, at most of so many.
    pub(super) fn records(&self, max: usize) -> Vec<Record> {
        let clusters: Vec<_> = self.table.lock().clusters.values().filter_map(Weak::upgrade).collect();
        let now = std::time::Instant::now();
        let mut records = Vec::new();
        for cluster in clusters {
            let set = cluster.set();
            let known = set.all().filter_map(|it| it.endpoint.record(cluster.name().clone(), now));
            records.extend(known.take(max - records.len()));
        }
        records
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.checker.memory
    }
}

fn target<'a>(snapshot: &'a Snapshot, key: &ir::BackendKey) -> Result<&'a HostTarget, Text> {
    let backend = snapshot.backends.get(key).ok_or_else(|| format!("backend {key} does not exist"))?;
    match &backend.kind {
        BackendKind::Host(target) => Ok(target),
        BackendKind::Mcp(_) | BackendKind::Ai(_) => {
            Err(format!("backend {key} is no server but several: only routes lead to it").into())
        }
        BackendKind::Demo => Err(format!("backend {key} is answered by the gateway itself").into()),
    }
}

fn cluster_report(cluster: &Arc<Cluster>) -> ClusterReport {
    let set = cluster.set();
    let unused: HashSet<_> = set.unused.iter().map(|member| member.endpoint.id).collect();
    let endpoints = set.all().take(REPORT_ENDPOINTS_MAX).map(|member| {
        let endpoint = &member.endpoint;
        let ejected_for = endpoint.ejected_for(std::time::Instant::now);
        EndpointReport {
            address: endpoint.text.clone(),
            healthy: !endpoint.fails_checks() && ejected_for.is_none() && !unused.contains(&endpoint.id),
            ejected_for,
            inflight: endpoint.inflight(),
            score: endpoint.score(),
            latency_seconds: endpoint.latency(),
        }
    });
    ClusterReport { name: cluster.name().clone(), endpoints: endpoints.collect(), error: cluster.problem() }
}

impl Table {
    fn remember(&mut self, key: Key, cluster: &Arc<Cluster>) {
        if self.clusters.len() >= self.sweep_at {
            self.clusters.retain(|_, cluster| cluster.strong_count() > 0);
            self.sweep_at = self.clusters.len().saturating_mul(2).max(64);
        }
        self.clusters.insert(key, cluster.weak());
    }

    /// Fills the index from a snapshot that no update announced.
    fn index(&mut self, snapshot: &Snapshot) {
        if self.services.is_empty() && !snapshot.workloads.is_empty() {
            for (uid, workload) in &snapshot.workloads {
                self.move_workload(uid, Some(workload), &mut HashSet::new());
            }
        }
    }

    fn move_workload(&mut self, uid: &Text, workload: Option<&Workload>, touched: &mut HashSet<ServiceKey>) {
        for service in self.services.remove(uid).unwrap_or_default() {
            if let Some(members) = self.members.get_mut(&service) {
                members.remove(uid);
                if members.is_empty() {
                    self.members.remove(&service);
                }
            }
            touched.insert(service);
        }
        let Some(workload) = workload else { return };
        let services: Vec<_> = workload.services.keys().cloned().collect();
        for service in &services {
            self.members.entry(service.clone()).or_default().insert(uid.clone());
            touched.insert(service.clone());
        }
        self.services.insert(uid.clone(), services);
    }
}

impl Here {
    /// One address of a workload: the other family would only count it twice.
    fn address(&self, addresses: &[IpAddr]) -> Option<IpAddr> {
        let v4 = addresses.iter().find(|ip| ip.is_ipv4()).filter(|_| self.v4);
        v4.or_else(|| addresses.iter().find(|ip| ip.is_ipv6()).filter(|_| self.v6)).copied()
    }

    /// Cluster and network of this process are not known to it: all workloads share them.
    fn shares(&self, scope: Scope, workload: &Workload) -> bool {
        let (here, there) = (&self.locality, &workload.locality);
        let same = |ours: &Text, theirs: &Text| !ours.is_empty() && ours == theirs;
        match scope {
            Scope::Region => same(&here.region, &there.region),
            Scope::Zone => same(&here.zone, &there.zone),
            Scope::Subzone => same(&here.subzone, &there.subzone),
            Scope::Node => same(&self.node, &workload.node),
            Scope::Cluster | Scope::Network => true,
        }
    }
}
