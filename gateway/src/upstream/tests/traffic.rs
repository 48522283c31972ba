//! Raw connections, health checks and mirrors against real sockets.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use filters::health::{Active, Probe};
use filters::{Policy, circuit_breaker, health, request_mirror};
use pingora_http::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{
    Authority, ServerTerms, dialled, effective, eventually, install_provider, serve, serve_unix, statics, tls_terms,
    upstreams,
};
use super::tls::{base, connector, exchange, own};
use crate::plan::TcpChoice;
use crate::upstream::{Mirrors, Template, Wanted, connect_tcp};

fn choice(target: &str, policies: Vec<Policy>) -> TcpChoice {
    let (cluster, template) = dialled(target, policies.clone()).unwrap();
    let route = ir::TcpRoute {
        key: ir::RouteKey::new("r"),
        name: ir::RouteName { route: ir::ObjectName::new("default", "r"), rule: None },
        parents: Vec::new(),
        order: 0,
        hostnames: Vec::new(),
        backends: Vec::new(),
        origin: Default::default(),
    };
    TcpChoice { route: Arc::new(route), cluster, template, effective: Arc::new(effective(policies)) }
}

#[tokio::test]
async fn a_raw_connection_carries_bytes_and_counts_as_one() {
    let (address, _) = serve(None).await;
    let limits = circuit_breaker::Policy { max_connections: Some(1), ..Default::default() };
    let choice = choice(&address.to_string(), vec![Policy::CircuitBreaker(limits)]);
    let mut lease = connect_tcp(&choice).await.unwrap();
    assert_eq!(**lease.endpoint(), *address.to_string());
    let fault = connect_tcp(&choice).await.err().unwrap();
    assert_eq!((fault.reason(), fault.status()), (filters::Reason::Overflow, 503));
    lease.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    lease.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    drop(lease);
    assert!(connect_tcp(&choice).await.is_ok());
}

#[tokio::test]
async fn a_refused_connection_is_a_fault_of_the_endpoint() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fault = connect_tcp(&choice(&free.to_string(), Vec::new())).await.err().unwrap();
    assert!(fault.is_endpoints());
    assert_eq!(fault.reason(), filters::Reason::UpstreamFailure);
}

#[tokio::test]
async fn a_raw_connection_tries_other_endpoints() {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (address, seen) = serve(None).await;
    let upstreams = upstreams();
    let ports = [free(), free(), free(), address.port()];
    let key = ir::ServiceKey::new("ns/a");
    let snapshot = service_of(&key, &ports);
    let cluster = upstreams.cluster(&ir::BackendRef::Service { service: key, port: 80 }, &snapshot).unwrap();
    let template = Arc::new(Template::compile(&cluster, &effective(Vec::new()), &statics()).unwrap());
    let choice = TcpChoice { cluster, template, ..choice("127.0.0.1:1", Vec::new()) };
    for _ in 0..20 {
        let lease = connect_tcp(&choice).await.unwrap();
        assert_eq!(**lease.endpoint(), *address.to_string());
    }
    eventually("all arrive at the living one", || seen.connections.load(SeqCst) == 20).await;
}

/// A service whose workloads are ports of loopback.
fn service_of(key: &ir::ServiceKey, ports: &[u16]) -> filters::Snapshot {
    let mut snapshot = filters::Snapshot::default();
    let service = ir::Service {
        key: key.clone(),
        namespace: "ns".into(),
        name: "a".into(),
        hostname: "a.ns.svc".into(),
        ports: [(80, 0)].into(),
        app_protocols: Default::default(),
        load_balancer: Default::default(),
        origin: Default::default(),
    };
    snapshot.services.insert(key.clone(), Arc::new(service));
    for port in ports {
        let workload = ir::Workload {
            uid: port.to_string().into(),
            name: "w".into(),
            namespace: "ns".into(),
            addresses: vec![[127, 0, 0, 1].into()],
            hostname: "".into(),
            locality: Default::default(),
            network: "".into(),
            cluster: "".into(),
            node: "".into(),
            capacity: 1,
            healthy: true,
            services: [(key.clone(), [(80, *port)].into())].into(),
            origin: Default::default(),
        };
        snapshot.workloads.insert(workload.uid.clone(), Arc::new(workload));
    }
    snapshot
}

