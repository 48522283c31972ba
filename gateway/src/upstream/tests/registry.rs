//! Which endpoints a cluster has, and what survives a change of configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use filters::{Change, Patch, Snapshot};
use ir::backend::{LoadBalancer, Locality, LocalityMode, Scope};
use ir::{Backend, BackendKey, BackendKind, BackendRef, HostTarget, Service, ServiceKey, Workload};

use super::fixture::{Fixed, statics, upstreams};
use crate::upstream::dns::{Resolve, System};
use crate::upstream::{AppProtocol, PickFault, Upstreams};

fn service(balancer: LoadBalancer) -> Change {
    let key = ServiceKey::new("ns/a");
    let service = Service {
        key: key.clone(),
        namespace: "ns".into(),
        name: "a".into(),
        hostname: "a.ns.svc".into(),
        ports: BTreeMap::from([(80, 8080)]),
        app_protocols: BTreeMap::from([(80, "grpc".into())]),
        load_balancer: balancer,
        origin: Default::default(),
    };
    Change::Service(key, Some(Arc::new(service)))
}

fn workload(ip: &str, zone: &str) -> Workload {
    Workload {
        uid: ip.into(),
        name: ip.into(),
        namespace: "ns".into(),
        addresses: vec![ip.parse().unwrap()],
        hostname: "".into(),
        locality: Locality { region: "r1".into(), zone: zone.into(), subzone: "".into() },
        network: "".into(),
        cluster: "".into(),
        node: "".into(),
        capacity: 1,
        healthy: true,
        services: BTreeMap::from([(ServiceKey::new("ns/a"), BTreeMap::new())]),
        origin: Default::default(),
    }
}

fn put(workload: Workload) -> Change {
    Change::Workload(workload.uid.clone(), Some(Arc::new(workload)))
}

fn backend(target: &str) -> Change {
    let key = BackendKey::new("b");
    let kind = BackendKind::Host(HostTarget::parse(target).unwrap());
    Change::Backend(key.clone(), Some(Arc::new(Backend { key, kind, origin: Default::default() })))
}

fn apply(upstreams: &Upstreams, snapshot: &mut Snapshot, changes: Vec<Change>) {
    let patch: Patch = changes.into_iter().collect();
    *snapshot = snapshot.with(&patch);
    upstreams.update(snapshot, patch.changes().iter());
}

fn reference() -> BackendRef {
    BackendRef::Service { service: ServiceKey::new("ns/a"), port: 80 }
}

/// Addresses that are drawn, sorted.
fn drawn(upstreams: &Upstreams, snapshot: &Snapshot, reference: &BackendRef) -> Vec<String> {
    let cluster = upstreams.cluster(reference, snapshot).unwrap();
    let mut seen: Vec<String> = (0..300)
        .filter_map(|_| cluster.pick(&[], None, None).ok())
        .map(|lease| lease.endpoint_text().to_string())
        .collect();
    seen.sort();
    seen.dedup();
    seen
}

