//! What holds for requests of a rule: its policies merged, its backends found.
//!
//! It follows from a few inputs, and most rules of a large configuration have the same: they share one
//! [`Merged`]. It is then in a cache when a request comes, whichever of the rules takes it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};

use filters::rung::Rung;
use filters::{Attachment, Effective, Kind, Level};
use ir::{BackendKind, BackendRef, HostTarget, RouteBackend, Target, Text};
use parking_lot::Mutex;

use super::Plan;
use crate::llm::{Ai, OwnTerms};
use crate::mcp::{self, Federation};
use crate::upstream::{Cluster, Template};

/// Results remembered before dead ones are swept.
const SWEEP: usize = 1024;

/// See the file.
pub struct Merged {
    pub(super) inputs: Inputs,
    /// Route-phase policies.
    pub effective: Arc<Effective>,
    pub backends: Backends,
}

/// Identities of everything that goes into a [`Merged`].
pub(super) struct Inputs {
    pub(super) base: Arc<Effective>,
    /// Of the route, of its rule by name, of the rule by key.
    levels: [Option<Level>; 3],
    backends: Vec<Reached>,
}

/// What a rule's reference to a backend finds.
struct Reached {
    reference: RouteBackend,
    /// The backend's own level, and that of the reference.
    levels: [Option<Level>; 2],
    backend: Option<Arc<ir::Backend>>,
    cluster: Option<Arc<Cluster>>,
    /// What the servers of an MCP backend find: there is one for each that is a reference.
    servers: Vec<Server>,
}

/// What the reference of one MCP server finds.
struct Server {
    level: Option<Level>,
    backend: Option<Arc<ir::Backend>>,
    cluster: Option<Arc<Cluster>>,
}

/// Those in use, by a hash of their inputs.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<u64, Weak<Merged>>>);

/// Weighted backends of a rule. Most rules have one: it lies here and not at the end of a pointer, as with many routes
/// each step to memory is one that no cache has.
#[derive(Default)]
pub struct Backends {
    first: Option<Backend>,
    rest: Vec<Backend>,
    /// Running sums of the weights, where there are several.
    sums: Vec<u64>,
    /// All weights together.
    total: u64,
}

pub struct Backend {
    pub reference: BackendRef,
    /// Policies of the backend itself, for each attempt, over the settings of the route.
    pub effective: Arc<Effective>,
    pub target: BackendTarget,
    /// `Host` of the backend itself, sent upstream where nothing else is asked for.
    pub host: Option<http::HeaderValue>,
}

/// Where a backend reference leads.
pub enum BackendTarget {
    Cluster {
        cluster: Arc<Cluster>,
        template: Arc<Template>,
    },
    /// Several servers that the gateway itself talks to.
    Mcp(Arc<Federation>),
    /// Providers of language models: which one is known once the request has been looked at.
    Ai(Arc<Ai>),
    /// The embedded default's own echo.
    Demo,
    Group(Text),
    /// 500 with this reason.
    Broken(Text),
}

impl Known {
    /// What follows from these inputs, the same object for all that have them.
    pub(super) fn merged(&self, plan: &Plan, inputs: Inputs) -> Arc<Merged> {
        let hash = inputs.hash();
        let known = self.0.lock().get(&hash).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|it| it.inputs.same(&inputs)) {
            return known;
        }
        let merged = Arc::new(Merged::new(plan, inputs));
        let mut table = self.0.lock();
        if table.len() >= SWEEP && table.len().is_power_of_two() {
            table.retain(|_, held| held.strong_count() > 0);
        }
        table.insert(hash, Arc::downgrade(&merged));
        merged
    }
}

