//! What a change leaves as it is: the same objects, not equal ones.

use ir::{Service, ServiceKey, Workload};

use super::*;

fn service() -> Change {
    let it = Service {
        key: ServiceKey::new("default/s"),
        namespace: "default".into(),
        name: "s".into(),
        hostname: "s".into(),
        ports: [(80, 0)].into(),
        app_protocols: BTreeMap::new(),
        load_balancer: Default::default(),
        origin: Origin::default(),
    };
    Change::Service(it.key.clone(), Some(Arc::new(it)))
}

fn workload(uid: &str, port: u16) -> Change {
    let it = Workload {
        uid: uid.into(),
        name: uid.into(),
        namespace: "default".into(),
        addresses: vec![[127, 0, 0, 1].into()],
        hostname: "".into(),
        locality: Default::default(),
        network: "".into(),
        cluster: "".into(),
        node: "".into(),
        capacity: 1,
        healthy: true,
        services: [(ServiceKey::new("default/s"), [(80, port)].into())].into(),
        origin: Origin::default(),
    };
    Change::Workload(it.uid.clone(), Some(Arc::new(it)))
}

/// A route of one listener only.
fn route_at(listener: &str, name: &str) -> Change {
    let Change::Route(key, Some(it)) = route(0, &format!("{name} - /{name}")) else { unreachable!("a route") };
    let parents = vec![Parent::Listener(ListenerKey::new(format!("bind/1/{listener}")))];
    Change::Route(key, Some(Arc::new(Route { parents, ..Route::clone(&it) })))
}

fn plan() -> Plan {
    let some = [bind(), listener("l", "*"), listener("m", "*.x.y"), backend(), service(), workload("w", 1)];
    let routes = (0..50).map(|at| route_at("l", &format!("r{at}")));
    empty().with(&some.into_iter().chain(routes).collect())
}

fn with(plan: &Plan, changes: impl IntoIterator<Item = Change>) -> Plan {
    plan.with(&changes.into_iter().collect())
}

fn bind_of(plan: &Plan) -> &Arc<super::super::BindPlan> {
    plan.bind(&BindKey::new("bind/1")).expect("the bind")
}

#[test]
fn endpoints_that_come_and_go_rebuild_no_bind_no_listener_and_no_route() {
    let before = plan();
    for changes in [
        vec![workload("w", 2)],
        vec![workload("new", 3), workload("other", 4)],
        vec![Change::Workload("w".into(), None)],
    ] {
        let after = with(&before, changes);
        assert!(Arc::ptr_eq(bind_of(&before), bind_of(&after)), "the bind is the same object, with all that is in it");
        assert_eq!(before.epoch, after.epoch, "and what was merged stays merged");
    }
}

#[test]
fn a_route_rebuilds_its_own_listener_and_none_beside_it() {
    let before = plan();
    let after = with(&before, [route_at("m", "new")]);
    let listener = |plan: &Plan, host: &str| bind_of(plan).listener(Some(host)).expect("a listener").clone();
    assert!(Arc::ptr_eq(&listener(&before, "other"), &listener(&after, "other")));
    assert!(!Arc::ptr_eq(&listener(&before, "a.x.y"), &listener(&after, "a.x.y")));
}

#[test]
fn a_policy_of_the_gateway_rebuilds_nothing() {
    let before = plan();
    let on_gateway = Target::Gateway { gateway: gateway(), port: None };
    let after = with(&before, [policy("g", on_gateway, 5)]);
    assert!(Arc::ptr_eq(bind_of(&before), bind_of(&after)), "routes are not touched, however many there are");
}

#[test]
fn a_bind_that_comes_last_takes_the_listeners_and_routes_that_name_it() {
    let all = [listener("l", "*"), route(0, "a - /a"), backend(), bind()];
    let mut step = empty();
    for change in all {
        step = with(&step, [change]);
    }
    assert_eq!(find(&step, "h", "/a", &Method::GET).map(|(name, _)| name).as_deref(), Some("a"));
    // And again, when it was away.
    let step = with(&with(&step, [Change::Bind(BindKey::new("bind/1"), None)]), [route(0, "b - /b")]);
    let step = with(&step, [bind()]);
    for path in ["/a", "/b"] {
        assert!(find(&step, "h", path, &Method::GET).is_some(), "{path}");
    }
}
