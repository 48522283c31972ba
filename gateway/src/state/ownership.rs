//! Whose an object is, where the document and the control plane both know its key: the document's, whoever came
//! first. The control plane's waits aside, is named in the refusal and in status, and serves when the document lets go
//! of the key. So the outcome never depends on the order of arrival.

use std::collections::BTreeMap;

use filters::{Change, Patch, Snapshot};
use ir::Origin;
use xds::Refusal;
use xds::codec::Name;

/// What of the control plane's objects waits.
#[derive(Default)]
pub(super) struct Ownership {
    aside: BTreeMap<Name, Change>,
    /// The control plane has spoken: until then everything is the document's.
    shared: bool,
}

impl Ownership {
    /// What a patch of the document comes to; `None` for the patch as it is.
    pub(super) fn document(&mut self, snapshot: &Snapshot, patch: &Patch) -> Option<Patch> {
        if !self.shared {
            return None;
        }
        let mut next = Patch::default();
        for change in patch.changes() {
            let name = Name::of(change);
            let held = current(snapshot, change).filter(|it| origin(it).is_some_and(xds::is_ours));
            match (origin(change), held) {
                (Some(_), Some(held)) => {
                    self.aside.insert(name, held);
                    next.push(change.clone());
                }
                (Some(_), None) => next.push(change.clone()),
                (None, Some(_)) => {}
                (None, None) => next.push(self.aside.remove(&name).unwrap_or_else(|| change.clone())),
            }
        }
        Some(next)
    }

    /// What a patch of the control plane comes to, and what of it waits.
    pub(super) fn control_plane(&mut self, snapshot: &Snapshot, patch: Patch) -> (Patch, Vec<Refusal>) {
        self.shared = true;
        let (mut next, mut waiting) = (Patch::default(), Vec::new());
        for change in patch.changes() {
            let local = current(snapshot, change).filter(|it| origin(it).is_some_and(|it| !xds::is_ours(it)));
            let Some(local) = local else {
                next.push(change.clone());
                continue;
            };
            let name = Name::of(change);
            if origin(change).is_none() {
                self.aside.remove(&name);
                continue;
            }
            waiting.push(refusal(&name, &local));
            self.aside.insert(name, change.clone());
        }
        (next, waiting)
    }

    /// What waits.
    pub(super) fn aside(&self) -> impl Iterator<Item = &Change> {
        self.aside.values()
    }

    /// What waits, and for whom.
    pub(super) fn waiting(&self, snapshot: &Snapshot) -> Vec<Refusal> {
        let why = |(name, change): (&Name, &Change)| Some(refusal(name, &current(snapshot, change)?));
        self.aside.iter().filter_map(why).collect()
    }
}

fn refusal(name: &Name, local: &Change) -> Refusal {
    let place = origin(local).map(|it| {
        let part = |it: &Option<ir::Text>| it.as_deref().unwrap_or_default().to_owned();
        format!(" ({} {})", part(&it.source), part(&it.path))
    });
    let place = place.unwrap_or_default();
    Refusal::new(
        name.to_string(),
        format!("the document of this gateway has an object of this key{place}, which serves"),
    )
}

/// The object of the same key that is in force.
fn current(snapshot: &Snapshot, change: &Change) -> Option<Change> {
    Some(match change {
        Change::Bind(key, _) => Change::Bind(key.clone(), Some(snapshot.binds.get(key)?.clone())),
        Change::Listener(key, _) => Change::Listener(key.clone(), Some(snapshot.listeners.get(key)?.clone())),
        Change::Route(key, _) => Change::Route(key.clone(), Some(snapshot.routes.get(key)?.clone())),
        Change::TcpRoute(key, _) => Change::TcpRoute(key.clone(), Some(snapshot.tcp_routes.get(key)?.clone())),
        Change::RouteGroup(key, _) => Change::RouteGroup(key.clone(), Some(snapshot.route_groups.get(key)?.clone())),
        Change::Backend(key, _) => Change::Backend(key.clone(), Some(snapshot.backends.get(key)?.clone())),
        Change::Service(key, _) => Change::Service(key.clone(), Some(snapshot.services.get(key)?.clone())),
        Change::Workload(key, _) => Change::Workload(key.clone(), Some(snapshot.workloads.get(key)?.clone())),
        Change::Policy(key, _) => Change::Policy(key.clone(), Some(snapshot.policies.get(key)?.clone())),
    })
}

/// Where the object of a change comes from; `None` for a removal.
fn origin(change: &Change) -> Option<&Origin> {
    Some(match change {
        Change::Bind(_, it) => &it.as_ref()?.origin,
        Change::Listener(_, it) => &it.as_ref()?.origin,
        Change::Route(_, it) => &it.as_ref()?.origin,
        Change::TcpRoute(_, it) => &it.as_ref()?.origin,
        Change::RouteGroup(_, it) => &it.as_ref()?.origin,
        Change::Backend(_, it) => &it.as_ref()?.origin,
        Change::Service(_, it) => &it.as_ref()?.origin,
        Change::Workload(_, it) => &it.as_ref()?.origin,
        Change::Policy(_, it) => &it.as_ref()?.origin,
    })
}

