//! Raw connections, health checks and mirrors against real sockets.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use filters::health::{Active, Probe};
use filters::{Policy, circuit_breaker, health, request_mirror};
use pingora_http::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{dialled, effective, eventually, install_provider, serve};
use crate::plan::TcpChoice;
use crate::upstream::{Mirrors, connect_tcp};

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
