//! From one plan to the next: a patch is applied where it says, and nowhere else.
//!
//! Read next: `listeners.rs` (listeners, their names and their TLS terms).

mod listeners;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use filters::{Change, Effective, Kind, Level, Patch, Snapshot};
use ir::{BackendRef, BindKey, Hostname, ListenerKey, Parent, Target};
use parking_lot::Mutex;

use super::entry::Entry;
use super::listener::{BindPlan, ListenerPlan};
use super::merged::Known;
use super::router::Router;
use super::{Plan, hosts::HostMap};
use crate::statics::Statics;
use crate::upstream::{Cluster, Template, Upstreams};

/// What plans are made with; one for the process.
pub struct Compiler {
    pub upstreams: Arc<Upstreams>,
    pub statics: Arc<Statics>,
    pub(crate) servers: crate::mcp::Register,
    /// Templates by cluster and the identities of the settings that shape them.
    templates: Mutex<HashMap<TemplateKey, Weak<Template>>>,
    /// What rules have in common.
    pub(super) merged: Known,
}

type TemplateKey = (u64, [usize; SHAPING.len()]);

/// Settings that a template is made of.
const SHAPING: [Kind; 3] = [Kind::BackendTls, Kind::BackendHttp, Kind::BackendTcp];

/// Templates remembered before dead ones are swept.
const TEMPLATES_SWEEP: usize = 1024;

impl Compiler {
    pub fn new(upstreams: Arc<Upstreams>, statics: Arc<Statics>) -> Arc<Self> {
        Arc::new(Self {
            upstreams,
            statics,
            servers: Default::default(),
            templates: Mutex::default(),
            merged: Known::default(),
        })
    }

    /// Peer terms for a cluster under these settings, shared by all rules that agree on them.
    pub(super) fn template(&self, cluster: &Arc<Cluster>, effective: &Effective) -> Result<Arc<Template>, String> {
        // Identities cannot be reused while the template lives: it holds what they point to.
        let shape = SHAPING.map(|kind| effective.part(kind).map_or(0, |part| Arc::as_ptr(part) as usize));
        let key = (cluster.id(), shape);
        if let Some(template) = self.templates.lock().get(&key).and_then(Weak::upgrade) {
            return Ok(template);
        }
        let template = Arc::new(Template::compile(cluster, effective, &self.statics)?);
        let mut templates = self.templates.lock();
        if templates.len() >= TEMPLATES_SWEEP && templates.len().is_power_of_two() {
            templates.retain(|_, held| held.strong_count() > 0);
        }
        templates.insert(key, Arc::downgrade(&template));
        Ok(template)
    }
}

impl Plan {
    /// The empty plan of a new process.
    pub fn empty(compiler: Arc<Compiler>) -> Self {
        Self {
            generation: 0,
            epoch: 0,
            snapshot: Snapshot::default(),
            binds: Default::default(),
            groups: Default::default(),
            levels: Default::default(),
            clusters: Default::default(),
            gateways: Default::default(),
            slots: Default::default(),
            failed: Default::default(),
            compiler,
        }
    }

    /// The plan after `patch`. Cannot fail: what is wrong harms only the object itself.
    #[must_use]
    pub fn with(&self, patch: &Patch) -> Self {
        let mut work =
            Work { plan: self.clone(), before: &self.snapshot, touched: HashMap::new(), relisted: HashMap::new() };
        work.plan.generation += 1;
        work.plan.snapshot = self.snapshot.with(patch);
        work.policies(patch);
        work.backends(patch);
        work.listeners(patch);
        work.routes(patch);
        work.binds(patch);
        work.plan
    }
}

/// A plan in the making. Listeners are forked once, when first touched.
struct Work<'a> {
    plan: Plan,
    before: &'a Snapshot,
    touched: HashMap<ListenerKey, ListenerPlan>,
    /// Binds with listeners that came, changed or went, and the host names of those.
    relisted: HashMap<BindKey, Vec<Hostname>>,
}

