//! One rule as a listener or a group holds it, with its policies and backends resolved lazily.
//!
//! A patch never fans out: it makes new level objects and raises the plan's epoch. An entry that
//! is used under a newer epoch checks whether any of *its* inputs is another object than before,
//! and only then merges again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use filters::{Effective, Level};
use ir::{BackendKind, BackendRef, HostTarget, Target, Text};

use super::Plan;
use crate::upstream::{Cluster, Template};

/// A rule, shared by all plans in which it is unchanged.
pub struct Entry {
    pub route: Arc<ir::Route>,
    resolved: ArcSwapOption<Resolved>,
}

/// What holds for requests of one rule.
pub struct Resolved {
    epoch: AtomicU64,
    inputs: Inputs,
    /// Route-phase policies.
    pub effective: Arc<Effective>,
    pub backends: Backends,
}

/// Identities of everything that went into a [`Resolved`].
struct Inputs {
    base: Arc<Effective>,
    levels: Vec<Option<Level>>,
    clusters: Vec<Option<Arc<Cluster>>>,
}

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
    /// The embedded default's own echo.
    Demo,
    Group(Text),
    /// 500 with this reason.
    Broken(Text),
}

impl Entry {
    pub fn new(route: Arc<ir::Route>) -> Self {
        Self { route, resolved: ArcSwapOption::empty() }
    }

    /// Policies and backends under `plan`, below `base` (the listener's, or the delegating rule's).
    pub fn resolved(&self, plan: &Plan, base: &Arc<Effective>) -> Guard<Option<Arc<Resolved>>> {
        let held = self.resolved.load();
        if let Some(it) = held.as_ref()
            && it.epoch.load(Ordering::Relaxed) == plan.epoch
            && Arc::ptr_eq(&it.inputs.base, base)
        {
            return held;
        }
        self.refresh(plan, base, held)
    }

    #[cold]
    fn refresh(
        &self,
        plan: &Plan,
        base: &Arc<Effective>,
        held: Guard<Option<Arc<Resolved>>>,
    ) -> Guard<Option<Arc<Resolved>>> {
        let inputs = self.inputs(plan, base);
        if let Some(it) = held.as_ref()
            && it.inputs.same(&inputs)
        {
            it.epoch.store(plan.epoch, Ordering::Relaxed);
            return held;
        }
        let resolved = Arc::new(self.resolve(plan, inputs));
        self.resolved.store(Some(resolved.clone()));
        Guard::from_inner(Some(resolved))
    }

    /// Three levels of the rule itself, then two for each backend.
    fn inputs(&self, plan: &Plan, base: &Arc<Effective>) -> Inputs {
        let route = &self.route;
        let mut levels = vec![
            plan.level(&Target::Route(route.name.route.clone())),
            route.name.rule.as_ref().and_then(|rule| {
                plan.level(&Target::RouteRule { route: route.name.route.clone(), rule: rule.clone() })
            }),
            plan.level(&Target::Rule(route.key.clone())),
        ];
        let mut clusters = Vec::with_capacity(route.backends.len());
        for (position, it) in route.backends.iter().enumerate() {
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            levels.push(plan.backend_level(&it.backend));
            levels.push(plan.level(&Target::RouteBackend { route: route.key.clone(), position }));
            clusters.push(plan.cluster(&it.backend));
        }
        Inputs { base: base.clone(), levels, clusters }
    }

    fn resolve(&self, plan: &Plan, inputs: Inputs) -> Resolved {
        let (own, per_backend) = inputs.levels.split_at(3.min(inputs.levels.len()));
        let effective = met(&inputs.base, own);
        let mut settings = None;
        let backends = self
            .route
            .backends
            .iter()
            .zip(per_backend.chunks(2))
            .zip(&inputs.clusters)
            .map(|((it, levels), cluster)| {
                let base = settings.get_or_insert_with(|| Arc::new(effective.settings_only()));
                let effective = met(base, levels);
                let target = target_of(plan, &it.backend, cluster.as_ref(), &effective);
                let host = host_of(plan, &it.backend, effective.backend_tls().is_some());
                (it.weight, Backend { reference: it.backend.clone(), effective, target, host })
            })
            .collect();
        Resolved { epoch: AtomicU64::new(plan.epoch), inputs, effective, backends }
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

fn target_of(plan: &Plan, it: &BackendRef, cluster: Option<&Arc<Cluster>>, effective: &Effective) -> BackendTarget {
    match it {
        BackendRef::RouteGroup(name) => return BackendTarget::Group(name.clone()),
        BackendRef::Invalid(reason) => return BackendTarget::Broken(reason.clone()),
        BackendRef::Backend(key) => {
            if plan.snapshot.backends.get(key).is_some_and(|backend| backend.kind == BackendKind::Demo) {
                return BackendTarget::Demo;
            }
        }
        BackendRef::Service { .. } => {}
    }
    let Some(cluster) = cluster else {
        return BackendTarget::Broken(plan.broken(it));
    };
    match plan.template(cluster, effective) {
        Ok(template) => BackendTarget::Cluster { cluster: cluster.clone(), template },
        Err(reason) => BackendTarget::Broken(reason.into()),
    }
}

/// The host name of a backend that has one, with its port unless that is the scheme's own.
pub(super) fn host_of(plan: &Plan, it: &BackendRef, tls: bool) -> Option<http::HeaderValue> {
    let BackendRef::Backend(key) = it else { return None };
    let BackendKind::Host(HostTarget::Name { host, port }) = &plan.snapshot.backends.get(key)?.kind else {
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
            Self::Demo => "demo",
            Self::Group(_) | Self::Broken(_) => "",
        }
    }
}

impl Inputs {
    fn same(&self, other: &Self) -> bool {
        fn level(a: &Option<Level>, b: &Option<Level>) -> bool {
            match (a, b) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            }
        }
        fn cluster(a: &Option<Arc<Cluster>>, b: &Option<Arc<Cluster>>) -> bool {
            match (a, b) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            }
        }
        Arc::ptr_eq(&self.base, &other.base)
            && self.levels.len() == other.levels.len()
            && self.levels.iter().zip(&other.levels).all(|(a, b)| level(a, b))
            && self.clusters.iter().zip(&other.clusters).all(|(a, b)| cluster(a, b))
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