#[tokio::test]
async fn a_unix_socket_serves_requests_and_raw_connections() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let seen = serve_unix(&path);
    let choice = choice(&format!("unix:{}", path.display()), Vec::new());
    let mut lease = connect_tcp(&choice).await.unwrap();
    lease.write_all(b"GET /raw HTTP/1.0\r\n\r\n").await.unwrap();
    lease.read_to_string(&mut String::new()).await.unwrap();
    let connector = connector();
    let target = (choice.cluster.clone(), choice.template.clone());
    for n in 0..3 {
        let spoken = Box::pin(exchange(&connector, &target, Wanted::default())).await.unwrap();
        assert_eq!(spoken, (1, n > 0), "request {n}");
    }
    assert_eq!(seen.connections.load(SeqCst), 2);
}

#[tokio::test]
async fn checks_take_an_endpoint_out_and_end_with_their_policy() {
    let http = |path: &str| Probe::Http { path: path.into(), host: None, expected_statuses: Vec::new() };
    let cases =
        [(http("/"), true), (http("/down"), false), (Probe::Tcp, true), (Probe::Grpc { service: "".into() }, true)];
    for (probe, passes) in cases {
        let (address, seen) = serve(None).await;
        let (cluster, template) = dialled(&address.to_string(), Vec::new()).unwrap();
        let active = Active {
            probe: probe.clone(),
            interval: Duration::from_millis(20),
            timeout: Duration::from_secs(2),
            unhealthy_threshold: 2,
            healthy_threshold: 1,
        };
        let policy = health::Policy { active: Some(active), ..Default::default() };
        cluster.set_health(Some(Arc::new(policy.clone())), &template);
        cluster.set_health(Some(Arc::new(policy)), &template);
        eventually("three checks", || seen.connections.load(SeqCst) >= 3).await;
        eventually("the verdict", || cluster.pick(&[], None, None).is_ok() == passes).await;
        cluster.set_health(None, &template);
        eventually("the verdict is forgotten", || cluster.pick(&[], None, None).is_ok()).await;
        let stopped = seen.connections.load(SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(seen.connections.load(SeqCst) <= stopped + 1, "{probe:?} goes on");
    }
}

#[tokio::test]
async fn a_mirror_gets_the_whole_request_or_nothing() {
    install_provider();
    let (address, seen) = serve(None).await;
    let (cluster, template) = dialled(&address.to_string(), Vec::new()).unwrap();
    let policy =
        request_mirror::Policy { backend: ir::BackendRef::Invalid("unused".into()), fraction: 1.0, body_bytes_max: 8 };
    let mirrors = Mirrors::default();
    let mut head = RequestHeader::build("POST", b"/copy", None).unwrap();
    head.insert_header("host", "a.test").unwrap();
    head.insert_header("connection", "x-gone").unwrap();
    for body in [&["12", "34"][..], &["12345678", "9"], &["56"]] {
        let mut copy = mirrors.start(&cluster, &template, &policy, &head, false).unwrap();
        body.iter().for_each(|chunk| copy.push(&Bytes::from_static(chunk.as_bytes())));
        copy.finish();
    }
    eventually("both copies and the drop", || seen.requests.lock().len() == 2 && mirrors.dropped() == 1).await;
    let mut requests = seen.requests.lock().clone();
    requests.sort();
    assert_eq!(requests, ["POST HTTP/1.1 /copy 1234", "POST HTTP/1.1 /copy 56"]);
    let never = request_mirror::Policy { fraction: 0.0, ..policy };
    assert!(mirrors.start(&cluster, &template, &never, &head, true).is_none());
}

#[tokio::test]
async fn a_mirror_of_a_grpc_call_goes_over_http2() {
    let ours = Authority::new();
    let terms = ServerTerms { authority: &ours, names: &["backend.test"], alpn: &["h2"], client_roots: None };
    let (address, seen) = serve(Some(tls_terms(&terms))).await;
    for policy in [base(&ours), own(base(&ours))] {
        let target = format!("backend.test:{}", address.port());
        let (cluster, template) = dialled(&target, vec![Policy::BackendTls(policy)]).unwrap();
        let policy = request_mirror::Policy {
            backend: ir::BackendRef::Invalid("unused".into()),
            fraction: 1.0,
            body_bytes_max: 8,
        };
        let mut head = RequestHeader::build("POST", b"/pkg.Svc/Call", None).unwrap();
        head.insert_header("host", "a.test").unwrap();
        head.insert_header("content-type", "application/grpc").unwrap();
        let mut copy = Mirrors::default().start(&cluster, &template, &policy, &head, false).unwrap();
        copy.push(&Bytes::from_static(b"abc"));
        copy.finish();
        eventually("the copy", || !seen.requests.lock().is_empty()).await;
        assert_eq!(*std::mem::take(&mut *seen.requests.lock()), ["POST HTTP/2.0 /pkg.Svc/Call abc"]);
    }
}