#[test]
fn endpoints_follow_services_and_workloads_and_keep_their_state() {
    let (upstreams, mut snapshot) = (upstreams(), Snapshot::default());
    apply(&upstreams, &mut snapshot, vec![service(LoadBalancer::default()), put(workload("10.0.0.1", "z1"))]);
    let cluster = upstreams.cluster(&reference(), &snapshot).unwrap();
    assert_eq!((cluster.protocol(), cluster.host().as_deref()), (AppProtocol::Http2, Some("a.ns.svc")));
    let first = cluster.pick(&[], None, None).unwrap().id();
    apply(&upstreams, &mut snapshot, vec![put(workload("10.0.0.2", "z2"))]);
    assert_eq!(drawn(&upstreams, &snapshot, &reference()), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    let drained = Workload { capacity: 0, ..workload("10.0.0.2", "z2") };
    apply(&upstreams, &mut snapshot, vec![put(drained)]);
    assert_eq!(cluster.pick(&[], None, None).unwrap().id(), first, "the same endpoint, not a new one");
    let unfit = Workload { healthy: false, ..workload("10.0.0.1", "z1") };
    apply(&upstreams, &mut snapshot, vec![put(unfit)]);
    assert_eq!(cluster.pick(&[], None, None).unwrap_err(), PickFault::NoEndpoint);
    apply(&upstreams, &mut snapshot, vec![Change::Workload("10.0.0.1".into(), None)]);
    apply(&upstreams, &mut snapshot, vec![Change::Workload("10.0.0.2".into(), None)]);
    assert!(cluster.pick(&[], None, None).unwrap_err().to_string().contains("no endpoints"));
    assert!(Arc::ptr_eq(&cluster, &upstreams.cluster(&reference(), &snapshot).unwrap()));
}

#[test]
fn locality_ranks_filter_and_order_endpoints() {
    let modes = [
        (LocalityMode::Standard, vec!["10.0.0.1:8080", "10.0.0.2:8080"]),
        (LocalityMode::Failover, vec!["10.0.0.1:8080"]),
        (LocalityMode::Strict, vec!["10.0.0.1:8080"]),
    ];
    for (mode, expected) in modes {
        let (upstreams, mut snapshot) = (upstreams(), Snapshot::default());
        let balancer =
            LoadBalancer { routing_preferences: vec![Scope::Region, Scope::Zone], mode, allow_unhealthy: false };
        let near_and_far = vec![service(balancer), put(workload("10.0.0.1", "z1")), put(workload("10.0.0.2", "z2"))];
        apply(&upstreams, &mut snapshot, near_and_far);
        assert_eq!(drawn(&upstreams, &snapshot, &reference()), expected, "{mode:?}");
        apply(&upstreams, &mut snapshot, vec![Change::Workload("10.0.0.1".into(), None)]);
        let far = drawn(&upstreams, &snapshot, &reference());
        assert_eq!(far.is_empty(), mode == LocalityMode::Strict, "{mode:?} without a near endpoint: {far:?}");
    }
}

#[test]
fn a_backend_that_moves_keeps_its_cluster() {
    let (upstreams, mut snapshot) = (upstreams(), Snapshot::default());
    let reference = BackendRef::Backend(BackendKey::new("b"));
    apply(&upstreams, &mut snapshot, vec![backend("10.0.0.1:80")]);
    let cluster = upstreams.cluster(&reference, &snapshot).unwrap();
    apply(&upstreams, &mut snapshot, vec![backend("10.0.0.2:80")]);
    assert!(Arc::ptr_eq(&cluster, &upstreams.cluster(&reference, &snapshot).unwrap()));
    assert_eq!(drawn(&upstreams, &snapshot, &reference), ["10.0.0.2:80"]);
}

#[test]
fn a_broken_reference_says_what_is_broken() {
    let (upstreams, snapshot) = (upstreams(), Snapshot::default());
    let cases = [
        (reference(), "does not exist"),
        (BackendRef::Backend(BackendKey::new("b")), "does not exist"),
        (BackendRef::Invalid("refused".into()), "refused"),
    ];
    for (reference, expected) in cases {
        let error = upstreams.cluster(&reference, &snapshot).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn clusters_nobody_holds_are_forgotten_and_numbers_are_not_reused() {
    let (upstreams, mut snapshot) = (upstreams(), Snapshot::default());
    apply(&upstreams, &mut snapshot, vec![backend("10.0.0.1:80")]);
    let reference = BackendRef::Backend(BackendKey::new("b"));
    let first = upstreams.cluster(&reference, &snapshot).unwrap().id();
    assert!(upstreams.report().is_empty());
    assert!(upstreams.cluster(&reference, &snapshot).unwrap().id() > first);
}

#[tokio::test]
async fn the_first_request_waits_for_the_first_answer() {
    let upstreams = upstreams();
    let cluster = upstreams.host(&HostTarget::parse("a.test:80").unwrap());
    assert_eq!(cluster.pick(&[], None, None).unwrap_err(), PickFault::Pending);
    let lease = cluster.draw(&[], None, None, Duration::from_secs(5)).await.unwrap();
    assert_eq!(&**lease.endpoint_text(), "127.0.0.1:80");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_says_why() {
    let upstreams = Arc::new(Upstreams::with_resolver(&statics(), Box::new(Fixed(None))));
    let running = upstreams.clone();
    tokio::spawn(async move { running.run().await });
    let cluster = upstreams.host(&HostTarget::parse("a.test:80").unwrap());
    let fault = cluster.draw(&[], None, None, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(fault.to_string(), "a.test is not resolved: a.test: no such name");
    assert!(upstreams.report()[0].error.as_deref().unwrap().contains("no such name"));
}

#[tokio::test]
async fn localhost_is_known_without_dns() {
    let upstreams = Arc::new(Upstreams::new(&statics()));
    let running = upstreams.clone();
    tokio::spawn(async move { running.run().await });
    let cluster = upstreams.host(&HostTarget::parse("localhost:80").unwrap());
    let lease = cluster.draw(&[], None, None, Duration::from_secs(5)).await.unwrap();
    assert_eq!(&**lease.endpoint_text(), "127.0.0.1:80");
}

/// A server that answers A questions with two addresses and nothing to AAAA.
async fn name_server(ttl: u8) -> hickory_resolver::config::NameServerConfig {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut server = hickory_resolver::config::NameServerConfig::udp([127, 0, 0, 1].into());
    server.connections[0].port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let name_end = 12 + buffer[12..length].iter().position(|byte| *byte == 0).unwrap() + 1;
            let question = &buffer[12..name_end + 4];
            let a = buffer[name_end + 1] == 1;
            let mut answer = vec![buffer[0], buffer[1], 0x81, 0x80, 0, 1, 0, if a { 2 } else { 0 }, 0, 0, 0, 0];
            answer.extend_from_slice(question);
            for last in [2, 1].into_iter().filter(|_| a) {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, ttl, 0, 4, 10, 9, 8, last]);
            }
            let _ = socket.send_to(&answer, client).await;
        }
    });
    server
}

#[tokio::test]
async fn each_address_of_an_answer_is_an_endpoint_for_the_time_it_says() {
    let statics = statics();
    let system = System::asking(vec![name_server(9).await], &statics);
    let answer = system.resolve("two.example.".into()).await.unwrap();
    assert!(answer.ttl > Duration::from_secs(7) && answer.ttl <= Duration::from_secs(9), "{:?}", answer.ttl);
    let upstreams = Arc::new(Upstreams::with_resolver(&statics, Box::new(system)));
    let running = upstreams.clone();
    tokio::spawn(async move { running.run().await });
    let cluster = upstreams.host(&HostTarget::parse("two.example:80").unwrap());
    cluster.ready(Duration::from_secs(5)).await;
    let report = upstreams.report();
    let addresses: Vec<_> = report[0].endpoints.iter().map(|endpoint| &*endpoint.address).collect();
    assert_eq!(addresses, ["10.9.8.1:80", "10.9.8.2:80"]);
}
