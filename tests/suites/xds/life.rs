//! What is added, changed, broken, repaired and removed, and in what order it arrives.

use bytes::Bytes;
use filters::Change;
use ir::{BackendRef, ObjectName, Parent, Target};
use tests::control::objects::{
    backend, bind, gateway as edge, header, listener, policy, route, route_group, route_of, says, without,
};
use tests::wait::PATIENCE;
use tests::{Backend, Client, Control, Gateway, eventually};

use super::{open, pair, unready, word};

#[tokio::test]
async fn a_gateway_with_no_traffic_of_its_own_is_ready_when_it_was_told_the_first_time() {
    let away = Control::start().await;
    let config = away.config(&[]);
    let away = away.stop().await;
    let mut gateway = Gateway::setup(&config).spawn();
    gateway.wait_log(|line| line.contains("control plane is away")).await;
    assert!(unready(&gateway).await.contains("xds"));
    let told = word(&gateway).await;
    assert_eq!((&told["connected"], &told["synced"], &told["from"]), (&false.into(), &false.into(), &"nothing".into()));
    assert!(told["lastError"].as_str().is_some_and(|it| it.contains("cannot connect")), "{told}");

    let control = away.back();
    gateway.wait_ready().await.expect("ready");
    let echo = Backend::echo();
    let client = open(&control, &gateway, vec![backend("echo", echo.addr()), route("all", "/", "echo")]).await;
    assert_eq!(client.get("/x").await.expect_status(200).json()["path"], "/x");
    let told = word(&gateway).await;
    for (key, value) in [("connected", true), ("synced", true), ("stale", false)] {
        assert_eq!(told[key], value, "{told}");
    }
    assert_eq!((&told["resources"], &told["from"]), (&4.into(), &"control plane".into()), "{told}");
    let url = [("url", "type.googleapis.com/agentgateway.v1.Resource")];
    assert_eq!(gateway.metric_sum("agentgateway_xds_message_total", &url).await, 2.0, "an empty one and a full one");
    assert!(gateway.metric_sum("agentgateway_xds_message_bytes_total", &url).await > 100.0);
    let failed = [("reason", "ConnectionError")];
    assert!(gateway.metric_sum("agentgateway_xds_connection_terminations_total", &failed).await >= 1.0);
    let dump = gateway.config_dump().await;
    assert_eq!(dump["routes"][0]["origin"], serde_json::json!({ "source": "xds", "path": "route/all" }));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_added_changed_broken_repaired_and_removed_under_load() {
    let (control, gateway, client) = pair().await;
    let [one, two] = ["one", "two"].map(Backend::echo_named);
    control.applied([backend("x", one.addr()), route("steady", "/steady", "x"), route("r", "/r", "x")]).await;
    let steady = tokio::spawn({
        let client = Client::h1(gateway.listens("b").await);
        async move {
            let mut answers = 0;
            loop {
                client.get("/steady").await.expect_status(200);
                answers += 1;
                if client.get("/stop").await.status == 200 {
                    return answers;
                }
            }
        }
    });
    let seen = || async { client.get("/r").await };
    for round in 0..20 {
        let (next, other) = if round % 2 == 0 { (&two, &one) } else { (&one, &two) };
        // Changed.
        control.applied([backend("x", next.addr())]).await;
        let before = (next.stats().requests(), other.stats().requests());
        seen().await.expect_status(200);
        assert!(next.stats().requests() > before.0, "round {round}");
        // Broken: the last good one serves.
        control.put("route/r", Some(Bytes::from_static(b"\xff\xff")));
        control.answered().await;
        seen().await.expect_status(200);
        assert_eq!(word(&gateway).await["refused"][0]["name"], "route/r");
        // Repaired, removed, added.
        control.applied([route("r", "/r", "x")]).await;
        assert_eq!(word(&gateway).await["refused"], serde_json::json!([]));
        control.applied([without(&route("r", "/r", "x"))]).await;
        seen().await.expect_status(404);
        control.applied([route("r", "/r", "x")]).await;
        seen().await.expect_status(200);
    }
    control.applied([route("stop", "/stop", "x"), says("stop", "stop")]).await;
    let answers = steady.await.expect("no request failed");
    assert!(answers > 20, "{answers} requests beside the changes");
    gateway.stop().await;
}

#[tokio::test]
async fn objects_may_arrive_in_any_order() {
    let (control, gateway, _) = pair().await;
    let echo = Backend::echo();
    let objects = |n: usize| -> Vec<Change> {
        let bind_key = format!("bind{n}");
        let parent = Parent::Listener(ir::ListenerKey::new(format!("{bind_key}/http")));
        let (route_key, backend_key) = (format!("r{n}"), format!("x{n}"));
        let to = BackendRef::Backend(ir::BackendKey::new(&*backend_key));
        let number = header("x-round", &n.to_string());
        vec![
            bind(&bind_key),
            listener(&bind_key),
            route_of(&route_key, "/", vec![parent], to),
            backend(&backend_key, echo.addr()),
            policy(&format!("p{n}"), Target::Route(ObjectName::new("default", &*route_key)), number),
        ]
    };
    for (n, order) in permutations(5).into_iter().enumerate() {
        let all = objects(n);
        for at in &order {
            control.applied([all[*at].clone()]).await;
        }
        let client = Client::h1(gateway.listens(&format!("bind{n}")).await);
        client.get("/").await.expect_status(200);
        assert_eq!(echo.stats().last().header("x-round"), Some(&*n.to_string()), "{order:?}");
        for at in order {
            control.applied([without(&all[at])]).await;
        }
    }
    eventually(PATIENCE, || async { gateway.status().await.binds.len() == 1 }).await;
    gateway.stop().await;
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    let insert = |it: &Vec<usize>, at: usize| [&it[..at], &[n - 1], &it[at..]].concat();
    shorter.iter().flat_map(|it| (0..n).map(move |at| insert(it, at))).collect()
}

#[tokio::test]
async fn route_groups_lead_on_and_a_circle_of_them_is_500_at_once() {
    let (control, gateway, client) = pair().await;
    let echo = Backend::echo();
    let group = |name: &str| BackendRef::RouteGroup(name.into());
    let within = |name: &str| vec![Parent::Group(name.into())];
    control.apply(["a", "b", "c", "d", "empty"].map(route_group));
    let gateway_parent = || vec![Parent::Gateway { gateway: edge(), listener: None }];
    let to = || BackendRef::Backend(ir::BackendKey::new("x"));
    control
        .applied([
            backend("x", echo.addr()),
            route_of("in", "/in", gateway_parent(), group("a")),
            route_of("a1", "/in/good", within("a"), group("b")),
            route_of("b1", "/in/good", within("b"), to()),
            route_of("a2", "/in/circle", within("a"), group("c")),
            route_of("c1", "/in/circle", within("c"), group("a")),
            route_of("self", "/self", gateway_parent(), group("d")),
            route_of("d1", "/self", within("d"), group("d")),
            route_of("nowhere", "/nowhere", gateway_parent(), group("none")),
            route_of("none", "/nowhere", within("none"), to()),
            route_of("empty", "/empty", gateway_parent(), group("empty")),
        ])
        .await;
    client.get("/in/good/x").await.expect_status(200);
    for path in ["/in/circle", "/self", "/nowhere"] {
        client.get(path).await.expect_status(500);
    }
    // It is mended by taking one away, while the others stay.
    control.applied([route_of("c1", "/in/circle", within("c"), to())]).await;
    client.get("/in/circle").await.expect_status(200);
    client.get("/self").await.expect_status(500);
    // A group is there when it is named, whatever routes it has.
    client.get("/empty").await.expect_status(404);
    control.applied([route_group("none"), without(&route_group("b"))]).await;
    client.get("/nowhere").await.expect_status(200);
    client.get("/in/good/x").await.expect_status(500);
    gateway.stop().await;
}

#[tokio::test]
async fn one_endpoint_more_or_less_is_one_small_message() {
    let (control, gateway, client) = pair().await;
    let [one, two] = ["one", "two"].map(Backend::echo_named);
    let service = ir::ServiceKey::new("default/app");
    let to = BackendRef::Service { service: service.clone(), port: 80 };
    let parent = Parent::Gateway { gateway: edge(), listener: None };
    let route = route_of("app", "/", vec![parent], to);
    let workload = |uid: &str, at: std::net::SocketAddr| tests::control::objects::workload(uid, "default/app", 80, at);
    control.applied([tests::control::objects::service("default/app", 80), route, workload("w1", one.addr())]).await;
    client.get("/").await.expect_status(200);
    assert_eq!(one.stats().requests(), 1);
    let before = control.clients()[0].clone();
    control.applied([workload("w2", two.addr())]).await;
    control.applied([without(&workload("w1", one.addr()))]).await;
    let after = control.clients()[0].clone();
    assert_eq!(after.resources - before.resources, 2);
    assert!(after.bytes - before.bytes < 256, "{before:?} {after:?}");
    for _ in 0..4 {
        client.get("/").await.expect_status(200);
    }
    assert_eq!((one.stats().requests(), two.stats().requests()), (1, 4));
    gateway.stop().await;
}