impl Work<'_> {
    fn policies(&mut self, patch: &Patch) {
        let mut targets: Vec<Target> = Vec::new();
        for change in patch.changes() {
            let Change::Policy(key, after) = change else { continue };
            let before = self.before.policies.get(key);
            for it in before.into_iter().chain(after.iter()) {
                targets.push(it.target.clone());
            }
            let plan = &mut self.plan;
            if let Some(before) = before {
                plan.levels = without(std::mem::take(&mut plan.levels), before);
            }
            if let Some(after) = after {
                let mut level: Vec<_> = plan.levels.get(&after.target).map(|level| level.to_vec()).unwrap_or_default();
                let rank = |it: &filters::Attachment| (it.order, it.key.clone());
                let at = level.partition_point(|held| rank(held) < rank(after));
                level.insert(at, after.clone());
                plan.levels.insert(after.target.clone(), level.into());
            }
        }
        if targets.is_empty() {
            return;
        }
        self.plan.epoch += 1;
        for target in targets {
            self.set_health(&target);
        }
    }

    /// Active checks and ejection belong to the backend, not to each rule that names it.
    fn set_health(&self, target: &Target) {
        let set = |it: &BackendRef| {
            if let Some(cluster) = self.plan.clusters.get(it) {
                check_health(&self.plan, it, cluster);
            }
        };
        match target {
            Target::Backend(key) => set(&BackendRef::Backend(key.clone())),
            Target::Service { service, .. } => {
                for port in self.plan.snapshot.services.get(service).iter().flat_map(|it| it.ports.keys()) {
                    set(&BackendRef::Service { service: service.clone(), port: *port });
                }
            }
            _ => {}
        }
    }

    fn backends(&mut self, patch: &Patch) {
        let mut changed: Vec<BackendRef> = Vec::new();
        for change in patch.changes() {
            match change {
                Change::Backend(key, _) => changed.push(BackendRef::Backend(key.clone())),
                Change::Service(key, after) => {
                    let before = self.before.services.get(key);
                    for port in before.into_iter().chain(after.iter()).flat_map(|it| it.ports.keys()) {
                        changed.push(BackendRef::Service { service: key.clone(), port: *port });
                    }
                }
                _ => {}
            }
        }
        let compiler = self.plan.compiler.clone();
        compiler.upstreams.update(&self.plan.snapshot, patch.changes().iter());
        if changed.is_empty() {
            return;
        }
        self.plan.epoch += 1;
        for it in changed {
            match compiler.upstreams.cluster(&it, &self.plan.snapshot) {
                Ok(cluster) => {
                    check_health(&self.plan, &it, &cluster);
                    self.plan.clusters.insert(it, cluster);
                }
                Err(_) => {
                    self.plan.clusters.remove(&it);
                }
            }
        }
    }

    fn routes(&mut self, patch: &Patch) {
        for change in patch.changes() {
            match change {
                Change::Route(key, after) => {
                    if let Some(before) = self.before.routes.get(key).cloned() {
                        self.hang(&before, false);
                    }
                    if let Some(after) = after {
                        self.hang(after, true);
                    }
                }
                Change::TcpRoute(key, after) => {
                    if let Some(before) = self.before.tcp_routes.get(key).cloned() {
                        self.hang_tcp(&before, false);
                    }
                    if let Some(after) = after {
                        self.hang_tcp(after, true);
                    }
                }
                _ => {}
            }
        }
    }

    fn hang(&mut self, route: &Arc<ir::Route>, add: bool) {
        let entry = Arc::new(Entry::new(route.clone()));
        for parent in &route.parents {
            if let Parent::Group(name) = parent {
                let mut router = self.plan.groups.get(name).map(|it| (**it).clone()).unwrap_or_default();
                alter(&mut router, &entry, &Hostname::Any, add);
                if router.is_empty() {
                    self.plan.groups.remove(name);
                } else {
                    self.plan.groups.insert(name.clone(), Arc::new(router));
                }
                continue;
            }
            for key in self.listeners_of(parent, true) {
                if let Some(next) = self.touch(&key) {
                    let hostname = next.listener.hostname.clone();
                    // Caches hold what the listener gave them: one entry for each listener.
                    alter(&mut next.router, &Arc::new(Entry::new(route.clone())), &hostname, add);
                }
            }
        }
    }

    fn hang_tcp(&mut self, route: &Arc<ir::TcpRoute>, add: bool) {
        for parent in &route.parents {
            for key in self.listeners_of(parent, false) {
                if let Some(next) = self.touch(&key) {
                    next.alter_tcp(route, add);
                }
            }
        }
    }

    fn listeners_of(&self, parent: &Parent, http: bool) -> Vec<ListenerKey> {
        let of_kind = |key: &ListenerKey| {
            self.plan.snapshot.listeners.get(key).filter(|it| it.protocol.is_http() == http).cloned()
        };
        match parent {
            Parent::Listener(key) => of_kind(key).map(|it| it.key.clone()).into_iter().collect(),
            Parent::Gateway { gateway, listener } => self
                .plan
                .gateways
                .get(gateway)
                .into_iter()
                .flat_map(|keys| keys.iter())
                .filter_map(of_kind)
                .filter(|it| listener.as_ref().is_none_or(|name| *name == it.name))
                .map(|it| it.key.clone())
                .collect(),
            Parent::Group(_) => Vec::new(),
        }
    }

    /// A listener in the making, forked from the one in force when first asked for.
    fn touch(&mut self, key: &ListenerKey) -> Option<&mut ListenerPlan> {
        if !self.touched.contains_key(key) {
            let fork = find_listener(&self.plan, self.plan.snapshot.listeners.get(key)?)?.fork();
            self.touched.insert(key.clone(), fork);
        }
        self.touched.get_mut(key)
    }

    /// Rebuilds the binds whose listeners or terms changed.
    fn binds(&mut self, patch: &Patch) {
        let mut dirty: Vec<BindKey> = Vec::new();
        for change in patch.changes() {
            match change {
                Change::Bind(key, after) => {
                    if after.is_none() {
                        self.plan.binds.remove(key);
                    }
                    dirty.push(key.clone());
                }
                Change::Policy(key, after) => {
                    let before = self.before.policies.get(key);
                    if before.into_iter().chain(after.iter()).any(|it| shapes_terms(it)) {
                        dirty.extend(self.plan.snapshot.binds.keys().cloned());
                    }
                }
                _ => {}
            }
        }
        dirty.extend(self.relisted.keys().cloned());
        dirty.extend(self.touched.values().map(|it| it.listener.bind.clone()));
        dirty.sort();
        dirty.dedup();
        let touched = std::mem::take(&mut self.touched);
        let mut touched: HashMap<_, _> = touched.into_iter().map(|(key, it)| (key, Arc::new(it))).collect();
        for key in dirty {
            self.bind(&key, &mut touched);
        }
    }

    fn bind(&mut self, key: &BindKey, touched: &mut HashMap<ListenerKey, Arc<ListenerPlan>>) {
        let Some(bind) = self.plan.snapshot.binds.get(key).cloned() else { return };
        let held = self.plan.binds.get(key);
        let mut listeners: HostMap<Arc<ListenerPlan>> = held.map(|it| it.listeners.clone()).unwrap_or_default();
        let relisted = self.relisted.get(key);
        let transport = held.map(|it| it.transport).filter(|_| relisted.is_none());
        for hostname in relisted.into_iter().flatten().filter(|it| self.first_of(key, it).is_none()) {
            listeners.remove(hostname);
        }
        let ours: Vec<_> =
            touched.iter().filter(|(_, it)| it.listener.bind == *key).map(|(key, _)| key.clone()).collect();
        for it in ours.iter().filter_map(|key| touched.remove(key)) {
            listeners.insert(&it.listener.hostname.clone(), it);
        }
        let transport = transport.unwrap_or_else(|| BindPlan::transport_of(&listeners));
        let terms = listeners
            .values()
            .next()
            .map(|it| it.scope(&self.plan).as_ref().map(|scope| scope.terms()).unwrap_or_default())
            .unwrap_or_default();
        let next = BindPlan { bind, transport, terms: Arc::new(terms), listeners };
        self.plan.binds.insert(key.clone(), Arc::new(next));
    }
}