impl Merged {
    fn new(plan: &Plan, inputs: Inputs) -> Self {
        let effective = met(&inputs.base, &inputs.levels);
        let mut settings = None;
        let backends = inputs
            .backends
            .iter()
            .map(|it| {
                let base = settings.get_or_insert_with(|| Arc::new(effective.settings_only()));
                let effective = met(base, &it.levels);
                let RouteBackend { weight, backend: reference } = &it.reference;
                let target = target_of(plan, it, &effective);
                let host = it.backend.as_ref().and_then(|it| host_of(it, effective.backend_tls().is_some()));
                (*weight, Backend { reference: reference.clone(), effective, target, host })
            })
            .collect();
        Self { inputs, effective, backends }
    }
}

/// `base` met by each level; `base` itself where there is none, so that most rules share one.
fn met(base: &Arc<Effective>, levels: &[Option<Level>]) -> Arc<Effective> {
    let mut effective = base.clone();
    for level in levels.iter().flatten() {
        effective = Arc::new(effective.under(level));
    }
    effective
}

fn target_of(plan: &Plan, it: &Reached, effective: &Effective) -> BackendTarget {
    let reference = &it.reference.backend;
    match reference {
        BackendRef::RouteGroup(name) => return BackendTarget::Group(name.clone()),
        BackendRef::Invalid(reason) => return BackendTarget::Broken(reason.clone()),
        BackendRef::Backend(_) | BackendRef::Service { .. } => {}
    }
    if it.backend.as_ref().is_some_and(|backend| backend.kind == BackendKind::Demo) {
        return BackendTarget::Demo;
    }
    if let Some(BackendKind::Mcp(terms)) = it.backend.as_ref().map(|backend| &backend.kind) {
        return BackendTarget::Mcp(federation(plan, it, terms, effective));
    }
    if let Some(BackendKind::Ai(terms)) = it.backend.as_ref().map(|backend| &backend.kind) {
        return BackendTarget::Ai(providers(plan, it, terms, effective));
    }
    let Some(cluster) = &it.cluster else {
        return BackendTarget::Broken(plan.broken(reference));
    };
    match plan.template(cluster, effective) {
        Ok(template) => BackendTarget::Cluster { cluster: cluster.clone(), template },
        Err(reason) => BackendTarget::Broken(reason.into()),
    }
}

/// The servers of an MCP backend, each with its own policies over those of the backend.
fn federation(plan: &Plan, it: &Reached, terms: &ir::McpBackend, effective: &Effective) -> Arc<Federation> {
    let key = it.backend.as_ref().map(|it| it.key.clone()).unwrap_or_else(|| ir::BackendKey::new(""));
    let mut found = it.servers.iter();
    let targets = terms.targets.iter().map(|target| {
        let reach = match &target.reach {
            ir::McpReach::Stdio(process) => mcp::Reach::Stdio(process.clone()),
            ir::McpReach::Http(url) => {
                endpoint(plan, url, found.next(), effective).map_or_else(mcp::Reach::Broken, mcp::Reach::Http)
            }
            ir::McpReach::OpenApi(api) => match endpoint(plan, &api.url, found.next(), effective) {
                Ok(endpoint) => mcp::Reach::OpenApi(Box::new(endpoint), api.document.clone()),
                Err(reason) => mcp::Reach::Broken(reason),
            },
            ir::McpReach::Sse(url) => {
                endpoint(plan, url, found.next(), effective).map_or_else(mcp::Reach::Broken, mcp::Reach::Sse)
            }
        };
        let state = plan.compiler.servers.state(&key, &target.name);
        Arc::new(mcp::Target { name: target.name.clone(), reach, state })
    });
    Arc::new(Federation::new(key.0.clone(), terms.clone(), targets.collect()))
}

