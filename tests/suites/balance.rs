//! Which endpoint takes a request: services and workloads, scores, health, affinity, locality, names and sockets.

use std::collections::BTreeSet;

use tests::backend::answer;
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, config, eventually, within};

/// A service over these backends; each on an address of its own, for a workload has only addresses.
struct Service {
    backends: Vec<Backend>,
    port: u16,
}

impl Service {
    /// Echoes named `0`, `1`, … at 127.0.0.2, 127.0.0.3, … on one port.
    fn new(count: u8) -> Service {
        let first = Backend::setup().named("0").on(([127, 0, 0, 2], 0).into()).echo();
        let port = first.port();
        let rest =
            (1..count).map(|n| Backend::setup().named(&n.to_string()).on(([127, 0, 0, 2 + n], port).into()).echo());
        let backends = std::iter::once(first).chain(rest).collect();
        Service { backends, port }
    }

    /// The whole document; `workload(n)` adds keys to the nth workload.
    fn yaml(&self, policies: &str, service: &str, workload: impl Fn(usize) -> String) -> String {
        let port = self.port;
        let workloads: String = (0..self.backends.len())
            .map(|n| {
                format!(
                    "- {{ name: w{n}, workloadIps: [127.0.0.{}], services: {{ default/api.example: {{ '80': {port} }} }}, {} }}\n",
                    n + 2,
                    workload(n)
                )
            })
            .collect();
        config::routes(&format!(
            "- backends: [{{ service: {{ name: default/api.example, port: 80 }}, policies: {{ {policies} }} }}]\n"
        )) + &format!(
            "services: [{{ name: api, hostname: api.example, ports: {{ '80': {port} }}, {service} }}]\nworkloads:\n{workloads}"
        )
    }

    fn counts(&self) -> Vec<u64> {
        self.backends.iter().map(|it| it.stats().requests()).collect()
    }
}

fn nothing(_: usize) -> String {
    String::new()
}

async fn ask(client: &Client, times: usize) {
    for _ in 0..times {
        client.get("/").await.expect_status(200);
    }
}