fn alter(router: &mut Router, entry: &Arc<Entry>, fallback: &Hostname, add: bool) {
    if add {
        router.insert(entry, fallback);
    } else {
        router.remove(entry, fallback);
    }
}

/// Starts or ends the active checks of a backend, under its own policies alone.
fn check_health(plan: &Plan, it: &BackendRef, cluster: &Arc<Cluster>) {
    let effective = plan.backend_effective(it);
    if let Ok(template) = plan.template(cluster, &effective) {
        cluster.set_health(effective.health().cloned().map(Arc::new), &template);
    }
}

fn without(mut levels: ir::Map<Target, Level>, gone: &filters::Attachment) -> ir::Map<Target, Level> {
    if let Some(level) = levels.get(&gone.target) {
        let rest: Vec<_> = level.iter().filter(|it| it.key != gone.key).cloned().collect();
        if rest.is_empty() {
            levels.remove(&gone.target);
        } else {
            levels.insert(gone.target.clone(), rest.into());
        }
    }
    levels
}

/// A listener as compiled, which the snapshot it was compiled from describes as `listener`.
fn find_listener(plan: &Plan, listener: &ir::Listener) -> Option<Arc<ListenerPlan>> {
    let found = plan.binds.get(&listener.bind)?.listeners.get(&listener.hostname)?;
    (found.listener.key == listener.key).then(|| found.clone())
}

/// Whether a policy is among the terms of connections.
fn shapes_terms(it: &filters::Attachment) -> bool {
    matches!(
        it.policy.kind(),
        Kind::FrontendHttp
            | Kind::FrontendTcp
            | Kind::FrontendTls
            | Kind::ProxyProtocol
            | Kind::IpAccess
            | Kind::NetworkAuthorization
            | Kind::NetworkExtAuthz
    ) && !matches!(it.target, Target::Route(_) | Target::RouteRule { .. } | Target::Rule(_))
}