/// The providers of an AI backend, each with its own policies over those of the backend.
fn providers<'a>(plan: &Plan, it: &Reached, terms: &'a ir::AiBackend, effective: &Effective) -> Arc<Ai> {
    let name = it.backend.as_ref().map(|it| it.key.0.clone()).unwrap_or_default();
    let provider = |(terms, found): (&'a ir::AiProvider, &Server)| {
        let above = effective.part(Kind::Ai).map(Arc::as_ptr);
        let effective = found.level.iter().fold(effective.clone(), |above, level| above.under(level));
        let own = own_terms(&effective, found.level.iter().flat_map(|it| it.iter()), above);
        let host = found.backend.as_ref().and_then(|it| host_of(it, effective.backend_tls().is_some()));
        let target = match &found.cluster {
            None => BackendTarget::Broken(plan.broken(&terms.backend)),
            Some(cluster) => match plan.template(cluster, &effective) {
                Ok(template) => BackendTarget::Cluster { cluster: cluster.clone(), template },
                Err(reason) => BackendTarget::Broken(reason.into()),
            },
        };
        let reference = terms.backend.clone();
        (terms, Backend { reference, effective: Arc::new(effective), target, host }, own)
    };
    Arc::new(Ai::new(name, terms, terms.providers.iter().zip(&it.servers).map(provider)))
}

/// What of the policies at a provider is not above it. What the levels there keep to themselves is not its to change.
fn own_terms<'a>(
    met: &Effective,
    level: impl Iterator<Item = &'a Arc<Attachment>> + Clone,
    above: Option<*const Attachment>,
) -> OwnTerms {
    let ai = level.clone().find(|it| it.policy.kind() == Kind::Ai);
    let ai = ai.filter(|_| met.part(Kind::Ai).map(Arc::as_ptr) != above).cloned();
    let holds = |it: &&Arc<Attachment>| met.filters().iter().any(|held| Arc::ptr_eq(held, it));
    let decides = |it: &&Arc<Attachment>| it.policy.kind().rung() == Rung::Authority;
    let admission: Vec<_> = level.filter(decides).filter(holds).cloned().collect();
    let admission = (!admission.is_empty()).then(|| Arc::new(Effective::default().under(&admission)));
    OwnTerms { ai, admission }
}

fn endpoint(
    plan: &Plan,
    url: &ir::McpUrl,
    found: Option<&Server>,
    effective: &Effective,
) -> Result<mcp::Endpoint, Text> {
    let Some(Server { level, backend, cluster: Some(cluster) }) = found else {
        return Err(plan.broken(&url.backend));
    };
    let effective = level.iter().fold(effective.clone(), |above, level| above.under(level));
    let template = plan.template(cluster, &effective)?;
    let host = backend.as_ref().and_then(|it| host_of(it, effective.backend_tls().is_some()));
    let path = url.path.clone();
    Ok(mcp::Endpoint { cluster: cluster.clone(), template, effective: Arc::new(effective), host, path })
}

/// The host name of a backend that has one, with its port unless that is the scheme's own.
pub(super) fn host_of(backend: &ir::Backend, tls: bool) -> Option<http::HeaderValue> {
    let BackendKind::Host(HostTarget::Name { host, port }) = &backend.kind else {
        return None;
    };
    let text = if *port == if tls { 443 } else { 80 } { host.to_string() } else { format!("{host}:{port}") };
    http::HeaderValue::try_from(text).ok()
}

impl BackendTarget {
    /// The metric label.
    pub fn name(&self) -> &str {
        match self {
            Self::Cluster { cluster, .. } => cluster.name(),
            Self::Mcp(federation) => &federation.name,
            Self::Ai(ai) => &ai.name,
            Self::Demo => "demo",
            Self::Group(_) | Self::Broken(_) => "",
        }
    }
}