async fn who(client: &Client) -> String {
    client.get("/").await.expect_status(200).json()["backend"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn requests_spread_over_all_endpoints_with_the_clients_host() {
    let service = Service::new(4);
    let gateway = Gateway::start(&service.yaml("", "", nothing)).await;
    let client = gateway.client().host("front.example");
    ask(&client, 400).await;
    let counts = service.counts();
    assert!(counts.iter().all(|it| *it >= 20), "{counts:?}");
    assert_eq!(service.backends[0].stats().last().header("host"), Some("front.example"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_slow_endpoint_gets_less() {
    let service = Service::new(2);
    let gateway = Gateway::start(&service.yaml("", "", nothing)).await;
    let addr = gateway.addr(0);
    // Whoever gets a stalled request has one more in flight for good.
    let stalled: Vec<Client> = (0..6).map(|_| Client::h1(addr)).collect();
    let calls: Vec<_> = stalled.iter().map(|it| tokio::spawn(it.get("/stall").try_send())).collect();
    eventually(PATIENCE, || async { service.counts().iter().sum::<u64>() == 6 }).await;
    let before = service.counts();
    ask(&gateway.client(), 200).await;
    let after = service.counts();
    let (busy, idle) = if before[0] > before[1] { (0, 1) } else { (1, 0) };
    if before[0] != before[1] {
        assert!(after[busy] - before[busy] <= after[idle] - before[idle] + 30, "{before:?} {after:?}");
    }
    calls.iter().for_each(|it| it.abort());
    for it in &stalled {
        it.disconnect().await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn drained_and_unhealthy_workloads_get_nothing() {
    let service = Service::new(3);
    let extra = |n: usize| match n {
        0 => "capacity: 0".to_owned(),
        1 => "status: unhealthy".to_owned(),
        _ => String::new(),
    };
    let gateway = Gateway::start(&service.yaml("", "", extra)).await;
    ask(&gateway.client(), 50).await;
    assert_eq!(service.counts(), [0, 0, 50]);
    gateway.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_out_for_a_while_and_comes_back() {
    let service = Service::new(2);
    let policy = "health: { eviction: { duration: 5s, consecutiveFailures: 2 } }";
    let gateway = Gateway::start(&service.yaml(policy, "", nothing)).await;
    let client = gateway.client();
    service.backends[0].stats().fail_next(2, 503);
    eventually(PATIENCE, || async {
        client.get("/").await;
        service.counts()[0] >= 2
    })
    .await;
    let before = service.counts();
    ask(&client, 30).await;
    assert_eq!(service.counts()[0], before[0], "nothing while it is out");
    eventually(PATIENCE, || async {
        client.get("/").await;
        service.counts()[0] > before[0]
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_request() {
    let service = Service::new(3);
    service.backends[1].down().await;
    let gateway = Gateway::start(&service.yaml("", "", nothing)).await;
    let client = gateway.client();
    ask(&client, 100).await;
    service.backends[1].up();
    gateway.stop().await;
}

#[tokio::test]
async fn with_all_endpoints_down_it_is_503_until_one_is_back() {
    let service = Service::new(2);
    for it in &service.backends {
        it.down().await;
    }
    let policy = "health: { eviction: { duration: 500ms, consecutiveFailures: 1 } }";
    let gateway = Gateway::start(&service.yaml(policy, "", nothing)).await;
    let client = gateway.client();
    for _ in 0..5 {
        client.get("/").await.expect_status(503);
    }
    service.backends[1].up();
    eventually(PATIENCE, || async { client.get("/").await.status == 200 }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_without_workloads_has_no_healthy_backend() {
    let gateway = Gateway::start(
        &(config::routes("- backends: [{ service: { name: default/api.example, port: 80 } }]\n")
            + "services: [{ name: api, hostname: api.example, ports: { '80': 1 } }]\n"),
    )
    .await;
    gateway.client().get("/").await.expect_status(503);
    let line = gateway.wait_access(1).await.remove(0);
    assert_eq!(line["reason"], "NoHealthyBackend", "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn active_checks_over_http_take_endpoints_out_and_bring_them_back() {
    let ill = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let state = ill.clone();
    let first = Backend::setup().on(([127, 0, 0, 2], 0).into()).http(move |asked| {
        let ill = state.load(std::sync::atomic::Ordering::SeqCst) && asked.uri.path() == "/healthz";
        async move { answer::text(if ill { 500 } else { 200 }, "first") }
    });
    let port = first.port();
    let second = Backend::setup().on(([127, 0, 0, 3], port).into()).http(|_| async { answer::text(200, "second") });
    let service = Service { backends: vec![first, second], port };
    let policy = "health: { active: { http: { path: /healthz, expectedStatuses: [200] }, interval: 100ms, timeout: 5s, unhealthyThreshold: 2, healthyThreshold: 1 } }";
    let gateway = Gateway::start(&service.yaml(policy, "", nothing)).await;
    let client = gateway.client();
    let twenty = || async {
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            seen.insert(client.get("/").await.expect_status(200).text());
        }
        seen.len()
    };
    eventually(PATIENCE, || async { twenty().await == 2 }).await;
    ill.store(true, std::sync::atomic::Ordering::SeqCst);
    eventually(PATIENCE, || async { twenty().await == 1 }).await;
    ill.store(false, std::sync::atomic::Ordering::SeqCst);
    eventually(PATIENCE, || async { twenty().await == 2 }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn active_checks_of_a_backend_are_its_own_before_those_of_routes() {
    let backend = Backend::echo();
    let health = |path: &str| {
        format!("policies: {{ health: {{ active: {{ http: {{ path: {path} }}, interval: 50ms }}, eviction: {{}} }} }}")
    };
    let yaml = |own: &str| {
        let route =
            |n: u8| format!("- {{ name: r{n}, backends: [{{ backend: b, {} }}] }}\n", health(&format!("/r{n}")));
        let routes = config::routes(&(route(0) + &route(1)));
        format!("{routes}backends: [{{ name: b, host: '{}', {own} }}]\n", backend.addr())
    };
    let asked = |path: &str| backend.stats().seen().iter().filter(|it| it.uri.path() == path).count();
    let gateway = Gateway::start(&yaml(&health("/own"))).await;
    eventually(PATIENCE, || async { asked("/own") >= 5 }).await;
    assert_eq!((asked("/r0"), asked("/r1")), (0, 0), "the backend is checked on its own terms alone");
    let status = gateway.reload(&yaml("")).await;
    let before = asked("/r0");
    eventually(PATIENCE, || async { asked("/r0") >= before + 5 }).await;
    assert_eq!(asked("/r1"), 0, "the first of the routes speaks for the backend");
    assert!(status.document["warnings"][0]["message"].as_str().is_some_and(|it| it.contains("do not run")));
    gateway.stop().await;
}

#[tokio::test]
async fn active_checks_over_tcp_and_grpc_notice_too() {
    let first = Backend::setup().on(([127, 0, 0, 2], 0).into()).grpc();
    let port = first.port();
    let second = Backend::setup().on(([127, 0, 0, 3], port).into()).grpc();
    let service = Service { backends: vec![first, second], port };
    for probe in ["grpc: {}", "tcp: {}"] {
        let policy = format!(
            "health: {{ active: {{ {probe}, interval: 100ms, timeout: 5s, unhealthyThreshold: 1, healthyThreshold: 1 }} }}"
        );
        let gateway = Gateway::start(&service.yaml(&policy, "", nothing)).await;
        let client = tests::GrpcClient::new(Client::h2c(gateway.addr(0)));
        let first = &service.backends[0];
        if probe.starts_with("grpc") {
            first.stats().set_serving(false);
        } else {
            first.down().await;
        }
        // Twenty calls in a row that leave the first one alone.
        eventually(PATIENCE, || async {
            let before = first.stats().seen().iter().filter(|it| it.uri.path() == "/test.Echo/Unary").count();
            for _ in 0..20 {
                client.unary("/test.Echo/Unary", b"x", &[]).await;
            }
            before == first.stats().seen().iter().filter(|it| it.uri.path() == "/test.Echo/Unary").count()
        })
        .await;
        first.stats().set_serving(true);
        first.up();
        eventually(PATIENCE, || async {
            let before = first.stats().seen().iter().filter(|it| it.uri.path() == "/test.Echo/Unary").count();
            client.unary("/test.Echo/Unary", b"x", &[]).await;
            before < first.stats().seen().iter().filter(|it| it.uri.path() == "/test.Echo/Unary").count()
        })
        .await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn affinity_keeps_a_client_on_one_endpoint() {
    let service = Service::new(4);
    for (source, header) in [
        ("request.headers[\"x-user\"]", "x-user"),
        ("request.cookies[\"user\"]", "cookie"),
        ("source.address", "x-none"),
    ] {
        let policy = format!("sessionAffinity: {{ source: '{source}' }}");
        let gateway = Gateway::start(&service.yaml(&policy, "", nothing)).await;
        let client = gateway.client();
        let mut used = BTreeSet::new();
        for user in 0..24 {
            let mut mine = BTreeSet::new();
            for _ in 0..5 {
                let value = if header == "cookie" { format!("a=b; user={user}") } else { user.to_string() };
                let reply = client.get("/").header(header, value).await.expect_status(200);
                mine.insert(reply.json()["backend"].to_string());
            }
            assert_eq!(mine.len(), 1, "{source}: one endpoint for user {user}");
            used.extend(mine);
        }
        assert_eq!(used.len() > 1, header != "x-none", "{source}: {used:?}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_client_whose_endpoint_is_gone_moves_and_others_stay() {
    let service = Service::new(3);
    let policy = "sessionAffinity: { source: 'request.headers[\"x-user\"]' }, health: { eviction: { duration: 1m, consecutiveFailures: 1 } }";
    let gateway = Gateway::start(&service.yaml(policy, "", nothing)).await;
    let client = gateway.client();
    let place = |user: usize| {
        let client = client.clone();
        async move {
            let reply = client.get("/").header("x-user", user.to_string()).await.expect_status(200);
            reply.json()["backend"].as_str().unwrap_or_default().to_owned()
        }
    };
    let mut before = Vec::new();
    for user in 0..12 {
        before.push(place(user).await);
    }
    service.backends[0].down().await;
    for (user, was) in before.iter().enumerate() {
        let now = place(user).await;
        if was == "0" {
            assert_ne!(now, "0");
        } else {
            assert_eq!(now, *was, "user {user} had no reason to move");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_unix_socket_is_a_backend() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("backend.sock");
    let _backend = Backend::unix_http(&path);
    let gateway =
        Gateway::start(&config::routes(&format!("- backends: [{{ host: 'unix:{}' }}]\n", path.display()))).await;
    let client = gateway.client();
    for _ in 0..3 {
        client.post("/x").body("hello").await.expect_status(200);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_harms_only_itself() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::routes(&format!(
        "
- matches: [{{ path: {{ pathPrefix: /lost }} }}]
  backends: [{{ host: 'does-not-exist.invalid:80' }}]
- backends: [{{ host: 'localhost:{}' }}]
",
        backend.port()
    )))
    .await;
    let client = gateway.client();
    let lost = tokio::spawn(gateway.client().get("/lost").try_send());
    client.get("/").await.expect_status(200);
    let lost = within(PATIENCE, lost).await.expect("the client").expect("an answer");
    assert_eq!(lost.status, 503, "{}", lost.text());
    client.get("/").await.expect_status(200);
    let lines = gateway.wait_access(3).await;
    assert!(lines.iter().any(|it| it["reason"] == "NoHealthyBackend"), "{lines:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_comes_back_is_used_again_at_once() {
    let backend = Backend::echo_named("only");
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let client = gateway.client();
    assert_eq!(who(&client).await, "only");
    backend.down().await;
    client.get("/").await.expect_status(503);
    backend.up();
    assert_eq!(who(&client).await, "only");
    gateway.stop().await;
}

#[tokio::test]
async fn strict_locality_never_leaves_its_place() {
    let service = Service::new(3);
    let place = |n: usize| match n {
        0 => "locality: { region: here, zone: a }".to_owned(),
        1 => "locality: { region: here, zone: b }".to_owned(),
        _ => "locality: { region: there, zone: a }".to_owned(),
    };
    let yaml = |mode: &str| {
        let balancer = format!("loadBalancer: {{ routingPreferences: [region, zone], mode: {mode} }}");
        service.yaml("health: { eviction: { duration: 1m } }", &balancer, place)
    };
    let gateway = Gateway::setup(&yaml("strict")).env("LOCALITY", "here/a").start().await;
    let client = gateway.client();
    ask(&client, 20).await;
    assert_eq!(service.counts(), [20, 0, 0]);
    service.backends[0].down().await;
    for _ in 0..5 {
        client.get("/").await.expect_status(503);
    }
    assert_eq!(service.counts(), [20, 0, 0], "rather none than one elsewhere");
    gateway.reload(&yaml("failover")).await;
    ask(&client, 5).await;
    assert_eq!(service.counts(), [20, 5, 0]);
    gateway.stop().await;
}

#[tokio::test]
async fn endpoints_nearby_come_first_and_others_when_they_fail() {
    let service = Service::new(3);
    let place = |n: usize| match n {
        0 => "locality: { region: here, zone: a }".to_owned(),
        1 => "locality: { region: here, zone: b }".to_owned(),
        _ => "locality: { region: there, zone: a }".to_owned(),
    };
    let yaml = service.yaml(
        "health: { eviction: { duration: 1m, consecutiveFailures: 1 } }",
        "loadBalancer: { routingPreferences: [region, zone], mode: failover }",
        place,
    );
    let gateway = Gateway::setup(&yaml).env("LOCALITY", "here/a").start().await;
    let client = gateway.client();
    ask(&client, 20).await;
    assert_eq!(service.counts(), [20, 0, 0]);
    service.backends[0].down().await;
    ask(&client, 20).await;
    assert_eq!(service.counts(), [20, 20, 0]);
    service.backends[1].down().await;
    ask(&client, 20).await;
    assert_eq!(service.counts()[2], 20);
    gateway.stop().await;
}
