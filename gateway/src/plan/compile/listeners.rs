//! Listeners of a plan in the making: whose a host name is, which routes they have, their TLS.
//!
//! Of several listeners with one host name on one bind the one with the first key serves, whatever the order of
//! arrival; the others are told as failed, and the next serves when it goes.

use std::hash::Hash;
use std::sync::Arc;

use filters::{Change, Kind, Patch};
use ir::{BindKey, Hostname, ListenerKey, Map};

use super::super::entry::Entry;
use super::super::listener::{ListenerPlan, hangs_on};
use super::{Work, find_listener};

impl Work<'_> {
    pub(super) fn listeners(&mut self, patch: &Patch) {
        let mut changed = Vec::new();
        for change in patch.changes() {
            let Change::Listener(key, after) = change else { continue };
            if let Some(before) = self.before.listeners.get(key).cloned() {
                self.register(&before, false);
            }
            match after {
                Some(after) => {
                    self.register(after, true);
                    changed.push(after);
                }
                None => drop(self.plan.failed.remove(key)),
            }
        }
        for after in changed {
            self.compile(after);
        }
        self.seat();
        self.adopt(patch);
        self.terminate(patch);
    }

    /// A changed listener, with the routes that it has, or has now.
    fn compile(&mut self, after: &Arc<ir::Listener>) {
        let before = self.before.listeners.get(&after.key);
        let same_routes = before.is_some_and(|before| {
            (&before.hostname, &before.gateway, &before.name, before.protocol.is_http())
                == (&after.hostname, &after.gateway, &after.name, after.protocol.is_http())
        });
        if self.first_of(&after.bind, &after.hostname) != Some(&after.key) {
            return;
        }
        let held = before.filter(|_| same_routes).and_then(|before| find_listener(&self.plan, before));
        let mut next = ListenerPlan::new(after.clone(), None);
        match held {
            Some(held) => {
                next.router = held.router.clone();
                next.tcp = held.tcp.clone();
            }
            None => self.fill(&mut next),
        }
        self.touched.insert(after.key.clone(), next);
    }

    /// The listener that has a host name on a bind.
    pub(super) fn first_of(&self, bind: &BindKey, hostname: &Hostname) -> Option<&ListenerKey> {
        self.plan.slots.get(&(bind.clone(), hostname.clone()))?.first()
    }

    /// Host names that changed hands: the first of those that want one serves, the others are told why not.
    fn seat(&mut self) {
        let relisted = self.relisted.iter();
        let slots: Vec<_> =
            relisted.flat_map(|(bind, names)| names.iter().map(|it| (bind.clone(), it.clone()))).collect();
        for slot in slots {
            let Some(keys) = self.plan.slots.get(&slot).cloned() else { continue };
            let Some((first, others)) = keys.split_first() else { continue };
            let (_, hostname) = &slot;
            for it in others {
                let reason = format!("listener `{first}` has the host name `{hostname}` on this bind, and serves");
                self.plan.failed.insert(it.clone(), reason.into());
            }
            let Some(listener) = self.plan.snapshot.listeners.get(first).cloned() else { continue };
            if !self.touched.contains_key(first) && find_listener(&self.plan, &listener).is_none() {
                let mut next = ListenerPlan::new(listener, None);
                self.fill(&mut next);
                self.touched.insert(first.clone(), next);
            }
        }
    }

    /// A new bind takes the listeners that already name it.
    fn adopt(&mut self, patch: &Patch) {
        for change in patch.changes() {
            let Change::Bind(key, Some(_)) = change else { continue };
            if self.plan.binds.contains_key(key) {
                continue;
            }
            let waiting = self.plan.snapshot.listeners.values().filter(|it| it.bind == *key);
            let serves = |it: &ir::Listener| self.first_of(&it.bind, &it.hostname) == Some(&it.key);
            let waiting = waiting.filter(|it| serves(it) && !self.touched.contains_key(&it.key));
            let waiting: Vec<_> = waiting.cloned().collect();
            for listener in waiting {
                let mut next = ListenerPlan::new(listener.clone(), None);
                self.fill(&mut next);
                self.touched.insert(listener.key.clone(), next);
            }
        }
    }

    /// A new listener takes the routes that already name it.
    fn fill(&self, next: &mut ListenerPlan) {
        let listener = next.listener.clone();
        if listener.protocol.is_http() {
            for route in self.before.routes.values() {
                if route.parents.iter().any(|it| hangs_on(it, &listener)) {
                    next.router.insert(&Arc::new(Entry::new(route.clone())), &listener.hostname);
                }
            }
        } else {
            for route in self.before.tcp_routes.values() {
                if route.parents.iter().any(|it| hangs_on(it, &listener)) {
                    next.alter_tcp(route, true);
                }
            }
        }
    }

    /// Enters a listener where it is looked for, or takes it out.
    fn register(&mut self, listener: &ir::Listener, add: bool) {
        list(&mut self.plan.gateways, listener.gateway.clone(), &listener.key, add);
        let slot = (listener.bind.clone(), listener.hostname.clone());
        list(&mut self.plan.slots, slot, &listener.key, add);
        let names = self.relisted.entry(listener.bind.clone()).or_default();
        if !names.contains(&listener.hostname) {
            names.push(listener.hostname.clone());
        }
    }

    /// TLS terms: of changed listeners, and of all when a frontend policy changed them.
    fn terminate(&mut self, patch: &Patch) {
        let frontend = |it: &filters::Attachment| it.policy.kind() == Kind::FrontendTls;
        let all = patch.changes().iter().any(|change| match change {
            Change::Policy(key, after) => {
                after.as_deref().is_some_and(frontend) || self.before.policies.get(key).is_some_and(|it| frontend(it))
            }
            _ => false,
        });
        if all {
            let keys: Vec<_> = self.plan.snapshot.listeners.keys().cloned().collect();
            for key in keys {
                self.touch(&key);
            }
        }
        let keys: Vec<_> = self.touched.keys().cloned().collect();
        for key in keys {
            let Some(next) = self.touched.get(&key) else { continue };
            let Some(terms) = next.listener.tls.clone() else {
                self.plan.failed.remove(&key);
                continue;
            };
            let scope = next.scope(&self.plan);
            let frontend = scope.as_ref().map(|it| it.terms().tls).unwrap_or_default();
            drop(scope);
            let built = crate::listen::server_config(&terms, &frontend);
            let Some(next) = self.touched.get_mut(&key) else { continue };
            match built {
                Ok(config) => {
                    next.tls = Some(config);
                    self.plan.failed.remove(&key);
                }
                Err(reason) => {
                    next.tls = None;
                    self.plan.failed.insert(key, reason.into());
                }
            }
        }
    }
}

/// Enters a key among those of an index, in order, or takes it out.
fn list<K: Clone + Eq + Hash>(index: &mut Map<K, Arc<Vec<ListenerKey>>>, place: K, key: &ListenerKey, add: bool) {
    let mut keys = index.remove(&place).unwrap_or_default();
    let held = Arc::make_mut(&mut keys);
    match held.binary_search(key) {
        Ok(at) if !add => drop(held.remove(at)),
        Err(at) if add => held.insert(at, key.clone()),
        _ => {}
    }
    if !keys.is_empty() {
        index.insert(place, keys);
    }
}