impl Inputs {
    pub(super) fn of(route: &ir::Route, plan: &Plan, base: &Arc<Effective>) -> Self {
        let levels = [
            plan.level(&Target::Route(route.name.route.clone())),
            route.name.rule.as_ref().and_then(|rule| {
                plan.level(&Target::RouteRule { route: route.name.route.clone(), rule: rule.clone() })
            }),
            plan.level(&Target::Rule(route.key.clone())),
        ];
        let reached = |(position, it): (usize, &RouteBackend)| {
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            let backend = match &it.backend {
                BackendRef::Backend(key) => plan.snapshot.backends.get(key).cloned(),
                _ => None,
            };
            Reached {
                servers: servers(plan, backend.as_deref()),
                reference: it.clone(),
                levels: [
                    plan.backend_level(&it.backend),
                    plan.level(&Target::RouteBackend { route: route.key.clone(), position }),
                ],
                backend,
                cluster: plan.cluster(&it.backend),
            }
        };
        Self { base: base.clone(), levels, backends: route.backends.iter().enumerate().map(reached).collect() }
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.base, &other.base)
            && self.levels.iter().zip(&other.levels).all(|(a, b)| one(a, b))
            && self.backends.len() == other.backends.len()
            && self.backends.iter().zip(&other.backends).all(|(a, b)| a.same(b))
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut add = |levels: &[Option<Level>]| {
            levels.iter().for_each(|it| it.as_ref().map(Arc::as_ptr).hash(&mut hasher));
        };
        add(&self.levels);
        self.backends.iter().for_each(|it| add(&it.levels));
        Arc::as_ptr(&self.base).hash(&mut hasher);
        self.backends.iter().for_each(|it| it.reference.hash(&mut hasher));
        hasher.finish()
    }
}

impl Reached {
    fn same(&self, other: &Self) -> bool {
        let Self { reference, levels, backend, cluster, servers } = self;
        *reference == other.reference
            && levels.iter().zip(&other.levels).all(|(a, b)| one(a, b))
            && one(backend, &other.backend)
            && one(cluster, &other.cluster)
            && servers.len() == other.servers.len()
            && servers.iter().zip(&other.servers).all(|(a, b)| a.same(b))
    }
}

impl Server {
    fn same(&self, other: &Self) -> bool {
        let Self { level, backend, cluster } = self;
        one(level, &other.level) && one(backend, &other.backend) && one(cluster, &other.cluster)
    }
}

fn servers(plan: &Plan, backend: Option<&ir::Backend>) -> Vec<Server> {
    let found = |reference: &BackendRef| Server {
        level: plan.backend_level(reference),
        backend: match reference {
            BackendRef::Backend(key) => plan.snapshot.backends.get(key).cloned(),
            _ => None,
        },
        cluster: plan.cluster(reference),
    };
    match backend.map(|it| &it.kind) {
        Some(BackendKind::Mcp(terms)) => terms.references().map(found).collect(),
        Some(BackendKind::Ai(terms)) => terms.references().map(found).collect(),
        Some(BackendKind::Host(_) | BackendKind::Demo) | None => Vec::new(),
    }
}

/// Whether both are the same object, or both absent.
fn one<T: ?Sized>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

impl FromIterator<(u32, Backend)> for Backends {
    fn from_iter<I: IntoIterator<Item = (u32, Backend)>>(weighted: I) -> Self {
        let (mut it, mut sums) = (Self::default(), Vec::new());
        for (weight, backend) in weighted {
            it.total += u64::from(weight);
            sums.push(it.total);
            match &it.first {
                None => it.first = Some(backend),
                Some(_) => it.rest.push(backend),
            }
        }
        if !it.rest.is_empty() {
            it.sums = sums;
        }
        it
    }
}

impl Backends {
    /// Position of one drawn by weight; `random` is uniform over all of `u64`. `None`: there is none,
    /// or all weigh nothing.
    pub fn draw(&self, random: u64) -> Option<usize> {
        if self.total == 0 {
            return None;
        }
        if self.rest.is_empty() {
            return Some(0);
        }
        let ticket = random % self.total;
        Some(self.sums.partition_point(|sum| *sum <= ticket))
    }

    /// Position of the first one that is like this.
    pub fn position(&self, like: impl Fn(&Backend) -> bool) -> Option<usize> {
        self.first.iter().chain(&self.rest).position(like)
    }

    pub fn get(&self, position: usize) -> Option<&Backend> {
        match position.checked_sub(1) {
            None => self.first.as_ref(),
            Some(behind) => self.rest.get(behind),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Backend> {
        self.first.iter().chain(&self.rest)
    }
}