/// What of a snapshot is the control plane's.
pub(super) fn control_plane_of(snapshot: &Snapshot) -> impl Iterator<Item = Change> + '_ {
    let Snapshot { binds, listeners, routes, tcp_routes, route_groups, backends, services, workloads, policies } =
        snapshot;
    let binds = binds.iter().map(|(key, it)| Change::Bind(key.clone(), Some(it.clone())));
    let listeners = listeners.iter().map(|(key, it)| Change::Listener(key.clone(), Some(it.clone())));
    let routes = routes.iter().map(|(key, it)| Change::Route(key.clone(), Some(it.clone())));
    let tcp_routes = tcp_routes.iter().map(|(key, it)| Change::TcpRoute(key.clone(), Some(it.clone())));
    let route_groups = route_groups.iter().map(|(key, it)| Change::RouteGroup(key.clone(), Some(it.clone())));
    let backends = backends.iter().map(|(key, it)| Change::Backend(key.clone(), Some(it.clone())));
    let services = services.iter().map(|(key, it)| Change::Service(key.clone(), Some(it.clone())));
    let workloads = workloads.iter().map(|(key, it)| Change::Workload(key.clone(), Some(it.clone())));
    let policies = policies.iter().map(|(key, it)| Change::Policy(key.clone(), Some(it.clone())));
    let all =
        binds.chain(listeners).chain(routes).chain(tcp_routes).chain(route_groups).chain(backends).chain(services);
    all.chain(workloads).chain(policies).filter(|it| origin(it).is_some_and(xds::is_ours))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ir::{Backend, BackendKey, BackendKind, HostTarget};

    use super::*;

    fn backend(source: &str, host: &str) -> Change {
        let kind = BackendKind::Host(HostTarget::parse(host).unwrap());
        let origin = Origin { source: Some(source.into()), path: Some("backends[0]".into()) };
        let it = Backend { key: BackendKey::new("b"), kind, origin };
        Change::Backend(it.key.clone(), Some(Arc::new(it)))
    }

    fn gone() -> Change {
        Change::Backend(BackendKey::new("b"), None)
    }

    /// Who says it: the document, or the control plane.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Said {
        Document,
        ControlPlane,
    }

    /// What serves in the end, and what waits.
    fn after(steps: &[(Said, Change)]) -> (Option<String>, usize) {
        let (mut snapshot, mut ownership) = (Snapshot::default(), Ownership::default());
        for (who, change) in steps {
            let patch: Patch = [change.clone()].into_iter().collect();
            let patch = match who {
                Said::Document => ownership.document(&snapshot, &patch).unwrap_or(patch),
                Said::ControlPlane => ownership.control_plane(&snapshot, patch).0,
            };
            snapshot = snapshot.with(&patch);
        }
        let serving = snapshot.backends.get(&BackendKey::new("b")).map(|it| format!("{:?}", it.kind));
        (serving.map(|it| if it.contains("local") { "local".into() } else { it }), ownership.aside.len())
    }

    #[test]
    fn the_document_wins_whoever_comes_first_and_the_other_serves_afterwards() {
        use Said::{ControlPlane, Document};
        let (local, remote) = (|| backend("config.yaml", "local:1"), || backend("xds", "remote:1"));
        let document = Some("local".to_owned());
        for steps in
            [vec![(Document, local()), (ControlPlane, remote())], vec![(ControlPlane, remote()), (Document, local())]]
        {
            assert_eq!(after(&steps), (document.clone(), 1));
            let then = |more: &[(Said, Change)]| after(&[&steps[..], more].concat());
            let (serving, waiting) = then(&[(Document, gone())]);
            assert!(serving.is_some_and(|it| it.contains("remote")) && waiting == 0);
            assert_eq!(then(&[(ControlPlane, gone())]), (document.clone(), 0));
            assert_eq!(then(&[(ControlPlane, gone()), (Document, gone())]), (None, 0));
            assert_eq!(then(&[(Document, gone()), (ControlPlane, gone())]), (None, 0));
            assert_eq!(then(&[(ControlPlane, remote()), (Document, local())]), (document.clone(), 1));
        }
        let (serving, _) = after(&[(ControlPlane, remote()), (Document, gone())]);
        assert!(serving.is_some(), "the document cannot remove what is not its own");
    }

    #[test]
    fn a_refusal_names_the_object_that_serves() {
        let snapshot = Snapshot::default().with(&[backend("config.yaml", "local:1")].into_iter().collect());
        let mut ownership = Ownership::default();
        let (patch, refused) = ownership.control_plane(&snapshot, [backend("xds", "remote:1")].into_iter().collect());
        assert!(patch.is_empty());
        assert_eq!(refused[0].name, "backend/b");
        assert!(refused[0].reason.contains("config.yaml backends[0]"), "{refused:?}");
        assert_eq!(ownership.waiting(&snapshot), refused);
    }
}
